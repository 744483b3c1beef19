"""The SQL that recounts what a verify says the database holds; `etl sql` runs it.

    etl sql --format csv "<lines>" | tail -n +2 | tr -d '\\r' | LC_ALL=C sort | sha256sum

gives the digest of a window's lines.
"""

from __future__ import annotations

from datetime import datetime

from etl.schema import DataTable
from etl.verify.ranges import Range


def count(table: DataTable, name: str, window: Range) -> str:
    """One figure: how many executions the database holds of the window."""
    rows = _rows(table, name, window)
    return f"SELECT COUNT(*) AS executions FROM {rows}"  # noqa: S608 - our own names


def lines(table: DataTable, name: str, window: Range, dialect: str) -> str:
    """The lines `id status` that the digest is made of, in any order."""
    id_ = table.key[0]
    if dialect in ("mysql", "mariadb"):
        line = f"CONCAT({id_}, ' ', status)"
    else:
        line = f"{id_} || ' ' || status"
    rows = _rows(table, name, window)
    return f"SELECT {line} AS line FROM {rows}"  # noqa: S608 - our own names


def _rows(table: DataTable, name: str, window: Range) -> str:
    since, until = window
    at = table.listed_by
    parts = [f"source = '{name}'"]
    parts += [] if since is None else [f"{at} >= '{_moment(since)}'"]
    parts += [f"{at} < '{_moment(until)}'"]
    parts += ["upstream_gone_at IS NULL"] if table.gone else []
    return f"{table.name} WHERE {' AND '.join(parts)}"


def _moment(at: datetime) -> str:
    """In UTC, as SQLite stores it; whole days shortened, which compares alike."""
    return f"{at:%Y-%m-%d}" if at.time() == at.time().min else f"{at:%Y-%m-%d %H:%M:%S.%f}"
