"""HTTP/1.1 on a socket: reads one request, writes one answer, and knows no platform."""

import socket
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus
from urllib.parse import parse_qsl, unquote

MAX_HEAD = 1 << 20
_REASONS = {status.value: status.phrase for status in HTTPStatus}


class BadRequestError(Exception):
    """What came is not a request that HTTP/1.1 allows; answer 400 and close."""


@dataclass(slots=True)
class Request:
    """One request as it came; header names in lower case."""

    method: str
    target: str
    path: str
    query: list[tuple[str, str]]
    headers: dict[str, str]
    head: bytes = b""
    body: bytes = b""
    keep_alive: bool = True

    @property
    def params(self) -> dict[str, str]:
        """The query as a dict; of a repeated name the last value."""
        return dict(self.query)


@dataclass(slots=True)
class Response:
    """One answer; Content-Length and Date are added when it is written."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    headers: list[tuple[str, str]] = field(default_factory=list)

    def head(self, length: int, *, keep_alive: bool = True) -> bytes:
        """The status line and headers, announcing `length` bytes of body."""
        lines = [f"HTTP/1.1 {self.status} {_REASONS.get(self.status, 'Unknown')}"]
        if self.content_type:
            lines.append(f"Content-Type: {self.content_type}")
        lines += [f"{name}: {value}" for name, value in self.headers]
        lines.append(f"Date: {formatdate(usegmt=True)}\r\nContent-Length: {length}")
        if not keep_alive:
            lines.append("Connection: close")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")


class Channel:
    """A connection with what has been read from it but not yet used."""

    def __init__(self, sock: socket.socket) -> None:
        """Takes over a connected socket; Nagle's delay is switched off."""
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = sock
        self._rest = b""

    def read(self) -> Request | None:
        """The next request, or None when the client has closed."""
        head = self._until_blank_line()
        if head is None:
            return None
        request = parse_head(head)
        if request.headers.get("expect", "").lower() == "100-continue":
            self.sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        if "chunked" in request.headers.get("transfer-encoding", "").lower():
            request.body = self._chunks()
        elif length := request.headers.get("content-length"):
            request.body = self._exactly(_number(length, 10))
        return request

    def _until_blank_line(self) -> bytes | None:
        while (end := self._rest.find(b"\r\n\r\n")) < 0:
            if len(self._rest) > MAX_HEAD:
                raise BadRequestError("head too long")
            if not self._more():
                return None
        head, self._rest = self._rest[:end], self._rest[end + 4 :]
        return head

    def _exactly(self, length: int) -> bytes:
        while len(self._rest) < length:
            if not self._more():
                raise BadRequestError("body cut short")
        body, self._rest = self._rest[:length], self._rest[length:]
        return body

    def _line(self) -> bytes:
        while (end := self._rest.find(b"\r\n")) < 0:
            if not self._more():
                raise BadRequestError("chunk cut short")
        line, self._rest = self._rest[:end], self._rest[end + 2 :]
        return line

    def _chunks(self) -> bytes:
        parts = []
        while size := _number(self._line().split(b";")[0].decode("latin-1"), 16):
            parts.append(self._exactly(size))
            self._line()
        while self._line():
            pass
        return b"".join(parts)

    def _more(self) -> bool:
        data = self.sock.recv(65536)
        self._rest += data
        return bool(data)


def parse_head(head: bytes) -> Request:
    """The request line and headers of RFC 9112; anything else is a BadRequestError."""
    first, *lines = head.decode("latin-1").lstrip("\r\n").split("\r\n")
    try:
        method, target, version = first.split(" ")
    except ValueError:
        raise BadRequestError(first) from None
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon:
            raise BadRequestError(line)
        headers[name.lower()] = value.strip(" \t")
    path, _, query = target.partition("?")
    connection = headers.get("connection", "").lower()
    keep_alive = "close" not in connection if version == "HTTP/1.1" else "keep-alive" in connection
    return Request(
        method=method,
        target=target,
        path=unquote(path) if "%" in path else path,
        query=parse_qsl(query, keep_blank_values=True) if query else [],
        headers=headers,
        head=head,
        keep_alive=keep_alive,
    )


def _number(text: str, base: int) -> int:
    try:
        number = int(text, base)
    except ValueError:
        raise BadRequestError(text) from None
    if number < 0:
        raise BadRequestError(text)
    return number
