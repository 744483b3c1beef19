"""Values as platforms send them, read once and the same way for every database.

What cannot be stored as it is: a U+0000 becomes U+2400 and a lone surrogate U+FFFD (the row's
`text_repaired` says so); a number, time or text that does not fit its column leaves NULL there
and the original in `extra`. Only a record without a usable key is refused (`BadKey`).
"""

from __future__ import annotations

import contextlib
import json
import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Any, TypeVar

import msgspec

from etl.errors import Malformed
from etl.spool import SpooledText

Json = Any
"""A parsed JSON value: dict, list, str, int, float, bool or None."""

_T = TypeVar("_T")

INT64 = 2**63
SECONDS_BELOW = 10**11
"""An epoch below this is in seconds, otherwise in milliseconds (DESIGN 6, Values)."""

STATUSES = (
    "pending",
    "running",
    "paused",
    "stopping",
    "succeeded",
    "alarmed",
    "failed",
    "cancelled",
    "timed_out",
    "unknown",
)
FINAL = frozenset({"succeeded", "alarmed", "failed", "cancelled", "timed_out"})
"""Statuses after which nothing more happens; `unknown` is final only where a source says so."""

_SURROGATE = re.compile("[\ud800-\udfff]")


class BadKey(Exception):
    """A record has no usable key; the message says which and why. It becomes a reject."""


def parse(body: bytes) -> Json:
    """Parses JSON exactly: integers of any size, NaN and lone surrogates as they came.

    Bytes that are not UTF-8 become U+FFFD. Raises Malformed for anything that is not JSON.
    """
    try:
        return msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        # A lone surrogate, NaN, a number beyond 64 bits of float, a BOM, bytes that are not UTF-8.
        return _parse_exactly(body)


def _parse_exactly(body: bytes) -> Json:
    text = body.decode("utf-8", "replace").removeprefix("\ufeff")
    try:
        return json.loads(text, parse_float=_float)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"the body is not JSON: {str(error)[:120]}") from None


def _float(text: str) -> float | str:
    """A float, or its own text when it is beyond 64 bits (it is then kept as a string)."""
    number = float(text)
    return text if math.isinf(number) else number


def canonical(value: Json) -> str:
    """JSON text with sorted keys and repaired texts; numbers beyond 64 bits and NaN are strings.

    A value that is nested hundreds of levels deep is replaced by a text that says so.
    """
    try:
        value = _storable(value)
        return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    except RecursionError:
        return '"[nested too deeply to be kept]"'


def _storable(value: Json) -> Json:
    if isinstance(value, str):
        return repaired(value)[0]
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return value if -INT64 <= value < INT64 else str(value)
    if isinstance(value, float):
        return _storable_float(value)
    if isinstance(value, Mapping):
        return {repaired(str(name))[0]: _storable(item) for name, item in value.items()}
    return str(value) if isinstance(value, SpooledText) else [_storable(item) for item in value]


def _storable_float(value: float) -> float | int | str:
    """jsonb writes 1e16 as its digits and knows no -0.0: so do all databases."""
    if not math.isfinite(value) or abs(value) >= INT64:
        return str(value)
    return int(value) if abs(value) >= 10**16 or value == 0 else value


def repaired(text: str) -> tuple[str, bool]:
    """`text` as every database can hold it, and whether it had to be changed."""
    if "\x00" not in text and is_clean(text):
        return text, False
    clean = _SURROGATE.sub("\ufffd", text).replace("\x00", "\u2400")
    return (clean, True) if clean != text else (text, False)


