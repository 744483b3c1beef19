"""Firings of schedules: each is claimed once, whoever is quicker, and never twice.

A claim is the row of `sync_runs` with the firing's `scheduled_for`. A firing whose run died or was
stopped is taken over: its second run has no `scheduled_for` of its own.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, and_, func, select

from etl.errors import Claimed
from etl.ledger.tables import sources, sync_runs

_T = sync_runs.c
_OPEN = ("running", "stopped", "crashed")
"""Ways in which a claimed firing is not done; who runs has its seat looked at."""


class Missed(NamedTuple):
    """A firing that is owed; `failed` is the run that tried it."""

    failed: int | None


class Latest(NamedTuple):
    """The latest run of a source in one mode."""

    run_id: int
    status: str
    started_at: datetime


def require_open(
    connection: Connection, source: str, mode: str, due: datetime, now: datetime
) -> None:
    """Proves, under the source's lock, that the firing `due` is still to be run.

    Raises Claimed when it, or a later one, was run by somebody else.
    """
    row = _claim(connection, source, mode, due)
    if row is None:
        if _count(connection, source, mode, _T.scheduled_for > due, _T.scheduled_for <= now):
            raise Claimed(f"source '{source}': a later firing than {due} was claimed")
        return
    later = (_T.run_id > row.run_id, _T.status.not_in(_OPEN))
    if row.status not in _OPEN or _count(connection, source, mode, *later):
        raise Claimed(f"source '{source}': the firing of {due} was claimed by run {row.run_id}")


def unclaimed(connection: Connection, source: str, mode: str, due: datetime) -> datetime | None:
    """`due` for the run that claims it; None for one that takes it over."""
    return due if _claim(connection, source, mode, due) is None else None


def missed(connection: Connection, source: str, mode: str, due: datetime) -> Missed | None:
    """Whether the firing `due`, which is past, is still owed: nothing in this mode succeeded since.

    A source that was first used after `due` has missed nothing but its first sync.
    """
    if _count(connection, source, mode, _T.started_at >= due, _T.status == "succeeded"):
        return None
    row = _claim(connection, source, mode, due)
    if row is not None:
        return Missed(row.run_id if row.status == "failed" else None)
    used = select(sources.c.first_used_at).where(sources.c.source == source)
    first: datetime | None = connection.execute(used).scalar()
    if first is not None and first <= due:
        return Missed(None)
    never = mode == "sync" and not _count(connection, source, mode, _T.status == "succeeded")
    return Missed(None) if never else None


def latest(connection: Connection, source: str, mode: str) -> Latest | None:
    """The latest run of a source in one mode; None: there was none."""
    row = connection.execute(
        select(_T.run_id, _T.status, _T.started_at)
        .where(_T.source == source, _T.mode == mode)
        .order_by(_T.run_id.desc())
        .limit(1)
    ).one_or_none()
    return None if row is None else Latest(*row)


def _claim(connection: Connection, source: str, mode: str, due: datetime) -> Row[Any, Any] | None:
    return connection.execute(
        select(_T.run_id, _T.status).where(
            _T.source == source, _T.mode == mode, _T.scheduled_for == due
        )
    ).one_or_none()


def _count(connection: Connection, source: str, mode: str, *where: Any) -> int:
    statement = select(func.count()).where(and_(_T.source == source, _T.mode == mode, *where))
    return int(connection.execute(statement).scalar_one())
