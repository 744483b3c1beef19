"""When the entries of schedules.yaml fire: pure functions of the configuration and a moment.

`every` fires at multiples of the interval since the epoch in UTC, plus a jitter fixed by the
source's name, so that sources do not all begin at the same moment, nor at another one each day.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

from etl.config.entries import Entry
from etl.config.model import Config

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TICK = timedelta(microseconds=1)
_MOST_JITTER_S = 60.0
_JITTER_SHARE = 0.1


def next_run_at(config: Config, name: str, now: datetime) -> datetime | None:
    """The next scheduled sync of a source after `now`, in UTC; None: no schedule syncs it."""
    times = [next_after(entry, name, now) for entry in config.schedules_of(name)]
    return min(times, default=None)


def next_after(entry: Entry, name: str, moment: datetime) -> datetime:
    """The first firing of an entry for the source `name` after `moment`; in UTC."""
    if entry.cron is not None:
        return entry.cron.next_after(moment, entry.time_zone)
    return _last_multiple(entry, name, moment) + _interval(entry)


def last_until(entry: Entry, name: str, moment: datetime) -> datetime:
    """The last firing of an entry for the source `name` at or before `moment`; in UTC."""
    if entry.cron is None:
        return _last_multiple(entry, name, moment)
    reach = timedelta(hours=1)
    while (found := entry.cron.next_after(moment - reach, entry.time_zone)) > moment:
        reach *= 2
    while (later := entry.cron.next_after(found, entry.time_zone)) <= moment:
        found = later
    return found


def jitter(entry: Entry, name: str) -> timedelta:
    """Less than a tenth of the interval, at most a minute, in whole milliseconds."""
    share = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") / 2**32
    most_s = min(_interval(entry).total_seconds() * _JITTER_SHARE, _MOST_JITTER_S)
    return timedelta(milliseconds=int(share * most_s * 1000))


def _interval(entry: Entry) -> timedelta:
    return timedelta(seconds=entry.every_s or 0)


def _last_multiple(entry: Entry, name: str, moment: datetime) -> datetime:
    shift = _EPOCH + jitter(entry, name)
    since = (moment - shift) // _TICK
    step = _interval(entry) // _TICK
    return shift + (since - since % step) * _TICK
