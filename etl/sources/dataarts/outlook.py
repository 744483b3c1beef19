"""What a backfill of DataArts would take, and whether its list can be cut by time."""

from __future__ import annotations

import math
from datetime import datetime, timedelta

from etl.http import Api
from etl.source import Outlook, Span
from etl.sources.dataarts.listing import Chunk, Lister, Window
from etl.sources.dataarts.settings import DataArtsSettings
from etl.sources.dataarts.through import WORTH_A_SEARCH, order_of, start_of
from etl.sources.dataarts.windows import oldest_of

_MS = timedelta(milliseconds=1)


def outlook(api: Api, settings: DataArtsSettings, span: Span) -> Outlook:
    """A few calls; some more where the server does not know windows and the list is long."""
    lister, whole = Lister(api, settings), Window(span.since, span.until)
    first = lister.first(whole)
    count = first.count if first.count is not None else len(first.keys)
    if not lister.honours():
        return _through(lister, whole, first, count)
    requests = math.ceil(count / lister.step) + 1
    oldest = _oldest(lister, whole, first)
    return Outlook(count, requests, 3 if lister.by_pages else 1, oldest=oldest)


def _oldest(lister: Lister, whole: Window, first: Chunk) -> datetime | None:
    """When the oldest instance started, once the server lists nothing before it."""
    if whole.since is None or not first.count:
        return None
    oldest = oldest_of(lister, whole, first)
    if oldest - whole.since < timedelta(days=1):
        return None
    before = lister.page(Window(whole.since, oldest - 2 * _MS), 0)
    return oldest if not before.count and not before.keys else None


def _through(lister: Lister, whole: Window, first: Chunk, count: int) -> Outlook:
    """The place of a moment is looked for in a list that is ordered; else all of it is read."""
    pages, order = math.ceil(count / lister.step), order_of(first)
    each, ends = pages / 2 + 2.0, [0, pages]
    if order is not None and pages > WORTH_A_SEARCH:
        each = math.log2(pages) + 5
        for side, moment in enumerate((whole.until, whole.since)):
            if moment is not None:
                found = start_of(lister, Window(None, moment), first, order)
                ends[side] = ends[side] if found is None else found
    read = min(pages, abs(ends[1] - ends[0]) + 2)
    oldest = min(first.starts, default=None) if pages <= 1 else None
    return Outlook(min(count, read * lister.step), read + each, each, by_time=False, oldest=oldest)
