"""What the database holds of a window: its executions, and where rows are missing below them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, func, select

from etl.ledger.tables import rejected_records, unfinished
from etl.schema import DataTable
from etl.values import FINAL
from etl.verify.ranges import Range
from etl.verify.sheet import Row

_FETCHED = 1000


def rows(
    connection: Connection, table: DataTable, name: str, window: Range, began: datetime
) -> Iterator[Row]:
    """The executions of the window, in any order, as a stream."""
    columns = table.table.c
    ended = columns.get("finished_at")
    wanted: list[ColumnElement[Any]] = [columns[table.key[0]], columns.status, columns.changed_at]
    wanted += [columns.upstream_gone_at] if table.gone else []
    wanted += [ended] if ended is not None else []
    statement = select(*wanted).where(within(table, name, window))
    streamed = connection.execution_options(stream_results=True, yield_per=_FETCHED)
    for id_, status, changed_at, *rest in streamed.execute(statement):
        marked = table.gone and rest[0] is not None
        over = status in FINAL or (status == "unknown" and rest[-1:] != [None])
        yield Row(str(id_), status, over, marked, changed_at > began)


def within(table: DataTable, name: str, window: Range) -> ColumnElement[bool]:
    """Rows of the source whose listing time is in the window."""
    columns, (since, until) = table.table.c, window
    at = columns[table.listed_by]
    parts = [columns.source == name, at < until]
    return and_(*parts, at >= since) if since is not None else and_(*parts)


def elsewhere(
    connection: Connection, table: DataTable, name: str, ids: Sequence[str]
) -> dict[str, datetime | None]:
    """Of `ids` those that the database holds, with the time that they are listed by."""
    columns = table.table.c
    first, at = columns[table.key[0]], columns[table.listed_by]
    statement = select(first, at).where(columns.source == name, first.in_(keys(table, ids)))
    return {str(id_): found for id_, found in connection.execute(statement)}


def keys(table: DataTable, ids: Sequence[str]) -> list[Any]:
    """`ids` as values of the table's key."""
    if table.table.c[table.key[0]].type.python_type is not int:
        return list(ids)
    return [int(id_) for id_ in ids if id_.isascii() and id_.lstrip("-").isdecimal()]


def short(
    connection: Connection, tables: Sequence[DataTable], name: str, window: Range
) -> Iterator[tuple[str, str]]:
    """(execution, table) wherever fewer rows are stored than the row above says that there are."""
    for table in tables[1:]:
        if table.expected_in and table.parent is not None:
            statement = _short(tables[0], table, table.parent, name, window)
            streamed = connection.execution_options(stream_results=True, yield_per=_FETCHED)
            for (id_,) in streamed.execute(statement):
                yield str(id_), table.name


def _short(top: DataTable, table: DataTable, parent: DataTable, name: str, window: Range) -> Any:
    above, below = parent.table.c, table.table.alias("below")
    stored = (
        select(func.count())
        .select_from(below)
        .where(
            below.c.source == above.source,
            *(below.c[key] == above[key] for key in parent.key),
            *([below.c.upstream_gone_at.is_(None)] if table.gone else []),
        )
        .correlate(parent.table)
        .scalar_subquery()
    )
    joined: Any = parent.table
    if parent is not top:
        key = top.key[0]
        on = and_(top.table.c.source == above.source, top.table.c[key] == above[key])
        joined = parent.table.join(top.table, on)
    return (
        select(above[parent.key[0]])
        .select_from(joined)
        .where(within(top, name, window), above[table.expected_in] > stored)
        .distinct()
    )


def quarantined(connection: Connection, name: str, stream: str) -> Iterator[tuple[str, bool]]:
    """All that is in quarantine by id; True for what was dismissed by hand."""
    c = rejected_records.c
    statement = select(c.upstream_id, c.resolution).where(
        c.source == name, c.stream == stream, c.upstream_id.is_not(None)
    )
    streamed = connection.execution_options(stream_results=True, yield_per=_FETCHED)
    for id_, resolution in streamed.execute(statement):
        if resolution != "written":
            yield id_.partition("/")[0], resolution == "dismissed"  # a part names its record


def owed(connection: Connection, name: str, ids: Sequence[str]) -> set[str]:
    """Those of `ids` that are asked again anyway."""
    c = unfinished.c
    statement = select(c.id).where(c.source == name, c.given_up_at.is_(None), c.id.in_(list(ids)))
    return set(connection.execute(statement).scalars())


Query = Callable[[Connection], Iterator[tuple[str, Any]]]
"""Two columns as a stream."""
