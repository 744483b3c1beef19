"""A small HTTP server that slow and hostile clients cannot hang: few threads, short patience.

One request a connection. A connection is closed `WHOLE_S` after it was made, whatever it does.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import socketserver
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

_log = logging.getLogger(__name__)

THREADS = 32
SILENCE_S = 5.0
WHOLE_S = 20.0
_LOOK_S = 0.25
_BUSY = (
    b"HTTP/1.0 503 Service Unavailable\r\nContent-Type: text/plain\r\nRetry-After: 1\r\n"
    b"Content-Length: 5\r\nConnection: close\r\n\r\nbusy\n"
)


class Server(socketserver.ThreadingMixIn, HTTPServer):
    """Serves each connection in a thread, at most `threads` at once; others are told to wait."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    allow_reuse_address = True

    def __init__(
        self,
        listen: tuple[str, int],
        handler: type[BaseHTTPRequestHandler],
        *,
        threads: int = THREADS,
        whole_s: float = WHOLE_S,
    ) -> None:
        if ":" in listen[0]:
            self.address_family = socket.AF_INET6
        self._free = threading.Semaphore(threads)
        self._whole_s = whole_s
        self._lock = threading.Lock()
        self._ends: dict[socket.socket, float] = {}
        super().__init__(listen, handler)

    def server_bind(self) -> None:
        """As `HTTPServer`, but without asking the name service who we are."""
        socketserver.TCPServer.server_bind(self)
        host, port = self.server_address[:2]
        self.server_name, self.server_port = str(host), int(port)

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._free.acquire(blocking=False):
            with contextlib.suppress(OSError):
                request.setblocking(False)
                request.send(_BUSY)
            self.shutdown_request(request)
            return
        with self._lock:
            self._ends[request] = time.monotonic() + self._whole_s
        try:
            super().process_request(request, client_address)
        except BaseException:  # no thread could be started
            self._over(request)
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._over(request)

    def service_actions(self) -> None:
        """Between two looks for new connections: ends those that last too long."""
        now = time.monotonic()
        with self._lock:
            late = [request for request, end in self._ends.items() if end <= now]
        for request in late:
            _cut(request)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        _log.debug("a connection ended early", exc_info=True)

    def run(self) -> None:
        """Serves until `stop`."""
        self.serve_forever(poll_interval=_LOOK_S)

    def stop(self) -> None:
        """Ends at once; a page that is being sent is cut off."""
        self.shutdown()
        self.server_close()
        with self._lock:
            open_ = list(self._ends)
        for request in open_:
            _cut(request)

    def _over(self, request: Any) -> None:
        with self._lock:
            known = self._ends.pop(request, None) is not None
        if known:
            self._free.release()


def _cut(request: socket.socket) -> None:
    with contextlib.suppress(OSError):
        request.shutdown(socket.SHUT_RDWR)
