"""How much may be asked: so many calls in a window of time, so many at once."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable
from typing import Protocol

from etl.clock import Clock
from etl.units import Rate

_SMOOTH_NOW, _SMOOTH_USUAL = 0.3, 0.02
_SLOWER, _SLOWER_BY_S = 2.0, 0.25
_EASE = 0.5


class Slots(Protocol):
    """Where the right to send one call comes from.

    `SlidingWindow` keeps it in this process; another one may draw it in blocks from a table that
    processes share. `reserve` and `arrived` are called under the account's lock: they must not
    block for long.
    """

    def attach(self, wake: Callable[[], None]) -> None:
        """`wake` is to be called, by no thread that holds a lock, when new slots are there."""

    def reserve(self, rates: Iterable[Rate]) -> float:
        """0: one call is reserved. Otherwise seconds until it is worth asking again; math.inf
        when that depends on a call that has not arrived yet, or `wake` will tell.
        """

    def arrived(self) -> None:
        """One of the reserved calls has been received by the platform (or will never be)."""

    def rest(self) -> None:
        """The last pass has closed: what was drawn ahead is given back."""


class SlidingWindow:
    """Strict: in no window of any rate does the platform receive more calls than the rate says.

    A call counts from its sending until `window_s` after its *answer*, for the platform may have
    received it at any moment between the two.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._on_the_way = 0
        self._arrived: deque[float] = deque(maxlen=4096)

    def attach(self, wake: Callable[[], None]) -> None:
        """Needs none: what it waits for is a matter of time or of `arrived`."""

    def rest(self) -> None:
        """Draws nothing ahead."""

    def delay(self, rates: Iterable[Rate]) -> float:
        """What `reserve` would answer; reserves nothing."""
        return max((self._delay(rate) for rate in rates), default=0.0)

    def reserve(self, rates: Iterable[Rate]) -> float:
        delay = self.delay(rates)
        if delay <= 0:
            self._on_the_way += 1
            return 0.0
        return delay

    def arrived(self) -> None:
        self._on_the_way -= 1
        self._arrived.append(self._clock.monotonic())

    def _delay(self, rate: Rate) -> float:
        if rate.unlimited:
            return 0.0
        free = int(rate.count) - self._on_the_way
        if free <= 0:
            return math.inf
        if int(rate.count) > (self._arrived.maxlen or 0):
            self._arrived = deque(self._arrived, maxlen=int(rate.count))
        if len(self._arrived) < free:
            return 0.0
        return self._arrived[-free] + rate.window_s - self._clock.monotonic()


class Slowed:
    """Slots of an account, of which this process takes no more than `rate` says."""

    def __init__(self, slots: Slots, rate: Rate, clock: Clock) -> None:
        self._slots = slots
        self._rate = rate
        self._own = SlidingWindow(clock)

    def attach(self, wake: Callable[[], None]) -> None:
        self._slots.attach(wake)

    def reserve(self, rates: Iterable[Rate]) -> float:
        delay = self._own.delay([self._rate])
        if delay <= 0:
            delay = self._slots.reserve(rates)
        if delay <= 0:
            self._own.reserve([self._rate])
        return delay

    def arrived(self) -> None:
        self._own.arrived()
        self._slots.arrived()

    def rest(self) -> None:
        self._slots.rest()


class InFlight:
    """How many calls may be on their way at once: between 1 and a ceiling that may change.

    Halved by trouble (429, 5xx, a connection that breaks) and by answers that take ever longer;
    one more after each full round that went well.
    """

    def __init__(self) -> None:
        self._limit = math.inf
        self._eased_at = -math.inf
        self._now_s = self._usual_s = 0.0
        self._answers = 0

    def limit(self, ceiling: int) -> int:
        self._limit = min(self._limit, float(ceiling))
        return max(1, int(self._limit))

    def trouble(self, sent_at: float, now: float) -> None:
        """Fewer, once for all calls that were on their way together."""
        if sent_at >= self._eased_at:
            self._eased_at = now
            self._limit = max(1.0, self._limit * _EASE)

    def well(self, sent_at: float, now: float, took_s: float) -> None:
        """`took_s`: how long the platform thought."""
        self._answers += 1
        if self._answers == 1:
            self._now_s = self._usual_s = took_s
        self._now_s += _SMOOTH_NOW * (took_s - self._now_s)
        self._usual_s += _SMOOTH_USUAL * (took_s - self._usual_s)
        if self._now_s > _SLOWER * self._usual_s + _SLOWER_BY_S:
            self._usual_s = self._now_s  # the new usual: ease once, not for ever
            self.trouble(sent_at, now)
        else:
            self._limit += 1 / self._limit
