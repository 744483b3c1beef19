"""Reads all instances of an interval: as rows, or as ids with statuses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from etl.http import Api
from etl.source import Doubt, Listed, Page, Reject, Span
from etl.sources.dataarts.items import at_ms, ms, record
from etl.sources.dataarts.listing import Lister, Window
from etl.sources.dataarts.settings import DataArtsSettings
from etl.sources.dataarts.tables import QualityInstance
from etl.sources.dataarts.through import read_through
from etl.sources.dataarts.windows import (
    TARGET_PAGES,
    Step,
    WindowIgnored,
    inside,
    oldest_of,
    read_windows,
)

POSITION = "started_at"
"""The cursor: epoch ms; all instances that started before it have been written."""


def scan(api: Api, settings: DataArtsSettings, span: Span) -> Iterator[Page]:
    """Everything that started in the span; from the cursor less the overlap if there is one.

    What is read anew goes on from its own position.
    """
    since = span.since
    if span.position is not None:
        overlap = timedelta(seconds=0 if span.fresh else settings.overlap)
        overlapped = at_ms(int(span.position[POSITION])) - overlap
        since = overlapped if since is None else max(since, overlapped)
    for step in read_all(Lister(api, settings), Window(since, span.until), span.now):
        yield _page(step)


def inventory(
    api: Api, settings: DataArtsSettings, span: Span
) -> Iterator[Sequence[Listed] | Doubt]:
    """Ids and statuses of what started in the span, as listed now."""
    steps = read_all(Lister(api, settings), Window(span.since, span.until), span.now)
    for step in steps:
        if step.doubt is not None:
            yield step.doubt
        yield [_listed(row) for row in step.chunk.rows]


def inventory_cost(settings: DataArtsSettings, executions: int) -> int:
    """A page, and one that says that there are no more."""
    return executions // settings.limit + 1


def _listed(row: QualityInstance) -> Listed:
    hint = {} if row.started_at is None else {POSITION: ms(row.started_at)}
    return Listed(str(row.instance_id), row.status, hint)


def read_all(lister: Lister, whole: Window, now: datetime) -> Iterator[Step]:
    """All of `whole`: what is more than one window by windows of time, the rest page by page."""
    until = now if whole.until is None else whole.until
    first = lister.first(whole)
    try:
        inside(first, whole)
        count = first.count
        if count == len(first.keys) < lister.step:
            yield Step(first.inside(whole), until, progress=1.0)
            return
        if count is not None and count > 2 * TARGET_PAGES * lister.step and lister.honours():
            oldest = whole.since or oldest_of(lister, whole, first)
            yield from read_windows(lister, whole, until, oldest, count)
            return
    except WindowIgnored:
        pass
    yield from read_through(lister, whole, until, first)


def _page(step: Step) -> Page:
    chunk = step.chunk
    return Page(
        records=[record(row, chunk.asked_at) for row in chunk.rows],
        rejects=tuple(one for one in chunk.entries if isinstance(one, Reject)),
        cursor=None if step.complete_to is None else {POSITION: ms(step.complete_to)},
        doubt=step.doubt,
        progress=step.progress,
    )
