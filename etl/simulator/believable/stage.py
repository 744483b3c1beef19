"""The stage on which a believable world plays: the world, the seed, and its present."""

import contextlib
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from etl.simulator.life import dice
from etl.simulator.state import State

Happen = Callable[[datetime, int], None]


@dataclass(slots=True, frozen=True)
class Stage:
    """What every kind of work needs in order to plan itself."""

    world: State
    seed: int
    now: datetime
    first: datetime

    def dice(self, *what: object) -> random.Random:
        """Chance for this purpose, the same for the same seed."""
        return dice(self.seed, *what)

    def at(self, when: datetime, act: Callable[[datetime], object]) -> None:
        """Plans an act on something that a test may have deleted by then."""

        def happen(then: datetime) -> None:
            with contextlib.suppress(KeyError):
                act(then)

        self.world.life.plan(when, happen)

    def daily(self, name: str, hour: float, every_h: float, act: Happen) -> None:
        """`act` from the first day on at that hour (UTC), some seconds early or late."""

        def loosely(at: datetime, turn: int) -> None:
            late = timedelta(seconds=self.dice("late", name, turn).randrange(1, 90))
            self.at(at + late, lambda then: act(then, turn))

        first = self.first + timedelta(hours=hour)
        self.world.life.recur(first, timedelta(hours=every_h), loosely)

    def often(self, seconds: int, act: Happen) -> None:
        """`act` again and again, beginning soon after now: what makes a world lively."""
        self.world.life.recur(
            self.now + timedelta(seconds=seconds // 3), timedelta(seconds=seconds), act
        )

    def last_night(self, at: datetime) -> bool:
        """Whether that was within the day before now."""
        return timedelta() <= self.now - at < timedelta(days=1)

    def days_ago(self, at: datetime) -> float:
        """How long before now, in days; negative in the future."""
        return (self.now - at) / timedelta(days=1)
