"""A limit that nobody names is found from its 429s: few of them, and most of the limit used."""

from __future__ import annotations

import time
from collections import deque
from concurrent.futures import wait
from threading import Lock

import pytest
from hostile_server import Call, HostileServer, answer
from http_kit import opened
from measuring import measured

from etl.clock import Clock
from etl.http.pace import Pace


class Limited:
    """A platform that serves so many calls in any second, and 429 beyond; `after` so many served
    the limit is `then`."""

    def __init__(self, limit: int, after: int, then: int) -> None:
        self.limit, self.after, self.then = limit, after, then
        self.served: list[float] = []
        self.refused = 0
        self._lock = Lock()
        self._last: deque[float] = deque()

    def __call__(self, call: Call) -> None:
        with self._lock:
            now = time.monotonic()
            while self._last and self._last[0] <= now - 1:
                self._last.popleft()
            limit = self.limit if len(self.served) < self.after else self.then
            well = len(self._last) < limit
            if well:
                self._last.append(now)
                self.served.append(now)
            else:
                self.refused += 1
        call.send(answer() if well else answer("", 429))

    def allowed(self) -> float:
        """How many calls the limit admitted between the first and the last."""
        turn, last = self.served[self.after - 1], self.served[-1]
        return self.limit * (turn - self.served[0]) + self.then * (last - turn)


@pytest.mark.long
@measured
def test_a_limit_that_halves_costs_few_429s_and_is_used() -> None:
    limited = Limited(400, 2000, 200)
    with HostileServer(limited) as server, opened(server.url, clock=Clock(), concurrency=8) as api:
        futures = api.map(lambda number: api.get(f"/{number}"), range(4000))
        wait(futures)
        assert not [one for one in futures if one.exception()]
    assert limited.refused < 0.02 * 4000, limited.refused
    assert len(limited.served) >= 0.9 * limited.allowed(), limited.allowed()


def steady(pace: Pace, rate: float, seconds: float, at: float) -> float:
    """Calls at `rate` that are accepted at once, as far as the pace admits them."""
    end = at + seconds
    while at < end:
        if pace.delay(at) <= 0:
            pace.sent()
            pace.accepted(at, at)
        at += 1 / rate
    return at


def test_after_a_429_one_call_tries_alone() -> None:
    pace = Pace()
    at = steady(pace, 100, 2, 0.0)
    pace.throttled(at, at, None)
    assert pace.delay(at) > 0
    at += pace.delay(at)
    assert pace.delay(at) == 0
    pace.sent()
    assert pace.delay(at) > 0
    pace.accepted(at, at)
    assert 90 < pace.rate < 100


def test_a_try_that_fails_lets_another_one_try() -> None:
    pace = Pace()
    pace.throttled(0, 0, None)
    pace.sent()
    pace.failed(1)
    assert pace.delay(1) == 0


def test_tries_that_are_refused_come_ever_later() -> None:
    pace, at, waits = Pace(), 0.0, []
    for _ in range(40):
        pace.throttled(at, at, None)
        waits.append(round(pace.delay(at), 6))
        at += waits[-1] + 0.001
        pace.sent()
    assert waits == sorted(waits)
    assert waits[-1] > 4 * waits[0]


def test_a_429_of_a_few_calls_says_nothing_of_a_rate() -> None:
    pace = Pace()
    at = steady(pace, 5, 2, 0.0)
    pace.throttled(at, at, None)
    at += pace.delay(at)
    pace.sent()
    pace.accepted(at, at)
    assert pace.rate == float("inf")


def test_slowly_more_is_sent_when_all_is_well() -> None:
    pace = Pace()
    at = steady(pace, 100, 2, 0.0)
    pace.throttled(at, at, None)
    at += pace.delay(at)
    pace.sent()
    pace.accepted(at, at)
    found = pace.rate
    at = steady(pace, 200, 3, at)
    assert pace.rate == found
    steady(pace, 200, 10, at)
    assert found * 1.1 < pace.rate < found * 1.3
