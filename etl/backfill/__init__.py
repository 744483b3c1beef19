"""The backfill: a time range read anew, window by window; stopped at any moment it goes on.

It writes from a seat of its own beside the live one and never touches the live cursor. What is
planned, done and to do stands in `backfills` and `backfill_windows`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Protocol, TypeVar

from msgspec import Struct
from msgspec.structs import replace
from sqlalchemy import Connection

from etl.backfill.estimating import Estimate, estimate, finishing, look
from etl.backfill.planning import Range, cut
from etl.backfill.standing import Standing
from etl.backfill.wording import beginning, failures, going_on, left_out
from etl.backfill.working import Crew, Job
from etl.clock import Clock
from etl.db import Database
from etl.engine import Pass
from etl.errors import EtlError, LostSeat, Migrated, SourceFailed, Stopped, Usage
from etl.ledger import backfills, names, seats
from etl.ledger.backfills import Backfill, Window
from etl.passes import Configured, Outcome, Surroundings, run_pass
from etl.source import Span

__all__ = [
    "WORKERS",
    "Estimate",
    "Order",
    "Range",
    "Standing",
    "Watcher",
    "backfill",
    "cancel",
    "estimate",
    "finishing",
    "known",
    "unfinished",
]

WORKERS = 2
"""Each reads with many requests in flight: a second one fills the gaps between windows. A process
that is killed loses at most the window in hand of each."""
_SEAT = "backfill"
_LEASE_S = 30.0

T = TypeVar("T")


class Order(Struct, frozen=True):
    """What to do: a range that is planned or gone on with, or a backfill by its number."""

    range: Range | None = None
    backfill_id: int | None = None
    restart: bool = False
    newest_first: bool = False
    workers: int = WORKERS


class Watcher(Protocol):
    """Whoever shows what happens."""

    def says(self, line: str) -> None:
        """What is begun or gone on with."""

    def watches(self, standing: Standing) -> None:
        """Windows are worked from now on."""


def backfill(
    configured: Configured, order: Order, around: Surroundings, watcher: Watcher
) -> Outcome:
    """Plans a backfill or goes on with it, and works its windows: one run of mode `backfill`."""

    def work(one: Pass, span: Span) -> None:
        _Backfilling(configured, order, around, watcher, one, span).work()

    return run_pass(configured, around, _SEAT, work)


def known(database: Database, backfill_id: int) -> Backfill:
    """A backfill by its number. Raises Usage when there is none."""
    with database.reading() as connection:
        found = backfills.find(connection, backfill_id)
    if found is None:
        raise Usage(f"there is no backfill {backfill_id}; see etl backfills list")
    return found


def unfinished(database: Database, backfill_id: int) -> Backfill:
    """A backfill that can be gone on with. Raises Usage when there is none, or it is over."""
    found = known(database, backfill_id)
    if found.status in ("done", "cancelled"):
        raise Usage(f"backfill {backfill_id} is {found.status}")
    return found


def cancel(database: Database, backfill_id: int, clock: Clock) -> Backfill:
    """Its windows are worked no more; what they brought stays.

    Raises SeatTaken while a living process works for its source, Usage when it is over.
    """
    source = known(database, backfill_id).source
    seat = seats.take(database, source, _SEAT, lease_s=_LEASE_S, clock=clock)
    try:
        found = unfinished(database, backfill_id)
        with seat.transaction() as writing:
            backfills.end(writing.connection, backfill_id, "cancelled", writing.stamp)
    finally:
        seat.release()
    return found


class _Unfinished(SourceFailed):
    """Some windows failed; the others are done."""


class _Backfilling:
    """One run of a backfill, in its seat."""

    def __init__(  # noqa: PLR0913 - what a run is made from
        self,
        configured: Configured,
        order: Order,
        around: Surroundings,
        watcher: Watcher,
        one: Pass,
        span: Span,
    ) -> None:
        self._configured, self._order, self._around = configured, order, around
        self._watcher, self._one, self._span = watcher, one, span

    def work(self) -> None:
        """Raises _Unfinished when windows stayed failed, and whatever ends a pass."""
        held = self._held()
        taken = self._planned(held) if held is None or self._order.restart else self._on(held)
        windows = self._windows(taken)
        try:
            failed = self._worked(taken, windows)
        except (LostSeat, Migrated):
            raise  # nothing more may be written
        except BaseException as error:
            with contextlib.suppress(EtlError):  # the next command finds it all the same
                self._end(taken, "stopped" if isinstance(error, Stopped) else "failed")
            raise
        self._end(taken, "failed" if failed else "done")
        if failed:
            raise _Unfinished(failures(taken, len(windows), failed))

    def _on(self, held: Backfill) -> Backfill:
        """The unfinished backfill, ready to be worked."""
        self._write(lambda c, now: backfills.go_on(c, held.backfill_id, now))
        windows = self._windows(held)
        done = sum(window.status == "done" for window in windows)
        self._watcher.says(going_on(held, self._configured, done, len(windows)))
        return held

    def _held(self) -> Backfill | None:
        """The unfinished backfill that is meant."""
        order = self._order
        if order.backfill_id is not None:
            return unfinished(self._around.database, order.backfill_id)
        source, arguments = self._configured.name, str(order.range)
        return self._read(lambda c: backfills.unfinished(c, source, arguments))

    def _planned(self, instead_of: Backfill | None) -> Backfill:
        """A new backfill, its windows written down before the first is read."""
        range_, name = self._order.range, self._configured.name
        assert range_ is not None  # noqa: S101 - what is named by its number is there
        bounds = range_.bounds(self._span.now, self._pruned_before())
        span = replace(
            self._span, since=bounds.since, until=bounds.until, position=None, fresh=True
        )
        windows = cut(bounds, look(self._configured, self._one.api, span))

        def written(c: Connection, now: datetime) -> Backfill:
            if instead_of is not None:
                backfills.end(c, instead_of.backfill_id, "cancelled", now)
            return backfills.plan(c, name, str(range_), bounds.since, bounds.until, windows, now)

        made = self._write(written)
        if bounds.pruned_before is not None:
            self._watcher.says(left_out(bounds.pruned_before))
        self._watcher.says(beginning(made, self._configured, len(windows)))
        return made

    def _worked(self, taken: Backfill, windows: list[Window]) -> Mapping[int, EtlError]:
        """Works what is not done; returns what failed, and why."""
        todo = [window for window in windows if window.status != "done"]
        standing = Standing(
            f"backfill {taken.backfill_id} {taken.source}",
            self._one,
            windows=len(windows),
            done=len(windows) - len(todo),
            slower=self._around.slower,
            monotonic=self._around.clock.monotonic,
        )
        self._watcher.watches(standing)
        restores = "--restore" in taken.arguments.split()
        job = Job(
            self._configured,
            taken,
            self._one,
            self._span,
            standing,
            lambda c: None if restores else names.pruned_before(c, self._configured.name),
        )
        crew = Crew(job, todo[::-1] if self._order.newest_first else todo)
        crew.work(max(1, min(self._order.workers, len(todo))))
        return crew.failed

    def _windows(self, taken: Backfill) -> list[Window]:
        return self._read(lambda c: backfills.windows(c, taken.backfill_id))

    def _pruned_before(self) -> datetime | None:
        return self._read(lambda c: names.pruned_before(c, self._configured.name))

    def _end(self, taken: Backfill, status: str) -> None:
        self._write(lambda c, now: backfills.end(c, taken.backfill_id, status, now))

    def _read(self, look: Callable[[Connection], T]) -> T:
        def read() -> T:
            with self._around.database.reading() as connection:
                return look(connection)

        return self._one.persistence(read)

    def _write(self, work: Callable[[Connection, datetime], T]) -> T:
        return self._one.write(lambda writing: work(writing.connection, writing.stamp))
