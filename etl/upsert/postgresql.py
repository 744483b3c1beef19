"""PostgreSQL: COPY into a table of the session, then one merge."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from etl.schema import DataTable
from etl.upsert.statements import Owns, Row, columns, insert, merge

_WORTH_A_COPY = 50
"""With fewer rows the round trips of a COPY cost more than it saves."""


def may_copy(connection: Connection, count: int) -> bool:
    """Whether it pays for `count` rows and this user may make a table of the session."""
    if count < _WORTH_A_COPY:
        return False
    engine = connection.engine
    if engine not in _ALLOWED:
        asked = "SELECT has_database_privilege(current_database(), 'TEMP')"
        _ALLOWED[engine] = bool(connection.exec_driver_sql(asked).scalar_one())
    return _ALLOWED[engine]


_ALLOWED: WeakKeyDictionary[Engine, bool] = WeakKeyDictionary()


def merge_copied(
    connection: Connection, table: DataTable, owns: Owns, prepared: Sequence[Row]
) -> None:
    """One merge cannot hit a row twice: of rows with the same key the last one counts."""
    width = 1 + len(table.key)
    latest = {row[:width]: row for row in prepared}
    staged, names = f"etl_new_{table.name}", ", ".join(columns(table))
    select = f"SELECT {names} FROM "  # noqa: S608 - our own names, here and below
    connection.exec_driver_sql(
        f"CREATE TEMP TABLE IF NOT EXISTS {staged} ON COMMIT DELETE ROWS "
        f"AS {select} {table.name} WITH NO DATA"
    )
    connection.exec_driver_sql(f"DELETE FROM {staged}")  # noqa: S608
    _copy(connection, f"COPY {staged} ({names}) FROM STDIN", latest.values())
    conflict = merge("postgresql", table, owns)
    connection.exec_driver_sql(f"{insert(table)} {select} {staged} {conflict}")


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
