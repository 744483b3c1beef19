"""APScheduler, told when the entries of schedules.yaml fire and that lanes do the work.

Its job store is in memory, rebuilt from the configuration; what was claimed is in the database.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from apscheduler.executors.base import BaseExecutor
from apscheduler.jobstores.base import JobLookupError
from apscheduler.schedulers.base import BaseScheduler
from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.date import DateTrigger
from apscheduler.triggers.interval import IntervalTrigger

from etl.config.firings import last_until, next_after
from etl.daemon.tasks import LEDGER, Firing, Planned, Task

Offer = Callable[[Firing], None]

_PLAN, _AGAIN, _OWN = "plan", "again", "own"


class EntryTrigger(BaseTrigger):  # type: ignore[misc]  # APScheduler carries no types
    """Fires as an entry of schedules.yaml says; of what was slept through only the last."""

    def __init__(self, planned: Planned) -> None:
        self.planned = planned

    def get_next_fire_time(self, previous: datetime | None, now: datetime) -> datetime:
        entry, name = self.planned.entry, self.planned.task.source
        if previous is None:
            return next_after(entry, name, now)
        following = next_after(entry, name, previous)
        return following if following > now else last_until(entry, name, now)


class _LaneExecutor(BaseExecutor):  # type: ignore[misc]  # as above
    """Hands each firing over at once; how many wait and which of them coalesce is the lane's."""

    def __init__(self, offer: Offer) -> None:
        super().__init__()
        self._offer = offer

    def submit_job(self, job: Any, run_times: list[datetime]) -> None:
        self._do_submit_job(job, run_times)

    def _do_submit_job(self, job: Any, run_times: list[datetime]) -> None:
        self._offer(job.func(*job.args, due=run_times[-1].astimezone(UTC)))


class Scheduler(BaseScheduler):  # type: ignore[misc]  # as above
    """Driven by whoever calls `fire`; safe to add to from any thread."""

    def __init__(self, offer: Offer) -> None:
        super().__init__(
            timezone=UTC,
            executors={"default": _LaneExecutor(offer)},
            job_defaults={"misfire_grace_time": None, "coalesce": True},
        )
        self._planning = threading.Lock()

    def wakeup(self) -> None:
        """Nobody sleeps in here."""

    def shutdown(self, wait: bool = True) -> None:
        """Fires nothing more; what the lanes hold is theirs."""
        super().shutdown(wait)

    def fire(self) -> float | None:
        """Hands over what is due; returns the seconds until the next firing, None: there is
        none."""
        wait_s: float | None = self._process_jobs()
        return wait_s

    def plan(self, plan: list[Planned]) -> None:
        """Replaces the plan; further tries of tasks that are still planned stay."""
        tasks = {one.task for one in plan}

        def stays(firing: Firing) -> bool:
            return firing.task in tasks or firing.task.source == LEDGER

        with self._planning:
            for job in self.get_jobs():
                if job.name == _PLAN or (job.name == _AGAIN and not stays(job.args[0])):
                    with contextlib.suppress(JobLookupError):  # it has just been offered
                        job.remove()
            for number, one in enumerate(plan):
                self.add_job(
                    _due,
                    EntryTrigger(one),
                    args=(one.task,),
                    kwargs={"due": None},
                    id=f"{_PLAN} {number}",
                    name=_PLAN,
                )

    def again(self, firing: Firing, at: datetime) -> None:
        """Offers `firing` again at that time, unless a later one of its task comes instead."""
        self.add_job(
            _the_same,
            DateTrigger(at, UTC),
            args=(firing,),
            kwargs={"due": None},
            id=f"{_AGAIN} {firing.task.source} {firing.task.command} {firing.task.place}",
            name=_AGAIN,
            replace_existing=True,
        )

    def recur(self, task: Task, every: timedelta, first: datetime) -> None:
        """Offers a task of the daemon's own at `first`, and again and again."""
        seconds = int(every.total_seconds())
        self.add_job(
            _due,
            IntervalTrigger(seconds=seconds, start_date=first, timezone=UTC),
            args=(task,),
            kwargs={"due": None},
            id=f"{_OWN} {task.command}",
            name=_OWN,
            replace_existing=True,
        )

    def next_runs(self) -> dict[str, datetime]:
        """The next firing of each source, in UTC."""
        found: dict[str, datetime] = {}
        for job in self.get_jobs():
            if job.name == _PLAN:
                name, at = job.args[0].source, job.next_run_time.astimezone(UTC)
                found[name] = min(at, found.get(name, at))
        return found


def _due(task: Task, due: datetime) -> Firing:
    return Firing(task, due)


def _the_same(firing: Firing, due: datetime) -> Firing:  # noqa: ARG001 - when it is tried again
    return firing
