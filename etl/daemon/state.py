"""What the daemon tells about itself while it runs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime


class DaemonState:
    """Safe to read from any thread.

    `running`: the scheduler is alive. `started_at`: when the process began, in UTC.
    """

    def __init__(self, started_at: datetime | None = None) -> None:
        self.started_at = started_at or datetime.now(UTC)
        self._lock = threading.Lock()
        self._running = False
        self._next_runs: Callable[[], Mapping[str, datetime]] = dict

    @property
    def running(self) -> bool:
        with self._lock:
            return self._running

    @running.setter
    def running(self, alive: bool) -> None:
        with self._lock:
            self._running = alive

    def next_runs(self) -> dict[str, datetime]:
        """The next firing of any command of each source that has one, in UTC."""
        with self._lock:
            ask = self._next_runs
        return dict(ask())

    def tell_next_runs(self, ask: Callable[[], Mapping[str, datetime]]) -> None:
        """`ask` answers `next_runs` from now on; it is called from any thread."""
        with self._lock:
            self._next_runs = ask
