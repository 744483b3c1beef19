"""Walks the pages of one window while its list moves, and says whether that proved itself.

The distinct items must be as many as the list counts. That alone proves nothing where items were
deleted meanwhile (each one read and deleted hides one that slipped past), so a page that counts
fewer than the one before makes the walk go back as many rows as are missing. A total is not
believed either: behind a full last page one more is asked for. A page within the total that is
empty or repeats another is asked for twice. A walk that ends early, in what is too old, must have
met as many items as the pages it passed have places: an answer that lied about what `offset`
counts would else hide what lies between.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator
from datetime import datetime

from msgspec import Struct

from etl.sources.dataarts.listing import Chunk, Lister, Window
from etl.sources.dataarts.met import Met

WALKS = 3
"""A total that lies is worth two more walks (DESIGN 6, Lying lists)."""
_BARREN_WITHIN, _BARREN_UNTOLD = 10, 3
"""Pages without anything new that end a walk: within the total, and where there is none."""
_UNFILLED = 3
"""Short pages in a row of which no rest was to be had, before no more is asked for."""
_BACKS = 1000
"""So often a walk goes back; a list that shrinks more often is not proven."""


class _Ground(Struct):
    """What one walk has found: totals, and the pages in a row that brought nothing."""

    first: int | None = None
    lowest: int | None = None
    last: int | None = None
    most: int = 0
    barren: int = 0
    unfilled: int = 0
    backs: int = 0
    old: int = 0
    """Pages in a row that are too old."""
    mixed: bool = False
    """Whether a newer page came behind one of those, or behind an older one."""
    newest: datetime | None = None
    """On the furthest page of a walk that began amid the list."""
    reached: int = -1
    early: int | None = None
    """Places that were passed by a walk that ended in what is too old, or that did not begin at
    the end of the list; None: neither."""
    amid: bool = False
    """Whether the walk began at a page without anything too new: behind what was asked for?"""

    def note(self, count: int | None) -> None:
        if count is None:
            return
        self.first = count if self.first is None else self.first
        self.lowest = count if self.lowest is None else min(self.lowest, count)
        self.most += count if self.last is None else max(0, count - self.last)
        self.last = count


class Walk:
    """A walk over `window`, repeated where it is not proven; iterated once, closed at its end.

    Each chunk holds what was not handed out before. `grows`: the list may grow at its head while
    it is read, and what comes there is left to the next pass. `backward` reads from the last page
    to the first: the safe way through a list that is ordered oldest first. `start`: the page to
    begin with, which must reach into what is too new; else the next walk begins at the end, as
    without it. `since`: of an ordered list
    a page of older items ends the walk.
    """

    def __init__(  # noqa: PLR0913 - what to walk, and the three ways to do it
        self,
        lister: Lister,
        window: Window,
        first: Chunk,
        *,
        grows: bool,
        backward: bool = False,
        start: int | None = None,
        since: datetime | None = None,
    ) -> None:
        self._lister, self._window, self._first = lister, window, first
        self._grows, self._backward, self._start = grows, backward, start
        self._since = since
        self._ground = _Ground()
        self._met = Met()

    def __enter__(self) -> Walk:
        return self

    def __exit__(self, *_: object) -> None:
        self._met.__exit__()

    @property
    def distinct(self) -> int:
        """Distinct items of the last walk."""
        return self._met.distinct

    @property
    def total(self) -> int | None:
        """What the list counted last."""
        return self._ground.last

    @property
    def progress(self) -> float | None:
        """Share of the total that was met, 0 to 1."""
        return min(1.0, self.distinct / self.total) if self.total else None

    def doubt(self) -> str | None:
        """Why the last walk, read to its end, is not proven; None when it is."""
        ground, distinct = self._ground, self.distinct
        if ground.backs > _BACKS:
            return "the list shrinks faster than it can be read"
        if ground.early is not None:
            return self._hidden(ground.early)
        total = ground.lowest if self._grows else ground.last
        if total is None:
            return f"the list does not say how many there are; it shows {distinct}"
        if not total <= distinct <= ground.most:
            return f"the list counts {total} and shows {distinct}"
        return None

    def _hidden(self, passed: int) -> str | None:
        """Why a walk that ended early may have jumped over something; None: it did not."""
        if self._ground.amid:
            return "the page to begin with is not newer than what was asked for"
        if self._ground.mixed:
            return "an older page lies between newer ones"
        if self.distinct < passed:
            return f"the list has {passed} places up to what is too old and shows {self.distinct}"
        if not self._backward and passed > self._lister.step and not self._lister.is_sure:
            return "what offset counts could not be found out"
        return None

    def __iter__(self) -> Iterator[Chunk]:
        first = self._first
        for turn in range(WALKS):
            self._met.begin()
            self._ground = _Ground()
            if turn:
                self._start = None
                self._lister.forget()
                first = self._lister.first(self._window)
            self._lister.learn_offsets(self._window, first, at_end=self._backward)
            yield from self._backwards(first) if self._backward else self._forwards(first)
            if self.doubt() is None or (turn and not self._met.new):
                return

    def _forwards(self, first: Chunk) -> Iterator[Chunk]:
        place, chunk, furthest = 0, first, -1
        if self._start:
            place, chunk = self._start, self._lister.page(self._window, self._start)
            self._begin(chunk)
        stream = self._from(place + 1)
        try:
            while True:
                before = self._ground.last
                chunk = yield from self._take(place, chunk, again=place <= furthest)
                if self._is_in_the_old(place, chunk):
                    self._end_early(place)
                    return
                furthest = max(furthest, place)
                missing = (before or 0) - (self._ground.last or 0)
                if missing > 0:
                    stream.close()
                    place = max(0, place - math.ceil(missing / self._lister.step))
                    stream = self._from(place)
                    self._ground.backs += 1
                else:
                    place += 1
                if self._ended(place, chunk):
                    if self._start:
                        self._end_early(place)
                    return
                chunk = next(stream, None) or self._lister.beyond(self._window, place)
        finally:
            stream.close()

    def _backwards(self, first: Chunk) -> Iterator[Chunk]:
        """From the last page to the first, one after the other in time.

        What is deleted or added meanwhile then shifts nothing past us.
        """
        last = self._lister.last(self._window, first) if self._start is None else self._start
        places = range(last, -1, -1)
        stream = self._lister.pages(self._window, places, "one")
        for place, chunk in zip(places, stream, strict=True):
            if place == self._start:
                self._begin(chunk)
            held = yield from self._take(place, chunk, again=False)
            if self._is_in_the_old(place, held) or (place == 0 and self._start is not None):
                self._end_early(place)
                return

    def _begin(self, chunk: Chunk) -> None:
        """Notes whether the page to begin with reaches into what is too new."""
        until, starts = self._window.until, chunk.starts
        self._ground.amid = until is not None and not (starts and max(starts) >= until)

    def _is_in_the_old(self, place: int, chunk: Chunk) -> bool:
        """Whether the walk has come to what started before `since`: two pages of it in a row, since
        one may be another than was asked for; a first page, with which all begins, alone."""
        starts, ground = chunk.starts, self._ground
        within = place * self._lister.step < (ground.last or 0)  # beyond the end, anything is shown
        old = self._since is not None and within and bool(starts) and max(starts) < self._since
        ground.mixed = ground.mixed or bool(ground.old and starts and not old)
        ground.old = ground.old + 1 if old else 0
        if self._start is not None and starts and (self._backward or place > ground.reached):
            newer = ground.newest is not None and max(starts) > ground.newest
            ground.mixed, ground.newest = ground.mixed or newer, max(starts)
            ground.reached = place
        return ground.old > (0 if place == 0 else 1)

    def _end_early(self, place: int) -> None:
        """Counts the places from where the walk began to the end of the page at `place`."""
        ground, step = self._ground, self._lister.step
        total = ground.lowest or 0
        if self._backward:
            end = total if self._start is None else min(total, (self._start + 1) * step)
            ground.early = end - place * step
        else:  # what came in at the head moved as many down, which came twice
            grown = ground.most - (ground.first or 0)
            ground.early = min(total, (place + 1) * step) - (self._start or 0) * step - grown

    def _from(self, place: int) -> Generator[Chunk, None, None]:
        """The pages from `place` to the end of the total."""
        total = self._ground.last if self._ground.last is not None else self._first.count
        places = range(place, math.ceil((total or 0) / self._lister.step))
        early = self._grows and self._since is not None
        return self._lister.pages(self._window, places, "rising" if early else "many")

    def _take(self, place: int, chunk: Chunk, *, again: bool) -> Generator[Chunk, None, Chunk]:
        """Hands out what is new of a page; what seems to be missing of it is asked for again.
        Answers the page as it came last."""
        step, met = self._lister.step, self._met
        before = met.distinct
        yield self._noted(chunk)
        within = self._ground.last is not None and place * step < self._ground.last
        if within and not again and met.distinct == before:
            chunk = self._lister.page(self._window, place)
            yield self._noted(chunk)
        elif within and not self._lister.by_pages and len(chunk.keys) < step:
            yield from self._fill(place * step + len(chunk.keys), (place + 1) * step)
        # Beyond the total, what is too large to be read is nothing: the walk must end.
        brought = met.distinct > before and (within or bool(chunk.rows))
        self._ground.barren = 0 if again or brought else self._ground.barren + 1
        return chunk

    def _fill(self, row: int, end: int) -> Iterator[Chunk]:
        """The rest of a page that came short, row by row of what the server gives."""
        while row < min(end, self._ground.last or 0) and self._ground.unfilled < _UNFILLED:
            rest, before = self._lister.rows_from(self._window, row), self._met.distinct
            yield self._noted(rest)
            self._ground.unfilled = 0 if self._met.distinct > before else self._ground.unfilled + 1
            row += len(rest.keys) or end

    def _noted(self, chunk: Chunk) -> Chunk:
        self._ground.note(chunk.count)
        return chunk.only(self._met.add(chunk.keys))

    def _ended(self, place: int, chunk: Chunk) -> bool:
        """Whether nothing is to be expected at `place` and after, `chunk` being the one before."""
        ground, total = self._ground, self._ground.last
        if ground.barren >= _BARREN_WITHIN or ground.backs > _BACKS:
            return True
        if total is None:
            return ground.barren >= _BARREN_UNTOLD
        if place * self._lister.step < total:
            return False
        return ground.barren > 0 or (self.distinct >= total and len(chunk.keys) < self._lister.step)
