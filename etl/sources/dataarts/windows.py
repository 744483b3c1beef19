"""Reads an interval of starts as windows of time, oldest first: closed ones do not grow.

A window holds some 2,000 instances: large enough to cost hardly a request more than its pages,
small enough that little is read twice after a stop or because the list moved.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from msgspec import Struct

from etl.http import Api
from etl.source import Doubt
from etl.sources.dataarts.items import at_ms
from etl.sources.dataarts.listing import NOTHING, Chunk, Lister, Window
from etl.sources.dataarts.walk import Walk

TARGET_PAGES = 20
"""Pages of a window; with more than twice as many it is cut."""
_MS = timedelta(milliseconds=1)


class WindowIgnored(Exception):
    """The server listed what a window cannot hold: it does not know windows."""


class Step(Struct, frozen=True):
    """A chunk of a reading. `complete_to`: all that started before it has been handed out."""

    chunk: Chunk
    complete_to: datetime | None = None
    doubt: Doubt | None = None
    progress: float | None = None


def doubted(walk: Walk, window: Window) -> Doubt | None:
    """What a walk that was read to its end could not prove."""
    reason = walk.doubt()
    if reason is None:
        return None
    return Doubt(reason, window.since, window.until, walk.total, walk.distinct)


def read_windows(
    lister: Lister, whole: Window, until: datetime, oldest: datetime, count: int
) -> Iterator[Step]:
    """All of `whole` up to `until`, of which `count` instances are spread from `oldest` on.

    Raises WindowIgnored when the server turns out not to know windows.
    """
    cut = _cut(lister, whole, until, oldest, count)
    done = 0
    for window, first in _one_ahead(lister.api, cut):
        with Walk(lister, window, first, grows=False) as walk:
            for chunk in walk:
                yield Step(inside(chunk, window), progress=min(1.0, (done + walk.distinct) / count))
            done += walk.distinct
            yield Step(NOTHING, window.until, doubted(walk, window))


def inside(chunk: Chunk, window: Window) -> Chunk:
    """The chunk without what lies outside. Raises WindowIgnored for what no window would list."""
    kept = chunk.inside(window)
    if len(kept.keys) < len(chunk.keys) and any(window.excludes(row) for row in chunk.rows):
        raise WindowIgnored
    return kept


def oldest_of(lister: Lister, whole: Window, first: Chunk) -> datetime:
    """About when the oldest instance started: good enough to size windows by."""
    lister.learn_offsets(whole, first, at_end=True)
    last = lister.beyond(whole, ((first.count or 1) - 1) // lister.step)
    return min([*first.starts, *last.starts], default=at_ms(0))


def _cut(
    lister: Lister, whole: Window, until: datetime, oldest: datetime, count: int
) -> Iterator[tuple[Window, Chunk]]:
    """Windows of some TARGET_PAGES pages with their first pages.

    What is known to lie between `begin` and a later moment sizes the next window: its share of
    that time if the instances seem evenly spread, else half of it.
    """
    target = TARGET_PAGES * lister.step
    since, begin, uneven = whole.since, oldest, False
    known = [(until, count)]
    while begin < until:
        known = [(end, left) for end, left in known if end > begin]
        end, left = known[-1] if known else (until, 0)
        if left > 2 * target:
            share = 0.5 if uneven else target / left
            end = min(end, begin + max(_MS, (end - begin) * share))
        window = Window(since, end)
        first = lister.page(window, 0)
        found = first.count or 0
        if found > 2 * target and end - begin > _MS:
            uneven = 2 * found > left
            known.append((end, found))
            continue
        yield window, first
        uneven = left > 2 * target and 4 * found < target
        known = [(end, max(0, left - found)) for end, left in known]
        since = begin = end


def _one_ahead(api: Api, windows: Iterator[tuple[Window, Chunk]]) -> Iterator[tuple[Window, Chunk]]:
    """The windows in order; the next one is looked for while one is read."""
    coming = api.map(lambda left: next(left, None), [windows])[0]
    while (found := coming.result()) is not None:
        coming = api.map(lambda left: next(left, None), [windows])[0]
        yield found
