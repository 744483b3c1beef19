"""Connections that can be cut from outside: on stop, and when they are too slow.

A blocked read cannot be interrupted in Python, but a socket that is shut down ends it. So a
`Cutter` holds a second handle of every connection, and one thread that watches the deadlines.
Real time on purpose: silence on a socket is real, whatever the clock of a test says.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError
from urllib3.response import BaseHTTPResponse, HTTPResponse

from etl.http.address import root_of
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
    """Tells its cutter of its socket and of every answer it waits for."""

    cutter: Cutter
    _handle: socket.socket | None = None

    def _new_conn(self) -> socket.socket:
        timeout_s = float(self.timeout or 0)
        try:
            sock = self.cutter.dial(super()._new_conn, timeout_s)
        except TimeoutError as error:
            raise ConnectTimeoutError(self, str(error)) from None
        self._handle = self.cutter.hold(sock)
        return sock

    def getresponse(self) -> HTTPResponse:  # type: ignore[override]  # as urllib3 itself does
        if self._handle is not None:
            self.cutter.begin(self._handle, float(self.timeout or 0))
        return super().getresponse()

    def close(self) -> None:
        super().close()
        if self._handle is not None:
            self.cutter.drop(self._handle)
            self._handle = None


class _CuttableTls(_Cuttable, HTTPSConnection):
    """The same over TLS."""


class Adapter(HTTPAdapter):
    """The adapter of requests on cuttable connections, with little work for each call."""

    def __init__(self, cutter: Cutter, size: int) -> None:
        plain = type("Plain", (_Cuttable,), {"cutter": cutter})
        tls = type("Tls", (_CuttableTls,), {"cutter": cutter})
        self._pools = {
            "http": type("PlainPool", (HTTPConnectionPool,), {"ConnectionCls": plain}),
            "https": type("TlsPool", (HTTPSConnectionPool,), {"ConnectionCls": tls}),
        }
        self._by_origin: dict[str, Any] = {}
        super().__init__(pool_connections=8, pool_maxsize=size)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **options)
        manager.pool_classes_by_scheme = self._pools
        return manager

    def get_connection_with_tls_context(
        self, request: PreparedRequest, verify: bool | str | None, *args: Any, **options: Any
    ) -> Any:
        """The pool of an origin, found and given its certificates once, not for every call."""
        url = request.url or ""
        root = root_of(url)
        if root not in self._by_origin:
            pool: Any = super().get_connection_with_tls_context(request, verify, *args, **options)
            super().cert_verify(pool, url, verify, None)  # type: ignore[no-untyped-call]
            self._by_origin[root] = pool
        return self._by_origin[root]

    def close(self) -> None:
        for pool in self._by_origin.values():
            pool.close()
        super().close()

    def cert_verify(self, *args: Any, **options: Any) -> None:
        """Done when the pool is found."""

    def build_response(
        self,
        req: PreparedRequest,  # noqa: ARG002 - the signature is the adapter's
        resp: BaseHTTPResponse,
    ) -> Response:
        """Status, headers and the raw stream; no cookie jar, no guess at an encoding."""
        response = Response()
        response.status_code = resp.status
        response.headers = resp.headers  # type: ignore[assignment]  # ignores case as well
        response.raw = resp
        return response


def _shut(handle: socket.socket) -> None:
    with contextlib.suppress(OSError):  # already closed by the other side
        handle.shutdown(socket.SHUT_RDWR)
