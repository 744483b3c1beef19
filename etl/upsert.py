"""Bulk upsert, the same for every table: writes only what differs, in each database's own words.

`changed_at` moves exactly when the content of a row did, so that whoever follows it sees each
change once; a row that the platform lists again loses its `upstream_gone_at`, which is a change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from itertools import repeat
from operator import itemgetter
from typing import Any
from weakref import WeakKeyDictionary

import msgspec
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from etl.schema import DataTable, Instant, SpoolableText

_CHUNK = 10_000
_WORTH_A_COPY = 50
"""With fewer rows the round trips of a COPY cost more than it saves."""
_PORTION = 1 << 20
"""Characters of long texts in one statement on SQLite, about."""

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
    if dialect == "sqlite":
        for portion in _portions(table, rows):
            _put_portion(connection, table, portion, source, stamp, owns)
        return
    prepared = _prepared(dialect, table, rows, source, stamp)
    if dialect == "postgresql" and len(rows) >= _WORTH_A_COPY and _may_copy(connection):
        _merge_copied(connection, table, owns, prepared)
    else:
        _execute(connection, _statement(dialect, table, owns), prepared)


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


# SQLite: many rows as one text. A statement for each row gives the interpreter up and waits for it
# again each time, which beside threads that read costs many times the work itself.


def _portions(table: DataTable, rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    """The rows in the order of their keys, which is the file's, in portions of bounded size."""
    width = len(table.key)
    rows = sorted(rows, key=itemgetter(*range(width)))
    long_texts = [place for place, name in enumerate(table.fields) if _may_be_spooled(table, name)]
    if not long_texts:
        yield from (rows[start : start + _CHUNK] for start in range(0, len(rows), _CHUNK))
        return
    begin = size = 0
    for place, row in enumerate(rows):
        more = sum(len(row[at] or "") for at in long_texts)
        if size and size + more > _PORTION:
            yield rows[begin:place]
            begin, size = place, 0
        size += more
    yield rows[begin:]


def _put_portion(  # noqa: PLR0913 - as `upsert`
    connection: Connection,
    table: DataTable,
    rows: Sequence[Row],
    source: str,
    stamp: datetime,
    owns: Owns,
) -> None:
    content = _as_json(table, rows)
    if content is None:
        prepared = _prepared("sqlite", table, rows, source, stamp)
        _execute(connection, _statement("sqlite", table, owns), prepared)
        return
    stamps = () if table.lean else (_sqlite_moment(stamp),)
    connection.exec_driver_sql(_portion_statement(table, owns), (content, source, *stamps))


def _as_json(table: DataTable, rows: Sequence[Row]) -> bytes | None:
    """The rows as one JSON text; None where it would not hold them as they are."""
    for place in _moments(table):
        if any(row[place] is not None and row[place].tzinfo is not UTC for row in rows):
            return None
    try:
        content = _ENCODER.encode(rows)
    except (TypeError, ValueError, OverflowError):  # a text in a file; what is to be refused
        return None
    return None if b"\\u0000" in content else content


_ENCODER = msgspec.json.Encoder()


@lru_cache(maxsize=64)
def _portion_statement(table: DataTable, owns: Owns) -> str:
    """Reads ?1, the rows; ?2 is the source, ?3 the stamp."""
    moments = _moments(table)
    values = [f"json_extract(value, '$[{place}]')" for place in range(len(table.fields))]
    for place in moments:  # 2026-01-01T12:00:00Z and 2026-01-01T12:00:00.000001Z as _sqlite_moment
        plain = f"replace(rtrim({values[place]}, 'Z'), 'T', ' ')"
        values[place] = f"substr({plain} || '.000000', 1, 26)"
    stamps = [] if table.lean else ["?3", "?3"]
    select = f"SELECT {', '.join(['?2', *values, *stamps])} "
    # Without WHERE the parser takes ON CONFLICT for a join.
    many = "FROM json_each(CAST(?1 AS TEXT)) WHERE TRUE "
    return _insert(table) + select + many + _merge("sqlite", table, owns)


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
def _statement(dialect: str, table: DataTable, owns: Owns) -> str:
    marks = ", ".join(_mark(dialect, table, name) for name in _columns(table))
    return f"{_insert(table)}VALUES ({marks}) {_merge(dialect, table, owns)}"


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
