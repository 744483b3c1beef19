"""Takes long texts out of a JSON document while it comes, so that what is left fits memory.

Nothing is judged here: what is left is parsed as any other body, and is JSON exactly when the
whole was. Only the text of a member whose name is given, written plainly, is ever taken out.
"""

from __future__ import annotations

import re
from collections.abc import Set

from etl.errors import Malformed, TooLarge
from etl.spool import Spool, SpooledText, Texts
from etl.values import parse, repaired

LONG = 1024
"""Bytes that a text has at least, as it is written, to be taken out."""
MOST_LEFT = 32 * 2**20
"""Bytes that are parsed at once: parsed, they are several times as many."""

_NEAR = 256
_QUOTE, _BACKSLASH = b'"', 0x5C
_MOST_UNSURE = 2**20
_TOKENS = re.compile(
    rb"(?:[^\\]++"
    rb"|\\u[dD][89abAB][0-9a-fA-F]{2}(?:\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    rb"|(?=[\s\S]{6})(?!\\u[dD][c-fC-F]))"
    rb"|\\u(?![dD][89abAB])[0-9a-fA-F]{4}"
    rb"|\\[^u])*+"
)
"""Characters and escapes of a JSON text, each whole, both halves of a pair together."""


class Reduction:
    """Feed it a document piece by piece, then `finish`.

    Raises TooLarge when more than `most` bytes are left, Malformed for a text that is none.
    """

    def __init__(self, names: Set[str], *, long: int = LONG, most: int = MOST_LEFT) -> None:
        self._names = {name.encode() for name in names}
        self._long = long
        self._most = most
        self._left = bytearray()
        self._texts = Texts()
        self._spool = Spool()
        self._rest = b""
        self._inside = False
        self._last = self._between = b""
        """The last text, where it is one of the names, and what came after it."""
        self._taken: _Taken | None = None
        self._begun = 0
        """Where in what is left the text in hand begins."""

    def feed(self, piece: bytes) -> None:
        """Takes the next bytes of the document."""
        self._texts.size += len(piece)
        data = self._rest + piece if self._rest else piece
        self._rest = b""
        at = 0
        while at < len(data):
            at = self._within(data, at) if self._inside else self._outside(data, at)
        if len(self._left) > self._most:
            raise TooLarge(
                f"the body holds more than {self._most} bytes beside its long texts, too many "
                "to be parsed at once"
            )

    def finish(self) -> tuple[bytes, Texts]:
        """What is left, with marks in it, and the texts that belong there."""
        return bytes(self._left), self._texts

    def _outside(self, data: bytes, at: int) -> int:
        """Up to the next text."""
        quote = data.find(_QUOTE, at)
        end = len(data) if quote < 0 else quote
        if self._last:
            self._between += data[at:end]
        if quote < 0:
            self._left += data[at:]
            return end
        self._left += data[at : end + 1]
        self._inside, self._begun = True, len(self._left)
        named = self._last and self._between.strip(b" \t\r\n") == b":"
        self._taken = _Taken(self._spool) if named else None
        self._last = self._between = b""
        return end + 1

    def _within(self, data: bytes, at: int) -> int:
        """The text in hand; `at` is between two of its characters."""
        close = _closing(data, at)
        end = _between_characters(data, at) if close < 0 else close
        if end == at and close < 0:
            if len(data) - at > _MOST_UNSURE:
                raise Malformed("the body is not JSON: an escape that is none")
            self._rest = data[at:]
            return len(data)
        self._take(data[at:end])
        if close < 0:
            return end
        self._close()
        return close + 1

    def _take(self, raw: bytes) -> None:
        """Keeps a part of the text in hand; one that turns out to be long leaves the document."""
        taken = self._taken
        if taken is not None and taken.began:
            taken.add(raw)
            return
        self._left += raw
        if taken is not None and len(self._left) - self._begun > self._long:
            taken.add(bytes(self._left[self._begun :]))
            del self._left[self._begun :]

    def _close(self) -> None:
        if self._taken is not None and self._taken.began:
            self._left += self._texts.mark(self._taken.text()).encode()
        elif len(self._left) - self._begun <= self._long:
            text = bytes(self._left[self._begun :])
            self._last = text if text in self._names else b""
        self._left += _QUOTE
        self._inside, self._taken = False, None


class _Taken:
    """A long text on its way into the spool."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._start = 0
        self._came_bytes = 0
        self._repaired = False
        self.began = False

    def add(self, raw: bytes) -> None:
        """Adds characters as JSON writes them. Raises Malformed for what it does not write so."""
        if not self.began:
            self.began, self._start = True, self._spool.size
        came = parse(_QUOTE + raw + _QUOTE)
        text, changed = repaired(came)
        data = text.encode()
        self._came_bytes += len(came.encode("utf-8", "surrogatepass")) if changed else len(data)
        self._repaired = self._repaired or changed
        self._spool.append(data)

    def text(self) -> SpooledText:
        """The text, once it has ended."""
        ranges = ((self._start, self._spool.size),)
        return SpooledText(self._spool, ranges, self._came_bytes, self._repaired)


def _closing(data: bytes, at: int) -> int:
    """Where the text ends that goes on at `at`; -1 when it does not end in `data`."""
    quote, further = data.find(_QUOTE, at), _NEAR
    while quote > at and data[quote - 1] == _BACKSLASH:
        window = data[at : quote + further]
        plain = window.replace(b"\\\\", b"__").replace(b'\\"', b"__")
        found = plain.find(_QUOTE)
        if found >= 0:
            return at + found
        at += len(window)
        if at == len(data):
            return -1
        at -= plain.endswith(b"\\")
        quote, further = data.find(_QUOTE, at), further * 4
    return quote


def _between_characters(data: bytes, at: int) -> int:
    """A late place in `data` between two characters of the text that goes on at `at`.

    `at` itself when none is sure. Usually one is near the end: six bytes without a backslash
    before it cannot be an escape, nor the first half of a pair.
    """
    for place in range(len(data) - 1, max(at + 6, len(data) - _NEAR), -1):
        if data[place] & 0xC0 != 0x80 and data.find(b"\\", place - 6, place) < 0:
            return place
    found = _TOKENS.match(data, at)
    place = found.end() if found else at
    if place == len(data):
        place = _before_a_character(data, at, place)
    return place


def _before_a_character(data: bytes, at: int, place: int) -> int:
    """`place`, or the beginning of a character of several bytes that may go on there."""
    lead = place
    while lead > max(at, place - 3) and data[lead - 1] & 0xC0 == 0x80:
        lead -= 1
    return lead - 1 if lead > at and data[lead - 1] >= 0xC0 else place
