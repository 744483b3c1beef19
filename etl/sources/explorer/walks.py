"""Walks the list of jobs: oldest first where the server can, otherwise newest first.

Oldest first, the list is asked for anew from the creation time of the last job seen, so that
nothing that comes or goes can shift it; within one creation time it goes on by page number.
A server that ignores the interval or the order is known by what it lists, and walked newest first.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from datetime import datetime
from functools import partial
from itertools import pairwise

from msgspec.structs import replace

from etl.errors import BadRequest
from etl.paging import Listing, Seen, Step, Walk
from etl.source import Doubt, Reject
from etl.sources.explorer.items import Entry
from etl.sources.explorer.listing import Batch, Interval, JobList, created
from etl.values import Json

_TELLING = 3
"""So many pages of the same width tell how many jobs a server lists at once."""


def walk(jobs: JobList, interval: Interval) -> Iterator[Batch]:
    """Every job of the interval once. Only the last batches can say what the walk was worth."""
    with Seen() as seen:
        found = _Found(interval, seen)
        wanted = interval.filter()
        try:
            yield from _OldestFirst(jobs, found).batches()
        except _Disobedient:
            pass
        except BadRequest:
            wanted = {}  # it refuses what it does not know, rather than ignore it
        else:
            return
        found.begin_again()
        yield from _newest_first(jobs, found, wanted)


class _Disobedient(Exception):
    """The server does not list what the filter asks for, or not in its order."""


class _Found:
    """What has been handed out of the interval."""

    def __init__(self, interval: Interval, seen: Seen) -> None:
        self.interval = interval
        self.newest: datetime | None = None
        """The latest creation time among them."""
        self._seen = seen
        self._skipped = self._told = 0

    def begin_again(self) -> None:
        """The list is walked anew, from its beginning: what was skipped comes once more."""
        self._told, self._skipped = max(self._told, self._skipped), 0

    def take(self, step: Step[Entry], complete: bool, progress: float | None) -> Batch:
        """The jobs of the page that are in the interval and new, in the order of the list."""
        never, _ = self._seen.add([entry.key for entry in step.new])
        new = [entry for entry in step.new if entry.key in never]
        jobs = [entry for entry in new if self.interval.holds(created(entry))]
        self.newest = max([*_times(jobs), *filter(None, [self.newest])], default=None)
        rejects = [entry.reject for entry in jobs if entry.reject]
        if step.skipped:
            self._skipped += 1
            if self._skipped > self._told:
                rejects.append(Reject(None, "a listed job is beyond max_body", self._place(step)))
        complete_to = self.newest if complete else None
        return Batch(jobs, tuple(rejects), complete_to, progress=progress)

    def end(self, walked: Walk[Entry] | None) -> Batch:
        """What the walk is worth that has ended; None: the order alone proves it."""
        complete_to = self.newest if walked is None or walked.settled else None
        reason = walked.doubt if walked else None
        if reason is None and self._skipped:
            reason = f"{self._skipped} listed jobs are beyond max_body"
        doubt = None
        if reason is not None:
            total = walked.total if walked else None
            since, until = self.interval.since, self.interval.until
            doubt = Doubt(reason, since, until, total, walked.distinct if walked else None)
        return Batch(complete_to=complete_to, doubt=doubt, progress=1.0)

    def __len__(self) -> int:
        """Everything that was listed, of the interval or beside it."""
        return len(self._seen) + self._skipped

    def _place(self, step: Step[Entry]) -> Json:
        """Where in the list, as far as that can be said of a list that moves."""
        return {"row": step.row, "after": self.newest and self.newest.isoformat()}


class _OldestFirst:
    """Raises _Disobedient as soon as the server does not do as it is told."""

    def __init__(self, jobs: JobList, found: _Found) -> None:
        self._jobs, self._found = jobs, found
        self._last: datetime | None = None
        """The latest creation time listed."""
        self._ordered = False
        """Creation times have come in ascending order: the server knows the order."""
        self._over = False
        """What is listed lies behind the interval."""
        self._total: int | None = None
        """What the first page counted in the whole interval."""
        self._gaps = _Gaps(jobs)

    def batches(self) -> Iterator[Batch]:
        interval, anew = self._found.interval, False
        while True:
            walked = Walk(self._ask(interval), _key, self._jobs.page_size)
            since = yield from self._from(walked, interval)
            if since is None:
                break
            interval, anew = replace(interval, since=since), True
        if anew and not self._over and not self._has_all():
            raise _Disobedient
        yield self._found.end(None if self._over else walked)

    def _ask(self, interval: Interval) -> Callable[[int, int], Listing[Entry]]:
        return partial(self._jobs.ask, wanted={**interval.filter(), "orderByCreateTime": "asc"})

    def _from(
        self, walked: Walk[Entry], interval: Interval
    ) -> Generator[Batch, None, datetime | None]:
        """Walks from the interval's beginning; answers from where to ask anew, None at the end."""
        before: Step[Entry] | None = None
        self._gaps.begin()
        for step in walked:
            try:
                self._check(step, before, interval)
            except _Disobedient:
                yield self._found.take(step, False, None)  # they are jobs all the same
                raise
            gap = self._gaps.before(step)
            known = self._ordered and not gap and not _shrank(before, step)
            yield self._found.take(step, known, self._progress(step))
            if known and self._over:
                return None
            if known and self._last != interval.since and _more(step):
                return self._last
            before = step
        return None

    def _check(self, step: Step[Entry], before: Step[Entry] | None, interval: Interval) -> None:
        """Compares what came with what was asked for; learns whether the order is known."""
        times = _times(step.items)
        if any(later < earlier for earlier, later in pairwise(times)):
            raise _Disobedient
        if times and interval.first is not None and times[0] < interval.first:
            raise _Disobedient
        new = _times(step.new)
        onward = before is not None and step.row > before.row and self._last is not None
        if onward and new and self._last is not None and new[0] < self._last:
            raise _Disobedient
        rises = times[0] < times[-1] if times else False
        passes = bool(onward and new and self._last is not None and new[0] > self._last)
        self._ordered = self._ordered or rises or passes
        if times and (self._last is None or times[-1] > self._last):
            self._last = times[-1]
        if self._last is not None:
            self._over = interval.ends_before(self._last)

    def _progress(self, step: Step[Entry]) -> float | None:
        if self._total is None:
            self._total = step.total
        return min(1.0, len(self._found) / self._total) if self._total else None

    def _has_all(self) -> bool:
        """Whether as much was listed as the server counts in the whole interval, now or at first.

        Where it is less, an order that is not kept may have hidden something.
        """
        if self._total is None or len(self._found) >= self._total:
            return True
        now = self._ask(self._found.interval)(1, 1).total
        return now is None or len(self._found) >= now


