"""One read-only statement, as it was typed, and its rows as they come; nothing here can write.

    with asked(database, "SELECT …", stop) as answer:
        answer.columns, answer.rows      # rows arrive while they are read

Three things forbid writing: the first word of the statement, one statement at a time, and a
transaction that the database itself holds to reading. Times come as aware UTC, JSON as text with
sorted keys, on every database.
"""

from __future__ import annotations

import contextlib
import json
import re
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from msgspec import Struct
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from etl.db import Database, retriable
from etl.db.trouble import translated
from etl.errors import DatabaseTrouble, Stopped, Usage
from etl.interrupt import interruptible, told_to_stop

_FEWEST, _MOST = 16, 1024
_BATCH_CHARACTERS = 2**22
"""PostgreSQL hands over rows in batches, larger while they are light."""

_READS = ("select", "with", "values", "table", "explain", "show", "describe", "desc")
_OF_A_CURSOR = ("select", "with", "values", "table")
"""What PostgreSQL can declare a cursor for; the rest answers with few rows."""
_FIRST_WORD = re.compile(
    r"(?:\s|\(|--[^\n]*(?:\n|$)|/\*.*?\*/)*([a-z]+)?", re.IGNORECASE | re.DOTALL
)
_NO_CODE = re.compile(
    r"'(?:[^'\\]|\\.|'')*'" r'|"(?:[^"\\]|\\.|"")*"' r"|`[^`]*`|--(?=\s|$)[^\n]*|/\*(?!M?!).*?\*/",
    re.DOTALL,
)
"""MySQL's strings, names and comments (but for those that it executes)."""
_INTO_FILE = re.compile(r"\b(outfile|dumpfile)\b", re.IGNORECASE)
_WRITE_REFUSED = {"25006", 1792, sqlite3.SQLITE_READONLY}
_PATIENCE_S = 7 * 86400

_TIME_NAMED = re.compile(r"(?:_at|_until|_for|_before|\bsince|\buntil)\b")
_TIME_WRITTEN = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}", re.ASCII)

Row = Sequence[Any]


class Answer(Struct, frozen=True):
    """`columns` are the labels; `rows` is read once and reaches the database as it goes on."""

    columns: tuple[str, ...]
    rows: Iterator[Row]


@contextmanager
def asked(database: Database, statement: str, stop: threading.Event) -> Iterator[Answer]:
    """Runs `statement`. `stop` ends it within seconds (Stopped).

    Raises Usage for a statement that is refused or wrong, DatabaseTrouble for a lost connection;
    the latter also while the rows are read.
    """
    word = _first_word(statement)
    _refuse_writing(database.dialect, word, statement)
    with (
        told_to_stop(stop),
        database.reading() as connection,
        interruptible(connection, stop) as cancel,
        _told(database, statement),
    ):
        cursor = _cursor(connection, word)
        try:
            _execute(database.dialect, cursor, word, statement)
            columns = tuple(str(column[0]) for column in cursor.description or ())
            yield Answer(columns, _rows(cursor, columns, database.dialect, stop))
        except BaseException:
            if database.dialect in ("mysql", "mariadb"):
                cancel()  # it sends on, and all of it would have to be read
            raise
        finally:
            with contextlib.suppress(Exception):  # what went wrong before is what counts
                cursor.close()


def _first_word(statement: str) -> str:
    try:
        statement.encode()
    except UnicodeEncodeError:
        raise Usage("etl sql: the statement is not UTF-8") from None
    found = _FIRST_WORD.match(statement)
    return (found[1] or "").lower() if found else ""


def _refuse_writing(dialect: str, word: str, statement: str) -> None:
    if not word:
        raise Usage("etl sql: there is no statement; write one in quotes, like 'SELECT 1'")
    if "\0" in statement:
        raise Usage("etl sql: the statement holds a U+0000; no database takes one")
    if word not in _READS:
        raise Usage(
            f"etl sql only reads: a statement begins with {', '.join(_READS[:5]).upper()} or "
            f"{_READS[5].upper()}, not {word.upper()}"
        )
    if dialect in ("mysql", "mariadb") and _INTO_FILE.search(_NO_CODE.sub(" ", statement)):
        raise Usage("etl sql only reads: INTO OUTFILE would write a file on the server")


