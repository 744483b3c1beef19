"""Ends calls from outside: on stop, and when they are too slow.

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

from etl.http.halt import Halt
from etl.http.hub import Changes, whose

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
        while not call.is_over(_TICK_S):
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
        """Who calls waits for an answer on this connection."""
        self._flows[whose()] = Flow(handle, timeout_s)

    def flow(self) -> Flow:
        """The answer that comes to who calls."""
        return self._flows[whose()]

    def has_cut(self) -> bool:
        """Whether the answer to who calls came too slowly; False if there is none."""
        flow = self._flows.get(whose())
        return flow is not None and flow.cut_off

    def end(self) -> None:
        self._flows.pop(whose(), None)

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
        self._changed = Changes()
        self._over = False
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
        with self._changed:
            self._over = True
            self._changed.notify_all()

    def is_over(self, wait_s: float) -> bool:
        """Whether it has come to its end, waiting for that a little."""
        with self._changed:
            if not self._over:
                self._changed.wait(wait_s)
            return self._over

    def abandon(self) -> None:
        with self._lock:
            self._abandoned = True
            if self._socket is not None:
                self._socket.close()

    def result(self) -> socket.socket:
        if self._socket is None:
            raise self._error or OSError("no socket")
        return self._socket


def _shut(handle: socket.socket) -> None:
    with contextlib.suppress(OSError):  # already closed by the other side
        handle.shutdown(socket.SHUT_RDWR)
