"""Bodies, read and unpacked piece by piece, so that a limit holds before memory is spent."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Protocol

from etl.errors import Malformed, TooLarge, Transient

PIECE = 1 << 16
_UNPACKED_PIECE = 1 << 20


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


def read_body(arriving: Arriving, limit: int, progress: Progress) -> bytes:
    """The whole body, unpacked.

    Raises TooLarge beyond `limit` unpacked bytes, Malformed for what cannot be unpacked,
    Transient for a packed body that ends early (urllib3 itself notices a short plain one).
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
    return kept[0] if len(kept) == 1 else b"".join(kept)


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
