"""Connections that can be cut from outside: on stop, and when they are too slow.

A blocked read cannot be interrupted in Python, but a socket that is shut down ends it. So a
`Cutter` holds a second handle of every connection, and one thread that watches the deadlines.
Real time on purpose: silence on a socket is real, whatever the clock of a test says.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from requests import PreparedRequest
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError
from urllib3.response import BaseHTTPResponse, HTTPResponse
from urllib3.util import wait_for_read

from etl.http.address import root_of
from etl.http.exchange import Incoming, body_of, head_of, incoming, receive
from etl.http.halt import Halt

_TICK_S = 0.1
_SLOWEST = 1024  # bytes in every `timeout`; a body below that is cut off


class Flow:
    """One answer on its way. It must bring 1 KiB before each deadline."""

    def __init__(self, handle: socket.socket, timeout_s: float) -> None:
        self._handle = handle
        self._timeout_s = timeout_s
        self._window = 0
        self.began = self.last = time.monotonic()
        # The platform may think for `timeout_s`, and the head may take as long again.
        self.deadline = self.began + 2 * timeout_s
        self.cut_off = False

    def head_received(self) -> None:
        self.began = self.last = time.monotonic()
        self.deadline = self.began + self._timeout_s

    def received(self, count: int) -> None:
        """Counts bytes of the body; a full KiB buys another `timeout_s`."""
        self.last = time.monotonic()
        self._window += count
        if self._window >= _SLOWEST:
            self._window = 0
            self.deadline = self.last + self._timeout_s

    def cut(self) -> None:
        self.cut_off = True
        _shut(self._handle)


class Cutter:
    """Owns the handles of an `Api`'s connections; `close` cuts them all."""

    def __init__(self, halt: Halt) -> None:
        self._halt = halt
        self._lock = threading.Lock()
        self._handles: set[socket.socket] = set()
        self._flows: dict[int, Flow] = {}
        self._over = threading.Event()
        threading.Thread(target=self._watch, name="etl-http-cutter", daemon=True).start()

    def dial(self, connect: Callable[[], socket.socket], timeout_s: float) -> socket.socket:
        """`connect()`, name resolution included, ended by `timeout_s` or by the halt."""
        call = _Dial(connect)
        deadline = time.monotonic() + timeout_s
        while not call.done.wait(_TICK_S):
            if self._halt.is_set() or time.monotonic() > deadline:
                call.abandon()
                raise TimeoutError(f"no connection within {timeout_s:g} s")
        return call.result()

    def hold(self, sock: socket.socket) -> socket.socket:
        """A second handle of `sock`; it also works while TLS shakes hands on the first."""
        handle = sock.dup()
        with self._lock:
            self._handles.add(handle)
        return handle

    def drop(self, handle: socket.socket) -> None:
        with self._lock:
            self._handles.discard(handle)
            handle.close()

    def begin(self, handle: socket.socket, timeout_s: float) -> None:
        """The calling thread waits for an answer on this connection."""
        self._flows[threading.get_ident()] = Flow(handle, timeout_s)

    def flow(self) -> Flow:
        """The calling thread's answer on its way."""
        return self._flows[threading.get_ident()]

    def has_cut(self) -> bool:
        """Whether the calling thread's answer came too slowly; False if there is none."""
        flow = self._flows.get(threading.get_ident())
        return flow is not None and flow.cut_off

    def end(self) -> None:
        self._flows.pop(threading.get_ident(), None)

    def close(self) -> None:
        self._over.set()
        with self._lock:
            for handle in self._handles:
                _shut(handle)

    def _watch(self) -> None:
        while not self._over.wait(_TICK_S):
            if self._halt.is_set():
                self._halt.set()
                self.close()
            now = time.monotonic()
            for flow in list(self._flows.values()):
                if now > flow.deadline and not flow.cut_off:
                    with self._lock:
                        flow.cut()


class _Dial:
    """One connection being made in a thread of its own, so that nobody need wait for it."""

    def __init__(self, connect: Callable[[], socket.socket]) -> None:
        self.done = threading.Event()
        self._connect = connect
        self._lock = threading.Lock()
        self._abandoned = False
        self._socket: socket.socket | None = None
        self._error: Exception | None = None
        threading.Thread(target=self._run, name="etl-http-dial", daemon=True).start()

    def _run(self) -> None:
        try:
            made = self._connect()
        except Exception as error:  # noqa: BLE001 - raised again by `result` in the caller's thread
            self._error = error
        else:
            with self._lock:
                self._socket = made
                if self._abandoned:
                    made.close()
        self.done.set()

    def abandon(self) -> None:
        with self._lock:
            self._abandoned = True
            if self._socket is not None:
                self._socket.close()

    def result(self) -> socket.socket:
        if self._socket is None:
            raise self._error or OSError("no socket")
        return self._socket


class _Cuttable(HTTPConnection):
    """Tells its cutter of its socket and, when urllib3 asks on it, of what it waits for."""

    cutter: Cutter
    handle: socket.socket | None = None

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
        super().close()
        if self.handle is not None:
            self.cutter.drop(self.handle)
            self.handle = None

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

    def is_idle(self) -> bool:
        return not wait_for_read(self.sock, timeout=0.0)


class _Line:
    """The way to one origin: its pool makes connections, the idle ones wait here."""

    def __init__(self, pool: Any, cutter: Cutter) -> None:
        self._pool = pool
        self._cutter = cutter
        self._idle: deque[_Cuttable] = deque()
        self._closed = False

    def ask(self, request: PreparedRequest, root: str, timeout_s: float) -> Asked:
        """Sends `request` and waits for the head of the answer."""
        head = head_of(request, root)
        connection = self._connection(timeout_s)
        asked = Asked(self, connection)
        try:
            assert connection.handle is not None  # noqa: S101 - it is connected
            self._cutter.begin(connection.handle, timeout_s)
            # Whoever closes early may have answered before.
            with contextlib.suppress(BrokenPipeError):
                connection.sock.sendall(head + body_of(request))
            asked.incoming = receive(connection.sock, request.method or "GET")
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
            made.connect()
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
        request: PreparedRequest,
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
        root = root_of(request.url or "")
        line = self._lines.get(root) or self._line(root, request, verify)
        return line.ask(request, root, timeout_s)

    def _line(self, root: str, request: PreparedRequest, verify: bool | str) -> _Line:
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


def _shut(handle: socket.socket) -> None:
    with contextlib.suppress(OSError):  # already closed by the other side
        handle.shutdown(socket.SHUT_RDWR)
