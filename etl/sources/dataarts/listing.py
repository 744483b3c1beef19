"""Asks for the list of a workspace, in the form that this server understands.

Nobody documents whether `offset` counts rows or pages, whether the ends of a window belong to it,
or what a too large `limit` does. Windows are asked for a millisecond wider and filtered here; a
refused or clamped `limit` becomes a smaller page; the meaning of `offset` is found out from two
pages that lie beyond the end if it counts pages. Offsets are whole pages, always.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta
from itertools import combinations, count
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from etl.errors import BadRequest, Gone, TooLarge
from etl.http import Api
from etl.source import Reject
from etl.sources.dataarts.answers import Listing
from etl.sources.dataarts.items import Entry, entry, key, ms
from etl.sources.dataarts.settings import DataArtsSettings
from etl.sources.dataarts.tables import QualityInstance

_MS = timedelta(milliseconds=1)
_PROBES = 3
"""So often it is tried to find out what `offset` counts."""
_SMALLER = (50, 20, 10)
"""What is tried when `limit` is refused; 10 is the default of the sibling calls."""


Sides = Literal["told", "both", "none"]
"""Which sides of a window are asked for: those that it has, both (the server refuses one alone),
or none (it refuses any, and lists everything)."""
_SIDES: tuple[Sides, ...] = ("told", "both", "none")
_ALL_TIME = {"start_time": 1, "end_time": 9_999_999_999_999}

Pace = Literal["many", "rising", "one"]
"""Pages in flight. rising: at most a quarter of those taken, so that who stops early has asked for
little in vain; one: each page is asked for when the one before has come."""


class Window(Struct, frozen=True):
    """Starts in [since, until); None leaves a side open."""

    since: datetime | None
    until: datetime | None

    def params(self) -> dict[str, int]:
        """A millisecond wider than meant, so that it holds whether or not the ends belong."""
        params = {}
        if self.since is not None:
            params["start_time"] = max(0, ms(self.since) - 1)
        if self.until is not None:
            params["end_time"] = max(0, ms(self.until) + 1)
        return params

    def holds(self, entry: Entry) -> bool:
        """Whether it belongs; what has no start that can be read belongs to every window."""
        at = None if isinstance(entry, Reject) else entry.started_at
        if at is None:
            return True
        return (self.since is None or at >= self.since) and (self.until is None or at < self.until)

    def excludes(self, row: QualityInstance) -> bool:
        """Whether a server that honours the window would never have listed the row."""
        at = row.started_at
        if at is None:
            return False
        below = self.since is not None and self.since - at > 2 * _MS
        return below or (self.until is not None and at - self.until > 2 * _MS)


class Chunk(Struct, frozen=True):
    """One page of the list. `count`: all that match, by the server; `keys` name the entries."""

    asked_at: datetime
    count: int | None
    entries: Sequence[Entry]
    keys: Sequence[str]

    @property
    def rows(self) -> list[QualityInstance]:
        """The rows in the list's order."""
        return [entry for entry in self.entries if isinstance(entry, QualityInstance)]

    @property
    def starts(self) -> list[datetime]:
        """Their starts, as far as they can be read."""
        return [row.started_at for row in self.rows if row.started_at is not None]

    def inside(self, window: Window) -> Chunk:
        """The chunk without what lies outside of `window`."""
        if window == _EVERYTHING or all(window.holds(entry) for entry in self.entries):
            return self
        pairs = zip(self.keys, self.entries, strict=True)
        return self.only({key for key, entry in pairs if window.holds(entry)})

    def only(self, keys: set[str]) -> Chunk:
        """The chunk with the entries of `keys` alone, each once."""
        if len(keys) == len(self.keys):
            return self
        named = dict(zip(self.keys, self.entries, strict=True))
        kept = [key for key in named if key in keys]
        return replace(self, entries=[named[key] for key in kept], keys=kept)


_EVERYTHING = Window(None, None)
NOTHING = Chunk(datetime.min.replace(tzinfo=UTC), None, (), ())


