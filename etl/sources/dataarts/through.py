"""Reads the list of a server that does not know windows: page by page, newest first.

The order is found from the times. A list that is ordered oldest first is read from its end; one
without an order is read whole. Complete is known only at the end, so only the last step says it.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise
from typing import Literal

from etl.sources.dataarts.listing import NOTHING, Chunk, Lister, Window
from etl.sources.dataarts.walk import Walk
from etl.sources.dataarts.windows import Step, doubted

Order = Literal["newest first", "oldest first"]
WORTH_A_SEARCH = 20
"""Pages of a list from which on it pays to look for the place of an `until`."""


def order_of(chunk: Chunk) -> Order | None:
    """The order of the list by one page of it; None when there is none to see."""
    pairs = list(pairwise(chunk.starts))
    falls, rises = any(a > b for a, b in pairs), any(a < b for a, b in pairs)
    if falls == rises:
        return None
    return "newest first" if falls else "oldest first"


def read_through(lister: Lister, whole: Window, until: datetime, first: Chunk) -> Iterator[Step]:
    """All of `whole`; what is older ends the reading if the list is ordered."""
    order = order_of(first)
    start = start_of(lister, whole, first, order)
    backward = order == "oldest first"
    if start == (((first.count or 0) - 1) // lister.step if backward else 0):
        start = None  # the newest end itself
    since = None if order is None else whole.since
    with Walk(
        lister, whole, first, grows=True, backward=backward, start=start, since=since
    ) as walk:
        for chunk in walk:
            yield Step(chunk.inside(whole), progress=walk.progress)
        yield Step(NOTHING, until, doubted(walk, whole))


def start_of(lister: Lister, whole: Window, first: Chunk, order: Order | None) -> int | None:
    """The page from which on the list is old enough for `whole`; None: from its newest end.

    A page early, since the list moves meanwhile.
    """
    low, high = 0, ((first.count or 0) - 1) // lister.step
    last = high
    if whole.until is None or order is None or last < WORTH_A_SEARCH:
        return None
    lister.learn_offsets(whole, first)
    while low < high:
        middle = (low + high) // 2
        starts = lister.page(whole, middle).starts
        old = bool(starts) and min(starts) < whole.until
        if old == (order == "newest first"):
            high = middle
        else:
            low = middle + 1
    return max(0, low - 1) if order == "newest first" else min(last, low)
