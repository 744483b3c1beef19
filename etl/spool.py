"""Texts too long for memory: they lie in a temporary file and are read when they are stored.

A driver is handed the bytes of one text at a time (`etl.db.session` tells each how); everything
else passes a `SpooledText` on without looking inside.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from functools import total_ordering

from etl.errors import Transient

Range = tuple[int, int]


class Spool:
    """A temporary file without a name: it is gone with the last text that lies in it, and with
    the process. One thread appends; any may read."""

    def __init__(self) -> None:
        import tempfile  # noqa: PLC0415 - most processes never need it

        with _room(), tempfile.TemporaryFile(buffering=0) as file:
            self._handle = os.dup(file.fileno())
        weakref.finalize(self, os.close, self._handle)
        self.size = 0

    def append(self, data: bytes) -> None:
        """Raises Transient when there is no room for more."""
        left = memoryview(data)
        with _room():
            while left:
                written = os.pwrite(self._handle, left, self.size)
                self.size += written
                left = left[written:]

    def read(self, ranges: tuple[Range, ...]) -> bytearray:
        """The bytes of all ranges [start, end), one after another, in one piece of memory."""
        data = bytearray(sum(end - start for start, end in ranges))
        view, place = memoryview(data), 0
        for start, end in ranges:
            at = start
            while at < end:
                count = os.preadv(self._handle, [view[place : place + end - at]], at)
                at, place = at + count, place + count
        return data


@contextmanager
def _room() -> Iterator[None]:
    why = ""
    try:
        yield
    except OSError as error:
        why = error.strerror or type(error).__name__
    if why:
        raise Transient(f"no room for a large answer among the temporary files ({why}); see TMPDIR")


@total_ordering
class SpooledText:
    """A text of a spool: UTF-8 that every database can hold.

    `came_bytes` is the length of what came, `repaired` whether it had to be changed (see
    `etl.values.repaired`). It compares with texts as a text, and is passed to a database as one.
    """

    __slots__ = ("_ranges", "_spool", "came_bytes", "repaired")

    def __init__(
        self, spool: Spool, ranges: tuple[Range, ...], came_bytes: int, repaired: bool
    ) -> None:
        self._spool = spool
        self._ranges = ranges
        self.came_bytes = came_bytes
        self.repaired = repaired

    def __len__(self) -> int:
        """Bytes of UTF-8."""
        return sum(end - start for start, end in self._ranges)

    def __str__(self) -> str:
        return self.utf8().decode()

    def __repr__(self) -> str:
        return f"<a text of {len(self)} bytes>"

    def utf8(self) -> bytearray:
        """The text itself, read from the file."""
        return self._spool.read(self._ranges)

    def __conform__(self, _protocol: object) -> bytearray:
        """What sqlite3 binds: a blob, which the statement casts to text."""
        return self.utf8()

    def __eq__(self, other: object) -> bool:
        theirs = _utf8(other)
        return NotImplemented if theirs is None else self.utf8() == theirs

    def __hash__(self) -> int:
        return hash(str(self))

    def __lt__(self, other: object) -> bool:
        theirs = _utf8(other)  # UTF-8 sorts as its code points do
        return NotImplemented if theirs is None else self.utf8() < theirs

    def kept(self, limit: int) -> SpooledText:
        """The text itself, or the first and the last half of `limit` bytes; no character split."""
        if len(self) <= limit:
            return self
        [(start, end)] = self._ranges
        head, tail = start + limit // 2, end - limit // 2
        while head > start and self._continues(head):
            head -= 1
        while tail < end and self._continues(tail):
            tail += 1
        ranges = ((start, head), (tail, end))
        return SpooledText(self._spool, ranges, self.came_bytes, self.repaired)

    def _continues(self, at: int) -> bool:
        """Whether the byte there belongs to the character before it."""
        return (self._spool.read(((at, at + 1),))[0] & 0xC0) == 0x80


def _utf8(other: object) -> bytes | bytearray | None:
    if isinstance(other, SpooledText):
        return other.utf8()
    return other.encode("utf-8", "surrogatepass") if isinstance(other, str) else None


class Texts:
    """The texts that were taken out of one JSON document, each with a mark in its place.

    `size` is how many bytes the document had with them.
    """

    def __init__(self) -> None:
        self.size = 0
        self._secret = os.urandom(16).hex()  # what comes from a platform cannot hold it
        self._held: dict[str, SpooledText] = {}

    def __len__(self) -> int:
        return len(self._held)

    def mark(self, text: SpooledText) -> str:
        """What stands in the document in place of `text`."""
        made = f"{self._secret}{len(self._held)}"
        self._held[made] = text
        return made

    def put_back(self, content: object) -> object:
        """The parsed document with its texts; changed in place."""
        todo = [content] if self._held else []
        while todo:
            inner = todo.pop()
            if isinstance(inner, dict):
                for name, value in inner.items():
                    if isinstance(value, dict | list):
                        todo.append(value)
                    elif type(value) is str and value in self._held:
                        inner[name] = self._held[value]
            elif isinstance(inner, list):
                todo += [value for value in inner if isinstance(value, dict | list)]
        return content
