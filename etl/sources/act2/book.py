"""The list of records as pages that can be asked for by rank.

It hides what servers differ in: oldest or newest first, a page size that is clamped, a page too
large to be read at once, a total that is missing or lies.
"""

from __future__ import annotations

import contextlib
import operator
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from datetime import datetime, tzinfo

from msgspec import Struct, field
from msgspec.structs import replace

from etl.errors import Malformed, Refused, TooLarge, Transient
from etl.http import Api
from etl.source import Reject
from etl.sources.act2 import shapes
from etl.sources.act2.position import Order, Window, short
from etl.sources.act2.shapes import Entry

PAGE = "/api/v1/job/record/page"
_TRIES = 5


class View(Struct):
    """One page as it was listed: ranks [lo, hi), what stood there, and what did not."""

    number: int
    size: int
    lo: int
    hi: int
    missing: int
    entries: dict[str, Entry]
    rejects: list[Reject]
    asked_at: datetime | None

    @property
    def times(self) -> list[datetime]:
        """The starts that the page tells, sorted."""
        return sorted(e.started for e in self.entries.values() if e.started is not None)

    @property
    def told(self) -> list[datetime]:
        """The starts of listed records, as they stand: a page of hosts' rows is mixed."""
        return [e.started for e in self.entries.values() if e.item and e.started]

    @property
    def told_whole(self) -> bool:
        """Whether it lists records, not rows of their hosts."""
        return any(entry.item for entry in self.entries.values())

    @property
    def window(self) -> Window:
        """What is kept of the page to know it again."""
        ids = frozenset(map(short, self.entries))
        return Window(self.lo, self.hi, max(0, self.hi - self.lo - len(ids)), ids)

    def light(self) -> View:
        """The page without its output: ids and times."""
        bare = {e.id: Entry(e.id, None, [], e.started, e.ended) for e in self.entries.values()}
        return replace(self, entries=bare, rejects=[])


class Step(Struct):
    """The page that covers a rank: in one view, or in several when it is too large."""

    number: int
    lo: int
    hi: int
    views: Iterable[View]
    view: View | None = None


