"""The proof: what the platform lists, beside what the database holds, month by month.

    verified = verify(configured, around, since=None, until=None, repair=True)
    verified.outcome.error, verified.windows, verified.proven

A window is complete when a proven listing and the database hold the same ids with the same
statuses, and no execution has fewer rows below it than it tells. Only `repair` changes data.
"""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct, field
from msgspec.structs import replace

from etl.engine import Pass
from etl.errors import DatabaseTrouble, Refused, SourceFailed
from etl.passes import Configured, Outcome, Surroundings, run_pass
from etl.source import Span
from etl.verify import marking
from etl.verify.comparing import Comparison
from etl.verify.plan import Plan, plan
from etl.verify.ranges import Range, months, nothing
from etl.verify.sheet import Sheet
from etl.verify.windows import Window

__all__ = ["Plan", "Verified", "Window", "plan", "verify"]

_HOLE = "hole"
"""The kind of debt that stands for what is counted and listed nowhere."""


class Verified(Struct):
    """What became of one verify: how the pass ended, and a window for each calendar month."""

    outcome: Outcome
    windows: list[Window] = field(default_factory=list)

    @property
    def proven(self) -> bool:
        """The pass reached its end, and every window is complete."""
        done = self.outcome.error is None and bool(self.windows)
        return done and all(window.verdict == "complete" for window in self.windows)


def verify(
    configured: Configured,
    around: Surroundings,
    *,
    since: datetime | None,
    until: datetime | None,
    repair: bool,
) -> Verified:
    """Compares one source with its platform in [since, until), in the live seat.

    A bound that is None is that of what sync and finished backfills have covered. `repair`
    fetches exactly what is missing or differs, and marks what is no longer listed.
    """
    windows: list[Window] = []

    def work(one: Pass, span: Span) -> None:
        _Sweep(configured, around, one, span, windows, repair).run(since, until)

    return Verified(run_pass(configured, around, "verify", work), windows)


class _Sweep(Struct):
    """One verify of one source; `windows` fills as it goes."""

    configured: Configured
    around: Surroundings
    one: Pass
    span: Span
    windows: list[Window]
    repair: bool
    began: dict[int, datetime] = field(default_factory=dict)
    """By the place of the window, of those that gone rows are remembered of."""
    gone: dict[int, int] = field(default_factory=dict)

    def run(self, since: datetime | None, until: datetime | None) -> None:
        ranges = self._ranges(since, until)
        with Sheet() as sheet:
            try:
                for place, window in enumerate(ranges):
                    self._tell(place / len(ranges))
                    self._window(sheet, place, window)
            except SourceFailed as error:
                if not isinstance(error, DatabaseTrouble):
                    self._keep_gone()
                raise
            self._mark(sheet)
        self._tell(1.0)

    def _ranges(self, since: datetime | None, until: datetime | None) -> list[Range]:
        name, table = self.configured.name, self.configured.source.tables[0]
        now = self.one.seat.now()
        with self.around.database.reading() as connection:
            found = months(connection, name, table, since=since, until=until, now=now)
            if not found:
                raise Refused(nothing(connection, name, until or now))
        return found

    def _window(self, sheet: Sheet, place: int, bounds: Range) -> None:
        one, (since, until) = self.one, bounds
        window = Window(self.configured.name, self.configured.source.stream, since, until)
        began = one.seat.now()
        span = replace(self.span, since=since, until=until, position=None, now=began)
        one_window = Comparison(self.configured, self.around, one, span, sheet, window, began)
        one_window.compare()
        if self.repair:
            one_window.repair()
        self.windows.append(window)
        if self.repair and window.gone and not one_window.doubts:
            self.gone[place], self.began[place] = sheet.keep_gone(place), began
        else:
            self._keep(window)

    def _mark(self, sheet: Sheet) -> None:
        """Marks what is gone of all windows at once, or says why not; their rows are kept now."""
        if not self.gone:
            return
        unlisted = sum(window.unlisted for window in self.windows)
        holes = max(unlisted, len(self.span.memory.open_debts(_HOLE)))
        good, why = marking.unguarded(
            self.windows, self.gone, self.configured.settings.max_gone_share, holes=holes
        )
        for place in self.gone:
            window = self.windows[place]
            if place in good:
                window.marked = marking.mark(self.one, sheet, place, self.began[place])
                self._recount(sheet, window)
            else:
                window.note(why or "it lists nothing at all: nothing is marked as gone")
            self._keep(window)

    def _keep_gone(self) -> None:
        """The platform fails before all is listed: what is gone so far is kept, and not marked."""
        for place in self.gone:
            self.windows[place].note("the sweep did not reach its end: nothing is marked as gone")
            self._keep(self.windows[place])

    def _recount(self, sheet: Sheet, window: Window) -> None:
        """The database's side, without what has been marked; the platform's stands."""
        span = replace(self.span, since=window.since, until=window.until)
        began = self.one.seat.now()
        left = window.gone - window.marked
        Comparison(self.configured, self.around, self.one, span, sheet, window, began).recount()
        window.gone = left
        window.examples = {k: v for k, v in window.examples.items() if k != "gone" or left}
        window.judge([])
        window.note(f"{window.marked:,} marked as gone")

    def _keep(self, window: Window) -> None:
        window.checked_at, window.run_id = self.one.seat.now(), self.one.run.run_id
        if window.repaired:
            window.note(f"{window.repaired:,} repaired")
        self.one.write(lambda writing: window.keep(writing.connection))

    def _tell(self, share: float) -> None:
        self.around.observer(self.configured.name, self.one.tally, self.one.api, share)
