"""Lets what is planned happen in its order, so that a world goes on living as its clock does."""

import heapq
import random
from collections.abc import Callable
from datetime import datetime, timedelta

Act = Callable[[datetime], None]


def dice(*seed: object) -> random.Random:
    """A source of chance that is the same for the same seed, on every machine."""
    return random.Random("/".join(map(str, seed)))  # noqa: S311 - must repeat, not be secret


class Life:
    """A plan of acts; each may plan further ones."""

    def __init__(self) -> None:
        """Nothing is planned."""
        self._plan: list[tuple[datetime, int, Act]] = []
        self._count = 0

    def plan(self, at: datetime, act: Act) -> None:
        """`act(at)` happens once the world's time has reached `at`."""
        self._count += 1
        heapq.heappush(self._plan, (at, self._count, act))

    def recur(
        self, first: datetime, every: timedelta, act: Callable[[datetime, int], None]
    ) -> None:
        """`act(at, n)` happens again and again, n = 0, 1, 2, …"""

        def happen(at: datetime, turn: int) -> None:
            self.plan(at + every, lambda then: happen(then, turn + 1))
            act(at, turn)

        self.plan(first, lambda at: happen(at, 0))

    def until(self, now: datetime) -> None:
        """Everything planned up to and including `now` happens, in the order of its time."""
        while self._plan and self._plan[0][0] <= now:
            at, _, act = heapq.heappop(self._plan)
            act(at)
