"""A database server that can be taken away: a relay in front of the real one."""

from __future__ import annotations

import contextlib
import socket
import threading
from types import TracebackType

from sqlalchemy.engine import URL, make_url

_PORTS = {"postgresql": 5432, "mysql": 3306}


class Relay:
    """Hands connections of `url` on to the server of `target`; a context manager."""

    def __init__(self, target: str) -> None:
        self._target = make_url(target)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._port = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._away = False
        self._acceptor = threading.Thread(target=self._accept, args=(self._listener,), daemon=True)

    def __enter__(self) -> Relay:
        self._acceptor.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.down()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._acceptor.join(5)
        self._listener.close()

    @property
    def url(self) -> str:
        """The target's database, through the relay."""
        query = {name: value for name, value in self._target.query.items() if name != "host"}
        through: URL = self._target.set(host="127.0.0.1", port=self._port, query=query)
        return through.render_as_string(hide_password=False)

    def down(self) -> None:
        """The server goes: its connections end, and new ones do at once."""
        with self._lock:
            self._away = True
            for end in self._open:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def up(self) -> None:
        """The server is back."""
        with self._lock:
            self._away = False

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            with self._lock:
                if self._away:
                    near.close()
                    continue
                far = self._dial()
                self._open |= {near, far}
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._carry, args=(source, sink), daemon=True).start()

    def _dial(self) -> socket.socket:
        port = self._target.port or _PORTS[self._target.get_backend_name()]
        host = self._target.query.get("host", self._target.host or "127.0.0.1")
        if isinstance(host, str) and host.startswith("/"):
            made = socket.socket(socket.AF_UNIX)
            made.connect(f"{host}/.s.PGSQL.{port}")
            return made
        return socket.create_connection((str(host), port))

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        with self._lock:
            self._open -= {source, sink}
        source.close()
