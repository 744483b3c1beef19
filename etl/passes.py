"""What every pass has in common: the name proven, the seat taken, the run opened and closed.

A pass is a function of what it reads (`Work`); sync, verify, repair, backfill and retry differ
in nothing else.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Protocol

from msgspec import Struct, field
from sqlalchemy import Connection

from etl.clock import Clock
from etl.context import about
from etl.db import Database, Persistence
from etl.engine import Observer, Pass
from etl.errors import EtlError, LostSeat, Migrated, Stopped
from etl.http import Platform, open_api
from etl.ledger import budget, cursors, firings, names, runs, seats
from etl.ledger.debts import Terms
from etl.memory import DatabaseMemory
from etl.redact import masked
from etl.source import Settings, Source, Span
from etl.store import Tally
from etl.units import Rate
from etl.values import Json

_log = logging.getLogger(__name__)
_BY_HAND_EVERY_S = 60.0


class Configured(Protocol):
    """A source of the configuration."""

    @property
    def name(self) -> str: ...
    @property
    def source(self) -> Source: ...
    @property
    def settings(self) -> Settings: ...
    @property
    def expected_every_s(self) -> float | None: ...
    @property
    def stale_after_s(self) -> float | None: ...


class Surroundings(Struct, frozen=True):
    """What every pass needs beside its source."""

    database: Database
    stop: threading.Event
    observer: Observer
    clock: Clock = field(default_factory=Clock)
    triggered_by: str = "command"
    scheduled_for: datetime | None = None
    all_due: bool = True
    """A sync given by hand takes all unfinished work as due."""
    slower: Rate | None = None
    """A rate of this pass alone, within that of its account."""


class Outcome(Struct):
    """How a pass ended. `status` is succeeded, failed or stopped; `error` says why not.

    `run_id` is None when it did not get so far as to open a run.
    """

    source: str
    status: str = "succeeded"
    run_id: int | None = None
    tally: Tally = field(default_factory=Tally)
    requests: int = 0
    retries: int = 0
    seconds: float = 0.0
    error: EtlError | None = None

    def ended_by(self, error: EtlError) -> None:
        self.error = error
        self.status = "stopped" if isinstance(error, Stopped) else "failed"


Work = Callable[[Pass, Span], None]
"""Reads and writes; the span holds the position, the fixed `since`, the time and the memory."""


def run_pass(configured: Configured, around: Surroundings, mode: str, work: Work) -> Outcome:
    """One pass over one source. Errors on purpose end up in the outcome and in the ledger."""
    with about(source=configured.name):
        return _run_pass(configured, around, mode, work)


def _run_pass(configured: Configured, around: Surroundings, mode: str, work: Work) -> Outcome:
    outcome = Outcome(configured.name)
    began = around.clock.monotonic()
    try:
        platform = configured.source.platform(configured.settings)
        since = _register(configured, platform, around)
        with _seat(configured, around, mode) as (seat, run), about(run=run.run_id):
            outcome.run_id = run.run_id
            try:
                _work(configured, platform, seat, run, since, around, work, outcome)
            except EtlError as error:
                outcome.ended_by(error)
                _log.debug("%s", masked(str(error)))
            if not isinstance(outcome.error, LostSeat | Migrated):
                _close(configured, seat, run, outcome, around)
    except EtlError as error:
        if outcome.error is None:  # what ended the pass says more than why it could not be closed
            outcome.ended_by(error)
    outcome.seconds = around.clock.monotonic() - began
    return outcome


def _register(configured: Configured, platform: Platform, around: Surroundings) -> datetime | None:
    """Proves that the name stands for the same platform; the `since` fixed at the first sync."""
    settings, now = configured.settings, around.clock.now()

    def register() -> datetime | None:
        with around.database.writing() as connection:
            return names.register(
                connection,
                configured.name,
                api=configured.source.api,
                identity=configured.source.identity(settings),
                account=platform.account,
                since=settings.since.resolve(now) if settings.since else None,
                expected_every_s=configured.expected_every_s,
                stale_after_s=configured.stale_after_s,
                now=now,
            )

    return _persistence(configured, around)(register)


@contextmanager
def _seat(
    configured: Configured, around: Surroundings, mode: str
) -> Iterator[tuple[seats.Seat, runs.Run]]:
    """Seat, claim of the firing and the run's first line: one transaction."""
    opened: list[runs.Run] = []
    tried: list[int] = []
    name, due = configured.name, around.scheduled_for

    def claim(connection: Connection) -> None:
        if due is not None:
            firings.require_open(connection, name, mode, due, around.clock.now())

    def open_run(connection: Connection) -> None:
        opened[:] = [
            runs.open_run(
                connection,
                name,
                mode,
                triggered_by=around.triggered_by,
                now=around.clock.now(),
                scheduled_for=due and firings.unclaimed(connection, name, mode, due),
            )
        ]

    def take() -> seats.Seat:
        return seats.take(
            around.database,
            name,
            "backfill" if mode in runs.BACKFILL_MODES else "live",
            lease_s=configured.settings.lease,
            clock=around.clock,
            before=claim,
            then=open_run,
            tried=tried,
        )

    seat = _persistence(configured, around)(take)
    try:
        yield seat, opened[0]
    finally:
        seat.release()


