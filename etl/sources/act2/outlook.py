"""What a backfill of Act2 would take. A part of the time is found by bisection on its pages."""

from __future__ import annotations

import math
from datetime import datetime

from etl.http import Api
from etl.source import Outlook, Span
from etl.sources.act2.book import Book, View
from etl.sources.act2.settings import Act2Settings
from etl.sources.act2.walk import Walk


def outlook(api: Api, settings: Act2Settings, span: Span) -> Outlook:
    """Some ten calls: the first and the last page, and those that lead to the span's ends."""
    book = Book(api, settings.zone, settings.records_a_page)
    before = api.requests
    begin, end, first = Walk(book, span).extent()
    searches = (span.since is not None) + (span.until is not None)
    beside = max(0, api.requests - before - 2 * max(1, searches)) / max(1, searches)
    records, pages = end - begin, math.ceil((end - begin) / max(1, book.size))
    rows_come = not first.entries or any(entry.rows for entry in first.entries.values())
    requests = pages + 3 + beside + records * (1 if rows_come else 2)
    by_time = book.order != "none"
    oldest = _oldest(first) if begin == 0 and by_time else None
    each_window = beside + 4 if by_time else requests
    return Outlook(records, requests, each_window, by_time=by_time, oldest=oldest)


def _oldest(view: View) -> datetime | None:
    """The oldest start on the oldest page; None where that page hides something."""
    starts = view.times
    whole = not view.missing and len(starts) == len(view.entries)
    return starts[0] if starts and whole else None
