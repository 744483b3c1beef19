"""Time as the project sees it: one object, so that a test can hold it in its hand."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime


class Clock:
    """The real clock. A test passes a subclass whose waits take no time."""

    def now(self) -> datetime:
        """The wall clock, aware, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds that only grow, from an arbitrary zero."""
        return time.monotonic()

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Waits until `event` is set, at most `seconds`; True when it was set."""
        return event.wait(max(0.0, seconds))
