"""Connections that a `Cutter` can end, and questions asked on them with little work for each."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError
from urllib3.response import BaseHTTPResponse, HTTPResponse
from urllib3.util import wait_for_read, wait_for_write

from etl.http.cutting import Cutter
from etl.http.exchange import Incoming, Prepared, Stream, body_of, head_of, incoming, receive
from etl.http.hub import Hub, aside, hub

R = TypeVar("R")

_IN_A_ROW = 32
"""So many pieces of an answer are read before others may go on."""


class _Cuttable(HTTPConnection):
    """Tells its cutter of its socket and, when urllib3 asks on it, of what it waits for."""

    cutter: Cutter
    handle: socket.socket | None = None
    hub: Hub | None = None
    """Whose reader reads here, or has read."""

    def _new_conn(self) -> socket.socket:
        timeout_s = float(self.timeout or 0)
        try:
            sock = self.cutter.dial(super()._new_conn, timeout_s)
        except TimeoutError as error:
            raise ConnectTimeoutError(self, str(error)) from None
        self.handle = self.cutter.hold(sock)
        return sock

    def getresponse(self) -> HTTPResponse:  # type: ignore[override]  # as urllib3 itself does
        if self.handle is not None:
            self.cutter.begin(self.handle, float(self.timeout or 0))
        return super().getresponse()

    def close(self) -> None:
        if self.hub is not None:
            self.hub.forget(self.sock.fileno())
            self.hub = None
        super().close()
        if self.handle is not None:
            self.cutter.drop(self.handle)
            self.handle = None

    def join(self) -> None:
        """`connect`, while other readers go on."""
        self.connect()  # which waits in `Cutter.dial` alone

    def taken(self, timeout_s: float) -> Stream:
        """The socket for whoever asks now, a thread of its own or a reader of a hub."""
        here = hub()
        if here is not None:
            self.hub = here
        return self.sock if here is None else _Shared(self.sock, here, timeout_s)

    def let_kernel_wait(self, timeout_s: float) -> None:
        """Blocking calls with the kernel's own timeout, whose end is a BlockingIOError.

        Python's timeouts cost a second system call for each; beside other threads, a second wait
        for the interpreter.
        """
        self.sock.settimeout(None)
        limit = struct.pack("@ll", int(timeout_s), int(timeout_s % 1 * 1_000_000))
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)

    def is_idle(self) -> bool:
        """Whether nothing came since the last answer, the other side's end included."""
        try:
            self.sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
        except OSError:
            pass
        return False


class _CuttableTls(_Cuttable, HTTPSConnection):
    """The same over TLS."""

    def let_kernel_wait(self, _timeout_s: float) -> None:
        """TLS reads ahead: only Python's own timeouts hold for all of an answer."""

    def join(self) -> None:
        """TLS shakes hands, which blocks."""
        aside(self.connect)

    def taken(self, timeout_s: float) -> Stream:
        here = hub()
        if here is None:
            self.sock.settimeout(timeout_s)
            return self.sock
        self.hub = here
        self.sock.settimeout(0)
        return _SharedTls(self.sock, here, timeout_s)

    def is_idle(self) -> bool:
        return not wait_for_read(self.sock, timeout=0.0)


class _Shared:
    """A socket to a reader: others go on while it waits. Raises TimeoutError."""

    def __init__(self, sock: socket.socket, hub: Hub, timeout_s: float) -> None:
        self._sock = sock
        self._hub = hub
        self._timeout_s = timeout_s

    def sendall(self, data: bytes) -> None:
        self._sock.sendall(data)  # a question is small

    def recv(self, size: int) -> bytes:
        while True:
            self._hub.until_readable(self._sock, self._timeout_s)
            with contextlib.suppress(BlockingIOError):
                return self._sock.recv(size, socket.MSG_DONTWAIT)

    def recv_into(self, buffer: Any) -> int:
        came = self.recv(len(buffer))
        buffer[: len(came)] = came
        return len(came)


