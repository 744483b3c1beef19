"""PostgreSQL: COPY into a table of the session, then one merge.

For every row that is new the server looks for its parent, each time as if it were the first: with
many rows of few parents that is most of the work. Where this user may, the parents of all of them
are looked for, and locked as the server locks them, at once.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from etl.schema import DataTable
from etl.upsert.statements import Owns, Row, columns, insert, may_be_spooled, merge

_WORTH_A_COPY = 50
"""With fewer rows the round trips of a COPY cost more than it saves."""
_WORTH_A_LOOK = 1_000
"""With fewer rows the server may look for each one's parent."""
_MAY_BE_QUIET = (
    "SELECT current_setting('is_superuser') = 'on'",
    # From version 15 on the right can be granted.
    "SELECT has_parameter_privilege('session_replication_role', 'SET')",
)


def may_copy(connection: Connection, count: int) -> bool:
    """Whether it pays for `count` rows and this user may make a table of the session."""
    if count < _WORTH_A_COPY:
        return False
    return _is_allowed(connection, "SELECT has_database_privilege(current_database(), 'TEMP')")


def _is_allowed(connection: Connection, question: str) -> bool:
    """The answer of the server, asked once for each engine."""
    known = _ALLOWED.setdefault(connection.engine, {})
    if question not in known:
        known[question] = bool(connection.exec_driver_sql(question).scalar_one())
    return known[question]


_ALLOWED: WeakKeyDictionary[Engine, dict[str, bool]] = WeakKeyDictionary()


def merge_copied(
    connection: Connection, table: DataTable, owns: Owns, prepared: Sequence[Row]
) -> None:
    """One merge cannot hit a row twice: of rows with the same key the last one counts."""
    width = 1 + len(table.key)
    latest = {row[:width]: row for row in prepared}
    staged, names = f"etl_new_{table.name}", ", ".join(columns(table))
    select = f"SELECT {names} FROM "  # noqa: S608 - our own names, here and below
    connection.exec_driver_sql(
        f"CREATE TEMP TABLE IF NOT EXISTS {staged} ON COMMIT DELETE ROWS "  # noqa: S608
        f"AS {select} {table.name} WITH NO DATA; DELETE FROM {staged}"
    )
    at_once = _FEW if any(may_be_spooled(table, name) for name in table.fields) else _MANY
    _copy(connection, f"COPY {staged} ({names}) FROM STDIN", latest.values(), at_once)
    conflict = merge("postgresql", table, owns)
    put = f"{insert(table)} {select} {staged} {conflict}"
    if len(latest) >= _WORTH_A_LOOK and _parents_are_held(connection, table, staged):
        role = "SET LOCAL session_replication_role ="
        put = f"{role} replica; {put}; {role} origin"
    connection.exec_driver_sql(put)


def _parents_are_held(connection: Connection, table: DataTable, staged: str) -> bool:
    """Whether every row's parent is there, locked, and nobody's triggers would miss the rows."""
    version = connection.dialect.server_version_info or (0,)
    if len(table.table.foreign_key_constraints) != 1 or not _is_allowed(
        connection, _MAY_BE_QUIET[version >= (15,)]
    ):
        return False
    return bool(connection.exec_driver_sql(_parents_question(table, staged)).scalar_one())


@lru_cache(maxsize=16)
def _parents_question(table: DataTable, staged: str) -> str:
    (key,) = table.table.foreign_key_constraints
    children = ", ".join(key.column_keys)
    parents = ", ".join(element.column.name for element in key.elements)
    wanted = f"SELECT DISTINCT {children} FROM {staged}"  # noqa: S608 - our own names, as below
    return (
        f"SELECT NOT EXISTS (SELECT FROM pg_trigger "  # noqa: S608
        f"WHERE tgrelid = '{table.name}'::regclass "
        f"AND NOT tgisinternal) "
        f"AND NOT EXISTS (SELECT FROM pg_rewrite WHERE ev_class = '{table.name}'::regclass) "
        f"AND (SELECT count(*) FROM ({wanted}) AS wanted) = "
        f"(SELECT count(*) FROM (SELECT FROM {key.referred_table.name} "
        f"WHERE ({parents}) IN ({wanted}) FOR KEY SHARE) AS held)"
    )


def _copy(connection: Connection, statement: str, rows: Iterable[Row], at_once: int) -> None:
    """Errors leave it as those of any other statement do: SQLAlchemy's, the connection judged."""
    dialect = connection.dialect
    dbapi: Any = dialect.loaded_dbapi
    cursor = connection.connection.cursor()
    try:
        with cursor.copy(statement) as copy:
            for some in _pieces(rows, at_once):
                text = _as_text(some)
                if text is not None:
                    copy.write(text)
                    continue
                for row in some:
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


# the format of COPY: as psycopg makes it of a row, but of many rows column by column

_MANY, _FEW = 1_000, 20
"""Rows that are made into one text; few where their own texts may be long."""
_NULL = r"\N"
_SPECIAL = re.compile(r"[\\\t\n\r]")


def _pieces(rows: Iterable[Row], at_once: int) -> Iterator[list[Row]]:
    left = iter(rows)
    while some := list(itertools.islice(left, at_once)):
        yield some


def _as_text(rows: Sequence[Row]) -> bytes | None:
    """The rows as COPY reads them; None where they hold what psycopg itself is to write."""
    made = []
    for column in zip(*rows, strict=True):
        kinds = set(map(type, column)) - {type(None)}
        write = _WRITERS.get(kinds.pop()) if kinds else str
        if kinds or write is None:
            return None
        made.append([_NULL if value is None else write(value) for value in column])
    made[-1] = [f"{value}\n" for value in made[-1]]
    return "".join(map("\t".join, zip(*made, strict=True))).encode()


def _escaped(text: str) -> str:
    if _SPECIAL.search(text) is None:
        return text
    text = text.replace("\\", r"\\").replace("\t", r"\t")
    return text.replace("\n", r"\n").replace("\r", r"\r")


_WRITERS: dict[type, Callable[[Any], str]] = {str: _escaped, int: str, bool: str, datetime: str}
