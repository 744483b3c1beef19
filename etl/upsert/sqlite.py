"""SQLite: many rows as one text.

A statement for each row gives the interpreter up and waits for it again each time, which beside
threads that read costs many times the work itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from operator import itemgetter

import msgspec
from sqlalchemy import Connection

from etl.schema import DataTable
from etl.upsert.statements import (
    Owns,
    Row,
    execute,
    insert,
    may_be_spooled,
    merge,
    moments,
    prepared,
    sqlite_moment,
    statement,
)

_ROWS = 1_000
_PORTION = 1 << 18
"""Rows, and characters of long texts, in one statement: larger ones are no faster, but SQLite
holds a parsed copy of each."""


def upsert(  # noqa: PLR0913 - where, what, which columns, and the two stamps
    connection: Connection,
    table: DataTable,
    rows: Sequence[Row],
    source: str,
    stamp: datetime,
    owns: Owns,
) -> None:
    """See `etl.upsert.upsert`."""
    for portion in _portions(table, rows):
        _put_portion(connection, table, portion, source, stamp, owns)


def _portions(table: DataTable, rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    """The rows in the order of their keys, which is the file's, in portions of bounded size."""
    width = len(table.key)
    rows = sorted(rows, key=itemgetter(*range(width)))
    long_texts = [place for place, name in enumerate(table.fields) if may_be_spooled(table, name)]
    if not long_texts:
        yield from (rows[start : start + _ROWS] for start in range(0, len(rows), _ROWS))
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
        ready = prepared("sqlite", table, rows, source, stamp)
        execute(connection, statement("sqlite", table, owns), ready)
        return
    stamps = () if table.lean else (sqlite_moment(stamp),)
    connection.exec_driver_sql(_portion_statement(table, owns), (content, source, *stamps))


def _as_json(table: DataTable, rows: Sequence[Row]) -> bytes | None:
    """The rows as one JSON text; None where it would not hold them as they are."""
    for place in moments(table):
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
    values = [f"json_extract(value, '$[{place}]')" for place in range(len(table.fields))]
    for place in moments(
        table
    ):  # 2026-01-01T12:00:00Z and 2026-01-01T12:00:00.000001Z as sqlite_moment
        plain = f"replace(rtrim({values[place]}, 'Z'), 'T', ' ')"
        values[place] = f"substr({plain} || '.000000', 1, 26)"
    stamps = [] if table.lean else ["?3", "?3"]
    select = f"SELECT {', '.join(['?2', *values, *stamps])} "
    # Without WHERE the parser takes ON CONFLICT for a join.
    many = "FROM json_each(CAST(?1 AS TEXT)) WHERE TRUE "
    return insert(table) + select + many + merge("sqlite", table, owns)