def is_clean(text: str) -> bool:
    """Whether `text` is UTF-8 as it stands: it holds no lone surrogate."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class Unreadable(ValueError):
    """A value that does not fit its column; it stays in `extra`."""


def whole(value: Json, bits: int = 64) -> int | None:
    """A whole number: int, digits as text, or an integral float. None for null and "".

    Raises Unreadable for anything else and beyond `bits`.
    """
    if value is None or value == "":
        return None
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            value = int(value) if len(value) < 40 else value
    if isinstance(value, float) and value.is_integer() and abs(value) <= 2**53:
        value = int(value)
    limit = 2 ** (bits - 1)
    if isinstance(value, bool) or not isinstance(value, int) or not -limit <= value < limit:
        raise Unreadable(repr(value)[:80])
    return value


_ZERO_TIMES = ("", "0", "0001-01-01T00:00:00Z", "0001-01-01 00:00:00", "0000-00-00 00:00:00")


def instant(value: Json, zone: tzinfo = UTC) -> datetime | None:
    """A moment in UTC: epoch seconds or milliseconds (digits as text too), RFC 3339, or
    `YYYY-MM-DD HH:MM:SS` in `zone`. None for null, 0, "" and Go's zero time, in any of them.

    Raises Unreadable for anything else.
    """
    if type(value) is int and SECONDS_BELOW <= value <= _LAST_MS:
        return _EPOCH + timedelta(0, 0, 0, value)
    if value is None or value in (0, *_ZERO_TIMES):
        return None
    if isinstance(value, bool):
        raise Unreadable(repr(value))
    if isinstance(value, str) and not value.lstrip("-").isdecimal():
        return _written(value, zone)
    try:
        at = _epoch(value if isinstance(value, float) else int(value))
    except (TypeError, ValueError, OverflowError):
        raise Unreadable(repr(value)[:80]) from None
    return at if at.year > 1 else None


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_MS = 253_402_300_799_999  # the end of the year 9999


def _epoch(number: float) -> datetime:
    if abs(number) < SECONDS_BELOW:
        return _EPOCH + timedelta(seconds=number)
    return _EPOCH + timedelta(milliseconds=number)


@lru_cache(maxsize=4096)  # a record, its hosts and its list tell the same times again
def _written(text: str, zone: tzinfo) -> datetime | None:
    try:
        at = datetime.fromisoformat(text.strip())
    except ValueError:
        raise Unreadable(repr(text)[:80]) from None
    if at.year <= 1:
        return None
    try:
        return (at.replace(tzinfo=zone) if at.tzinfo is None else at).astimezone(UTC)
    except OverflowError:
        raise Unreadable(repr(text)[:80]) from None


class Fields:
    """Reads one JSON object into columns and remembers what is left for `extra`.

    Each method takes one or more names (the shapes of an API differ) and reads the first that is
    there. What cannot be read leaves None and stays in `extra` under its own name.
    """

    __slots__ = ("_item", "_taken", "repaired", "zone")

    def __init__(self, item: Mapping[str, Json], zone: tzinfo = UTC) -> None:
        self._item = item
        self._taken: set[str] = set()
        self.repaired = False
        self.zone = zone

    def raw(self, *names: str) -> Json:
        """The value as it came, taken out of `extra`; None when absent."""
        for name in names:
            if name in self._item:
                self._taken.add(name)
                return self._item[name]
        return None

    def ignore(self, *names: str) -> None:
        """Takes `names` out of `extra`."""
        self._taken.update(names)

    def text(self, *names: str, limit: int | None = None) -> str | None:
        """Text; numbers and booleans become their JSON text; beyond `limit` it is unreadable."""
        for name in names:
            if name in self._item:
                value = self._item[name]
                if type(value) is not str or limit is not None or "\x00" in value:
                    break
                if not is_clean(value):
                    break
                self._taken.add(name)
                return value
        return self._read(names, lambda value: self._text(value, limit))

    def whole(self, *names: str, bits: int = 64) -> int | None:
        return self._read(names, lambda value: whole(value, bits))

    def instant(self, *names: str) -> datetime | None:
        return self._read(names, lambda value: instant(value, self.zone))

    def json(self, *names: str) -> str | None:
        """The value as canonical JSON text; None for null and absent."""
        value = self.raw(*names)
        return None if value is None else canonical(value)

    def key_text(self, *names: str, limit: int = 255, empty: bool = False) -> str:
        """A text key. Raises BadKey when absent, empty (unless `empty`), too long or repaired."""
        value = self.raw(*names)
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        if not isinstance(value, str) or len(value) > limit or not (value or empty):
            raise BadKey(f"{names[0]}: no usable key: {_shown(value)}")
        if repaired(value)[1]:
            raise BadKey(f"{names[0]}: a key with U+0000 or a lone surrogate: {_shown(value)}")
        return value

    def key_whole(self, *names: str) -> int:
        """A whole-number key of 64 bits. Raises BadKey."""
        value = self.raw(*names)
        try:
            number = whole(value)
        except Unreadable:
            number = None
        if number is None:
            raise BadKey(f"{names[0]}: no usable key: {_shown(value)}")
        return number

    def extra(self) -> str | None:
        """What no column took, as canonical JSON; None when nothing is left. Call it last."""
        left = self._item.keys() - self._taken
        return canonical({name: self._item[name] for name in left}) if left else None

    def _text(self, value: Json, limit: int | None) -> str | None:
        if value is None:
            return None
        if isinstance(value, SpooledText):
            self.repaired = self.repaired or value.repaired
            value = str(value)
        if not isinstance(value, str):
            value = canonical(value)
        text, changed = repaired(value)
        if limit is not None and len(text) > limit:
            raise Unreadable(f"longer than {limit}")
        self.repaired = self.repaired or changed
        return text

    def _read(self, names: tuple[str, ...], read: Callable[[Json], _T | None]) -> _T | None:
        for name in names:
            if name in self._item:
                try:
                    value = read(self._item[name])
                except Unreadable:
                    return None
                self._taken.add(name)
                return value
        return None


def _shown(value: Json) -> str:
    return repr(value)[:80]
