"""Works the windows of one backfill: so many at once, each with a position of its own.

All workers share the pass: its seat, its run, its budget, and they take turns at writing. A window
that fails is tried once more when the others are done. What ends the pass ends it for all.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import TypeVar

from msgspec import Struct
from msgspec.structs import replace
from sqlalchemy import Connection

from etl.backfill.standing import Standing
from etl.engine import Moved, Pass
from etl.errors import (
    DatabaseTrouble,
    EtlError,
    SourceFailed,
    Stopped,
    Transient,
    Unauthorized,
)
from etl.ledger import backfills
from etl.ledger.backfills import Backfill, Window
from etl.ledger.completeness import Walked, note_window
from etl.ledger.seats import Writing
from etl.passes import Configured
from etl.redact import masked
from etl.source import Span
from etl.values import Json

_log = logging.getLogger(__name__)
T = TypeVar("T")

TRIES = 2
_DEAD = 8
"""So many windows in a row that fail, with none that works between, are no bad windows."""
_LATER_S = 300.0
"""A platform that wants so long a pause is left alone."""


class Job(Struct, frozen=True):
    """A backfill at work. `pruned_before`: looks up where its windows may begin now."""

    configured: Configured
    backfill: Backfill
    one: Pass
    span: Span
    standing: Standing
    pruned_before: Callable[[Connection], datetime | None]


class _Pruned(EtlError):
    """What the window in hand is about to bring was pruned meanwhile."""


class Crew:
    """`workers` threads that take windows off one list until it is empty."""

    def __init__(self, job: Job, windows: Sequence[Window]) -> None:
        self._job = job
        self._lock = threading.Lock()
        self._todo = deque((window, 1) for window in windows)
        self._in_a_row = 0
        self._over: EtlError | None = None
        self.failed: dict[int, EtlError] = {}
        """What became of windows that failed, by number."""

    def work(self, workers: int) -> None:
        """Returns when every window is done or has failed. Raises what ends the pass."""
        with ThreadPoolExecutor(workers, thread_name_prefix="backfill") as pool:
            for future in [pool.submit(self._work) for _ in range(workers)]:
                future.result()
        if self._over is not None:
            raise self._over

    def _work(self) -> None:
        while (taken := self._next()) is not None:
            window, tries = taken
            try:
                self._read(window)
            except _Pruned:
                with self._lock:
                    self._todo.appendleft(taken)
            except EtlError as error:
                self._failed(window, tries, error)
            except BaseException:
                self._over = self._over or Stopped("another worker broke")
                raise
            else:
                self._done(window)

    def _next(self) -> tuple[Window, int] | None:
        with self._lock:
            if self._over is not None or not self._todo:
                return None
            window, tries = self._todo.popleft()
        if tries > 1:
            self._job.standing.again()
        return window, tries

    def _done(self, window: Window) -> None:
        with self._lock:
            self._in_a_row = 0
            self.failed.pop(window.number, None)
        self._job.standing.ended(window.number, done=True)

    def _failed(self, window: Window, tries: int, error: EtlError) -> None:
        with self._lock:
            self._in_a_row += 1
            self.failed[window.number] = error
            fatal = _ends_all(error) or self._in_a_row >= _DEAD
            if fatal:
                self._over = self._over or error
            elif tries < TRIES:
                self._todo.append((window, tries + 1))
        self._job.standing.ended(window.number, done=False)
        if not _ends_all(error):
            _log.info("window %d failed: %s", window.number, masked(str(error)))
            self._mark(window, error)

    def _mark(self, window: Window, error: EtlError) -> None:
        try:
            self._write(
                lambda writing: backfills.set_window(
                    writing.connection,
                    self._job.backfill.backfill_id,
                    window.number,
                    "failed",
                    writing.stamp,
                    error,
                )
            )
        except EtlError as worse:
            with self._lock:
                self._over = self._over or worse

    def _read(self, window: Window) -> None:
        """One window, from its own position to its end. Raises _Pruned: it is to be read again,
        from where it may begin now."""
        job = self._job
        id_, number = job.backfill.backfill_id, window.number

        def begin(writing: Writing) -> tuple[Window, datetime | None]:
            backfills.set_window(writing.connection, id_, number, "running", writing.stamp)
            found = backfills.window(writing.connection, id_, number)
            return found, job.pruned_before(writing.connection)

        window, pruned = self._write(begin)
        since = _later(window.since, pruned)
        keeper = _Keeper(job, window, since)
        if since is None or since < window.until:
            span = replace(
                job.span,
                since=since,
                until=window.until,
                position=keeper.cursor,
                now=job.one.seat.now(),
                fresh=True,
            )
            one = job.one.beside(keeper, lambda *told: job.standing.reached(number, told[3]))
            one.copy(job.configured.source.scan(one.api, job.configured.settings, span))
        self._write(lambda writing: self._end(writing, window, since, keeper))

    def _end(
        self, writing: Writing, window: Window, since: datetime | None, keeper: _Keeper
    ) -> None:
        """The window is done, and what its walk proved stands in `completeness`."""
        one = self._job.one
        backfills.set_window(
            writing.connection,
            self._job.backfill.backfill_id,
            window.number,
            "done",
            writing.stamp,
        )
        if since is None or since < window.until:
            note_window(
                writing.connection,
                one.seat.source,
                one.source.stream,
                keeper.walked(since, window.until),
                run_id=one.run.run_id,
                now=writing.stamp,
            )

    def _write(self, work: Callable[[Writing], T]) -> T:
        one = self._job.one
        with one.figures.turn(one.stop):
            return one.write(work)


class _Keeper:
    """Keeps the position of one window with what was found on the way there.

    `backfill_windows.position` is {"cursor": the reader's own, "rejected": …, …}.
    """

    def __init__(self, job: Job, window: Window, since: datetime | None) -> None:
        held = window.position or {}
        self.cursor: dict[str, Json] | None = held.get("cursor")
        self._job, self._since = job, since
        self._id, self._number = job.backfill.backfill_id, window.number
        self._whole = self.cursor is None
        self._listed = 0
        self._rejected = int(held.get("rejected", 0))
        self._unfinished = int(held.get("unfinished", 0))
        self._unlisted = int(held.get("unlisted", 0))
        self._rows = window.rows_written
        self._doubts: list[str] = []

    def keep(self, writing: Writing, moved: Moved) -> None:
        """Raises _Pruned when the window may no longer begin where it was begun: the batch in
        hand may hold what has just been deleted."""
        if _later(self._since, self._job.pruned_before(writing.connection)) != self._since:
            raise _Pruned("pruned meanwhile")
        position: dict[str, Json] | None = None
        if moved.cursor is not None:
            position = {
                "cursor": moved.cursor,
                "rejected": self._rejected + moved.rejected,
                "unfinished": self._unfinished + moved.unfinished,
                "unlisted": self._unlisted + moved.unlisted,
            }
        backfills.move_window(
            writing.connection,
            self._id,
            self._number,
            position,
            self._rows + moved.rows.written,
            writing.stamp,
        )

    def kept(self, moved: Moved) -> None:
        self._rows += moved.rows.written
        self._listed += moved.records
        self._rejected += moved.rejected
        self._unfinished += moved.unfinished
        self._unlisted += moved.unlisted
        self._doubts += [doubt.reason for doubt in moved.doubts]
        self._job.standing.came(moved.records)

    def walked(self, since: datetime | None, until: datetime) -> Walked:
        """What the walk is worth; how many it listed is known only of one that was not resumed."""
        return Walked(
            since,
            until,
            self._listed if self._whole else None,
            self._unfinished,
            self._rejected,
            self._unlisted,
            "; ".join(dict.fromkeys(self._doubts)) or None,
        )


def _ends_all(error: EtlError) -> bool:
    """Whether no other window could fare better."""
    if isinstance(error, Transient):
        return (error.retry_after_s or 0) >= _LATER_S
    return not isinstance(error, SourceFailed) or isinstance(error, Unauthorized | DatabaseTrouble)


def _later(one: datetime | None, other: datetime | None) -> datetime | None:
    return max(filter(None, (one, other)), default=None)
