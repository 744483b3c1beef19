"""Durations, rates, sizes and shares: texts with a unit at the edge, numbers inside."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta

from msgspec import Struct

_FIRST = datetime(1970, 1, 1, tzinfo=UTC)
_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)(ms|s|m|h|d|w))", re.ASCII)
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_CENTURY_S = 36525 * 86400.0
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(B|KiB|MiB|GiB|kB|KB|MB|GB)", re.ASCII)
_BYTES = {
    "B": 1,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "kB": 10**3,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
}


class Duration(float):
    """Seconds; written with a unit: `30s`, `5m`, `1h30m`, `90d`."""

    @classmethod
    def parse(cls, text: str) -> Duration:
        """Raises ValueError with what would be right."""
        parts = _DURATION.findall(text)
        if not parts or "".join(n + unit for n, unit in parts) != text.strip():
            raise ValueError(f"{text!r} is no duration; write a number with a unit: 30s, 5m, 90d")
        return cls(sum(float(n) * _SECONDS[unit] for n, unit in parts))

    def __str__(self) -> str:
        for unit in ("w", "d", "h", "m", "s"):
            if self and self % _SECONDS[unit] == 0:
                return f"{int(self / _SECONDS[unit])}{unit}"
        return f"{float(self):g}s"


class Rate(Struct, frozen=True):
    """At most `count` calls in every `window_s` seconds (`35/10s`); math.inf for `none`."""

    count: float
    window_s: float

    @classmethod
    def parse(cls, text: str) -> Rate:
        """Raises ValueError with what would be right."""
        if text.strip() == "none":
            return cls(math.inf, 1.0)
        count, slash, window = text.partition("/")
        wrong = f"{text!r} is no rate; write calls per time: 35/10s, or none"
        if not slash or not count.strip().isdecimal() or int(count) < 1:
            raise ValueError(wrong)
        window = window.strip()
        every = Duration.parse(window if window[:1].isdecimal() else f"1{window}")
        if not 0 < every <= _CENTURY_S:
            raise ValueError(wrong)
        return cls(int(count), every)

    @property
    def unlimited(self) -> bool:
        return math.isinf(self.count)

    def __str__(self) -> str:
        return "none" if self.unlimited else f"{self.count:g}/{Duration(self.window_s)}"


class Size(int):
    """Bytes; written with a unit: `64 MiB`."""

    @classmethod
    def parse(cls, text: str) -> Size:
        """Raises ValueError with what would be right."""
        found = _SIZE.fullmatch(text.strip())
        if not found:
            raise ValueError(f"{text!r} is no size; write a number with a unit: 64 MiB, 1 GiB")
        return cls(float(found[1]) * _BYTES[found[2]])


class Share(float):
    """A part of a whole, 0 to 1; written `5%`."""

    @classmethod
    def parse(cls, text: str) -> Share:
        """Raises ValueError with what would be right."""
        body = text.strip().removesuffix("%")
        try:
            share = float(body) / 100
        except ValueError:
            share = math.nan
        if body == text.strip() or not 0 <= share <= 1:
            raise ValueError(f"{text!r} is no share; write a percentage: 5%")
        return cls(share)


class Since(Struct, frozen=True):
    """A point in the past: a date or date-time, or a distance such as `90d` from now."""

    at: datetime | None
    ago_s: float | None

    @classmethod
    def parse(cls, text: str) -> Since:
        """A bare date is its midnight in UTC, as is a time without a zone. Raises ValueError."""
        try:
            return cls(None, Duration.parse(text))
        except ValueError:
            pass
        try:
            at = datetime.fromisoformat(text.strip())
            at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
        except (ValueError, OverflowError):
            raise ValueError(
                f"{text!r} is no point in time; write a date (2026-01-31), a time "
                "(2026-01-31T08:00:00+08:00) or a distance (90d)"
            ) from None
        return cls(at, None)

    def resolve(self, now: datetime) -> datetime:
        """The moment that is meant when it is `now`; nothing is older than 1970."""
        if self.at is not None:
            return max(self.at, _FIRST)
        return now - min(timedelta(seconds=min(self.ago_s or 0, 1e12)), now - _FIRST)
