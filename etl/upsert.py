"""Bulk upsert, the same for every table: writes only what differs, in each database's own words.

`changed_at` moves exactly when the content of a row did, so that whoever follows it sees each
change once; a row that the platform lists again loses its `upstream_gone_at`, which is a change.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection

from etl.schema import DataTable, Instant

_CHUNK = 1000


def upsert(  # noqa: PLR0913 - where, what, which columns, and the two stamps
    connection: Connection,
    table: DataTable,
    rows: Sequence[tuple[Any, ...]],
    *,
    source: str,
    stamp: datetime,
    owns: tuple[str, ...] | None = None,
) -> None:
    """Writes `rows` (tuples in the order of `table.fields`).

    `owns`: the columns an answer of this kind knows; others are set only in rows that are new.
    `stamp` becomes `first_synced_at` of new rows and `changed_at` of new and differing ones.
    """
    if not rows:
        return
    dialect = connection.dialect.name
    statement = _statement(dialect, table, owns)
    adapt = _adapters(dialect, table)
    at = _moment(dialect)(stamp)
    tail = () if table.lean else (at, at)
    if adapt:
        prepared = [(source, *_adapted(row, adapt), *tail) for row in rows]
    else:
        prepared = [(source, *row, *tail) for row in rows]
    for start in range(0, len(prepared), _CHUNK):
        connection.exec_driver_sql(statement, prepared[start : start + _CHUNK])


@lru_cache(maxsize=256)
def _statement(dialect: str, table: DataTable, owns: tuple[str, ...] | None) -> str:
    key = ("source", *table.key)
    columns = ("source", *table.fields)
    if not table.lean:
        columns += ("first_synced_at", "changed_at")
    known = table.fields if owns is None else owns
    updated = tuple(name for name in table.fields if name in known and name not in key)
    mark = "?" if dialect == "sqlite" else "%s"
    insert = (
        f"INSERT INTO {table.name} ({', '.join(columns)}) "  # noqa: S608 - our own names
        f"VALUES ({', '.join([mark] * len(columns))}) "
    )
    if dialect in ("mysql", "mariadb"):
        return insert + _on_duplicate_key(table, updated)
    return insert + _on_conflict(dialect, table, key, updated)


def _on_conflict(
    dialect: str, table: DataTable, key: tuple[str, ...], updated: tuple[str, ...]
) -> str:
    differs = "IS NOT" if dialect == "sqlite" else "IS DISTINCT FROM"
    sets = [f"{name} = excluded.{name}" for name in updated]
    wheres = [f"{table.name}.{name} {differs} excluded.{name}" for name in updated]
    if not table.lean:
        sets.append("changed_at = excluded.changed_at")
    if table.gone:
        sets.append("upstream_gone_at = NULL")
        wheres.append(f"{table.name}.upstream_gone_at IS NOT NULL")
    if not wheres:
        return f"ON CONFLICT ({', '.join(key)}) DO NOTHING"
    return (
        f"ON CONFLICT ({', '.join(key)}) DO UPDATE SET {', '.join(sets)} "
        f"WHERE {' OR '.join(wheres)}"
    )


def _on_duplicate_key(table: DataTable, updated: tuple[str, ...]) -> str:
    """MySQL assigns from left to right, so `changed_at` compares the old values if it is first."""
    sets = [f"{name} = VALUES({name})" for name in updated]
    same = [f"{name} <=> VALUES({name})" for name in updated]
    if table.gone:
        sets.append("upstream_gone_at = NULL")
        same.append("upstream_gone_at IS NULL")
    if not table.lean and same:
        test = " AND ".join(same)
        sets.insert(0, f"changed_at = IF({test}, changed_at, VALUES(changed_at))")
    first_key = table.key[0]
    return f"ON DUPLICATE KEY UPDATE {', '.join(sets or [f'{first_key} = {first_key}'])}"


Adapter = Callable[[Any], Any]


def _moment(dialect: str) -> Adapter:
    if dialect == "sqlite":
        return _sqlite_moment
    if dialect in ("mysql", "mariadb"):
        return _naive_moment
    return _same


def _sqlite_moment(value: datetime | None) -> str | None:
    """As SQLAlchemy's own DateTime writes it, so that both read and compare alike."""
    if value is None:
        return None
    return value.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")


def _naive_moment(value: datetime | None) -> datetime | None:
    return None if value is None else value.astimezone(UTC).replace(tzinfo=None)


def _same(value: Any) -> Any:
    return value


@lru_cache(maxsize=64)
def _adapters(dialect: str, table: DataTable) -> tuple[tuple[int, Adapter], ...]:
    """Which places of a row tuple need another form for this driver."""
    moment = _moment(dialect)
    if moment is _same:
        return ()
    return tuple(
        (place, moment)
        for place, name in enumerate(table.fields)
        if isinstance(table.table.c[name].type, Instant)
    )


def _adapted(row: tuple[Any, ...], adapters: tuple[tuple[int, Adapter], ...]) -> list[Any]:
    values = list(row)
    for place, adapt in adapters:
        if values[place] is not None:
            values[place] = adapt(values[place])
    return values
