"""The statements of an upsert row by row, and what every way of writing shares."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from itertools import repeat
from typing import Any

from sqlalchemy import Connection

from etl.schema import DataTable, Instant, SpoolableText

_CHUNK = 10_000

Row = tuple[Any, ...]
Owns = tuple[str, ...] | None


def execute(connection: Connection, statement: str, rows: Sequence[Row]) -> None:
    for start in range(0, len(rows), _CHUNK):
        connection.exec_driver_sql(statement, list(rows[start : start + _CHUNK]))


def prepared(
    dialect: str, table: DataTable, rows: Sequence[Row], source: str, stamp: datetime
) -> list[Row]:
    """The rows with all their columns, as the driver takes them; made column by column."""
    adapt = _moment(dialect)
    by_column: list[Iterable[Any]] = list(zip(*rows, strict=True))
    if adapt is not None:
        for place in moments(table):
            by_column[place] = [None if at is None else adapt(at) for at in by_column[place]]
    if not table.lean:
        at = stamp if adapt is None else adapt(stamp)
        by_column += [repeat(at), repeat(at)]
    return list(zip(repeat(source), *by_column))


@lru_cache(maxsize=256)
def statement(dialect: str, table: DataTable, owns: Owns) -> str:
    marks = ", ".join(_mark(dialect, table, name) for name in columns(table))
    return f"{insert(table)}VALUES ({marks}) {merge(dialect, table, owns)}"


def _mark(dialect: str, table: DataTable, name: str) -> str:
    """A parameter; sqlite3 takes the bytes of a long text only as a blob."""
    if dialect != "sqlite":
        return "%s"
    return "CAST(? AS TEXT)" if may_be_spooled(table, name) else "?"


def may_be_spooled(table: DataTable, name: str) -> bool:
    return isinstance(table.table.c[name].type, SpoolableText)


def columns(table: DataTable) -> tuple[str, ...]:
    stamps = () if table.lean else ("first_synced_at", "changed_at")
    return ("source", *table.fields, *stamps)


def insert(table: DataTable) -> str:
    return f"INSERT INTO {table.name} ({', '.join(columns(table))}) "


def merge(dialect: str, table: DataTable, owns: Owns) -> str:
    """What becomes of a row that is there already."""
    key = ("source", *table.key)
    known = table.fields if owns is None else owns
    updated = tuple(name for name in table.fields if name in known and name not in key)
    if dialect in ("mysql", "mariadb"):
        return _on_duplicate_key(table, updated)
    return _on_conflict(dialect, table, key, updated)


def _on_conflict(
    dialect: str, table: DataTable, key: tuple[str, ...], updated: tuple[str, ...]
) -> str:
    differs = "IS NOT" if dialect == "sqlite" else "IS DISTINCT FROM"
    sets = [f"{name} = excluded.{name}" for name in updated]
    cheap_first = sorted(updated, key=lambda name: may_be_spooled(table, name))
    wheres = [f"{table.name}.{name} {differs} excluded.{name}" for name in cheap_first]
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


# moments


def _moment(dialect: str) -> Callable[[datetime], Any] | None:
    """How this driver takes a moment; None: as it is."""
    if dialect == "sqlite":
        return sqlite_moment
    return _naive_moment if dialect in ("mysql", "mariadb") else None


def sqlite_moment(value: datetime) -> str:
    """As SQLAlchemy's own DateTime writes it, so that both read and compare alike."""
    if value.tzinfo is not UTC:
        value = value.astimezone(UTC)
    return value.isoformat(" ", "microseconds")[:-6]  # without +00:00


def _naive_moment(value: datetime) -> datetime:
    return value.astimezone(UTC).replace(tzinfo=None)


@lru_cache(maxsize=64)
def moments(table: DataTable) -> tuple[int, ...]:
    """Places of a row tuple that hold moments."""
    return tuple(
        place
        for place, name in enumerate(table.fields)
        if isinstance(table.table.c[name].type, Instant)
    )
