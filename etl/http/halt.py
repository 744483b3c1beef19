"""Stop means stop: every wait of `http` ends within a moment of it."""

from __future__ import annotations

import threading

from etl.clock import Clock
from etl.errors import Stopped
from etl.http.hub import aside


class Halt:
    """One `Api`'s reason to end: the process was told to stop, or the `Api` was closed."""

    def __init__(self, stop: threading.Event, clock: Clock) -> None:
        self._stop = stop
        self._clock = clock
        self._event = threading.Event()

    def set(self) -> None:
        self._event.set()

    def is_set(self) -> bool:
        return self._stop.is_set() or self._event.is_set()

    def check(self) -> None:
        """Raises Stopped once it is time to end."""
        if self.is_set():
            raise Stopped("told to stop")

    def wait(self, seconds: float) -> None:
        """Waits `seconds` of the clock. Raises Stopped as soon as it is time to end."""
        self.check()
        aside(lambda: self._clock.wait(self._event, seconds))
        self.check()
