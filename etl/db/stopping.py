"""Once the process was told to stop, nobody waits for the database for long.

A transaction that is under way, or begins later (closing the run), has a moment; then what it
waits for is cancelled, it is rolled back, and Stopped is raised.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from msgspec import Struct
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from etl.errors import Stopped
from etl.interrupt import cancel

GRACE_S = 1.0
_POLL_S = 0.2


class _Running(Struct, eq=False):
    raw: Any
    began: float
    cancelled: bool = False


class Stopping:
    """What one database does about the process's stop event."""

    def __init__(self, stop: threading.Event | None) -> None:
        self._stop = stop
        self._told_at: float | None = None
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._running: set[_Running] = set()
        self._watcher: threading.Thread | None = None

    @property
    def told(self) -> bool:
        """Whether the process was told to stop."""
        return self._stop is not None and self._stop.is_set()

    @property
    def over(self) -> bool:
        """Whether that was more than a moment ago."""
        if not self.told:
            return False
        if self._told_at is None:
            self._told_at = time.monotonic()
        return time.monotonic() - self._told_at > GRACE_S

    def close(self) -> None:
        self._closed.set()

    @contextmanager
    def watched(self, connection: Connection) -> Iterator[None]:
        """A server's transaction. Raises Stopped for one that was cancelled."""
        if self._stop is None:
            yield
            return
        running = _Running(connection.connection.driver_connection, time.monotonic())
        with self._lock:
            self._running.add(running)
            if self._watcher is None:
                self._watcher = threading.Thread(
                    target=self._watch, args=(connection.engine,), name="stopping", daemon=True
                )
                self._watcher.start()
        try:
            yield
        except SQLAlchemyError:
            if running.cancelled:
                raise Stopped("stopped while waiting for the database") from None
            raise
        finally:
            with self._lock:
                self._running.discard(running)

    def _watch(self, engine: Engine) -> None:
        while not self._closed.wait(_POLL_S):
            if not self.over:
                continue
            latest = time.monotonic() - GRACE_S
            with self._lock:
                for running in self._running:
                    if running.began < latest:
                        running.cancelled = True
                        cancel(engine, running.raw)
