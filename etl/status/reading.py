"""Reads how every source stands: a few statements, each served by an index, in one snapshot.

Nothing here counts data rows: that would cost more with every month that is kept.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec.structs import replace
from sqlalchemy import Connection, ScalarSelect, and_, case, func, or_, select

from etl.ledger import runs as ledger
from etl.ledger import seats, tables
from etl.redact import masked
from etl.status.facts import (
    WINDOW_STATUSES,
    Backfill,
    Check,
    Day,
    Expected,
    Owed,
    Reason,
    Run,
    SourceStatus,
    Status,
)

if TYPE_CHECKING:
    from etl.config import Config

_DAY = timedelta(days=1)
_WEEK = timedelta(days=7)
_MOST_BACKFILLS = 50
_MOST_CHECKS = 2000
_OPEN_BACKFILLS = ("running", "stopped", "failed")

_S = tables.sources.c
_R = tables.sync_runs.c
_U = tables.unfinished.c
_Q = tables.rejected_records.c
_B = tables.backfills.c
_W = tables.backfill_windows.c
_C = tables.completeness.c

RUN = [_R[name] for name in Run.__struct_fields__]
CHECK = [_C[name] for name in Check.__struct_fields__]

T = TypeVar("T")
BySource = dict[str, list[T]]


def expected(config: Config, now: datetime) -> tuple[Expected, ...]:
    """What the configuration says of its sources. Resolves no secret; raises Usage."""
    from etl import config as configuration  # noqa: PLC0415 - a reader of the ledger needs none

    return tuple(
        Expected(
            name,
            config.api(name),
            configuration.expected_every_s(config, name),
            configuration.stale_after(config, name),
            configuration.next_run_at(config, name, now),
        )
        for name in config.source_names
    )


def read(
    connection: Connection, due: Sequence[Expected] | None, now: datetime, *, runs: int = 1
) -> Status:
    """How every source stands, with its latest `runs` runs.

    `due` is what the configuration says; None: there is none, and what the ledger remembers of it
    counts. Names that only the ledger knows come last.
    """
    held, left = _held(connection), seats.left(connection)
    wanted = _wanted(due, held)
    names = [each.source for each in wanted]
    ran = _runs_by_id(connection, held.values())
    latest = _latest_runs(connection, names, ran, held, runs)
    owed, reasons = _owed(connection, names), _reasons(connection, names)
    days = _days(connection, names, now - _DAY)
    filled = _backfills(connection, names, now - _WEEK)
    checks = _checks(connection, names, now - _WEEK)
    configured = set(names) if due is None else {each.source for each in due}
    made = (
        replace(
            _of_ledger(held.get(each.source), ran, now, each),
            configured=each.source in configured,
            runs=tuple(as_it_is(run, left) for run in latest.get(each.source, ())),
            owed=tuple(owed.get(each.source, ())),
            reasons=tuple(reasons.get(each.source, ())),
            day=days.get(each.source, Day()),
            backfills=tuple(_as_it_is(one, left) for one in filled.get(each.source, ())),
            checks=tuple(checks.get(each.source, ())),
        )
        for each in wanted
    )
    return Status(now, tuple(made))


def as_it_is(run: Run, left: set[tuple[str, str]]) -> Run:
    """A run whose process died without a word; the next in its seat will write that down.

    `left` are the seats that nobody living holds.
    """
    seat = "backfill" if run.mode in ledger.BACKFILL_MODES else "live"
    if run.status != "running" or (run.source, seat) not in left:
        return run
    return replace(run, status="crashed", error=ledger.CRASHED)


def _as_it_is(one: Backfill, left: set[tuple[str, str]]) -> Backfill:
    """As `etl backfills` says it."""
    if one.status != "running" or (one.source, "backfill") not in left:
        return one
    return replace(one, status="killed")


def _of_ledger(
    row: Any | None, ran: dict[int | None, Run], now: datetime, one: Expected
) -> SourceStatus:
    """What is due, and the runs that tell most."""
    made = SourceStatus(
        source=one.source,
        api=one.api,
        configured=True,
        now=now,
        expected_every_s=one.every_s,
        stale_after_s=one.stale_after_s,
        next_run_at=one.next_run_at,
    )
    success = None if row is None else ran.get(row.last_success)
    if success is not None:
        made = replace(made, last_success_at=success.finished_at, copied_until=success.started_at)
    error = None if row is None else _later(ran.get(row.last_failed), ran.get(row.last_crashed))
    if error is None:
        return made
    return replace(
        made,
        last_error=error.error,
        last_error_at=error.finished_at or error.started_at,
        last_error_run_id=error.run_id,
    )


def _wanted(due: Sequence[Expected] | None, held: dict[str, Any]) -> list[Expected]:
    wanted = list(due or ())
    known = {each.source for each in wanted}
    for name, row in sorted(held.items()):
        if name not in known:
            stale = row.stale_after_s
            if stale is None and row.expected_every_s is not None:
                stale = 2 * row.expected_every_s
            wanted.append(Expected(name, row.api, row.expected_every_s, stale))
    return wanted


def _held(connection: Connection) -> dict[str, Any]:
    """What the ledger knows of each source, with the runs that tell most."""
    statement = select(
        _S.source,
        _S.api,
        _S.expected_every_s,
        _S.stale_after_s,
        _latest("succeeded", _R.mode == "sync").label("last_success"),
        _latest("failed", _R.error.is_not(None)).label("last_failed"),
        _latest("crashed", _R.error.is_not(None)).label("last_crashed"),
        _newest(_R.source == _S.source).label("last_run"),
    )
    return {row.source: row for row in connection.execute(statement)}


def _latest(status: str, *more: Any) -> ScalarSelect[Any]:
    return _newest(_R.source == _S.source, _R.status == status, *more)


def _newest(*where: Any) -> ScalarSelect[Any]:
    """The number of the latest run; walks an index from its end."""
    statement = select(_R.run_id).where(*where)
    return (
        statement.order_by(_R.started_at.desc(), _R.run_id.desc())
        .limit(1)
        .correlate(tables.sources)
        .scalar_subquery()
    )


def _runs_by_id(connection: Connection, held: Iterable[Any]) -> dict[int | None, Run]:
    ids = {
        run_id
        for row in held
        for run_id in (row.last_success, row.last_failed, row.last_crashed, row.last_run)
        if run_id is not None
    }
    if not ids:
        return {}
    found = connection.execute(select(*RUN).where(_R.run_id.in_(ids)))
    return {row.run_id: run_of(row) for row in found}


def run_of(row: Any) -> Run:
    """A row of `RUN`."""
    values = row._asdict()
    if values["error"] is not None:
        values["error"] = masked(values["error"])
    return Run(**values)


def _later(one: Run | None, other: Run | None) -> Run | None:
    there = [run for run in (one, other) if run is not None]
    return max(there, key=lambda run: (run.started_at, run.run_id), default=None)


def _latest_runs(
    connection: Connection,
    names: Sequence[str],
    ran: dict[int | None, Run],
    held: dict[str, Any],
    count: int,
) -> BySource[Run]:
    if count == 1:
        last = {name: ran.get(row.last_run) for name, row in held.items()}
        return {name: [run] for name, run in last.items() if run is not None}
    order = (_R.started_at.desc(), _R.run_id.desc())
    return {
        name: [
            run_of(row)
            for row in connection.execute(
                select(*RUN).where(_R.source == name).order_by(*order).limit(count)
            )
        ]
        for name in names
    }


def _owed(connection: Connection, names: Sequence[str]) -> BySource[Owed]:
    given_up = func.count(_U.given_up_at)
    statement = (
        select(_U.source, _U.kind, func.count() - given_up, given_up, func.min(_U.first_seen_at))
        .where(_U.source.in_(names))
        .group_by(_U.source, _U.kind)
        .order_by(_U.source, _U.kind)
    )
    return _grouped((row[0], Owed(*row[1:])) for row in connection.execute(statement))


def _reasons(connection: Connection, names: Sequence[str]) -> BySource[Reason]:
    statement = (
        select(_Q.source, _Q.reason, func.count(), func.max(_Q.last_seen_at))
        .where(_Q.source.in_(names), _Q.resolved_at.is_(None))
        .group_by(_Q.source, _Q.reason)
        .order_by(func.count().desc(), _Q.reason)
    )
    return _grouped((row[0], Reason(*row[1:])) for row in connection.execute(statement))


def _days(connection: Connection, names: Sequence[str], since: datetime) -> dict[str, Day]:
    failed = func.sum(case((_R.status.in_(("failed", "crashed")), 1), else_=0))
    sums = (func.sum(each) for each in (_R.requests, _R.rows_read, _R.rows_written))
    statement = (
        select(_R.source, func.count(), failed, *sums)
        .where(_R.source.in_(names), _R.started_at >= since)
        .group_by(_R.source)
    )
    return {row[0]: Day(*map(int, row[1:])) for row in connection.execute(statement)}


def _backfills(connection: Connection, names: Sequence[str], since: datetime) -> BySource[Backfill]:
    statement = (
        select(
            _B.backfill_id,
            _B.source,
            _B.arguments,
            _B.since,
            _B.until,
            _B.status,
            _B.created_at,
            _B.finished_at,
        )
        .where(
            _B.source.in_(names),
            or_(_B.status.in_(_OPEN_BACKFILLS), _B.created_at >= since),
        )
        .order_by(_B.backfill_id.desc())
        .limit(_MOST_BACKFILLS)
    )
    found = connection.execute(statement).all()
    if not found:
        return {}
    ids = [row.backfill_id for row in found]
    counted: dict[int, dict[str, int]] = {id_: dict.fromkeys(WINDOW_STATUSES, 0) for id_ in ids}
    written: dict[int, int] = defaultdict(int)
    errors: dict[int, str] = {}
    windows = (
        select(_W.backfill_id, _W.status, func.count(), func.sum(_W.rows_written), func.max(_error))
        .where(_W.backfill_id.in_(ids))
        .group_by(_W.backfill_id, _W.status)
    )
    for id_, status, count, rows, error in connection.execute(windows):
        counted[id_][status] = count
        written[id_] += int(rows or 0)
        if error is not None:
            errors[id_] = masked(error)
    return _grouped(
        (
            row.source,
            Backfill(*row, counted[row.backfill_id], written[row.backfill_id],
                     errors.get(row.backfill_id)),
        )
        for row in found
    )  # fmt: skip


_error = case((_W.status == "failed", _W.error))


def _checks(connection: Connection, names: Sequence[str], recent: datetime) -> BySource[Check]:
    """A check stands until a later one covers its whole range (as in the view `coverage`); what a
    pass could not prove without naming a range is told for a week."""
    bounded = and_(_C.since.is_not(None), _C.until.is_not(None))
    statement = (
        select(*CHECK)
        .where(_C.source.in_(names), or_(bounded, _C.checked_at >= recent))
        .order_by(_C.check_id.desc())
        .limit(_MOST_CHECKS)
    )
    standing: BySource[Check] = defaultdict(list)
    for row in connection.execute(statement):
        check = Check(*row)
        if not any(later.covers(check) for later in standing[check.source]):
            standing[check.source].append(check)
    for checks in standing.values():
        checks.sort(key=lambda each: (each.until is None, each.until or each.checked_at))
    return standing


def _grouped(pairs: Iterable[tuple[str, T]]) -> BySource[T]:
    made: BySource[T] = defaultdict(list)
    for name, one in pairs:
        made[name].append(one)
    return made
