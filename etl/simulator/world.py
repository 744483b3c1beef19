"""Ready worlds: an empty one, a believable one, and one as large as you like."""

from collections.abc import Callable
from datetime import UTC, datetime

from etl.simulator import believable, big
from etl.simulator.state import State


class World(State):
    """What the simulators serve; change it at any time, also while it is served."""

    @classmethod
    def empty(cls, now: datetime | None = None) -> "World":
        """No executions; the clock stands still at `now`, or is the real one."""
        return cls(_standing(now) if now else _real)

    @classmethod
    def believable(
        cls, seed: int = 7, now: datetime | None = None, days: int = 45, *, lively: bool = False
    ) -> "World":
        """Six weeks in the life of a data team, up to `now` (the real time if None).

        The same seed, now and days give the same world, to the byte. The clock stands still at
        `now`; with `lively` it goes on with the real time and things happen every minute.
        """
        moment = (now or _real()).astimezone(UTC).replace(microsecond=0)
        world = cls(_standing(moment))
        believable.fill(world, seed, days, lively=lively)
        if lively:
            world.clock = _real if now is None else _going_on(moment)
        return world

    @classmethod
    def big(
        cls,
        jobs: int = 0,
        records: int = 0,
        instances: int = 0,
        now: datetime | None = None,
    ) -> "World":
        """So many executions a minute apart (instances: ten seconds), made only when asked for."""
        world = cls.empty(now)
        big.fill(world, jobs=jobs, records=records, instances=instances)
        return world


def _real() -> datetime:
    return datetime.now(UTC)


def _standing(now: datetime) -> Callable[[], datetime]:
    if now.tzinfo is None:
        raise ValueError("a world's time needs a zone: datetime(..., tzinfo=UTC)")
    return lambda: now


def _going_on(now: datetime) -> Callable[[], datetime]:
    began = _real()
    return lambda: now + (_real() - began)
