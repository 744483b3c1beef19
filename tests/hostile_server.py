"""An HTTP server on a raw socket that does to a client whatever a test wants.

Each request takes the next play, the last one for ever. A play is the bytes of an answer, or a
function that does what it likes with the connection. Every request is kept in `seen`.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any


@dataclass(frozen=True)
class Seen:
    """One request as it came; header names in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Call:
    """A request and the connection it came on."""

    sock: socket.socket
    seen: Seen
    server: HostileServer

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def hang(self) -> None:
        """Keeps silent until the server is closed."""
        self.server.asked_to_hang.set()
        self.server.over.wait(30)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)

    def reset(self) -> None:
        """Closes with RST, as a crashing process or a firewall does."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


Play = bytes | Callable[[Call], None]


class HostileServer:
    """Serves `plays` on loopback until it is closed."""

    def __init__(self, *plays: Play, tls: ssl.SSLContext | None = None) -> None:
        self.plays = list(plays)
        self.seen: list[Seen] = []
        self.over = threading.Event()
        self.asked_to_hang = threading.Event()
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        if tls is not None:
            self.url = f"https://localhost:{self.port}"  # the certificate's name
        self._tls = tls
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> HostileServer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.over.set()
        for sock in [self._listener, *self._sockets]:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._sockets.append(sock)
                if self._tls is not None:
                    sock = self._tls.wrap_socket(sock, True, do_handshake_on_connect=False)
                    self._sockets.append(sock)
                threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError), sock:
            while (seen := _read(sock)) is not None:
                with self._lock:
                    self.seen.append(seen)
                    play = self.plays.pop(0) if len(self.plays) > 1 else self.plays[0]
                if isinstance(play, bytes):
                    sock.sendall(play)
                else:
                    play(Call(sock, seen, self))


def _read(sock: socket.socket) -> Seen | None:
    data = b""
    while b"\r\n\r\n" not in data:
        piece = sock.recv(65536)
        if not piece:
            return None
        data += piece
    head, body = data.split(b"\r\n\r\n", 1)
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ")
    headers = {
        name.lower(): value.strip() for name, value in (line.split(":", 1) for line in lines)
    }
    while len(body) < int(headers.get("content-length", 0)):
        body += sock.recv(65536)
    return Seen(method, target, headers, body)


def answer(
    body: bytes | str | dict[str, Any] = b'{"ok": true}',
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    length: int | None = None,
) -> bytes:
    """The bytes of an answer; `length` overrides the true Content-Length."""
    if isinstance(body, dict):
        body = json.dumps(body)
    if isinstance(body, str):
        body = body.encode()
    lines = {"Content-Type": "application/json", "Content-Length": str(length or len(body))}
    lines.update(headers or {})
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"HTTP/1.1 {status} X\r\n{head}\r\n".encode() + body


def packed(body: bytes, headers: Mapping[str, str] | None = None) -> bytes:
    """An answer packed with gzip."""
    return answer(gzip.compress(body), headers={"Content-Encoding": "gzip", **(headers or {})})


def chunked(*pieces: bytes, end: bool = True) -> bytes:
    """A chunked answer; without its end when `end` is False."""
    head = b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n"
    body = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    return head + body + (b"0\r\n\r\n" if end else b"")


def cut_short(data: bytes, *, reset: bool = False) -> Play:
    """Sends `data`, then breaks the connection."""

    def play(call: Call) -> None:
        call.send(data)
        if reset:
            call.reset()
        else:
            call.close()

    return play


def hanging(data: bytes = b"") -> Play:
    """Sends `data`, then keeps silent."""

    def play(call: Call) -> None:
        if data:
            call.send(data)
        call.hang()

    return play


def dripping(data: bytes, pause_s: float, size: int = 1) -> Play:
    """Sends `data` in pieces of `size` with a pause after each."""

    def play(call: Call) -> None:
        for at in range(0, len(data), size):
            call.send(data[at : at + size])
            if call.server.over.wait(pause_s):
                return

    return play


def starting(data: bytes, play: Play) -> Play:
    """Sends `data` at once, then goes on with `play`."""

    def both(call: Call) -> None:
        call.send(data)
        if isinstance(play, bytes):
            call.send(play)
        else:
            play(call)

    return both


def slow_body(data: bytes, pause_s: float, size: int = 1) -> Play:
    """Sends the head of an answer at once, and its body in pieces."""
    at = data.index(b"\r\n\r\n") + 4
    return starting(data[:at], dripping(data[at:], pause_s, size))
