"""One text of schedules.yaml into one value; every refusal says what came and what would be right.

What came is shown only where it was written in the file and is no secret.
"""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Callable, Mapping
from typing import Any, TypeGuard, TypeVar
from urllib.parse import urlsplit

from msgspec import Struct

from etl import cron
from etl.config.tree import Kind
from etl.hints import did_you_mean
from etl.redact import Secret
from etl.units import Duration, Rate, Share, Since, Size

_T = TypeVar("_T")

_BOOLEANS = {
    **dict.fromkeys(("true", "yes", "on"), True),
    **dict.fromkeys(("false", "no", "off"), False),
}
_WHOLE = re.compile(r"-?(0|[1-9][0-9]{0,17})", re.ASCII)
_NUMBER = re.compile(r"-?[0-9]{1,18}(\.[0-9]{1,18})?", re.ASCII)
_CENTURY_S = 36525 * 86400.0


class Given(Struct, frozen=True):
    """A text, what it would be unquoted, and how a message may speak of it."""

    text: str
    kind: Kind
    shown: str
    replaced: bool = False
    """It came by a ${…}, and no part of it is shown."""


LIMITS: Mapping[str, tuple[str, str]] = {
    "concurrency": ("1", "256"),
    "every": ("1s", "366d"),
    "give_up_after": ("1s", "36525d"),
    "keep_runs": ("1s", "36525d"),
    "lease": ("1s", "1d"),
    "max_body": ("1 B", "1024 GiB"),
    "max_output": ("1 B", "1024 GiB"),
    "overlap": ("0s", "36525d"),
    "page_size": ("1", "100000"),
    "port": ("1", "65535"),
    "refresh_limit": ("1", "1000000"),
    "settle": ("0s", "36525d"),
    "stale_after": ("1s", "36525d"),
    "timeout": ("1ms", "1d"),
}
"""The least and the most that a setting of this name may be, as one would write it."""


def has_keys(kind: object) -> TypeGuard[type[Struct]]:
    """Whether a setting of this type has keys of its own; else it is one text, for `parse`."""
    return isinstance(kind, type) and issubclass(kind, Struct) and kind not in _PARSERS


def parse(kind: type[Any], name: str, given: Given) -> Any:
    """The value of the setting `name`, of type `kind`. Raises ValueError.

    A Secret comes back as its text: only the caller knows how to read it again.
    """
    parser = _PARSERS.get(kind)
    if parser is None:
        raise TypeError(f"the setting {name} has a type that schedules.yaml cannot give: {kind}")
    value = parser(given)
    if kind is str and name in _CHECKS:
        _CHECKS[name](given)
    if name in LIMITS:
        _within(kind, name, value, given)
    return value


def _within(kind: type[Any], name: str, value: Any, given: Given) -> None:
    low, high = (parse(kind, "", Given(limit, "text", limit)) for limit in LIMITS[name])
    if value < low:
        raise ValueError(f"{given.shown} is too small; write {LIMITS[name][0]} or more")
    if value > high:
        raise ValueError(f"{given.shown} is too large; write {LIMITS[name][1]} or less")


def _text(given: Given) -> str:
    if given.kind != "text":
        mend = f'put it in quotes: "{given.text}"'
        raise ValueError(f"{given.shown} is read as a {given.kind}; {mend}")
    if not given.text:
        raise ValueError("is empty; give it a value or leave the key out")
    return given.text


def _secret(given: Given) -> str:
    if given.kind != "text":
        raise ValueError(f"is read as a {given.kind}; put it in quotes")
    return _text(given)


def _boolean(given: Given) -> bool:
    if given.text.lower() not in _BOOLEANS:
        raise ValueError(f"{given.shown} is neither true nor false; write true or false")
    return _BOOLEANS[given.text.lower()]


def _whole(given: Given) -> int:
    if not _WHOLE.fullmatch(given.text):
        raise ValueError(f"{given.shown} is no whole number; write plain digits, like 8")
    return int(given.text)


