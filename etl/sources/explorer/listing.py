"""Asks for pages of the list of jobs: which interval of creation times, in which order."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from msgspec import Struct

from etl.errors import BadRequest, Gone, Malformed
from etl.http import Answer, Api
from etl.paging import Listing
from etl.source import Doubt, Reject
from etl.sources.explorer.items import Entry, listed
from etl.sources.explorer.settings import PREFIX
from etl.values import Json, Unreadable, whole

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)
_SMALLER = (50, 20, 10)
"""Page sizes that are tried where a larger one is refused; 10 is the platform's own."""


class Interval(Struct, frozen=True):
    """Creation times in [since, until), either side open.

    Whether the ends belong to an interval of the server is nowhere said: it is asked for one that
    is a millisecond wider.
    """

    since: datetime | None
    until: datetime | None

    @property
    def first(self) -> datetime | None:
        """Older than this nothing is listed by a server that honours the interval."""
        return None if self.since is None else _EPOCH + _from(self.since) * _MS

    def filter(self) -> dict[str, Json]:
        """The interval as the server's filter."""
        wanted: dict[str, Json] = {}
        if self.since is not None:
            wanted["fromCreateTime"] = _from(self.since)
        if self.until is not None:
            wanted["toCreateTime"] = (self.until - _EPOCH) // _MS + 1
        return wanted

    def holds(self, at: datetime | None) -> bool:
        """Whether that creation belongs to it; an unknown one belongs to any."""
        if at is None:
            return True
        return (self.since is None or at >= self.since) and not self.ends_before(at)

    def ends_before(self, at: datetime) -> bool:
        return self.until is not None and at >= self.until


class Batch(Struct):
    """Jobs of the interval that were not handed out before.

    `complete_to`: everything created up to there has been handed out. `doubt`: why the walk, which
    has ended, is not proven.
    """

    jobs: Sequence[Entry] = ()
    rejects: tuple[Reject, ...] = ()
    complete_to: datetime | None = None
    doubt: Doubt | None = None
    progress: float | None = None


class JobList:
    """The list of jobs of one Explorer."""

    def __init__(self, api: Api, page_size: int) -> None:
        self._api = api
        self.page_size = self._most = page_size
        self.asked_at: datetime | None = None
        """When the last answer was asked for."""

    @property
    def asked(self) -> int:
        """So many jobs are asked for at once."""
        return min(self.page_size, self._most)

    def ask(self, page: int, size: int, wanted: Mapping[str, Json]) -> Listing[Entry]:
        """One page of the jobs that `wanted` filters; without it, newest first.

        It may be of fewer jobs than `size`; a page after the first that is refused, or null, is an
        empty one: whether the list ends there is for the walk to prove.
        """
        try:
            answer = self._answer(page, size, wanted)
        except (BadRequest, Gone):
            if page == 1:
                raise
            return Listing((), None)
        data, self.asked_at = answer.content, answer.asked_at
        if data is None and page > 1:
            return Listing((), None)
        items = data.get("items") if isinstance(data, dict) else None
        if not isinstance(data, dict) or not isinstance(items, list | None):
            raise Malformed(f"{PREFIX}/jobs: a list without items: {repr(data)[:80]}")
        return Listing([listed(item, answer.asked_at) for item in items or ()], _total(data))

    def _answer(self, page: int, size: int, wanted: Mapping[str, Json]) -> Answer:
        """Nobody says how many jobs a page may hold: a first page that is refused is tried
        smaller."""
        params: dict[str, str | int] = {"page": page}
        if wanted:
            params["filter"] = json.dumps(wanted, separators=(",", ":"))
        size = min(size, self.asked)
        try:
            return self._api.get(f"{PREFIX}/jobs", {**params, "pageSize": size})
        except BadRequest:
            for smaller in (n for n in _SMALLER if n < size and page == 1):
                with contextlib.suppress(BadRequest):
                    answer = self._api.get(f"{PREFIX}/jobs", {**params, "pageSize": smaller})
                    self._most = smaller
                    return answer
            raise


def created(entry: Entry) -> datetime | None:
    """When the job was created; None for what is no job or does not tell."""
    return None if entry.job is None else entry.job.created_at


def _from(since: datetime) -> int:
    return max(0, (since - _EPOCH) // _MS - 1)


def _total(data: Mapping[str, Json]) -> int | None:
    try:
        return whole(data.get("total"))
    except Unreadable:
        return None
