"""How a backfill stands, for whoever shows it: read at any moment, from any thread."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from etl.engine import Pass
from etl.units import Rate

_SAMPLE_S = 10.0


class Standing:
    """Figures of a backfill at work. `records` are executions that came in this run."""

    def __init__(  # noqa: PLR0913 - what is shown
        self,
        title: str,
        one: Pass,
        *,
        windows: int,
        done: int,
        slower: Rate | None,
        monotonic: Callable[[], float],
    ) -> None:
        self.title = title
        self.windows = windows
        self.done = self.done_before = done
        self.failed = self.records = 0
        self._one = one
        self._slower = slower
        self._monotonic = monotonic
        self._began = monotonic()
        self._lock = threading.Lock()
        self._shares: dict[int, float] = {}
        self._asked: deque[tuple[float, int]] = deque([(self._began, one.api.requests)])

    def came(self, records: int) -> None:
        with self._lock:
            self.records += records

    def reached(self, number: int, share: float | None) -> None:
        """How much of a window is read, 0 to 1, as far as its reader can tell."""
        with self._lock:
            self._shares[number] = share or 0.0

    def ended(self, number: int, *, done: bool) -> None:
        """A window is over."""
        with self._lock:
            self._shares.pop(number, None)
            self.done += done
            self.failed += not done

    def again(self) -> None:
        """A window that failed is tried again."""
        with self._lock:
            self.failed -= 1

    @property
    def share(self) -> float:
        """Of all windows, 0 to 1."""
        with self._lock:
            under_way = sum(self._shares.values())
            return min(1.0, (self.done + under_way) / self.windows) if self.windows else 1.0

    @property
    def seconds(self) -> float:
        """Since this run began to work."""
        return self._monotonic() - self._began

    @property
    def left_s(self) -> float | None:
        """Until it is done, if it goes on like this; None as long as nobody can tell."""
        before = self.done_before / self.windows if self.windows else 0.0
        come = self.share - before
        return self.seconds * (1 - self.share) / come if come > 0 else None

    @property
    def rejected(self) -> int:
        return self._one.tally.rejected

    @property
    def rows_written(self) -> int:
        return self._one.tally.written

    @property
    def requests(self) -> int:
        return self._one.api.requests

    @property
    def in_flight(self) -> int:
        """Calls of the account that are on their way."""
        return self._one.api.in_flight

    @property
    def allowed(self) -> Rate | None:
        """The strictest rate that holds; None without one."""
        rates = [r for r in (*self._one.api.rates, self._slower) if r and not r.unlimited]
        return min(rates, key=lambda rate: rate.count / rate.window_s, default=None)

    @property
    def a_second(self) -> float:
        """Calls a second of late: over the allowed rate's window, ten seconds without one."""
        allowed, now = self.allowed, self._monotonic()
        window_s = max(1.0, allowed.window_s if allowed else _SAMPLE_S)
        with self._lock:
            self._asked.append((now, self.requests))
            while len(self._asked) > 2 and self._asked[1][0] <= now - window_s:
                self._asked.popleft()
            (then, before), (_, after) = self._asked[0], self._asked[-1]
        return (after - before) / (now - then) if now > then else 0.0
