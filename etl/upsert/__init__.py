"""Bulk upsert, the same for every table: writes only what differs, in each database's own words.

`changed_at` moves exactly when the content of a row did, so that whoever follows it sees each
change once; a row that the platform lists again loses its `upstream_gone_at`, which is a change.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection

from etl.schema import DataTable
from etl.upsert import postgresql, sqlite
from etl.upsert.statements import Owns, Row, execute, prepared, statement

__all__ = ["upsert"]


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
        sqlite.upsert(connection, table, rows, source, stamp, owns)
        return
    ready = prepared(dialect, table, rows, source, stamp)
    if dialect == "postgresql" and postgresql.may_copy(connection, len(rows)):
        postgresql.merge_copied(connection, table, owns, ready)
    else:
        execute(connection, statement(dialect, table, owns), ready)