@contextmanager
def _told(database: Database, statement: str) -> Iterator[None]:
    """Drivers' errors as the project's: the statement is wrong, unless the database went away."""
    try:
        yield
    except (database.engine.dialect.loaded_dbapi.Error, sqlite3.Warning) as error:
        trouble = DBAPIError(None, None, error)
        line = str(translated(trouble, database.name, opening=False)).rstrip(".")
        if retriable(trouble):
            raise DatabaseTrouble(line) from error
        raise Usage(line + _hint(error, statement)) from error


def _hint(error: BaseException, statement: str) -> str:
    codes = {
        getattr(error, "sqlstate", None),
        getattr(error, "sqlite_errorcode", None),
        error.args[0] if error.args else None,
    }
    if codes & _WRITE_REFUSED:
        return "; etl sql only reads"
    return "; etl sql takes one statement" if ";" in statement.rstrip("; \n\t") else ""


def _cursor(connection: Connection, word: str) -> Any:
    """A driver's cursor that does not fetch all rows at once."""
    dialect = connection.dialect.name
    raw: Any = connection.connection.driver_connection
    if dialect == "sqlite":
        return raw.cursor()
    if dialect == "postgresql":
        from psycopg.types.json import set_json_loads  # noqa: PLC0415 - an extra

        connection.exec_driver_sql("SET LOCAL cursor_tuple_fraction = 1")
        cursor = raw.cursor(name="etl_sql") if word in _OF_A_CURSOR else raw.cursor()
        set_json_loads(_sorted_json, context=cursor)
        return cursor
    from pymysql.cursors import SSCursor  # noqa: PLC0415 - an extra

    # Whoever pages through the rows may look at a page for hours.
    connection.exec_driver_sql(f"SET SESSION net_write_timeout = {_PATIENCE_S}")
    return raw.cursor(SSCursor)


def _execute(dialect: str, cursor: Any, word: str, statement: str) -> None:
    if dialect == "postgresql" and word not in _OF_A_CURSOR:
        cursor.execute(statement, prepare=True)  # as with a cursor, one statement at a time
    else:
        cursor.execute(statement)


def _rows(
    cursor: Any, columns: tuple[str, ...], dialect: str, stop: threading.Event
) -> Iterator[Row]:
    if not columns:
        return
    plain = _plain_of(columns, dialect)
    for row in _batched(cursor) if dialect == "postgresql" else cursor:
        if stop.is_set():
            raise Stopped("stopped")
        yield [read(value) for read, value in zip(plain, row, strict=True)]


def _batched(cursor: Any) -> Iterator[Row]:
    size = _FEWEST
    while batch := cursor.fetchmany(size):
        weight = sum(len(cell) for row in batch for cell in row if isinstance(cell, str | bytes))
        yield from batch
        size = min(size * 2, _MOST) if weight < _BATCH_CHARACTERS else max(1, size // 2)


def _plain_of(columns: tuple[str, ...], dialect: str) -> list[Callable[[Any], Any]]:
    """How each column is read. SQLite has no times: one is known by its label and its form."""
    if dialect != "sqlite":
        return [_in_utc] * len(columns)
    return [_from_sqlite if _TIME_NAMED.search(label) else _same for label in columns]


def _same(value: Any) -> Any:
    return value


def _in_utc(value: Any) -> Any:
    if not isinstance(value, datetime):
        return value
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _from_sqlite(value: Any) -> Any:
    if isinstance(value, str) and _TIME_WRITTEN.fullmatch(value):
        with contextlib.suppress(ValueError):  # a text that only looks like a time stays
            return datetime.fromisoformat(value).replace(tzinfo=UTC)
    return value


def _sorted_json(text: str | bytes) -> str:
    """PostgreSQL's jsonb as the other databases hold it: text, keys sorted, no blanks."""
    return json.dumps(json.loads(text), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
