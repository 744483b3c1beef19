"""Walks over lists that move while they are read: no item is lost, no walk is endless.

A list is asked for by page number. While it is read, items come and go, the page size is clamped,
totals lie, pages are empty or come twice. A `Walk` hands out every item once and says at its end
whether it could prove itself:

    walk = Walk(fetch, key, 100)                     # fetch(page, size) -> Listing
    for step in walk:
        use(step.new)
    if walk.doubt: ...                               # why it could not be proven
    if walk.settled: move_the_cursor()               # proven, or two walks agree

How it proves itself: the distinct items are as many as the list counts. When the total shrinks
between two pages, items may have slipped from the one that comes to the one that was read: it reads
backwards until it meets what it has seen. What came in at the head meanwhile is read at the end.
Where the total lies, the list is walked again, at most twice, until two walks agree.
What has been seen lives in a temporary file.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Generic, TypeVar

from msgspec import Struct

from etl.errors import TooLarge

T = TypeVar("T")

MAX_FETCHES = 1_000_000
"""A list that goes on after so many pages never ends."""
_BARREN = 2
"""So many pages in a row without a new item end a list whose total says nothing more."""
_BARREN_WITHIN = 5
"""So many end one whose total promises more."""
_UNREADABLE = 20
"""So many items in a row that are too large, beyond what the list counts, are no items."""


class Listing(Struct, Generic[T], frozen=True):
    """One page as it came. `total` is what the list counts, None when it does not say."""

    items: Sequence[T]
    total: int | None


class Step(Struct, Generic[T], frozen=True):
    """One page of a walk: `new` items, never seen before, among all of the page in its order."""

    new: Sequence[T]
    items: Sequence[T]
    row: int
    """Where the page begins, from 0; a walk that goes back comes by lower ones."""
    total: int | None
    progress: float | None
    """Share of the total that has been seen, 0 to 1."""
    skipped: bool = False
    """The one item at `row` is too large even alone."""


class Seen:
    """Keys that a walk has met, in a temporary SQLite file: its memory does not grow with them.

    Each key carries the number of the walk that met it last and the step that met it first in it.
    """

    def __init__(self) -> None:
        # "" is a private file that SQLite removes itself; small ones never reach the disk.
        self._file = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._file.execute("PRAGMA journal_mode = OFF")
        self._file.execute(
            "CREATE TABLE seen (id TEXT PRIMARY KEY, walk INTEGER, step INTEGER) WITHOUT ROWID"
        )

    def add(self, keys: Sequence[str], walk: int = 0, step: int = 0) -> tuple[set[str], int]:
        """Notes `keys`; answers those never met before, and how many this walk had not met."""
        asked = set(keys)
        before = self._walks(asked)
        unmet = sorted(key for key in asked if before.get(key) != walk)
        # All of them at once: between two statements another thread takes the interpreter.
        self._file.execute(
            "INSERT INTO seen SELECT value, ?, ? FROM json_each(?) WHERE TRUE"
            " ON CONFLICT (id) DO UPDATE SET walk = excluded.walk, step = excluded.step",
            (walk, step, json.dumps(unmet)),
        )
        return asked - before.keys(), len(unmet)

    def met_before(self, key: str, walk: int, step: int) -> bool:
        """Whether this walk met `key` before that step."""
        found = self._file.execute(
            "SELECT 1 FROM seen WHERE id = ? AND walk = ? AND step < ?", (key, walk, step)
        )
        return found.fetchone() is not None

    def __len__(self) -> int:
        count: int = self._file.execute("SELECT count(*) FROM seen").fetchone()[0]
        return count

    def __enter__(self) -> Seen:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def _walks(self, keys: set[str]) -> dict[str, int]:
        found = self._file.execute(
            "SELECT json_group_object(id, walk) FROM seen"
            " WHERE id IN (SELECT value FROM json_each(?))",
            (json.dumps(list(keys)),),
        )
        walks: dict[str, int] = json.loads(found.fetchone()[0])
        return walks


class _Page(Struct, Generic[T], frozen=True):
    """A page with where it was found; `number` counts from 0, in pages of `size`."""

    number: int
    size: int
    listing: Listing[T]
    keys: Sequence[str]
    step: int
    skipped: bool = False

    @property
    def row(self) -> int:
        return self.number * self.size


class Walk(Generic[T]):
    """One proven walk over a list; iterate it once, then ask what became of it.

    `fetch(page, size)` asks for a page, from 1; `key(item)` names an item (storable text).
    Raises what `fetch` raises, TooLarge excepted: then it asks for half the page, down to one
    item, which it leaves out (`skipped` counts those). Where nothing else comes it is raised too.
    """

    def __init__(
        self,
        fetch: Callable[[int, int], Listing[T]],
        key: Callable[[T], str],
        size: int,
        *,
        walks: int = 3,
        max_fetches: int = MAX_FETCHES,
    ) -> None:
        self._fetch, self._key, self._asked = fetch, key, size
        self._walks, self._fetches_left = walks, max_fetches
        self._size = size
        self._halved = False
        self._largest = 0
        self._step = 0
        self.total: int | None = None
        """What the list counted last."""
        self.distinct = 0
        """Distinct items of the last walk."""
        self.skipped = 0
        """Items of the last walk that are too large even alone."""
        self.doubt: str | None = None
        """Why the walk is not proven; None when it is."""
        self.settled = False
        """Nothing more is to be found: proven, or two walks agree. False until the end."""

    def __iter__(self) -> Iterator[Step[T]]:
        with Seen() as self._seen:
            before = -1
            for number in range(1, self._walks + 1):
                self._walk = number
                held = len(self._seen)
                yield from self._once()
                if self._judge(agrees=self.distinct == before and len(self._seen) == held):
                    return
                before = self.distinct

    def _judge(self, *, agrees: bool) -> bool:
        """Says what the walk that just ended is worth, and whether to stop."""
        proven = self._enough(min(self.total or 0, self._first))
        if self._fell and self._walk < self._walks:
            proven = proven and agrees  # what came may hide what went: walk once more
        self.settled, self.doubt = proven or agrees, None
        if self._fetches_left <= 0:
            self.settled, self.doubt = False, "the list does not end"
        elif not proven:
            said = "no total" if self.total is None else f"a total of {self.total}"
            also = "; two walks agree" if agrees else ""
            self.doubt = f"the list gives {said} and {self._counted()} distinct items{also}"
        elif self.skipped:
            self.doubt = f"{self.skipped} listed items are beyond max_body even alone"
        return self.settled or self._fetches_left <= 0

    def _counted(self) -> int:
        return self.distinct + self.skipped

    def _enough(self, least: int | None) -> bool:
        """Whether at least so many were found, and no more than were ever counted."""
        return self.total is not None and (least or 0) <= self._counted() <= self._most

    # One walk

    def _once(self) -> Iterator[Step[T]]:
        self.total, self._first, self._most = None, 0, 0
        self._grew = self._fell = False
        self.distinct = self.skipped = self._barren = 0
        self._frontier = self._returned = -1
        yield from self._forward()
        if self._grew and self.total is not None and self._counted() < self.total:
            yield from self._head()

    def _forward(self) -> Iterator[Step[T]]:
        number, total = 0, None
        while self._fetches_left > 0:
            page = self._read(number)
            yield self._take(page)
            after, before = page, self.distinct
            if number > 0 and _shrank(total, page.listing.total):
                after = yield from self._back(page)
            if after is page and self.distinct == before and self._ended(page):
                return
            self._frontier = max(self._frontier, page.row)
            number, total = self._next(after), after.listing.total

    def _back(self, gap: _Page[T]) -> Generator[Step[T], None, _Page[T]]:
        """Reads backwards from `gap` to what was seen before it; answers where to go on after.

        That is `gap` itself: its items are known, and going on from there is progress even when
        every answer finds the list shorter. Only if the list grew on the way (what was between
        may have moved behind us) it is the last page read, once for each gap.
        """
        page, grew = gap, False
        while page.row > 0 and self._fetches_left > 0:
            total = page.listing.total
            page = self._read(page.row // self._size - 1)
            yield self._take(page)
            grew = grew or _shrank(page.listing.total, total)
            if page.keys and self._seen.met_before(page.keys[0], self._walk, gap.step):
                break
        if not grew or gap.row <= self._returned:
            return gap
        self._returned = gap.row
        return page

    def _head(self) -> Iterator[Step[T]]:
        """Reads what came in at the head meanwhile, up to a page of known items."""
        number = 0
        while self._fetches_left > 0:
            page, known = self._read(number), self.distinct
            yield self._take(page)
            if self.distinct == known:
                return
            number = self._next(page)

    def _ended(self, page: _Page[T]) -> bool:
        """Whether nothing more is to be expected after this page.

        A total alone is not believed (some count the page, not the list): a further page must
        bring nothing.
        """
        if page.row <= self._frontier or page.skipped:
            return False
        width = page.size if self._halved else self._largest or page.size
        total = page.listing.total
        if self._enough(self.total) and (total is None or (page.number + 1) * width >= total):
            return self._barren > 0
        promised = total is not None and page.number * width < total
        return self._barren >= (_BARREN_WITHIN if promised else _BARREN)

    # One page

    def _read(self, number: int) -> _Page[T]:
        """A page, counted from 0; an empty one where more must be is asked for twice."""
        while True:
            try:
                listing = self._ask(number)
                if not listing.items and self._barren == 0 and self._expects_more(listing.total):
                    listing = self._ask(number)
            except TooLarge:
                if self._size == 1:
                    self._look_beyond(number)
                    return self._page(number, Listing((), self.total), skipped=True)
                number = self._shrink(number)
            else:
                if not self._too_wide(listing):
                    return self._page(number, listing)
                row = number * self._size
                self._size = self._asked = self._largest
                number = row // self._size

    def _look_beyond(self, number: int) -> None:
        """Raises TooLarge where the list counts nothing more and nothing more can be read."""
        if self.total is not None and number < self.total:
            return
        for further in range(number + 1, number + _UNREADABLE):
            with contextlib.suppress(TooLarge):
                self._ask(further)
                return
        self._ask(number)

    def _too_wide(self, listing: Listing[T]) -> bool:
        """Whether a page that was made larger again may have been clamped: then it is elsewhere."""
        return self._halved and 0 < self._largest < self._size > len(listing.items)

    def _ask(self, number: int) -> Listing[T]:
        self._fetches_left -= 1
        listing = self._fetch(number + 1, self._size)
        if number > 0 and listing.total == len(listing.items):
            return Listing(listing.items, None)  # it counts the page: before it there were more
        return listing

    def _expects_more(self, total: int | None) -> bool:
        return total is None or self._counted() < total

    def _page(self, number: int, listing: Listing[T], *, skipped: bool = False) -> _Page[T]:
        self._step += 1
        keys = [self._key(item) for item in listing.items]
        return _Page(number, self._size, listing, keys, self._step, skipped)

    def _take(self, page: _Page[T]) -> Step[T]:
        """Notes the page's items and total; hands out what is new."""
        never, unmet = self._seen.add(page.keys, self._walk, page.step)
        self.distinct += unmet
        if page.row > self._frontier:
            self.skipped += page.skipped
            self._barren = 0 if unmet or page.skipped else self._barren + 1
        self._largest = max(self._largest, len(page.keys))
        self._note(page.listing.total)
        new = []
        for item, key in zip(page.listing.items, page.keys, strict=True):
            if key in never:
                never.discard(key)
                new.append(item)
        share = min(1.0, self.distinct / self.total) if self.total else None
        listing = page.listing
        return Step(new, listing.items, page.row, listing.total, share, page.skipped)

    def _note(self, total: int | None) -> None:
        if total is None:
            return
        if self.total is None:
            self._first = self._most = total
        elif total > self.total:
            self._most += total - self.total
            self._grew = True
        self._fell = self._fell or _shrank(self.total, total)
        self.total = total

    # Where pages are

    def _span(self) -> int:
        """Rows that a page of the size in use holds: the server may clamp what is asked for."""
        return min(self._size, self._largest) or self._size

    def _next(self, page: _Page[T]) -> int:
        """The page after `page`; after a full one back to larger pages, where one begins."""
        row = page.row + page.size
        larger = min(self._asked, 2 * self._size)
        if self._halved and len(page.keys) == page.size and row % larger == 0:
            self._size = larger
        return row // self._size

    def _shrink(self, number: int) -> int:
        """Halves the page size; answers the page that holds the same row.

        The server may list less at once than is asked for; then pages begin earlier than it seems.
        """
        if not self._halved:
            span = min(self._size, self._largest) or self._size
            self._frontier = self._frontier * span // self._size
            self._size = self._asked = span
            self._halved = True
        row = number * self._size
        self._size = max(self._size // 2, 1)
        return row // self._size


def _shrank(before: int | None, after: int | None) -> bool:
    return before is not None and after is not None and after < before
