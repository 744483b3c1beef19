"""One HTTP/1.1 exchange on an open socket: what is usual is read here, the rest by http.client.

requests and urllib3 spend most of a small call on building and parsing headers; here a head is
searched for the few fields that decide how the body is read, and parsed only when somebody asks.
Whatever is not plain (chunks, folded lines, 1xx, no length) goes, with the bytes that came, to
http.client and urllib3, which read it as they always do.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Protocol

from msgspec import Struct
from requests import PreparedRequest
from requests.structures import CaseInsensitiveDict
from requests.utils import requote_uri
from urllib3 import HTTPHeaderDict, HTTPResponse
from urllib3.exceptions import IncompleteRead, ProtocolError
from urllib3.response import BaseHTTPResponse

from etl.http.address import root_of
from etl.http.body import PIECE, Progress

_LONGEST_HEAD = 1 << 16
_PLAIN_HEAD = re.compile(rb"HTTP/1\.1 ([2-5]\d\d)(?: [^\r\n]*)?\r\n")
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,18})[ \t]*(?=\r\n)")
_UNUSUAL = re.compile(
    rb"\r\n(?:[ \t]|transfer-encoding:)|\r\n[^\r\n:]*(?:\r\n|$)|\r(?!\n)|(?<!\r)\n|\x00"
)
_CONNECTION = re.compile(rb"\r\nconnection:[ \t]*([^\r\n]*)")
_CODING = re.compile(rb"\r\ncontent-encoding:[ \t]*([^\r\n]*)")
_NO_BODY = frozenset({b"204", b"205", b"304"})
_SAFE_TARGET = re.compile(r"(?:[A-Za-z0-9\-._~/?:@!$&'()*+,;=]|%[0-9A-Fa-f]{2})*")
_WRONG_IN_HEADER = re.compile(r"[\r\n\x00]")
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


class LazyHeaders(Mapping[str, str]):
    """The headers of an answer; names ignore case. Parsed when they are first looked at."""

    __slots__ = ("_head", "_parsed")

    def __init__(self, head: bytes) -> None:
        self._head = head
        self._parsed: HTTPHeaderDict | None = None

    def _all(self) -> HTTPHeaderDict:
        if self._parsed is None:
            self._parsed = HTTPHeaderDict()
            for line in self._head.decode("latin-1").split("\r\n")[1:]:
                name, _, value = line.partition(":")
                self._parsed.add(name, value.strip(" \t"))
        return self._parsed

    def __getitem__(self, name: str) -> str:
        return self._all()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())


class Stream(Protocol):
    """What is read and written here of a socket; errors are those of a socket."""

    def sendall(self, data: bytes, /) -> None: ...
    def recv(self, size: int, /) -> bytes: ...
    def recv_into(self, buffer: Any, /) -> int: ...


class Incoming(Struct):
    """An answer whose head is here. `length` None: the body says itself where it ends.

    `begun` is what came of the body with the head; `sock` brings the rest of it. `raw` instead of
    both: urllib3 reads it.
    """

    status: int
    headers: Mapping[str, str]
    coding: str
    length: int | None
    reusable: bool
    begun: bytes = b""
    sock: Stream | None = None
    raw: BaseHTTPResponse | None = None

    def pieces(self, progress: Progress) -> Iterator[bytes]:
        """The body as it comes, still packed. Raises IncompleteRead when it ends early."""
        if self.raw is not None:
            yield from _pieces_of(self.raw, progress)
            return
        assert self.sock is not None and self.length is not None  # noqa: S101, PT018 - one or other
        piece, left = self.begun, self.length
        while True:
            if piece:
                progress.received(len(piece))
                left -= len(piece)
                yield piece
            if not left:
                return
            piece = self.sock.recv(min(left, PIECE))
            if not piece:
                raise IncompleteRead(self.length - left, left)

    def is_over(self) -> bool:
        """After the body: whether another question may be asked on the same connection."""
        if not self.reusable:
            return False
        original = getattr(self.raw, "_original_response", None)
        return original is None or (original.isclosed() and not original.will_close)


class Prepared(PreparedRequest):
    """A request without the guesses that `requests` makes; its first line is there before its turn
    to be sent."""

    def __init__(
        self, method: str, url: str, headers: CaseInsensitiveDict[str], body: bytes | None
    ) -> None:
        super().__init__()
        self.method = method
        self.url = url
        self.headers = headers
        self.body = body
        self.root = root_of(url)
        self._first: tuple[str, bytes] | None = None
        with contextlib.suppress(ValueError):  # whoever sends it is told
            self.head_line()

    def head_line(self) -> bytes:
        """The first line as it is sent, whoever has changed the URL meanwhile."""
        url = self.url or ""
        if self._first is None or self._first[0] is not url:
            self._first = url, self._line(url[len(self.root) :].partition("#")[0])
        return self._first[1]

    def _line(self, target: str) -> bytes:
        if not _SAFE_TARGET.fullmatch(target):
            target = requote_uri(target)
        if not target.startswith("/"):
            target = f"/{target}"
        return f"{self.method} {target} HTTP/1.1\r\n".encode("latin-1")


def head_of(request: Prepared) -> bytes:
    """Request line and headers as they are sent.

    Raises ValueError for what must not stand in a head: a line break in a secret.
    """
    return request.head_line() + _fields(request.root, tuple(request.headers.items()))


@lru_cache(maxsize=64)  # most calls differ in their first line alone
def _fields(root: str, headers: tuple[tuple[str, str], ...]) -> bytes:
    host = root.partition("://")[2].rpartition("@")[2]
    if not host.isascii():
        host = host.encode("idna").decode()
    lines = [f"Host: {host}"]
    for name, value in headers:
        if not _NAME.fullmatch(name) or _WRONG_IN_HEADER.search(value):
            raise ValueError(f"a header that cannot be sent: {name}")
        lines.append(f"{name}: {value}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def body_of(request: Prepared) -> bytes:
    """The body as it is sent; empty where there is none."""
    body = request.body or b""
    return body.encode() if isinstance(body, str) else body


def receive(sock: Stream, method: str) -> Incoming:
    """Waits for the head of an answer. Raises ProtocolError, OSError, TimeoutError."""
    came = sock.recv(PIECE)
    end = came.find(b"\r\n\r\n")
    while end < 0:
        more = sock.recv(PIECE) if len(came) < _LONGEST_HEAD and came else b""
        if not more:
            return _unusual(sock, came, method)
        came += more
        end = came.find(b"\r\n\r\n")
    head = came[:end]
    return _plain(head, came[end + 4 :], sock) or _unusual(sock, came, method)


def _plain(head: bytes, begun: bytes, sock: Stream) -> Incoming | None:
    """The answer if its head holds nothing unusual and says how long its body is."""
    first = _PLAIN_HEAD.match(head + b"\r\n")
    if first is None or first[1] in _NO_BODY:
        return None
    low = head[first.end() - 2 :].lower()
    lengths = _LENGTH.findall(low + b"\r\n")
    if len(lengths) != 1 or low.count(b"content-length") != 1 or _UNUSUAL.search(low):
        return None
    length = int(lengths[0])
    connection, coding = _CONNECTION.search(low), _CODING.search(low)
    reusable = len(begun) <= length and not (connection and b"close" in connection[1])
    return Incoming(
        int(first[1]),
        LazyHeaders(head),
        coding[1].decode("latin-1").strip() if coding else "",
        length,
        reusable,
        begun[:length],
        sock,
    )


def _unusual(sock: Stream, came: bytes, method: str) -> Incoming:
    made = http.client.HTTPResponse(_Replayed(sock, came), method=method)  # type: ignore[arg-type]
    try:
        made.begin()
    except http.client.HTTPException as error:
        raise ProtocolError("Connection aborted.", error) from error
    raw = HTTPResponse(
        body=made,
        headers=HTTPHeaderDict(made.msg.items()),
        status=made.status,
        version=made.version,
        preload_content=False,
        decode_content=False,
        original_response=made,
        request_method=method,
    )
    return incoming(raw)


def incoming(raw: BaseHTTPResponse) -> Incoming:
    """An answer that urllib3 reads."""
    coding = (raw.headers.get("Content-Encoding") or "").strip().lower()
    length = getattr(raw, "length_remaining", None)
    return Incoming(raw.status, raw.headers, coding, length, True, raw=raw)


def _pieces_of(raw: BaseHTTPResponse, progress: Progress) -> Iterator[bytes]:
    # read1 hands over what has come; read would wait for a full piece and hide a slow body.
    while piece := raw.read1(PIECE, decode_content=False):
        progress.received(len(piece))
        yield piece
        if getattr(raw, "length_remaining", None) == 0:
            return


class _Replayed:
    """A socket, as far as http.client needs one, that gives `came` before anything else."""

    def __init__(self, sock: Stream, came: bytes) -> None:
        self._stream = _Stream(sock, came)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(self._stream)


class _Stream(io.RawIOBase):
    def __init__(self, sock: Stream, came: bytes) -> None:
        self._sock = sock
        self._came = came

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._came:
            return self._sock.recv_into(buffer)
        count = min(len(buffer), len(self._came))
        buffer[:count] = self._came[:count]
        self._came = self._came[count:]
        return count
