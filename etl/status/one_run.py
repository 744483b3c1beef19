"""Reads one run, and what it left behind."""

from __future__ import annotations

from datetime import timedelta

from msgspec import Struct
from sqlalchemy import Connection, func, select

from etl.ledger import seats, tables
from etl.status.facts import Check, Run
from etl.status.reading import CHECK, RUN, as_it_is, run_of

_MOST_LEFT = 50
_SLACK = timedelta(minutes=5)
"""A clock that was set back meanwhile."""

_R = tables.sync_runs.c
_Q = tables.rejected_records.c
_C = tables.completeness.c
_H = tables.status_changes.c


def read_run(connection: Connection, run_id: int) -> Run | None:
    """One run; None when the ledger has none of that number (any more)."""
    found = connection.execute(select(*RUN).where(_R.run_id == run_id)).one_or_none()
    return None if found is None else as_it_is(run_of(found), seats.left(connection))


def neighbours(connection: Connection, run: Run) -> tuple[int | None, int | None]:
    """The runs of the same source before and after."""
    mine = _R.source == run.source
    before = select(func.max(_R.run_id)).where(mine, _R.run_id < run.run_id)
    after = select(func.min(_R.run_id)).where(mine, _R.run_id > run.run_id)
    row = connection.execute(select(before.scalar_subquery(), after.scalar_subquery())).one()
    return row[0], row[1]


class Trace(Struct, frozen=True):
    """What a run left behind, beside rows."""

    changes: tuple[tuple[str, str, int], ...] = ()
    """(kind, new status, how often)."""
    rejects: tuple[tuple[int, str | None, str], ...] = ()
    """(number, upstream's id, reason) of those that are open and that it saw last."""
    checks: tuple[Check, ...] = ()


def trace(connection: Connection, run: Run) -> Trace:
    """What one run left behind; each statement is bound to its source or its time."""
    changes = (
        select(_H.kind, _H.new_status, func.count())
        .where(_H.run_id == run.run_id, _H.observed_at >= run.started_at - _SLACK)
        .group_by(_H.kind, _H.new_status)
        .order_by(func.count().desc(), _H.kind, _H.new_status)
    )
    if run.finished_at is not None:
        changes = changes.where(_H.observed_at <= run.finished_at + _SLACK)
    rejects = (
        select(_Q.reject_id, _Q.upstream_id, _Q.reason)
        .where(_Q.source == run.source, _Q.resolved_at.is_(None), _Q.run_id == run.run_id)
        .order_by(_Q.reject_id)
        .limit(_MOST_LEFT)
    )
    checks = (
        select(*CHECK)
        .where(_C.source == run.source, _C.run_id == run.run_id)
        .order_by(_C.check_id)
        .limit(_MOST_LEFT)
    )
    return Trace(
        tuple((row[0], row[1], row[2]) for row in connection.execute(changes)),
        tuple((row[0], row[1], row[2]) for row in connection.execute(rejects)),
        tuple(Check(*row) for row in connection.execute(checks)),
    )