class Lister:
    """Asks for pages of one workspace; what it learns of the server serves all its questions."""

    def __init__(self, api: Api, settings: DataArtsSettings) -> None:
        self.api = api
        self.step = settings.limit
        """Instances of a full page."""
        self.by_pages: bool | None = None
        """Whether `offset` counts pages; None: not known yet."""
        self._base = 0
        """What the first page is called, where pages are counted."""
        self.sides: Sides = "told"
        self._path = f"/v2/{settings.project_id}/quality/instances"
        self._ahead = 2 * settings.concurrency
        self._kept: dict[tuple[Window, int], Chunk] = {}

    @property
    def is_sure(self) -> bool:
        """Whether it is known what `offset` counts, or makes no difference."""
        return self.by_pages is not None or self.step == 1

    def first(self, window: Window) -> Chunk:
        """The first page; a refused window, a refused or clamped `limit` is noticed here.

        Raises TooLarge when every instance on it is too large: it is no list.
        """
        chunk = self._accepted(window)
        if chunk.asked_at == NOTHING.asked_at:
            raise TooLarge(f"{self._path}: whatever is asked for is larger than max_body")
        size = len(chunk.keys)
        if 0 < size < self.step and (chunk.count or 0) > size:
            self.step = size
        return chunk

    def _accepted(self, window: Window) -> Chunk:
        """The first page in the first form that is not refused."""
        refused: BadRequest | None = None
        steps = (self.step, *(size for size in _SMALLER if size < self.step))
        forms = [self.sides, *_SIDES[_SIDES.index(self.sides) + 1 :]]
        for self.step in steps:
            for self.sides in forms if window.params() else forms[:1]:
                try:
                    return self.page(window, 0)
                except BadRequest as error:
                    refused = refused or error
        assert refused is not None  # noqa: S101 - there is at least one form
        raise refused

    def page(self, window: Window, place: int) -> Chunk:
        """The page at `place`, from 0. One that is too large is asked for in parts."""
        kept = self._kept.pop((window, place), None)
        if kept is not None:
            return kept
        offset = place if self.by_pages else place * self.step
        return self._ask_for(window, offset, self.step, by_pages=bool(self.by_pages))

    def pages(
        self, window: Window, places: Iterable[int], pace: Pace
    ) -> Generator[Chunk, None, None]:
        """The pages at `places` in that order."""
        waiting: deque[Future[Chunk]] = deque()
        left = iter(places)
        try:
            for taken in count():
                most = {"many": self._ahead, "rising": min(self._ahead, taken // 4), "one": 1}[pace]
                while len(waiting) < max(1, most) and (place := next(left, None)) is not None:
                    waiting += self.api.map(lambda at: self.page(window, at), [place])
                if not waiting:
                    return
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()

    def honours(self) -> bool:
        """Asks for a millisecond of 1970: a server that lists anything there ignores windows."""
        if self.sides == "none":
            return False
        try:
            chunk = self._ask({"start_time": 1, "end_time": 2}, 0, self.step)
        except BadRequest:
            return True
        return not chunk.count and not chunk.keys

    def beyond(self, window: Window, place: int) -> Chunk:
        """A page that should not exist; an error says that it does not."""
        try:
            return self.page(window, place)
        except (BadRequest, Gone):
            return NOTHING

    def last(self, window: Window, first: Chunk) -> int:
        """The last page; a total that is too low is noticed by a page behind a full one."""
        place = max(0, (first.count or 0) - 1) // self.step
        page = self.beyond(window, place)
        while len(page.keys) >= self.step:
            after = self.beyond(window, place + 1)
            if not after.keys or after.keys == page.keys:
                break
            place, page = place + 1, after
            self._kept.clear()  # asked for before this one
        self._kept[window, place] = page
        return place

    def rows_from(self, window: Window, row: int) -> Chunk:
        """A page that begins at `row`, in case offsets count rows; an error is an empty page."""
        try:
            return self._ask_for(window, row, self.step, by_pages=False)
        except (BadRequest, Gone):
            return NOTHING

    def learn_offsets(self, window: Window, first: Chunk, *, at_end: bool = False) -> None:
        """Finds out what `offset` counts, if the list is long enough to tell.

        `at_end` tries with the last pages, which are then at hand, otherwise with early ones.
        """
        for _ in range(_PROBES):
            total = first.count or 0
            if self.by_pages is not None or self.step == 1 or len(first.keys) < self.step:
                return
            if total <= self.step:
                self._compare_second(window, first)
                return
            places = self._telling(total, at_end)
            probes = [self.rows_from(window, at * self.step) for at in places]
            if not _all_differ([first, *probes]):
                self._compare_second(window, first)
                return
            whole = [min(self.step, total - at * self.step) for at in places]
            if all(len(p.keys) >= full for p, full in zip(probes, whole, strict=True)):
                if len(probes) > 1:
                    self.by_pages = False
                    self._kept = {(window, at): p for at, p in zip(places, probes, strict=True)}
                elif total > 2 * self.step:  # a last page alone is the same, whatever they count
                    self._compare_second(window, first)
                return
            first = self.first(window)  # what comes short tells nothing, unless it stays so

    def _telling(self, total: int, at_end: bool) -> list[int]:
        """Pages that lie beyond the end if offsets count pages."""
        place = math.ceil(total / self.step**2)
        if at_end:
            place = max(place, math.ceil(total / self.step) - 2)
        return [at for at in (place + 1, place) if at * self.step < total]

    def forget(self) -> None:
        """What was learnt has not proven itself: it is found out anew."""
        self.by_pages, self._base = None, 0
        self._kept.clear()

    def _compare_second(self, window: Window, first: Chunk) -> None:
        """Offset 1 is the second row, with all of the first page but one, or the second page; or
        the first, and 2 the second."""
        second = self.rows_from(window, 1)
        if second.count not in (None, first.count):  # the list has moved on since
            first = self.page(window, 0)
        if not set(second.keys) <= set(first.keys):
            self.by_pages = not _alike(first, second)
        elif (first.count or 0) > len(first.keys) and second.keys == first.keys:
            third = self.rows_from(window, 2)
            if _all_differ([first, third]) and self.rows_from(window, 1).keys == first.keys:
                self.by_pages, self._base = True, 1

    def _ask_for(self, window: Window, offset: int, size: int, *, by_pages: bool) -> Chunk:
        """`size` instances; when they are too large, in parts, down to one, which is rejected."""
        try:
            base = self._base if by_pages else 0
            return self._ask(self._params(window), base + offset, size)
        except TooLarge as error:
            if size == 1:
                reject = Reject(None, str(error), {"offset": offset, **window.params()})
                return replace(NOTHING, entries=(reject,), keys=(key(reject),))
        parts = next(factor for factor in range(2, size + 1) if size % factor == 0)
        part = size // parts
        offsets = (offset * parts + n if by_pages else offset + n * part for n in range(parts))
        return _joined([self._ask_for(window, at, part, by_pages=by_pages) for at in offsets])

    def _params(self, window: Window) -> dict[str, int]:
        params = window.params()
        if self.sides == "told" or not params:
            return params
        return {**_ALL_TIME, **params} if self.sides == "both" else {}

    def _ask(self, params: dict[str, int], offset: int, size: int) -> Chunk:
        answer = self.api.get(self._path, {**params, "limit": size, "offset": offset})
        listing: Listing = answer.content
        made = [entry(item) for item in listing.resources]
        return Chunk(answer.asked_at, listing.count, made, [key(one) for one in made])


def _alike(one: Chunk, other: Chunk) -> bool:
    """Whether they hold at least half the same: a list that moves shifts a few items."""
    return 2 * len(set(one.keys).intersection(other.keys)) >= min(len(one.keys), len(other.keys))


def _all_differ(chunks: Sequence[Chunk]) -> bool:
    """Whether none is empty, and none like another."""
    pairs = combinations(chunks, 2)
    return all(chunk.keys for chunk in chunks) and not any(_alike(*pair) for pair in pairs)


def _joined(parts: Sequence[Chunk]) -> Chunk:
    """The parts of one page as one."""
    return Chunk(
        min((part.asked_at for part in parts if part.rows), default=parts[0].asked_at),
        next((part.count for part in parts if part.count is not None), None),
        [one for part in parts for one in part.entries],
        [name for part in parts for name in part.keys],
    )
