"""Decides which rows of an answer are believed, and clears what a believed answer replaced."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, RowMapping, delete, update

from etl.schema import DataTable
from etl.source import Record
from etl.store.held import Held, Key

Row = tuple[Any, ...]
Owns = tuple[str, ...] | None


class Children:
    """The rows of `records` by table, with the rules against short and poorer answers applied.

    `settle` decides; `rows_of` is what is left to write.
    """

    def __init__(
        self, connection: Connection, name: str, held: Held, records: Sequence[Record]
    ) -> None:
        self._connection = connection
        self._name = name
        self._held = held
        self._rows: dict[str, dict[Owns, list[Row]]] = defaultdict(lambda: defaultdict(list))
        self._read: Counter[str] = Counter()
        self._tables: dict[str, DataTable] = {}
        self._named: dict[str, set[Any]] = defaultdict(set)
        self._surplus: dict[str, list[tuple[Key, int]]] = defaultdict(list)
        for record in records:
            self._take(record)

    def _take(self, record: Record) -> None:
        for part in record.parts:
            table = part.table
            self._tables[table.name] = table
            self._rows[table.name][part.owns].extend(part.rows)
            self._read[table.name] += len(part.rows)
            if part.complete and table.replace == "named":
                self._named[table.name].add(record.parts[0].rows[0][0])

    def rows_of(self, table: DataTable) -> Mapping[Owns, Sequence[Row]]:
        return self._rows.get(table.name, {})

    def read_of(self, table: DataTable) -> int:
        """Rows of `table` that came, believed or not."""
        return self._read[table.name]

    def settle(self) -> None:
        """Applies the rules to every table whose rows come in groups."""
        for table in list(self._tables.values()):
            if table.replace != "never_fewer":
                continue
            if table.described_by:
                self._settle_sets(table)
            else:
                self._settle_groups(table)
        for table in self._tables.values():
            if table.counted_in:
                self._count_into_parent(table)

    def _settle_groups(self, table: DataTable) -> None:
        """Host results: a host with fewer rows than the database holds keeps what it has."""
        sizes = self._held.group_sizes.get(table.name, Counter())
        for owns, rows in self._rows[table.name].items():
            came = Counter(_group(table, row) for row in rows)
            short = {group for group, size in came.items() if size < sizes[group]}
            if short:
                self._rows[table.name][owns] = [r for r in rows if _group(table, r) not in short]

    def _count_into_parent(self, table: DataTable) -> None:
        """The parent's count is of the rows stored, not of those in one short answer."""
        parent = table.parent
        assert parent is not None  # noqa: S101 - a declaration with counted_in has a parent
        stored: dict[Key, int] = dict(self._held.group_sizes.get(table.name, {}))
        for rows in self._rows[table.name].values():
            stored.update(Counter(_group(table, row) for row in rows))
        total: Counter[Key] = Counter()
        for group, size in stored.items():
            total[group[: len(parent.key)]] += size
        place = parent.fields.index(table.counted_in)
        for owns, rows in self._rows[parent.name].items():
            if owns is None or table.counted_in in owns:
                self._rows[parent.name][owns] = [
                    _with(row, {place: total[row[: len(parent.key)]]}) for row in rows
                ]

    def _settle_sets(self, table: DataTable) -> None:
        """Samples: a set is replaced when its task ran anew or when it has at least as many."""
        parent = table.parent
        assert parent is not None  # noqa: S101 - a described set has a parent
        sizes = self._held.group_sizes.get(table.name, Counter())
        unwanted: set[Key] = set()
        for owns, rows in self._rows[parent.name].items():
            if owns is not None and table.described_by[0] not in owns:
                continue
            self._rows[parent.name][owns] = [
                self._settled(table, parent, row, sizes, unwanted) for row in rows
            ]
        if unwanted:
            for owns, rows in self._rows[table.name].items():
                kept = [row for row in rows if _group(table, row) not in unwanted]
                self._rows[table.name][owns] = kept

    def _settled(
        self, table: DataTable, parent: DataTable, row: Row, sizes: Counter[Key], unwanted: set[Key]
    ) -> Row:
        """The parent's row, describing the set that will be stored."""
        key = row[: len(parent.key)]
        held = self._held.row(parent, key)
        if held is None:
            return row
        places = [parent.fields.index(name) for name in table.described_by]
        count, digest = (row[place] for place in places)
        held_count, held_digest = (held[name] for name in table.described_by)
        if not _ran_anew(parent, row, held) and _size(count) < _size(held_count):
            unwanted.add(key)
            return _with(row, {places[0]: held_count, places[1]: held_digest})
        if digest == held_digest and sizes[key] == (count or 0):
            unwanted.add(key)
        elif sizes[key] > (count or 0):
            self._surplus[table.name].append((key, count or 0))
        return row

    def remove_surplus(self, table: DataTable) -> None:
        """Deletes what a smaller new set left behind."""
        columns = table.table.c
        for key, size in self._surplus.get(table.name, ()):
            statement = delete(table.table).where(
                columns.source == self._name,
                *(columns[n] == v for n, v in zip(table.group, key, strict=True)),
                columns[table.key[-1]] > size,
            )
            self._connection.execute(statement)

    def mark_unnamed(self, table: DataTable, stamp: datetime) -> int:
        """Tasks that a later detail no longer names stay, and get `upstream_gone_at`."""
        marked = 0
        named = {row[: len(table.key)] for rows in self.rows_of(table).values() for row in rows}
        parents = self._named[table.name]
        for key, held in self._held.rows.get(table.name, {}).items():
            if key[0] in parents and key not in named and held["upstream_gone_at"] is None:
                columns = table.table.c
                statement = (
                    update(table.table)
                    .where(
                        columns.source == self._name,
                        *(columns[n] == v for n, v in zip(table.key, key, strict=True)),
                    )
                    .values(upstream_gone_at=stamp, changed_at=stamp)
                )
                self._connection.execute(statement)
                marked += 1
        return marked


def _group(table: DataTable, row: Row) -> Key:
    return row[: len(table.group)]


def _with(row: Row, changes: Mapping[int, Any]) -> Row:
    values = list(row)
    for place, value in changes.items():
        values[place] = value
    return tuple(values)


def _ran_anew(parent: DataTable, row: Row, held: RowMapping) -> bool:
    times: Iterable[str] = ("status", "started_at", "finished_at")
    return any(row[parent.fields.index(name)] != held[name] for name in times)


def _size(count: int | None) -> int:
    return -1 if count is None else count
