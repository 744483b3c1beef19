"""Times as crontab(5) names them, and when the next one is, daylight saving included.

Five fields (minute, hour, day of month, month, day of week) or a word such as @daily; 0 and 7 are
Sunday; when both day fields are restricted (do not begin with `*`) either fires. When clocks
change, as in cron(8): a time that is skipped fires once, as the gap ends; a time that comes twice
fires the first time only. A schedule that runs in every hour of the day fires in each hour that
really passes.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta, tzinfo

from msgspec import Struct

from etl.hints import did_you_mean

_WORDS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_LONGEST_MONTHS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_CYCLE = range(date(2000, 1, 1).toordinal(), date(2400, 1, 1).toordinal())
"""400 years, after which the calendar repeats itself, weekdays included."""
_SHIFT = timedelta(hours=3)
"""No clock of a time zone is put forward or back by more, whole skipped days aside."""
_ITEM = re.compile(r"(?P<low>\*|\w+)(?:-(?P<high>\w+))?(?:/(?P<step>\w+))?", re.ASCII)


class _Field(Struct, frozen=True):
    """One of the five: its name, its bounds, and the names that stand for numbers."""

    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()

    def numbers(self, text: str) -> frozenset[int]:
        """The numbers that a list of ranges, steps and names means. Raises ValueError."""
        return frozenset().union(*(self._item(item) for item in text.split(",")))

    def _item(self, item: str) -> range:
        found = _ITEM.fullmatch(item)
        if not found:
            raise ValueError(
                f"{self.name}: {item!r} is no number, range or list; write 5, 1-5, */10 or 1,15"
            )
        low, high, step = found["low"], found["high"], found["step"]
        if low == "*":
            if high is not None:
                raise ValueError(f"{self.name}: {item!r}: * stands without a range")
            first, last = self.low, self._top
        else:
            first = self._number(low)
            last = first if high is None else self._number(high)
            if last == 0 < first and self.names is _DAYS:
                last = 7  # sat-sun
        if first > last:
            raise ValueError(
                f"{self.name}: {item!r} runs backwards; write two ranges with a comma between"
            )
        if step is None:
            return range(first, last + 1)
        if low != "*" and high is None:
            raise ValueError(f"{self.name}: {item!r}: a step needs a range: {low}-{self._top}/…")
        return range(first, last + 1, self._step(step))

    @property
    def _top(self) -> int:
        return 6 if self.names is _DAYS else self.high

    def _step(self, text: str) -> int:
        size = self._top - self.low + 1
        if not text.isdecimal() or not 1 <= int(text) <= size:
            raise ValueError(f"{self.name}: a step of {text!r}; it is 1 to {size}")
        return int(text)

    def _number(self, text: str) -> int:
        if self.names and not text[0].isdecimal():
            if text.lower() not in self.names:
                raise ValueError(
                    f"{self.name}: {text!r} is no name; {did_you_mean(text[:3], self.names)}"
                )
            return self.names.index(text.lower()) + self.low
        if not text.isdecimal() or not self.low <= int(text) <= self.high:
            raise ValueError(
                f"{self.name}: {text!r} is out of range; it is {self.low} to {self.high}"
            )
        return int(text)


_FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of month", 1, 31),
    _Field("month", 1, 12, _MONTHS),
    _Field("day of week", 0, 7, _DAYS),
)


class Cron(Struct, frozen=True):
    """A crontab schedule; `weekdays` count from Sunday, 0."""

    text: str
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either: bool
    """Both day fields are restricted: a day that one of them names is enough."""

    def __str__(self) -> str:
        return self.text

    def next_after(self, moment: datetime, zone: tzinfo = UTC) -> datetime:
        """The first firing after `moment` (aware) by the clocks of `zone`; in UTC."""
        start = moment.astimezone(zone).replace(tzinfo=None) - _SHIFT
        best: datetime | None = None
        found_at = start
        for wall in self._walls(start):
            if best is not None and wall - found_at > 2 * _SHIFT:
                break
            for instant in self._instants(wall, zone):
                if instant > moment and (best is None or instant < best):
                    best, found_at = instant, wall if best is None else found_at
        if best is None:
            raise OverflowError(f"{self.text!r} does not fire again before the year 10000")
        return best

    def longest_gap(self) -> timedelta:
        """The longest time between two firings, by a clock that is never changed."""
        return _longest_gap(self)

    def fires_on(self, day: date) -> bool:
        """Whether any firing is on that day."""
        in_month = day.day in self.days
        in_week = day.isoweekday() % 7 in self.weekdays
        in_days = in_month or in_week if self.either else in_month and in_week
        return in_days and day.month in self.months

    def _walls(self, start: datetime) -> Iterator[datetime]:
        """Times on the wall from `start` on, whether they exist once, twice or never."""
        for ordinal in range(start.toordinal(), date.max.toordinal()):
            day = date.fromordinal(ordinal)
            if not self.fires_on(day):
                continue
            for hour in self.hours:
                for minute in self.minutes:
                    wall = datetime.combine(day, time(hour, minute))
                    if wall >= start:
                        yield wall

    def _instants(self, wall: datetime, zone: tzinfo) -> list[datetime]:
        """The moments in UTC at which the wall time `wall` fires."""
        first = wall.replace(tzinfo=zone).astimezone(UTC)
        second = wall.replace(tzinfo=zone, fold=1).astimezone(UTC)
        every_hour = len(self.hours) == 24
        if second > first:
            return [first, second] if every_hour else [first]
        if second < first:
            return [] if every_hour else [_gap_end(second, first, zone)]
        return [first]


def _gap_end(before: datetime, after: datetime, zone: tzinfo) -> datetime:
    """When the clocks of `zone` were put forward, between two moments around it."""
    old = before.astimezone(zone).utcoffset()
    while after - before > timedelta(seconds=1):
        middle = before + (after - before) // 2
        if middle.astimezone(zone).utcoffset() == old:
            before = middle
        else:
            after = middle
    return after.replace(microsecond=0)


@functools.lru_cache(maxsize=256)
def _longest_gap(cron: Cron) -> timedelta:
    minutes = [hour * 60 + minute for hour in cron.hours for minute in cron.minutes]
    within = max((b - a for a, b in itertools.pairwise(minutes)), default=0)
    by_weekday = len(cron.days) == 31 and len(cron.months) == 12
    cycle = _CYCLE[:7] if by_weekday else _CYCLE
    days = [day for day in cycle if cron.fires_on(date.fromordinal(day))]
    days.append(days[0] + len(cycle))
    between = max(b - a for a, b in itertools.pairwise(days))
    return timedelta(minutes=max(within, between * 1440 - minutes[-1] + minutes[0]))


def parse(text: str) -> Cron:
    """Reads five fields or a word such as @daily. Raises ValueError with what would be right."""
    line = text.strip()
    if line.startswith("@"):
        if line.lower() not in _WORDS:
            raise ValueError(f"{text!r} is no schedule; {did_you_mean(line, _WORDS)}")
        line = _WORDS[line.lower()]
    fields = line.split()
    if len(fields) != len(_FIELDS):
        raise ValueError(
            f"{text!r} is no schedule; it has {len(fields)} fields and needs five: "
            "minute, hour, day of month, month, day of week"
        )
    try:
        numbers = [field.numbers(part) for field, part in zip(_FIELDS, fields, strict=True)]
    except ValueError as error:
        raise ValueError(f"{text!r} is no schedule; {error}") from None
    minutes, hours, days, months, weekdays = numbers
    either = not fields[2].startswith("*") and not fields[4].startswith("*")
    if not either and all(min(days) > _LONGEST_MONTHS[month - 1] for month in months):
        raise ValueError(f"{text!r} is no schedule; no such month has a day {min(days)}")
    return Cron(
        text.strip(),
        tuple(sorted(minutes)),
        tuple(sorted(hours)),
        days,
        months,
        frozenset(day % 7 for day in weekdays),
        either,
    )