def _work(  # noqa: PLR0913 - what a pass is made from
    configured: Configured,
    platform: Platform,
    seat: seats.Seat,
    run: runs.Run,
    since: datetime | None,
    around: Surroundings,
    work: Work,
    outcome: Outcome,
) -> None:
    with open_api(
        platform,
        configured.settings,
        stop=around.stop,
        clock=_SeatClock(seat),
        accounts=budget.accounts(around.database, seat.name, around.slower),
    ) as api:
        one = Pass(
            source=configured.source,
            seat=seat,
            run=run,
            api=api,
            terms=_terms(configured),
            stop=around.stop,
            observer=around.observer,
            persistence=_persistence(configured, around),
        )
        try:
            around.observer(configured.name, one.tally, api, None)
            work(one, _span(configured, since, around))
        finally:
            outcome.tally = one.tally
            outcome.requests, outcome.retries = api.requests, api.retries
            run.bytes_read = api.bytes_read


def _close(
    configured: Configured,
    seat: seats.Seat,
    run: runs.Run,
    outcome: Outcome,
    around: Surroundings,
) -> None:
    """Says how the pass ended, once the database is there (again)."""

    def close() -> None:
        with seat.transaction() as writing:
            run.close(
                writing.connection,
                outcome.status,
                around.clock.now(),
                Traffic(outcome.requests, outcome.retries, run.bytes_read),
                outcome.tally,
                outcome.error if outcome.status == "failed" else None,
            )

    _persistence(configured, around)(close)


class Traffic(Struct, frozen=True):
    """What a pass cost, once it is over."""

    requests: int
    retries: int
    bytes_read: int


def _span(configured: Configured, since: datetime | None, around: Surroundings) -> Span:
    persistence = _persistence(configured, around)

    def position() -> dict[str, Json] | None:
        with around.database.reading() as connection:
            return cursors.load(connection, configured.name, configured.source.stream)

    return Span(
        since=since,
        until=None,
        position=persistence(position),
        now=around.clock.now(),
        memory=DatabaseMemory(around.database, configured.source, configured.name, persistence),
    )


def _persistence(configured: Configured, around: Surroundings) -> Persistence:
    """A transaction is tried for as long as the seat would be ours without a word."""
    return Persistence(configured.settings.lease, around.clock, around.stop)


def _terms(configured: Configured) -> Terms:
    return Terms(
        timedelta(seconds=configured.expected_every_s or _BY_HAND_EVERY_S),
        timedelta(seconds=configured.settings.give_up_after),
    )


class _SeatClock(Clock):
    """Asks are dated by the seat: never before what its rows were stamped with, so that a clock
    set back does not make every answer look old."""

    def __init__(self, seat: seats.Seat) -> None:
        self._seat = seat

    def now(self) -> datetime:
        return self._seat.now()

    def monotonic(self) -> float:
        return self._seat.clock.monotonic()

    def wait(self, event: threading.Event, seconds: float) -> bool:
        return self._seat.clock.wait(event, seconds)
