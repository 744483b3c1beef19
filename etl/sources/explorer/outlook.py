"""What a backfill of Explorer would take, and whether its list can be cut by time."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from etl.errors import BadRequest, SourceFailed, Unauthorized
from etl.http import Api
from etl.source import Outlook, Span
from etl.sources.explorer.items import Entry
from etl.sources.explorer.listing import Interval, JobList, created
from etl.sources.explorer.settings import PREFIX, ExplorerSettings
from etl.values import Json

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)
_ASKED, _ASKED_OF = 5, 50
"""So many details are asked for to learn how many samples a job has, one for each so many jobs."""
_UNTOLD = 2.0
"""Calls that a job is taken to cost as long as nobody asked."""
_SUCCEEDED = 2


def outlook(api: Api, settings: ExplorerSettings, span: Span) -> Outlook:
    """A handful of calls; twice the digits of the list's length where it cannot be filtered."""
    jobs = JobList(api, settings.jobs_a_page)
    if not _filters(jobs):
        return _unfiltered(api, jobs, span)
    wanted = {**Interval(span.since, span.until).filter(), "orderByCreateTime": "asc"}
    first = jobs.ask(1, jobs.page_size, wanted)
    total = first.total if first.total is not None else len(first.items)
    pages = _pages(total, len(first.items), jobs.page_size)
    requests = pages + 1 + total * _calls_a_job(api, jobs, wanted, total)
    return Outlook(total, requests, 2, oldest=_oldest(jobs, span, first.items))


def _filters(jobs: JobList) -> bool:
    """Whether the server knows intervals: it must list nothing of a millisecond of 1970."""
    try:
        nothing = jobs.ask(1, 1, Interval(_EPOCH, _EPOCH + _MS).filter())
    except BadRequest:
        return False
    return not nothing.items and not nothing.total


def _unfiltered(api: Api, jobs: JobList, span: Span) -> Outlook:
    """Newest first, the list is read from its head to each part of it."""
    first = jobs.ask(1, jobs.page_size, {})
    total = first.total if first.total is not None else len(first.items)
    pages = _pages(total, len(first.items), jobs.page_size)

    def at(place: int) -> datetime | None:
        items = jobs.ask(place + 1, 1, {}).items if place < total else ()
        return created(items[0]) if items else None

    younger = _younger(at, total, span.until) if span.until is not None else 0
    count = _younger(at, total, span.since) - younger if span.since is not None else total
    calls = _calls_a_job(api, jobs, {}, total)
    oldest = at(total - 1) if total else None
    requests = pages + 2 + max(0, count) * calls
    return Outlook(max(0, count), requests, pages / 2 + 2, by_time=False, oldest=oldest)


def _younger(at: Callable[[int], datetime | None], total: int, moment: datetime) -> int:
    """How many of a list that falls were created at `moment` or later."""
    low, high = 0, total
    while low < high:
        middle = (low + high) // 2
        when = at(middle)
        if when is not None and when >= moment:
            low = middle + 1
        else:
            high = middle
    return low


def _oldest(jobs: JobList, span: Span, items: Sequence[Entry]) -> datetime | None:
    """The creation of the first job listed, once the server lists nothing before it."""
    times = [at for at in map(created, items) if at is not None]
    if not times or len(times) < len(items) or span.since is None:
        return None
    oldest = min(times)
    before = Interval(span.since, oldest - 2 * _MS)
    if oldest - span.since < timedelta(days=1):
        return None
    listing = jobs.ask(1, 1, before.filter())
    return oldest if not listing.items and not listing.total else None


def _calls_a_job(api: Api, jobs: JobList, wanted: dict[str, Json], total: int) -> float:
    """Its detail, and a sample of each task that succeeded: the mean of a few jobs."""
    asked = min(_ASKED, total // _ASKED_OF)
    calls = []
    for turn in range(asked):
        try:
            listing = jobs.ask(1 + (2 * turn + 1) * total // (2 * asked), 1, wanted)
            detail = api.get(f"{PREFIX}/jobs/{listing.items[0].key}", attempts=1).content
            tasks = detail.get("tasks") or ()
            calls.append(1 + sum(1 for task in tasks if task.get("status") == _SUCCEEDED))
        except Unauthorized:
            raise
        except (SourceFailed, LookupError, TypeError, AttributeError):
            continue  # an estimate goes on without it
    return sum(calls) / len(calls) if calls else _UNTOLD


def _pages(total: int, came: int, asked: int) -> int:
    """Pages of a list whose server may give less at once than is asked for."""
    return math.ceil(total / (came if 0 < came < min(total, asked) else asked))