class _SharedTls(_Shared):
    """The same over TLS, which may hold what has come, and write in order to read."""

    _read = 0

    def sendall(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            left = left[self._once(lambda: self._sock.send(left)) :]  # noqa: B023 - called at once

    def recv(self, size: int) -> bytes:
        self._read += 1
        if self._read % _IN_A_ROW == 0:  # what came ahead is there without waiting
            self._hub.breathe()
        return self._once(lambda: self._sock.recv(size))

    def _once(self, do: Callable[[], R]) -> R:
        while True:
            try:
                return do()
            except ssl.SSLWantReadError:
                self._hub.until_readable(self._sock, self._timeout_s)
            except ssl.SSLWantWriteError:
                if not self._hub.aside(partial(wait_for_write, self._sock, self._timeout_s)):
                    raise TimeoutError(f"nothing sent in {self._timeout_s:g} s") from None


class _Line:
    """The way to one origin: its pool makes connections, the idle ones wait here."""

    def __init__(self, pool: Any, cutter: Cutter) -> None:
        self._pool = pool
        self._cutter = cutter
        self._idle: deque[_Cuttable] = deque()
        self._closed = False

    def ask(self, request: Prepared, timeout_s: float) -> Asked:
        """Sends `request` and waits for the head of the answer."""
        head = head_of(request)
        connection = self._connection(timeout_s)
        asked = Asked(self, connection)
        try:
            assert connection.handle is not None  # noqa: S101 - it is connected
            self._cutter.begin(connection.handle, timeout_s)
            stream = connection.taken(timeout_s)
            # Whoever closes early may have answered before.
            with contextlib.suppress(BrokenPipeError):
                stream.sendall(head + body_of(request))
            asked.incoming = receive(stream, request.method or "GET")
        except BaseException:
            asked.broken()
            raise
        return asked

    def _connection(self, timeout_s: float) -> _Cuttable:
        """An idle connection that the other side has not closed, or a new one."""
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                break
            if connection.is_idle():
                return connection
            connection.close()
        made: _Cuttable = self._pool._new_conn()
        made.timeout = timeout_s
        try:
            made.join()
            made.let_kernel_wait(timeout_s)
        except BaseException:
            made.close()
            raise
        return made

    def keep(self, connection: _Cuttable) -> None:
        self._idle.append(connection)
        if self._closed:
            self.close()

    def close(self) -> None:
        self._closed = True
        with contextlib.suppress(IndexError):
            while True:
                self._idle.pop().close()


class Asked:
    """A question that was sent, and its answer; `done` or `broken` gives the connection back."""

    incoming: Incoming

    def __init__(self, line: _Line, connection: _Cuttable) -> None:
        self._line = line
        self._connection = connection

    def done(self) -> None:
        """The body was read to its end."""
        if self.incoming.is_over():
            self._line.keep(self._connection)
        else:
            self._connection.close()

    def broken(self) -> None:
        """Bytes may be left on the connection: nothing else may be read from it."""
        self._connection.close()


class _AskedByProxy(Asked):
    """The same by urllib3's own means."""

    def __init__(self, raw: BaseHTTPResponse) -> None:
        self._raw = raw
        self.incoming = incoming(raw)

    def done(self) -> None:
        """urllib3 has taken the connection back."""

    def broken(self) -> None:
        self._raw.close()


class Adapter(HTTPAdapter):
    """The adapter of requests on cuttable connections, with little work for each call.

    It gives what requests gives to a connection (certificates, proxies); asking and reading is
    done without it (`ask`), by way of a proxy with it.
    """

    def __init__(self, cutter: Cutter, size: int) -> None:
        plain = type("Plain", (_Cuttable,), {"cutter": cutter})
        tls = type("Tls", (_CuttableTls,), {"cutter": cutter})
        self._pools = {
            "http": type("PlainPool", (HTTPConnectionPool,), {"ConnectionCls": plain}),
            "https": type("TlsPool", (HTTPSConnectionPool,), {"ConnectionCls": tls}),
        }
        self._cutter = cutter
        self._lock = threading.Lock()
        self._lines: dict[str, _Line] = {}
        super().__init__(pool_connections=8, pool_maxsize=size)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **options)
        manager.pool_classes_by_scheme = self._pools
        return manager

    def ask(
        self,
        request: Prepared,
        timeout_s: float,
        verify: bool | str,
        proxies: Mapping[str, str],
    ) -> Asked:
        """Sends one request and waits for the head of its answer."""
        if proxies:
            response = self.send(
                request, stream=True, timeout=(timeout_s,) * 2, verify=verify, proxies=proxies
            )
            return _AskedByProxy(response.raw)
        line = self._lines.get(request.root) or self._line(request, verify)
        return line.ask(request, timeout_s)

    def _line(self, request: Prepared, verify: bool | str) -> _Line:
        root = request.root
        with self._lock:
            if root not in self._lines:
                pool: Any = self.get_connection_with_tls_context(request, verify)
                self.cert_verify(pool, root, verify, None)  # type: ignore[no-untyped-call]
                self._lines[root] = _Line(pool, self._cutter)
            return self._lines[root]

    def close(self) -> None:
        with self._lock:
            for line in self._lines.values():
                line.close()
        super().close()
