"""Bulk upsert, the same for every table: writes only what differs, in each database's own words.

`changed_at` moves exactly when the content of a row did, so that whoever follows it sees each
change once; a row that the platform lists again loses its `upstream_gone_at`, which is a change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from itertools import chain, repeat
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from etl.schema import DataTable, Instant, SpoolableText

_CHUNK = 10_000
_WORTH_A_COPY = 50
"""With fewer rows the round trips of a COPY cost more than it saves."""
_MARKS = 900
"""Values of one statement on SQLite, where many narrow rows in one cost half of what single ones
do, wide ones with their indexes more. No build of SQLite allows fewer than 999."""

Row = tuple[Any, ...]
Owns = tuple[str, ...] | None


def upsert(  # noqa: PLR0913 - where, what, which columns, and the two stamps
    connection: Connection,
    table: DataTable,
    rows: Sequence[Row],
    *,
    source: str,
    stamp: datetime,
    owns: Owns = None,
) -> None:
    """Writes `rows` (tuples in the order of `table.fields`).

    `owns`: the columns an answer of this kind knows; others are set only in rows that are new.
    `stamp` becomes `first_synced_at` of new rows and `changed_at` of new and differing ones.
    """
    if not rows:
        return
    dialect = connection.dialect.name
    prepared = _prepared(dialect, table, rows, source, stamp)
    if dialect == "postgresql" and len(rows) >= _WORTH_A_COPY and _may_copy(connection):
        _merge_copied(connection, table, owns, prepared)
        return
    at_once = _MARKS // len(prepared[0]) if dialect == "sqlite" and table.lean else 1
    whole = len(prepared) // at_once * at_once
    if at_once > 1 and whole:
        _execute(connection, _statement(dialect, table, owns, at_once), _joined(prepared, at_once))
        prepared = prepared[whole:]
    _execute(connection, _statement(dialect, table, owns), prepared)


def _joined(rows: Sequence[Row], at_once: int) -> list[Row]:
    """Each so many rows as one row of parameters; the rest that fills none is left out."""
    rest = len(rows) % at_once
    values = chain.from_iterable(rows[: len(rows) - rest])
    return list(zip(*[values] * (at_once * len(rows[0])), strict=True))


def _execute(connection: Connection, statement: str, rows: Sequence[Row]) -> None:
    for start in range(0, len(rows), _CHUNK):
        connection.exec_driver_sql(statement, list(rows[start : start + _CHUNK]))


def _prepared(
    dialect: str, table: DataTable, rows: Sequence[Row], source: str, stamp: datetime
) -> list[Row]:
    """The rows with all their columns, as the driver takes them; made column by column."""
    adapt = _moment(dialect)
    columns: list[Iterable[Any]] = list(zip(*rows, strict=True))
    if adapt is not None:
        for place in _moments(table):
            columns[place] = [None if at is None else adapt(at) for at in columns[place]]
    if not table.lean:
        at = stamp if adapt is None else adapt(stamp)
        columns += [repeat(at), repeat(at)]
    return list(zip(repeat(source), *columns))


# PostgreSQL: COPY into a table of the session, then one merge


def _may_copy(connection: Connection) -> bool:
    """Whether this user may make a table of the session; asked once for each engine."""
    engine = connection.engine
    if engine not in _ALLOWED:
        asked = "SELECT has_database_privilege(current_database(), 'TEMP')"
        _ALLOWED[engine] = bool(connection.exec_driver_sql(asked).scalar_one())
    return _ALLOWED[engine]


_ALLOWED: WeakKeyDictionary[Engine, bool] = WeakKeyDictionary()


def _merge_copied(
    connection: Connection, table: DataTable, owns: Owns, prepared: Sequence[Row]
) -> None:
    """One merge cannot hit a row twice: of rows with the same key the last one counts."""
    width = 1 + len(table.key)
    latest = {row[:width]: row for row in prepared}
    staged, names = f"etl_new_{table.name}", ", ".join(_columns(table))
    select = f"SELECT {names} FROM "  # noqa: S608 - our own names, here and below
    connection.exec_driver_sql(
        f"CREATE TEMP TABLE IF NOT EXISTS {staged} ON COMMIT DELETE ROWS "
        f"AS {select} {table.name} WITH NO DATA"
    )
    connection.exec_driver_sql(f"DELETE FROM {staged}")  # noqa: S608
    _copy(connection, f"COPY {staged} ({names}) FROM STDIN", latest.values())
    merge = _merge("postgresql", table, owns)
    connection.exec_driver_sql(f"{_insert(table)} {select} {staged} {merge}")


def _copy(connection: Connection, statement: str, rows: Iterable[Row]) -> None:
    """Errors leave it as those of any other statement do: SQLAlchemy's, the connection judged."""
    dialect = connection.dialect
    dbapi: Any = dialect.loaded_dbapi
    cursor = connection.connection.cursor()
    try:
        with cursor.copy(statement) as copy:
            for row in rows:
                copy.write_row(row)
    except dbapi.Error as error:
        lost = dialect.is_disconnect(error, cursor.connection, cursor)
        if lost:
            connection.invalidate(error)
        raise DBAPIError.instance(
            statement,
            None,
            error,
            dbapi.Error,
            hide_parameters=True,
            connection_invalidated=lost,
            dialect=dialect,
        ) from error
    finally:
        cursor.close()


# The statements


@lru_cache(maxsize=256)
def _statement(dialect: str, table: DataTable, owns: Owns, rows: int = 1) -> str:
    row = f"({', '.join(_mark(dialect, table, name) for name in _columns(table))})"
    values = f"VALUES {', '.join([row] * rows)} "
    return _insert(table) + values + _merge(dialect, table, owns)


def _mark(dialect: str, table: DataTable, name: str) -> str:
    """A parameter; sqlite3 takes the bytes of a long text only as a blob."""
    if dialect != "sqlite":
        return "%s"
    return "CAST(? AS TEXT)" if _may_be_spooled(table, name) else "?"


def _may_be_spooled(table: DataTable, name: str) -> bool:
    return isinstance(table.table.c[name].type, SpoolableText)


def _columns(table: DataTable) -> tuple[str, ...]:
    stamps = () if table.lean else ("first_synced_at", "changed_at")
    return ("source", *table.fields, *stamps)


def _insert(table: DataTable) -> str:
    return f"INSERT INTO {table.name} ({', '.join(_columns(table))}) "


def _merge(dialect: str, table: DataTable, owns: Owns) -> str:
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
    cheap_first = sorted(updated, key=lambda name: _may_be_spooled(table, name))
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


# Moments


def _moment(dialect: str) -> Callable[[datetime], Any] | None:
    """How this driver takes a moment; None: as it is."""
    if dialect == "sqlite":
        return _sqlite_moment
    return _naive_moment if dialect in ("mysql", "mariadb") else None


def _sqlite_moment(value: datetime) -> str:
    """As SQLAlchemy's own DateTime writes it, so that both read and compare alike."""
    if value.tzinfo is not UTC:
        value = value.astimezone(UTC)
    return value.isoformat(" ", "microseconds")[:-6]  # without +00:00


def _naive_moment(value: datetime) -> datetime:
    return value.astimezone(UTC).replace(tzinfo=None)


@lru_cache(maxsize=64)
def _moments(table: DataTable) -> tuple[int, ...]:
    """Places of a row tuple that hold moments."""
    return tuple(
        place
        for place, name in enumerate(table.fields)
        if isinstance(table.table.c[name].type, Instant)
    )
