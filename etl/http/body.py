"""Bodies, read and unpacked piece by piece, so that a limit holds before memory is spent."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Protocol

from urllib3.response import BaseHTTPResponse

from etl.errors import Malformed, TooLarge, Transient

_PIECE = 1 << 16
_UNPACKED_PIECE = 1 << 20


class Progress(Protocol):
    """Is told of every piece that arrives."""

    def received(self, count: int) -> None: ...


def read_body(raw: BaseHTTPResponse, limit: int, progress: Progress) -> bytes:
    """The whole body, unpacked.

    Raises TooLarge beyond `limit` unpacked bytes, Malformed for what cannot be unpacked,
    Transient for a packed body that ends early (urllib3 itself notices a short plain one).
    """
    coding = (raw.headers.get("Content-Encoding") or "identity").strip().lower()
    if coding in ("identity", ""):
        length = getattr(raw, "length_remaining", None) or 0
        if length > limit:
            raise _too_large(limit)
        pieces = _pieces(raw, progress)
    elif coding in ("gzip", "x-gzip", "deflate"):
        pieces = _unpacked(_pieces(raw, progress))
    else:
        raise Malformed(f"the body is packed as {coding!r}, which was not asked for")
    kept, size = [], 0
    for piece in pieces:
        size += len(piece)
        if size > limit:
            raise _too_large(limit)
        kept.append(piece)
    return kept[0] if len(kept) == 1 else b"".join(kept)


def _pieces(raw: BaseHTTPResponse, progress: Progress) -> Iterator[bytes]:
    # read1 hands over what has come; read would wait for a full piece and hide a slow body.
    while piece := raw.read1(_PIECE, decode_content=False):
        progress.received(len(piece))
        yield piece
        if getattr(raw, "length_remaining", None) == 0:
            return


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
