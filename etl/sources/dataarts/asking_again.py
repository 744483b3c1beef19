"""Asks for single instances again. There is no call for one: a narrow window lists it.

Neighbours share a window while it fits one page. A server that does not know windows is read
newest first until all are found, or for a bounded number of pages.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import timedelta
from itertools import islice

from etl.http import Api
from etl.source import Debt, Page, Span
from etl.sources.dataarts.items import at_ms, ms, record
from etl.sources.dataarts.listing import Chunk, Lister, Window
from etl.sources.dataarts.reading import POSITION, read_all
from etl.sources.dataarts.settings import DataArtsSettings
from etl.sources.dataarts.through import read_through
from etl.sources.dataarts.walk import Walk
from etl.sources.dataarts.windows import WindowIgnored, inside
from etl.values import Unreadable, instant

SEEK_PAGES = 100
"""Pages that are read for the sake of debts where the server does not know windows."""
_MS = timedelta(milliseconds=1)


def refresh(
    api: Api, settings: DataArtsSettings, debts: Iterable[Debt], span: Span
) -> Iterator[Page]:
    """The instances of `debts` as they are now; one that is no longer listed gives nothing.

    A debt that does not say when its instance started is looked for in the span, and only when
    that is read anew (`fresh`).
    """
    lister, wanted = Lister(api, settings), _Wanted(debts)
    try:
        if wanted.starts:
            yield from _around(lister, sorted(set(wanted.starts.values())), wanted)
    except WindowIgnored:
        yield from _seek(lister, settings, wanted, span)
    if span.fresh and wanted.undated:
        for step in read_all(lister, Window(span.since, span.until), span.now):
            yield from wanted.take(step.chunk)


class _Wanted:
    """The instances still to be found; `undated` ones have no known start."""

    def __init__(self, debts: Iterable[Debt]) -> None:
        hints = {d.id: d.hint.get(POSITION, d.hint.get("start_time")) for d in debts}
        self.starts = {id_: at for id_, at in hints.items() if isinstance(at, int)}
        self.undated = hints.keys() - self.starts.keys()

    def take(self, chunk: Chunk) -> Iterator[Page]:
        """The wanted ones of the chunk; they are wanted no more."""
        found = [row for row in chunk.rows if self._claims(str(row.instance_id))]
        if found:
            yield Page(records=[record(row, chunk.asked_at) for row in found])

    def open(self, starts: list[int]) -> list[int]:
        """Those of `starts` at which something is still wanted."""
        left = set(self.starts.values())
        return [start for start in starts if start in left]

    def _claims(self, id_: str) -> bool:
        if id_ in self.undated:
            self.undated.discard(id_)
            return True
        return self.starts.pop(id_, None) is not None


def _start(debt: Debt) -> int | None:
    """Epoch ms of the start, by a debt's own hint or by a rejected instance as it came."""
    try:
        at = instant(debt.hint.get(POSITION, debt.hint.get("start_time")))
    except Unreadable:
        return None
    return None if at is None else ms(at)


def _around(lister: Lister, starts: list[int], wanted: _Wanted) -> Iterator[Page]:
    """Asks for one window around `starts` (ms, in order), or for parts of it if it is too full."""
    window = Window(at_ms(starts[0]), at_ms(starts[-1]) + _MS)
    first = lister.first(window)
    yield from wanted.take(inside(first, window))
    left = wanted.open(starts)
    if not left or first.count == len(first.keys) < lister.step:
        return
    if len(starts) == 1:
        with Walk(lister, window, first, grows=False) as walk:
            for chunk in walk:
                yield from wanted.take(inside(chunk, window))
        return
    for part in _parted(left) if len(left) > 1 else [left]:
        yield from _around(lister, part, wanted)


def _parted(starts: list[int]) -> tuple[list[int], list[int]]:
    """Cut in two at the widest gap."""
    cut = max(range(1, len(starts)), key=lambda at: starts[at] - starts[at - 1])
    return starts[:cut], starts[cut:]


def _seek(
    lister: Lister, settings: DataArtsSettings, wanted: _Wanted, span: Span
) -> Iterator[Page]:
    if not wanted.starts:
        return  # all was found before the server gave itself away
    whole = Window(at_ms(min(wanted.starts.values())), None)
    steps = read_through(lister, whole, span.now, lister.first(whole))
    for step in islice(steps, min(SEEK_PAGES, settings.refresh_limit)):
        yield from wanted.take(step.chunk)
        if not wanted.starts:
            return
