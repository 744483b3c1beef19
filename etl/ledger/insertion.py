"""A first row that two processes may want to write at the same moment: one does, both go on."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Table


def insert_once(connection: Connection, table: Table, **values: Any) -> None:
    """Inserts the row unless its primary key is there; waits for another who is just at it."""
    dialect = connection.dialect.name
    if dialect == "sqlite":
        from sqlalchemy.dialects import sqlite  # noqa: PLC0415 - none starts with all three

        connection.execute(sqlite.insert(table).values(**values).on_conflict_do_nothing())
    elif dialect == "postgresql":
        from sqlalchemy.dialects import postgresql  # noqa: PLC0415 - as above

        connection.execute(postgresql.insert(table).values(**values).on_conflict_do_nothing())
    else:
        from sqlalchemy.dialects import mysql  # noqa: PLC0415 - as above

        key = next(iter(table.primary_key.columns))
        row = mysql.insert(table).values(**values)
        connection.execute(row.on_duplicate_key_update({key.name: key}))
