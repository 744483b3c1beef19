"""What the database holds of the records at hand, read before they are written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct, field
from sqlalchemy import Connection, RowMapping, func, select

from etl.db.among import among
from etl.schema import DataTable
from etl.source import Record

Key = tuple[Any, ...]


class Held(Struct):
    """Rows by table name and key: only the columns that decide what may be written."""

    rows: dict[str, dict[Key, RowMapping]] = field(default_factory=dict)
    group_sizes: dict[str, Counter[Key]] = field(default_factory=dict)
    """Rows stored in each group of the `never_fewer` tables."""
    changed_at: dict[str, datetime] = field(default_factory=dict)
    """Of each execution that is held, by id as text."""

    def learnt_after(self, record_id: str, asked_at: datetime) -> bool:
        changed_at = self.changed_at.get(record_id)
        return changed_at is not None and changed_at > asked_at

    def row(self, table: DataTable, key: Key) -> RowMapping | None:
        return self.rows.get(table.name, {}).get(key)


def held_of(
    connection: Connection, tables: Sequence[DataTable], name: str, records: Sequence[Record]
) -> Held:
    """Reads what is held of `records`; children only of executions that are held."""
    held = Held()
    top = tables[0]
    wanted = {r.parts[0].rows[0][0]: r.id for r in records}
    held.rows[top.name] = _rows(connection, top, name, wanted)
    for (first, *_), row in held.rows[top.name].items():
        held.changed_at[wanted[first]] = row["changed_at"]
    present = [key[0] for key in held.rows[top.name]]
    for table in tables[1:]:
        if table.kind:
            held.rows[table.name] = _rows(connection, table, name, present)
        if table.replace == "never_fewer":
            held.group_sizes[table.name] = _group_sizes(connection, table, name, held, present)
    return held


def _rows(
    connection: Connection, table: DataTable, name: str, ids: Iterable[Any]
) -> dict[Key, RowMapping]:
    columns = table.table.c
    names = [*table.key, "status", "changed_at", *decisive(table)]
    found: dict[Key, RowMapping] = {}
    for one_of_them in among(connection, columns[table.key[0]], list(ids)):
        statement = select(*(columns[n] for n in names)).where(columns.source == name, one_of_them)
        for row in connection.execute(statement).mappings():
            found[tuple(row[n] for n in table.key)] = row
    return found


DECISIVE = ("started_at", "finished_at", "sample_row_count", "sample_digest", "upstream_gone_at")


def decisive(table: DataTable) -> tuple[str, ...]:
    """Further columns of `table` that decide about its children or their marks."""
    return tuple(n for n in DECISIVE if n in table.table.c and n not in table.key)


def _group_sizes(
    connection: Connection, table: DataTable, name: str, held: Held, ids: Sequence[Any]
) -> Counter[Key]:
    if table.kind:
        places = [table.key.index(n) for n in table.group]
        return Counter(tuple(key[p] for p in places) for key in held.rows[table.name])
    columns = table.table.c
    group = [columns[n] for n in table.group]
    sizes: Counter[Key] = Counter()
    for one_of_them in among(connection, group[0], ids):
        statement = (
            select(*group, func.count()).where(columns.source == name, one_of_them).group_by(*group)
        )
        for *key, size in connection.execute(statement):
            sizes[tuple(key)] = size
    return sizes


def last_changes(
    connection: Connection, table: DataTable, name: str, ids: Iterable[str]
) -> dict[str, datetime]:
    """When the executions `ids` (keys as text) last changed here."""
    columns = table.table.c
    first = columns[table.key[0]]
    numeric = first.type.python_type is int
    wanted = [int(i) if numeric else i for i in ids if not numeric or i.lstrip("-").isdecimal()]
    changed: dict[str, datetime] = {}
    for one_of_them in among(connection, first, wanted):
        statement = select(first, columns.changed_at).where(columns.source == name, one_of_them)
        changed.update((str(id_), at) for id_, at in connection.execute(statement))
    return changed