class Book(Struct):
    """`total` and `size` follow what the server says; `measured`: its total is not believed."""

    api: Api
    zone: tzinfo
    asked: int
    order: Order = "asc"
    size: int = 0
    total: int = 0
    measured: bool = False
    counts: bool = True
    """Whether the last answer told a total."""
    shelf: dict[int, View] = field(default_factory=dict)
    """Pages read in advance, to be used once."""

    def __post_init__(self) -> None:
        self.size = self.size or self.asked

    @property
    def pages(self) -> int:
        """How many pages there are."""
        return -(-self.total // self.size)

    def number_of(self, rank: int) -> int:
        """The page that covers `rank`."""
        place = self.total - 1 - rank if self.order == "desc" else rank
        return max(0, place) // self.size + 1

    def oldest(self, place: int) -> int:
        """The number of the page in `place` (from 0), counted from the oldest."""
        return self.pages - place if self.order == "desc" else place + 1

    def ranks(self, number: int, size: int) -> tuple[int, int]:
        """The ranks that a page covers, by the total as it is known."""
        if self.order != "desc":
            lo = min((number - 1) * size, self.total)
            return lo, min(lo + size, self.total)
        hi = max(0, self.total - (number - 1) * size)
        return max(0, hi - size), hi

    def open(self, rank: int) -> Step:
        """The page that covers `rank`; an empty one when the list ends before it.

        Raises Transient when the list changes faster than it can be read.
        """
        number = self.number_of(rank)
        for _ in range(_TRIES):
            try:
                view = self.shelf.pop(number, None) or self.ask(number)
            except TooLarge:
                lo, hi = self.ranks(number, self.size)
                return Step(number, lo, hi, self._smaller(number, self.size))
            if view.lo <= rank < view.hi or rank >= self.total:
                return Step(number, view.lo, view.hi, (view,), view)
            number = self.number_of(rank)
        raise Transient(f"page {number} of {self.size} records cannot be had: another page comes")

    def summary(self, number: int) -> View:
        """A page for its ids and times, whatever its size."""
        try:
            return self.ask(number)
        except TooLarge:
            whole = View(number, self.size, 0, 0, 0, {}, [], None)
            for view in self._smaller(number, self.size):
                whole.missing += view.missing
                whole.entries.update(view.light().entries)
            whole.lo, whole.hi = self.ranks(number, self.size)
            return whole

    def ask(self, number: int, size: int | None = None, *, attempts: int = 5) -> View:
        """One page. Raises TooLarge, and whatever else `Api.get` does."""
        asked = size or self.size
        listing, came, asked_at = self._listing(number, asked, attempts)
        if listing.size not in (None, asked) or came != asked:
            again = self._listing(number, asked, attempts)  # one answer may lie
            listing, came, asked_at = again if again[1] >= came else (listing, came, asked_at)
        if asked == self.size:
            self.size = came
        self.counts = listing.total is not None
        if listing.total is not None and not self.measured:
            self.total = listing.total
        number = listing.number or number
        lo, hi = self.ranks(number, came)
        missing = max(0, hi - lo - listing.placed)
        return View(number, came, lo, hi, missing, listing.entries, listing.rejects, asked_at)

    def _listing(
        self, number: int, asked: int, attempts: int
    ) -> tuple[shapes.Listing, int, datetime]:
        """A page, the size of page that came, and when it was asked for."""
        answer = self.api.get(PAGE, {"pageNo": number, "pageSize": asked}, attempts=attempts)
        listing = shapes.listing(answer.content, self.zone)
        return listing, _size(listing, number, asked), answer.asked_at

    def _smaller(self, number: int, size: int) -> Iterator[View]:
        """A page that is too large, in halves, down to one record; that one is a reject."""
        if size == 1:
            yield self._rejected(number)
            return
        half = size // 2 if size % 2 == 0 else 1
        parts = size // half
        for part in range((number - 1) * parts + 1, number * parts + 1):
            lo, hi = self.ranks(part, half)
            if lo == hi and self.total:
                continue
            try:
                yield self.ask(part, half)
            except TooLarge:
                yield from self._smaller(part, half)

    def _rejected(self, number: int) -> View:
        """The place of one record that is too large to be read."""
        if not self.total:
            with contextlib.suppress(TooLarge):
                self.ask(number + 1, 1)  # nobody has told yet how many there are
        lo, hi = self.ranks(number, 1)
        reason = f"page {number} of one record is larger than max_body"
        reject = Reject(None, reason, {"pageNo": number, "pageSize": 1})
        return View(number, 1, lo, hi, 0, {}, [reject], None)

    # what nobody says, or nobody says truly

    def survey(self) -> tuple[View, View]:
        """Finds page size, total and order; the first and the last page."""
        self.order = "asc"
        first = self.summary(1)
        if self.measured or len(first.entries) > first.hi - first.lo:
            self.measure(1)
        beyond = self._beyond()
        last = self.summary(self.pages) if self.pages > 1 else first
        if not self.measured and self._lies(first, last, beyond):
            self.measure(self.pages)
            last = self.summary(self.pages)
        self.order = _order(first, self._told(last))
        for view in (first, last):
            view.lo, view.hi = self.ranks(view.number, view.size)
        return first, last

    def _beyond(self) -> tuple[int, Future[shapes.Listing]] | None:
        """The number of the page behind the last, and what comes of it, asked for meanwhile; None
        where the last page shows that it is the last."""
        if self.measured or not self.total or self.total % self.size:
            return None
        number, asked = self.pages + 1, self.size
        return number, self.api.map(lambda n: self._listing(n, asked, 1)[0], [number])[0]

    def _lies(
        self, first: View, last: View, beyond: tuple[int, Future[shapes.Listing]] | None
    ) -> bool:
        """Whether there are more records than the total says; tried where it cannot be seen."""
        if len(last.entries) > last.hi - last.lo:
            return True
        if first.told_whole and last.missing:
            return True  # only a page of hosts' rows may hide a record
        if not self.total or self.total % self.size:
            return self._repeats(first, last)
        if beyond is None or beyond[0] != self.pages + 1:
            beyond = self._beyond()
        try:
            shown = beyond[1].result().entries if beyond else {}
        except (Refused, Transient, Malformed):
            return False
        new = shown.keys() - last.entries.keys()
        return bool(new) or (bool(shown) and self._repeats(first, last))

    def _repeats(self, first: View, last: View) -> bool:
        """Whether the last page is another one once more: the list ends before it."""
        if not first.told_whole or last.number < 2 or not last.entries:
            return False
        before = self.summary(last.number - 1) if last.number > 2 else first
        return last.entries.keys() <= before.entries.keys()

    def _shown(self, number: int) -> frozenset[str]:
        """The ids on a page; none where it is refused, but for the first."""
        try:
            return frozenset(self.summary(number).entries)
        except Refused:
            if number == 1:
                raise
            return frozenset()

    def _told(self, last: View) -> View:
        """The last page, or the nearest before it that tells a time: its records may be hidden."""
        for number in range(last.number - 1, max(1, last.number - _TRIES), -1):
            if last.times:
                break
            last = self.summary(number)
        return last

    def measure(self, near: int) -> None:
        """Counts by looking, from a page that may be the last: pages beyond the end are empty, or
        repeat it. From now on the total that the server tells is not believed."""
        self.measured = True
        self.total = max(self.total, 1)
        ids: dict[int, frozenset[str]] = {}

        def seen(number: int) -> frozenset[str]:
            if number not in ids:
                ids[number] = self._shown(number)
            return ids[number]

        low, step = near, 1
        while seen(low + step) not in (frozenset(), seen(low)):
            low, step = low + step, step * 2
        end = seen(low + step)
        left, right = (1 if seen(low) == end else low), low + step
        while left < right:
            middle = (left + right) // 2
            left, right = (left, middle) if seen(middle) == end else (middle + 1, right)
        last = left if end else left - 1
        self.total = max(0, last - 1) * self.size + (len(seen(last)) if last else 0)


def _size(listing: shapes.Listing, number: int, asked: int) -> int:
    """The page size that came: as it was said, or as it shows in a page of records.

    What is said of the last page may be how many there are on it.
    """
    last = listing.of_records and (number - 1) * asked + listing.placed == listing.total
    if listing.size and not (last and listing.size == listing.placed):
        return listing.size
    if listing.placed > asked:
        return listing.placed
    cut = listing.of_records and number == 1 and 0 < listing.placed < asked
    if cut and (listing.total or 0) > listing.placed:
        return listing.placed
    return asked


def _order(first: View, last: View) -> Order:
    """By the starts on the first and the last page; pages of rows that tell none are oldest first,
    as the live server lists."""
    if first.told_whole or last.told_whole:
        return _order_of(first.told if first is last else [*first.told, *last.told])
    young, old = first.times, last.times
    if not young or not old:
        return "asc"
    return "desc" if young[len(young) // 2] > old[len(old) // 2] else "asc"


def _order_of(starts: list[datetime]) -> Order:
    if not starts:
        return "none"
    rises, falls = (any(map(before, starts, starts[1:])) for before in (operator.lt, operator.gt))
    return "none" if rises and falls else "desc" if falls else "asc"
