"""What Explorer holds: jobs of graph workflows, their tasks, and the sample rows of each task.

Source of truth: samples/explorer. A task's id is its *component's*: the same in every job of the
workflow. Times are epoch milliseconds; None is a time that has not come.
"""

import hashlib
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from threading import RLock

from etl.simulator.locks import locked
from etl.simulator.timeline import Generated, Timeline
from etl.simulator.times import Now, ms

PREPARING, RUNNING, SUCCESS, FAILED, INTERRUPTED, STOPPING = range(6)
FINAL = frozenset({SUCCESS, FAILED, INTERRUPTED})

Rows = Sequence[Sequence[str]]


@dataclass(slots=True)
class Task:
    """One component's run within a job; `sample` None means that it left no result."""

    id: str
    name: str
    status: int = PREPARING
    began: int | None = None
    ended: int | None = None
    sample: Rows | None = None


@dataclass(slots=True)
class Job:
    """One run of a workflow."""

    id: int
    name: str
    workflow_id: str
    workflow_name: str
    created: int
    status: int = PREPARING
    began: int | None = None
    ended: int | None = None
    tasks: list[Task] = field(default_factory=list)

    @property
    def time(self) -> int:
        """Explorer lists by creation."""
        return self.created

    def task(self, task_id: str) -> Task | None:
        """The task of that component; None if the workflow has no such component."""
        return next((task for task in self.tasks if task.id == task_id), None)


def component_id(workflow: str, place: int, algorithm: str) -> str:
    """32 hex digits that name a component, whichever job runs it."""
    seed = f"{workflow}/{place}/{algorithm}".encode()
    return hashlib.md5(seed, usedforsecurity=False).hexdigest()


def workflow_id(workflow: str) -> str:
    """A number as text, as workflows have it."""
    return str(3_000_000_000 + zlib.crc32(workflow.encode()) % 1_000_000_000)


class Graphs:
    """The jobs, and what an analyst and the scheduler may do to them."""

    def __init__(self, now: Now) -> None:
        """No jobs yet."""
        self._now = now
        self.lock = RLock()
        self.jobs: Timeline[Job, int] = Timeline()
        self._next_id = 1

    @locked
    def generate(self, generated: Generated[Job, int]) -> None:
        """Replaces all jobs by generated ones; new ids go on after them."""
        self.jobs = Timeline(generated)
        self._next_id = 1 + len(generated)

    @locked
    def add(self, job: Job) -> Job:
        """Puts a ready-made job into the list."""
        self.jobs.add(job.id, job.created, job)
        self._next_id = max(self._next_id, job.id + 1)
        return job

    @locked
    def create(
        self,
        workflow: str = "workflow_xkkjf",
        algorithms: Sequence[str] = ("PageRank",),
        at: datetime | None = None,
    ) -> Job:
        """A new job that waits for its start, a task for each algorithm."""
        created = ms(at or self._now())
        stamp = (at or self._now()).strftime("%Y%m%d%H%M%S")
        job = Job(self._next_id, f"{workflow}_{stamp}", workflow_id(workflow), workflow, created)
        job.tasks = [
            Task(component_id(workflow, place, name), name) for place, name in enumerate(algorithms)
        ]
        return self.add(job)

    @locked
    def start(self, job_id: int, at: datetime | None = None) -> Job:
        """The job runs, and so do its tasks."""
        job, began = self.jobs.own(job_id), ms(at or self._now())
        job.status, job.began, job.ended = RUNNING, began, None
        for task in job.tasks:
            task.status, task.began, task.ended, task.sample = RUNNING, began, None, None
        return job

    @locked
    def finish(
        self,
        job_id: int,
        status: int = SUCCESS,
        at: datetime | None = None,
        samples: Mapping[str, Rows] | None = None,
    ) -> Job:
        """The job ends; its last task bears a failure, the ones before it have succeeded.

        `samples` maps task names to rows; a succeeded task that is not named has an empty sample.
        """
        job, ended = self.jobs.own(job_id), ms(at or self._now())
        if job.began is None:
            self.start(job_id, at)
        job.status, job.ended = status, ended
        for task in job.tasks:
            task.status, task.ended = SUCCESS, ended
            task.sample = (samples or {}).get(task.name, [])
        if status != SUCCESS and job.tasks:
            job.tasks[-1].status, job.tasks[-1].sample = status, None
        return job

    @locked
    def fail(self, job_id: int, at: datetime | None = None) -> Job:
        """The job ends with its last task failed."""
        return self.finish(job_id, FAILED, at)

    @locked
    def rerun(self, job_id: int, at: datetime | None = None) -> Job:
        """The same job runs again in place: same id, same creation, new times."""
        return self.start(job_id, at)

    @locked
    def edit(self, job_id: int) -> Job:
        """The job itself, for any other change; KeyError if there is none."""
        return self.jobs.own(job_id)

    @locked
    def delete(self, job_id: int) -> None:
        """The job is gone: neither listed nor answered."""
        self.jobs.remove(job_id)

    @locked
    def delete_task(self, job_id: int, task_id: str) -> None:
        """A later detail no longer names the task."""
        job = self.jobs.own(job_id)
        job.tasks = [task for task in job.tasks if task.id != task_id]

    @locked
    def set_sample(self, job_id: int, task_id: str, rows: Rows | None) -> None:
        """New sample rows; None deletes the sample: asking for it is an error from then on."""
        task = self.jobs.own(job_id).task(task_id)
        if task is None:
            raise KeyError(task_id)
        task.sample = rows
