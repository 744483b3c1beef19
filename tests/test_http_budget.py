"""What an account may ask: a strict rate, so many at once, shared by all that ask in its name."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import wait

import pytest
from hostile_server import Call, HostileServer, Play, answer
from http_kit import FakeClock, Token, opened, platform, settings
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from etl.clock import Clock
from etl.http import Api, Registry, open_api
from etl.http.address import Origin
from etl.http.budget import InFlight, SlidingWindow, Slowed
from etl.units import Rate


def most_in_a_window(times: list[float], window_s: float) -> int:
    """The most of `times` that lie in any window of that length."""
    return max(sum(at <= other < at + window_s for other in times) for at in times)


# the sliding window


@examples(max_examples=60, deadline=None, derandomize=True)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 15)), min_size=1, max_size=40),
    st.integers(1, 6),
)
def test_no_window_ever_holds_more_than_the_rate(calls: list[tuple[int, int]], count: int) -> None:
    """Each call: how long after the one before it is wanted, and how long its answer takes.

    The platform may receive a call at any moment until its answer: so those before it count
    from their answers, and itself from its sending.
    """
    clock = FakeClock()
    window = SlidingWindow(clock)
    rate = Rate(count, 10)
    answers: list[float] = []
    waiting: list[float] = []
    for pause, takes in calls:
        pass_time(clock, window, waiting, pause)
        while (delay := window.reserve([rate])) > 0:
            pass_time(clock, window, waiting, delay)
        now = clock.monotonic()
        assert sum(at > now - 10 for at in answers) < count
        answers.append(now + takes)
        waiting.append(now + takes)


def pass_time(
    clock: FakeClock, window: SlidingWindow, waiting: list[float], seconds: float
) -> None:
    """`seconds` pass, or as many as the next answer takes if that is what is waited for."""
    until = min(waiting) if math.isinf(seconds) else clock.monotonic() + seconds
    for at in sorted(at for at in waiting if at <= until):
        clock.advance(at - clock.monotonic())
        waiting.remove(at)
        window.arrived()
    clock.advance(until - clock.monotonic())


def test_a_call_on_its_way_keeps_its_place_in_the_window() -> None:
    clock = FakeClock()
    window = SlidingWindow(clock)
    assert window.reserve([Rate(1, 10)]) == 0
    clock.advance(60)
    assert window.reserve([Rate(1, 10)]) == math.inf
    window.arrived()
    assert window.reserve([Rate(1, 10)]) == 10


def test_several_rates_hold_together() -> None:
    clock = FakeClock()
    window = SlidingWindow(clock)
    rates = [Rate(2, 1), Rate(3, 100), Rate(math.inf, 1)]
    for _ in range(2):
        assert window.reserve(rates) == 0
        window.arrived()
    assert window.reserve(rates) == 1
    clock.advance(1)
    assert window.reserve(rates) == 0
    window.arrived()
    assert window.reserve(rates) == 99


def test_a_rate_larger_than_the_memory_of_a_window_is_kept_too() -> None:
    clock = FakeClock()
    window = SlidingWindow(clock)
    rate = Rate(6000, 10)
    for _ in range(6000):
        assert window.reserve([rate]) == 0
        window.arrived()
    assert window.reserve([rate]) == 10


# in flight


def test_trouble_halves_what_is_in_flight_once_for_calls_sent_together() -> None:
    flying = InFlight()
    assert flying.limit(8) == 8
    for _ in range(8):
        flying.trouble(sent_at=5.0, now=6.0)
    assert flying.limit(8) == 4
    flying.trouble(sent_at=6.5, now=7.0)
    assert flying.limit(8) == 2
    for at in range(8, 20):
        flying.trouble(sent_at=at, now=at)
    assert flying.limit(8) == 1


def test_it_grows_by_one_for_a_round_that_went_well_up_to_the_ceiling() -> None:
    flying = InFlight()
    flying.limit(8)
    for at in range(5):
        flying.trouble(at, at)
    limits = []
    for at in range(60):
        flying.well(at + 10, at + 10, 0.01)
        limits.append(flying.limit(8))
    assert limits[0] == 2
    assert limits == sorted(limits)
    assert limits.index(3) >= 2
    assert limits[-1] == 8


def test_answers_that_take_ever_longer_mean_fewer() -> None:
    flying = InFlight()
    flying.limit(8)
    for at in range(100):
        flying.well(at, at, 0.05)
    assert flying.limit(8) == 8
    for at in range(100, 110):
        flying.well(at, at, 2.0)
    assert flying.limit(8) < 8


# the account


def in_flight(api: Api, server: HostileServer, calls: int) -> None:
    wait(api.map(lambda number: api.get(f"/{number}"), range(calls)), 10)


class Most:
    """A play that counts how many requests are being answered at once."""

    def __init__(self, status: int = 200) -> None:
        self.status = status
        self.most = self._now = 0
        self._lock = threading.Lock()

    def __call__(self, call: Call) -> None:
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
        call.server.over.wait(0.01)
        with self._lock:
            self._now -= 1
        call.send(answer("{}", self.status))


def test_no_more_than_concurrency_are_in_flight() -> None:
    most = Most()
    with HostileServer(most) as server, opened(server.url, concurrency=5) as api:
        in_flight(api, server, 40)
    assert 2 <= most.most <= 5


def test_overload_brings_it_down_to_one() -> None:
    most = Most()
    plays: list[Play] = [answer(), *[answer("", 503)] * 6, most]
    with HostileServer(*plays) as server, opened(server.url, concurrency=8) as api:
        api.get("/first")
        for _ in range(6):
            with pytest.raises(Exception, match="503"):
                api.get("/busy", attempts=1)
        wait(api.map(lambda number: api.get(f"/{number}"), range(2)), 10)
    assert most.most == 1


def test_sources_of_one_account_share_rate_and_concurrency() -> None:
    """Ten workspaces with one token are one caller to the platform."""
    accounts = Registry()
    clock = FakeClock()
    most = Most()
    at: list[float] = []

    def platform_(call: Call) -> None:
        at.append(clock.monotonic())
        most(call)

    with HostileServer(platform_) as server:
        apis = [
            opened(
                server.url,
                Token("t"),
                accounts=accounts,
                clock=clock,
                concurrency=4,
                rate_limit=Rate(6, 10),
            )
            for _ in range(3)
        ]
        futures = [future for api in apis for future in api.map(api.get, ["/jobs"] * 10)]
        assert not wait(futures, 10).not_done
        for api in apis:
            api.close()
    assert len(at) == 30
    assert most_in_a_window(at, 10) <= 6
    assert most.most <= 4


def test_another_account_or_origin_has_a_budget_of_its_own() -> None:
    accounts = Registry()
    clock = FakeClock()
    rate = Rate(1, 1000)
    with HostileServer(answer()) as one, HostileServer(answer()) as other:
        for url, account in [(one.url, "a"), (one.url, "b"), (other.url, "a")]:
            with open_api(
                platform(url, account=account, rate_limit=rate),
                settings(),
                stop=threading.Event(),
                clock=clock,
                accounts=accounts,
            ) as api:
                api.get("/jobs")
    assert clock.waits == []


def test_the_window_outlives_the_pass() -> None:
    accounts = Registry()
    clock = FakeClock()
    with HostileServer(answer()) as server:
        for _ in range(3):
            with opened(server.url, accounts=accounts, clock=clock, rate_limit=Rate(1, 10)) as api:
                api.get("/jobs")
    assert clock.waits == [10, 10]


def test_settings_win_over_the_platforms_own_rate() -> None:
    clock = FakeClock()
    with (
        HostileServer(answer()) as server,
        open_api(
            platform(server.url, rate_limit=Rate(1, 10)),
            settings(rate_limit=Rate.parse("none")),
            stop=threading.Event(),
            clock=clock,
            accounts=Registry(),
        ) as api,
    ):
        for _ in range(5):
            api.get("/jobs")
    assert clock.waits == []


class Blocks:
    """Two slots, and after a minute two more: as a table gives them out that processes share."""

    def __init__(self) -> None:
        self.left = 2
        self.came = 0
        self.rests = 0

    def attach(self, wake: Callable[[], None]) -> None:
        pass  # it tells how long to wait

    def rest(self) -> None:
        self.rests += 1

    def reserve(self, rates: Iterable[Rate]) -> float:
        if self.left:
            self.left -= 1
            return 0.0
        self.left = 2
        return 60.0

    def arrived(self) -> None:
        self.came += 1


def test_slots_may_come_from_elsewhere() -> None:
    blocks = Blocks()
    asked: list[tuple[Origin, str]] = []

    def make(origin: Origin, account: str, clock: Clock) -> Blocks:
        asked.append((origin, account))
        return blocks

    clock = FakeClock()
    with (
        HostileServer(answer()) as server,
        opened(server.url, clock=clock, accounts=Registry(make)) as api,
    ):
        for _ in range(5):
            api.get("/jobs")
    assert clock.waits == [60, 60]
    assert blocks.came == 5
    assert blocks.rests == 1
    assert asked == [(Origin("http", "127.0.0.1", server.port), "account")]


def test_a_strict_rate_on_the_real_clock() -> None:
    """What the server itself sees, with threads, retries and a clock that nobody holds."""
    at: list[float] = []

    def platform_(call: Call) -> None:
        at.append(time.monotonic())
        call.send(answer())

    with (
        HostileServer(platform_) as server,
        opened(server.url, clock=Clock(), rate_limit=Rate(5, 0.15)) as api,
    ):
        futures = api.map(lambda number: api.get(f"/{number}"), range(20))
        assert not wait(futures, 10).not_done
    assert most_in_a_window(at, 0.15) <= 5
    assert max(at) - min(at) < 3


def test_a_slower_rate_of_ones_own_leaves_the_accounts_as_it_is() -> None:
    """It asks less of what is shared; others go on with the account's rate."""
    clock, asked = FakeClock(), []

    class Shared(SlidingWindow):
        def reserve(self, rates: Iterable[Rate]) -> float:
            asked.append(tuple(rates))
            return super().reserve(asked[-1])

    slots = Slowed(Shared(clock), Rate(2, 10.0), clock)
    shared = (Rate(35, 10.0),)
    for _ in range(2):
        assert slots.reserve(shared) == 0
    assert slots.reserve(shared) == math.inf
    slots.arrived()
    slots.arrived()
    assert slots.reserve(shared) == 10
    clock.advance(10)
    assert slots.reserve(shared) == 0
    assert asked == [shared] * 3, "what waits for its own rate takes no slot of the others"
