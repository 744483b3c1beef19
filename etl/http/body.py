"""Bodies, read and unpacked piece by piece, so that a limit holds before memory is spent."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Set
from typing import Protocol

from etl.errors import Malformed, TooLarge, Transient
from etl.http.reduction import MOST_LEFT, Reduction
from etl.spool import Texts

PIECE = 1 << 16
_UNPACKED_PIECE = 1 << 20
REDUCED_FROM = 1 << 22
"""Unpacked bytes beyond which long texts of a body go to a file."""


class Progress(Protocol):
    """Is told of every piece that arrives."""

    def received(self, count: int) -> None: ...


class Arriving(Protocol):
    """A body on its way; `length` packed bytes, None where only its end tells."""

    @property
    def coding(self) -> str: ...
    @property
    def length(self) -> int | None: ...
    def pieces(self, progress: Progress) -> Iterator[bytes]: ...


def read_body(
    arriving: Arriving, limit: int, progress: Progress, long_texts: Set[str] = frozenset()
) -> tuple[bytes, Texts | None]:
    """The whole body, unpacked; of a large one the texts of members named in `long_texts` apart.

    Raises TooLarge beyond `limit` unpacked bytes and beyond what may be parsed at once, Malformed
    for what cannot be unpacked, Transient for a packed body that ends early (urllib3 itself
    notices a short plain one).
    """
    pieces = arriving.pieces(progress)
    if arriving.coding in ("identity", ""):
        if (arriving.length or 0) > limit:
            raise _too_large(limit)
    elif arriving.coding in ("gzip", "x-gzip", "deflate"):
        pieces = _unpacked(pieces)
    else:
        raise Malformed(f"the body is packed as {arriving.coding!r}, which was not asked for")
    kept, size = [], 0
    for piece in pieces:
        size += len(piece)
        if size > limit:
            raise _too_large(limit)
        kept.append(piece)
        if size > REDUCED_FROM and long_texts:
            return _reduced(kept, _limited(pieces, limit, size), long_texts)
        if size > MOST_LEFT:
            raise TooLarge(
                f"the body holds more than {MOST_LEFT} bytes, too many to be parsed at once"
            )
    return kept[0] if len(kept) == 1 else b"".join(kept), None


def _limited(pieces: Iterator[bytes], limit: int, size: int) -> Iterator[bytes]:
    for piece in pieces:
        size += len(piece)
        if size > limit:
            raise _too_large(limit)
        yield piece


def _reduced(
    begun: list[bytes], pieces: Iterator[bytes], long_texts: Set[str]
) -> tuple[bytes, Texts]:
    """A body of which `begun` is here already."""
    reduction = Reduction(long_texts)
    while begun:
        reduction.feed(begun.pop(0))
    for piece in pieces:
        reduction.feed(piece)
    return reduction.finish()


def _unpacked(packed: Iterator[bytes]) -> Iterator[bytes]:
    """Handles gzip (of several members too) and zlib; never more than 1 MiB at a time."""
    unpacker = zlib.decompressobj(wbits=47)
    begun = False
    for piece in packed:
        rest = piece
        while rest:
            if unpacker.eof:
                unpacker = zlib.decompressobj(wbits=47)
            begun = True
            yield _unpack(unpacker, rest)
            rest = unpacker.unconsumed_tail or unpacker.unused_data
    while begun and not unpacker.eof and (more := _unpack(unpacker, b"")):
        yield more
    if begun and not unpacker.eof:
        raise Transient("the packed body ends before its end")


def _unpack(unpacker: zlib._Decompress, data: bytes) -> bytes:
    try:
        return unpacker.decompress(data, _UNPACKED_PIECE)
    except zlib.error:
        failure = Malformed("the body says it is gzip, but it cannot be unpacked")
    raise failure


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"the body is larger than max_body ({limit} bytes unpacked)")
