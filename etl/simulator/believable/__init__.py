"""Six weeks in the life of a data team: graphs at night, scripts on its hosts, checks all day.

What happens is planned act by act, so the past, what runs now and what will happen are one plan:
the same seed, now and days give the same world, to the byte.
"""

from datetime import timedelta

from etl.simulator.believable import graph_work, quality_work, script_work
from etl.simulator.believable.stage import Stage
from etl.simulator.state import State


def fill(world: State, seed: int, days: int, *, lively: bool) -> None:
    """Plans the weeks before the world's now, and what follows; lets the past happen."""
    now = world.now()
    midnight = now.replace(hour=0, minute=0, second=0)
    stage = Stage(world, seed, now, midnight - timedelta(days=days))
    for work in (graph_work, script_work, quality_work):
        work.plan(stage)
        if lively:
            work.plan_lively(stage)
    world.life.until(now)