def _newest_first(jobs: JobList, found: _Found, wanted: dict[str, Json]) -> Iterator[Batch]:
    """By page number, to the beginning of the interval if the list is in falling order."""
    walked = Walk(partial(jobs.ask, wanted=wanted), _key, jobs.page_size)
    order, gaps = _Falling(found.interval.first), _Gaps(jobs)
    before: Step[Entry] | None = None
    for step in walked:
        yield found.take(step, False, step.progress)
        gap = gaps.before(step)
        order.note(step, before)
        if order.old >= gaps.convincing and not gap and not _shrank(before, step):
            yield found.end(None)
            return
        before = step
    yield found.end(walked)


class _Falling:
    """What the pages of a list say of its order, and how many of them are too old."""

    def __init__(self, first: datetime | None) -> None:
        self._first = first
        self._rose = self._fell = False
        self._old = 0

    @property
    def old(self) -> int:
        """So many pages in a row, up to the last, were created before `first`, and so is what
        follows: the list fell, and never rose."""
        return self._old if self._fell and not self._rose else 0

    def note(self, step: Step[Entry], before: Step[Entry] | None) -> None:
        times, new = _times(step.items), _times(step.new)
        pairs = list(pairwise(times))
        if before is not None and step.row > before.row and new:
            pairs += [(earlier, new[0]) for earlier in _times(before.items)[:1]]
        self._rose = self._rose or any(later > earlier for earlier, later in pairs)
        self._fell = self._fell or any(later < earlier for earlier, later in pairs)
        older = bool(times) and self._first is not None and max(times) < self._first
        if new or not older:
            self._old = self._old + 1 if older else 0


class _Gaps:
    """Whether something may lie between two pages: order alone then proves nothing more.

    A page narrower than another, with one after it, did not reach as far as that one begins;
    one that brought nothing new may stand in the place of another. Where all are narrower than
    was asked for, one or two may be short by a lie: only several tell what a page holds.
    """

    def __init__(self, jobs: JobList) -> None:
        self._jobs = jobs
        self._widest = self._as_wide = 0
        self.begin()

    def begin(self) -> None:
        """The list is walked from another place on."""
        self._last: Step[Entry] | None = None
        self._open = self._jumped = False

    @property
    def convincing(self) -> int:
        """So many pages too old must follow each other, to say that all is too old from there."""
        return 1 if self._as_asked else 2

    def before(self, step: Step[Entry]) -> bool:
        """Whether there is a gap before `step`, or was one before."""
        last, self._last = self._last, step
        self._measure(len(step.items) if step.new else 0)
        if last is not None and step.items:
            width = len(last.items) + last.skipped
            far = step.row > last.row + width
            repeated = last.row > 0 and bool(last.items) and not last.new
            self._jumped = self._jumped or far
            self._open = self._open or repeated or (far and width < self._widest)
        return self._open or (self._jumped and not self._as_asked and self._as_wide < _TELLING)

    @property
    def _as_asked(self) -> bool:
        return self._widest >= self._jobs.asked

    def _measure(self, width: int) -> None:
        if width > self._widest:
            self._widest, self._as_wide = width, 0
        self._as_wide += width == self._widest


def _times(entries: Iterable[Entry]) -> list[datetime]:
    return [at for at in map(created, entries) if at is not None]


def _shrank(before: Step[Entry] | None, step: Step[Entry]) -> bool:
    """Whether items may have slipped from this page to the one before."""
    if before is None or before.total is None or step.total is None:
        return False
    return step.total < before.total


def _more(step: Step[Entry]) -> bool:
    """Whether the list goes on after the page, as far as its total is true."""
    return step.total is None or step.row + len(step.items) < step.total


def _key(entry: Entry) -> str:
    return entry.key
