"""Walks the list from old to young and proves that nothing was passed over.

Each page must join the one before it without a record in common; the page where the walk began
and the young end, as it was at the beginning, must be where they were. Where that fails, something
appeared or vanished behind the walk: it goes back to the last page that fits, or begins again.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from datetime import UTC, datetime

from msgspec import Struct

from etl.source import Doubt, Span
from etl.sources.act2.book import Book, Step, View
from etl.sources.act2.position import Position, Window, fits, short, thinned

_BARREN = 50
"""After so many pages in a row that show nothing new, the young end is looked at."""
_RETURNS = 5
"""A list that moves oftener in one pass is read to its end without proof."""


class Seen(Struct):
    """A view in its turn. `position`: everything up to its end is complete (None: unproven)."""

    view: View
    position: Position | None = None
    progress: float | None = None


class Walk:
    """One walk over `span`; `views` is to be iterated once, then `doubt` says what it lacked."""

    def __init__(self, book: Book, span: Span) -> None:
        self._book = book
        self._span = span
        self._begin = self._first = self._rank = self._total = self._returns = 0
        self._reached = 0  # where the cursor stands: until then it would only go backwards
        self._windows: list[Window] = []
        self._proven: list[Window] = []
        self._last: Window | None = None
        self._tail: Window | None = None
        self._over = self._lied = False
        self._barren = 0

    @property
    def doubt(self) -> Doubt | None:
        """Why the walk proves nothing; None when it does."""
        if self._returns > _RETURNS:
            reason = f"the list moved {self._returns} times behind the walk; read without proof"
        elif self._lied:
            reason = f"the list counts {self._book.total}; nothing is shown of the last of them"
        elif self._book.measured and self._span.position is None:
            reason = "the platform's total is missing or wrong; counted by looking"
        else:
            return None
        return Doubt(reason, self._span.since, self._span.until, self._book.total)

    def views(self) -> Iterator[Seen]:
        """Every page from where the walk begins to the end of the list or of the span."""
        step = self._start()
        self._first = step.lo
        while True:
            moved = yield from self._read(step)
            if moved:
                step = self._go_back()
            elif self._over or self._rank >= self._book.total or self._shows_no_more():
                return
            else:
                step = self._book.open(self._rank)

    def extent(self) -> tuple[int, int, View]:
        """For an estimate: the ranks from about where the span begins to about where it ends, and
        the oldest page."""
        first, last = self._book.survey()
        begin, end = self._rank_at(self._span.since), self._book.total
        if self._span.until is not None and self._book.order != "none":
            end = min(end, self._rank_at(self._span.until) + self._book.size)
        return begin, max(begin, end), last if self._book.order == "desc" else first

    # one step

    def _read(self, step: Step) -> Generator[Seen, None, bool]:
        """Yields the views of a step; returns whether the list moved behind the walk."""
        lights: list[View] = []
        held: View | None = None
        for view in step.views:
            if held is not None:
                yield Seen(held)
            held = view
            lights.append(view.light())
        window = _joined(step, lights)
        old = self._last.ids if self._last else frozenset()
        self._barren = self._barren + 1 if window.ids <= old else 0
        moved = self._returns <= _RETURNS and self._moved(window)
        if not moved:
            self._advance(window, lights)
        if held is not None:
            proven = not moved and self._returns <= _RETURNS and self._rank >= self._reached
            yield Seen(held, self._position() if proven else None, self._progress())
        return moved

    def _advance(self, window: Window, lights: list[View]) -> None:
        size = self._book.size
        self._windows = [w for w in self._windows if w.lo < window.lo and w.hi - w.lo == size]
        if window.hi - window.lo == size and window.tells:
            self._windows = thinned([*self._windows, window], size)
        self._last = window
        self._rank = max(window.hi, self._rank)
        self._total = self._book.total
        starts = [start for view in lights for start in view.times]
        until = self._span.until if self._book.order != "none" else None
        self._over = until is not None and bool(starts) and min(starts) >= until

    def _shows_no_more(self) -> bool:
        """Whether the total lies: neither the pages before nor the youngest show anything new."""
        if self._last is None or not self._barren or self._barren % _BARREN:
            return False
        book = self._book
        young = book.summary(book.oldest(book.pages - 1)).window
        self._lied = young.ids <= self._last.ids
        return self._lied

    def _moved(self, window: Window) -> bool:
        """Whether a page shows that ranks below it are not what they were."""
        if self._tail is not None and self._tail.overlap(window) and not self._tail.agrees(window):
            self._windows = list(self._proven)  # nobody knows where: back to the beginning
            return True
        if self._book.total < max(self._total, self._reached):
            return True
        last = self._last
        if last is None:
            return False
        if not last.agrees(window):
            return True
        # What stood at the border may have been in a hole: then no record comes twice.
        unsure = last.missing or (window.missing and last.overlap(window))
        return bool(unsure and self._book.total != self._total and not self._holds(last))

    # where to begin

    def _start(self) -> Step:
        step = None
        position = self._held_position()
        if position is not None:
            book = self._book
            book.order, book.size, book.total = position.order, position.size, position.total
            book.measured = position.measured
            if book.measured:
                book.measure(max(1, book.pages))
            self._begin, self._reached = position.begin, position.rank
            self._windows = list(position.windows)
            step = self._fitting() if self._windows else book.open(self._begin)
        return self._begun(step or self._anew())

    def _held_position(self) -> Position | None:
        """The cursor, where it can be gone on from; one page is read anew as cheaply."""
        try:
            position = Position.from_json(self._span.position or {})
        except (KeyError, TypeError, ValueError):
            return None
        same = position.asked == self._book.asked
        return position if same and position.total > position.size else None

    def _go_back(self) -> Step:
        """To the last page that fits."""
        self._returns += 1
        self._reached = 0
        self._last = self._tail = None
        return self._begun(self._fitting() or self._anew())

    def _begun(self, step: Step) -> Step:
        """Notes what is proven, and the young end as it is now, when it is far."""
        book = self._book
        self._rank = step.lo
        self._total = book.total
        self._proven = list(self._windows)
        if self._span.until is not None:
            self._tail = None
        elif self._tail is None and book.total - step.hi > book.size:
            youngest = book.summary(book.oldest(book.pages - 1))
            self._tail = youngest.window
        return step

    def _fitting(self) -> Step | None:
        """The page of the youngest window that is where it was; older ones are tried in turn."""
        while self._windows:
            step = self._still(self._windows[-1])
            if step is not None:
                return step
            self._windows.pop()
        return None

    def _holds(self, held: Window) -> bool:
        return self._still(held) is not None

    def _still(self, held: Window) -> Step | None:
        """The page that covers `held`, if it (and its neighbour, where the pages do not begin at
        the same ranks any more) shows the same records."""
        step = self._book.open((held.lo + held.hi) // 2)
        view = step.view or self._book.summary(step.number)

        def known(fresh: set[str]) -> bool:
            ids = [i for i in view.entries if short(i) in fresh]
            return bool(self._span.memory.known(ids))

        if not fits(held, view.window, known):
            return None
        for rank in (held.lo, held.hi - 1):
            if not step.lo <= rank < step.hi:
                other = self._book.summary(self._book.number_of(rank))
                if not held.agrees(other.window):
                    return None
        return step

    def _anew(self) -> Step:
        """From the first record of the span."""
        book = self._book
        first, last = book.survey()
        self._windows = []
        self._reached = 0
        self._begin = self._rank_at(self._span.since)
        self._tail = (first if book.order == "desc" else last).window
        number = book.number_of(self._begin)
        for view in (first, last):
            if view.number == number and view.asked_at is not None:
                book.shelf = {number: view}
        return book.open(self._begin)

    def _rank_at(self, since: datetime | None) -> int:
        """The rank of the oldest page that holds a start at or after `since`, by bisection;
        0 where no time tells."""
        book = self._book
        if since is None or book.pages < 2 or book.order == "none":
            return 0
        low, high = 0, book.pages - 1
        while low < high:
            middle = (low + high) // 2
            place, newest = self._newest(middle, high)
            if newest is None or newest >= since:
                high = middle
            else:
                low = place + 1
        lo, _ = book.ranks(book.oldest(low), book.size)
        return max(0, lo - book.size) if book.order == "desc" else lo

    def _newest(self, place: int, end: int) -> tuple[int, datetime | None]:
        """The youngest start on a page; of an empty page, that of the next which shows any.

        Records without a start come first in the list, and count as older than any.
        """
        while place < end:
            view = self._book.summary(self._book.oldest(place))
            if view.entries:
                return place, max(view.times, default=_OLDEST)
            place += 1
        return place, None

    # what is told

    def _position(self) -> Position:
        book = self._book
        return Position(
            book.order,
            book.asked,
            book.size,
            book.total,
            self._begin,
            self._rank,
            book.measured,
            tuple(self._windows),
        )

    def _progress(self) -> float | None:
        if self._span.until is not None or self._book.total <= self._first:
            return None
        return min(1.0, (self._rank - self._first) / (self._book.total - self._first))


_OLDEST = datetime.min.replace(tzinfo=UTC)


def _joined(step: Step, views: list[View]) -> Window:
    ids = frozenset(short(i) for view in views for i in view.entries)
    return Window(step.lo, step.hi, max(0, step.hi - step.lo - len(ids)), ids)
