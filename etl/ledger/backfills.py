"""`backfills` and `backfill_windows`: what was planned, and how far each part has come.

Whoever writes here holds the source's seat `backfill`; readings need none.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct
from sqlalchemy import Connection, case, func, insert, select, update

from etl.ledger.tables import backfill_windows, backfills
from etl.redact import masked
from etl.values import Json, canonical

_B, _W = backfills.c, backfill_windows.c
_GOES_ON = ("running", "stopped", "failed")
_CHUNK = 500


class Backfill(Struct, frozen=True):
    """One time range of one source. `arguments` are those that say what it is, as typed."""

    backfill_id: int
    source: str
    arguments: str
    since: datetime | None
    until: datetime
    status: str
    created_at: datetime
    finished_at: datetime | None


class Window(Struct, frozen=True):
    """A part of a backfill: [since, until); `position` as its reader wrote it last."""

    number: int
    since: datetime | None
    until: datetime
    status: str = "pending"
    position: dict[str, Json] | None = None
    rows_written: int = 0
    error: str | None = None
    updated_at: datetime | None = None


class Counts(Struct, frozen=True):
    """Windows of one backfill."""

    windows: int
    done: int
    failed: int
    rows_written: int


def plan(  # noqa: PLR0913 - one row of the table needs all of this
    connection: Connection,
    source: str,
    arguments: str,
    since: datetime | None,
    until: datetime,
    windows: Sequence[Window],
    now: datetime,
) -> Backfill:
    """Writes a new backfill with its windows."""
    made = connection.execute(
        insert(backfills).values(
            source=source,
            arguments=arguments,
            since=since,
            until=until,
            status="running",
            created_at=now,
        )
    )
    key = made.inserted_primary_key
    assert key is not None  # noqa: S101 - an insert of one row has a key
    backfill_id = int(key[0])
    rows = [
        {
            "backfill_id": backfill_id,
            "window_number": window.number,
            "since": window.since,
            "until": window.until,
            "status": window.status,
            "rows_written": 0,
            "updated_at": now,
        }
        for window in windows
    ]
    for start in range(0, len(rows), _CHUNK):
        connection.execute(insert(backfill_windows), rows[start : start + _CHUNK])
    return Backfill(backfill_id, source, arguments, since, until, "running", now, None)


def find(connection: Connection, backfill_id: int) -> Backfill | None:
    """One backfill by its number."""
    row = connection.execute(select(backfills).where(_B.backfill_id == backfill_id)).one_or_none()
    return None if row is None else _backfill(row)


def every(connection: Connection) -> list[Backfill]:
    """All of them, the latest first."""
    found = connection.execute(select(backfills).order_by(_B.backfill_id.desc()))
    return [_backfill(row) for row in found]


def unfinished(connection: Connection, source: str, arguments: str) -> Backfill | None:
    """The latest of these arguments, as long as it is neither done nor cancelled."""
    found = connection.execute(
        select(backfills)
        .where(_B.source == source, _B.status.in_(_GOES_ON))
        .order_by(_B.backfill_id.desc())
    )
    return next((_backfill(row) for row in found if row.arguments == arguments), None)


def windows(connection: Connection, backfill_id: int) -> list[Window]:
    """Its windows, in the order of their time."""
    found = connection.execute(
        select(backfill_windows).where(_W.backfill_id == backfill_id).order_by(_W.window_number)
    )
    return [_window(row) for row in found]


def window(connection: Connection, backfill_id: int, number: int) -> Window:
    """One of its windows, as it stands."""
    found = select(backfill_windows).where(
        _W.backfill_id == backfill_id, _W.window_number == number
    )
    return _window(connection.execute(found).one())


def counts(connection: Connection, ids: Sequence[int]) -> dict[int, Counts]:
    """What has become of the windows of the backfills `ids`."""
    found = connection.execute(
        select(
            _W.backfill_id,
            func.count(),
            func.sum(case((_W.status == "done", 1), else_=0)),
            func.sum(case((_W.status == "failed", 1), else_=0)),
            func.sum(_W.rows_written),
        )
        .where(_W.backfill_id.in_(ids))
        .group_by(_W.backfill_id)
    )
    return {id_: Counts(*(int(number) for number in rest)) for id_, *rest in found}


def go_on(connection: Connection, backfill_id: int, now: datetime) -> None:
    """Takes up what was stopped, killed or failed: every window that is not done is to do."""
    connection.execute(
        update(backfill_windows)
        .where(_W.backfill_id == backfill_id, _W.status.in_(("running", "failed")))
        .values(status="pending", error=None, updated_at=now)
    )
    connection.execute(
        update(backfills)
        .where(_B.backfill_id == backfill_id)
        .values(status="running", finished_at=None)
    )


def end(connection: Connection, backfill_id: int, status: str, now: datetime) -> None:
    """`status`: stopped, done, failed or cancelled. What was at work is to do again."""
    connection.execute(
        update(backfill_windows)
        .where(_W.backfill_id == backfill_id, _W.status == "running")
        .values(status="pending", updated_at=now)
    )
    connection.execute(
        update(backfills)
        .where(_B.backfill_id == backfill_id)
        .values(status=status, finished_at=None if status == "stopped" else now)
    )


def cancel_unfinished(connection: Connection, source: str, now: datetime) -> int:
    """Cancels all of a source that are neither done nor cancelled; returns how many."""
    found = select(_B.backfill_id).where(_B.source == source, _B.status.in_(_GOES_ON))
    ids = connection.execute(found).scalars().all()
    for backfill_id in ids:
        end(connection, backfill_id, "cancelled", now)
    return len(ids)


def set_window(  # noqa: PLR0913 - one row of the table needs all of this
    connection: Connection,
    backfill_id: int,
    number: int,
    status: str,
    now: datetime,
    error: Exception | None = None,
) -> None:
    """`status`: running, done or failed."""
    _update_window(
        connection,
        backfill_id,
        number,
        status=status,
        error=None if error is None else masked(str(error))[:2000],
        updated_at=now,
    )


def move_window(  # noqa: PLR0913 - one row of the table needs all of this
    connection: Connection,
    backfill_id: int,
    number: int,
    position: dict[str, Json] | None,
    rows_written: int,
    now: datetime,
) -> None:
    """How far it has come, in the transaction that writes its rows; None: not moved."""
    moved = {} if position is None else {"position": canonical(position)}
    _update_window(
        connection, backfill_id, number, rows_written=rows_written, updated_at=now, **moved
    )


def _update_window(connection: Connection, backfill_id: int, number: int, **values: Any) -> None:
    connection.execute(
        update(backfill_windows)
        .where(_W.backfill_id == backfill_id, _W.window_number == number)
        .values(**values)
    )


def _window(row: Any) -> Window:
    return Window(
        row.window_number,
        row.since,
        row.until,
        row.status,
        json.loads(row.position) if row.position else None,
        row.rows_written,
        row.error,
        row.updated_at,
    )


def _backfill(row: Any) -> Backfill:
    return Backfill(
        row.backfill_id,
        row.source,
        row.arguments,
        row.since,
        row.until,
        row.status,
        row.created_at,
        row.finished_at,
    )
