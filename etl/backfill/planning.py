"""From two ends to windows: months of UTC at most, and more parts where that is cheap."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from msgspec import Struct

from etl.errors import Usage
from etl.ledger.backfills import Window
from etl.source import Outlook
from etl.units import Since

MOST = 200
"""Windows that are cut for the sake of their size; of months there may be more."""
PRICE = 0.05
"""Share of its calls that a walk may cost more for being cut."""
_SHORTEST = timedelta(minutes=1)
_DAY = timedelta(days=1)


class Bounds(Struct, frozen=True):
    """[since, until) as it was resolved. `pruned_before`: what is older is left alone."""

    since: datetime
    until: datetime
    pruned_before: datetime | None = None


class Range(Struct, frozen=True):
    """What a command says of its range, as typed."""

    since: str
    until: str | None = None
    restore: bool = False

    def __str__(self) -> str:
        """What `backfills.arguments` keeps: the words that say which backfill it is."""
        until = f" --until {self.until}" if self.until is not None else ""
        return f"--since {self.since}{until}{' --restore' if self.restore else ''}"

    def bounds(self, now: datetime, pruned_before: datetime | None) -> Bounds:
        """Resolved at `now`, in which an open end ends, as does one that lies ahead. Raises Usage.

        What was pruned is left out unless it is to be restored.
        """
        since = _moment("--since", self.since, now)
        until = now if self.until is None else min(now, _moment("--until", self.until, now))
        if since >= until:
            end = "now" if self.until is None else f"--until {self.until}"
            raise Usage(f"--since {self.since} is not before {end}: there is nothing to fetch")
        if self.restore or pruned_before is None or pruned_before <= since:
            return Bounds(since, until)
        if pruned_before >= until:
            raise Usage(
                f"what is older than {spoken(pruned_before)} UTC was pruned and is not fetched "
                "again; --restore fetches it"
            )
        return Bounds(pruned_before, until, pruned_before)


def _moment(option: str, text: str, now: datetime) -> datetime:
    try:
        return Since.parse(text).resolve(now)
    except (ValueError, OverflowError) as error:
        raise Usage(f"{option}: {error}") from None


def spoken(at: datetime) -> str:
    """A moment as short as it can be said: midnight is a bare date."""
    return f"{at:%Y-%m-%d %H:%M}" if at.hour or at.minute else f"{at:%Y-%m-%d}"


def cut(bounds: Bounds, outlook: Outlook) -> list[Window]:
    """The windows of a backfill, oldest first, without a gap.

    What lies before the oldest execution that the platform lists is done without a call.
    """
    cheap = max(1, min(MOST, int(PRICE * outlook.requests / max(outlook.each_window, 1e-9))))
    begin = bounds.since
    if outlook.oldest is not None:
        begin = max(begin, min(outlook.oldest.replace(minute=0, second=0, microsecond=0),
                               bounds.until - _SHORTEST))  # fmt: skip
    ends = list(_ends(bounds, begin, cheap, months=outlook.by_time))
    windows, since = [], bounds.since
    for number, until in enumerate(ends, 1):
        empty = outlook.by_time and outlook.oldest is not None and until <= begin
        windows.append(Window(number, since, until, "done" if empty else "pending"))
        since = until
    return windows


def _ends(bounds: Bounds, begin: datetime, cheap: int, *, months: bool) -> Iterator[datetime]:
    """Where windows end: at each month, and between `begin` and the end in `cheap` even parts."""
    if not months:
        yield from _evenly(begin, bounds.until, cheap)
        return
    whole, since = bounds.until - begin, bounds.since
    while since < bounds.until:
        until = min(_month_after(since), bounds.until)
        if since < begin < until:
            yield begin
            since = begin
        share = (until - since) / whole if since >= begin else 0
        yield from _evenly(since, until, max(1, math.ceil(cheap * share - 1e-9)))
        since = until


def _evenly(since: datetime, until: datetime, parts: int) -> Iterator[datetime]:
    """The ends of `parts` even parts, on whole minutes as far as that goes."""
    step = (until - since) / parts
    for place in range(1, parts):
        at = since + place * step
        yield at if step < _SHORTEST else at.replace(second=0, microsecond=0)
    yield until


def _month_after(at: datetime) -> datetime:
    first = at.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return (first + 32 * _DAY).replace(day=1)