def _number(given: Given) -> float:
    if not _NUMBER.fullmatch(given.text):
        raise ValueError(f"{given.shown} is no number; write it like 0.5")
    return float(given.text)


def _duration(given: Given) -> Duration:
    if given.text.isdecimal():
        n = given.text
        mend = "30s, 5m, 90d" if given.replaced else f"{n}s, {n}m, {n}d"
        raise ValueError(f"{given.shown} has no unit; write {mend}")
    return _unit(Duration.parse, given)


def _rate(given: Given) -> Rate:
    try:
        return Rate.parse(given.text)
    except ValueError:
        told = f"{given.shown} is no rate; write calls per time: 35/10s, or none"
        raise ValueError(told) from None


def _since(given: Given) -> Since:
    since = _unit(Since.parse, given)
    if (since.ago_s or 0) > _CENTURY_S:
        raise ValueError(f"{given.shown} is too far back; write a date (2026-01-31) or 90d")
    return since


def _cron(given: Given) -> cron.Cron:
    try:
        return cron.parse(given.text)
    except ValueError as error:
        if not given.replaced:
            raise
        reason = 'write five fields ("0 3 * * sun") or @daily'
        raise ValueError(f"{given.shown} is no schedule; {reason}") from error


def _unit(parse_text: Callable[[str], _T], given: Given) -> _T:
    """Runs a parser of `units`; what its message calls by its text is called `shown` here."""
    try:
        return parse_text(given.text)
    except OverflowError:
        raise ValueError(f"{given.shown} is out of range") from None
    except ValueError as error:
        what = str(error).partition(" is no ")[2]
        raise ValueError(f"{given.shown} is no {what}") from None


def _zone(given: Given) -> zoneinfo.ZoneInfo:
    try:
        return zoneinfo.ZoneInfo(_text(given))
    except (KeyError, OSError, ValueError):
        hint = "" if given.replaced else _near_zone(given.text)
    raise ValueError(f"{given.shown} is no time zone; {hint or 'write it like Asia/Shanghai'}")


def _near_zone(text: str) -> str:
    """A hint at a zone of nearly this name, or at that of a city."""
    zones = sorted(zoneinfo.available_timezones())
    city = text.rpartition("/")[2].lower().replace(" ", "_")
    of_city = [zone for zone in zones if "/" in zone and zone.lower().endswith(f"/{city}")]
    if of_city:
        return f"did you mean {of_city[0]!r}?"
    near = did_you_mean(text, zones)
    return near if near.startswith("did") else ""


def _url(given: Given) -> None:
    mend = "write http://host:port or https://host"
    try:
        url = urlsplit(given.text)
        _ = url.port  # urlsplit looks at the port only when asked
    except ValueError:
        raise ValueError(f"is no URL; {mend}") from None
    if "@" in url.netloc:
        raise ValueError("holds a user or password; take them out, they have keys of their own")
    if url.scheme not in ("http", "https") or not url.hostname or re.search(r"\s", given.text):
        raise ValueError(f"{_harmless(given)} is no URL; {mend}")
    if url.query or url.fragment:
        raise ValueError(f"has a ? or # part; {mend}")


def _harmless(given: Given) -> str:
    return "what came" if "@" in given.text else given.shown


_PARSERS: Mapping[type[Any], Callable[[Given], Any]] = {
    bool: _boolean,
    float: _number,
    int: _whole,
    str: _text,
    Secret: _secret,
    Duration: _duration,
    Rate: _rate,
    Size: lambda given: _unit(Size.parse, given),
    Share: lambda given: _unit(Share.parse, given),
    Since: _since,
    cron.Cron: _cron,
    zoneinfo.ZoneInfo: _zone,
}
_CHECKS: Mapping[str, Callable[[Given], Any]] = {"time_zone": _zone, "url": _url}
