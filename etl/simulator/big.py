"""Worlds of a million executions that take no memory: each is made from its index when asked for.

Ids hold the index, so that every id is found again without a search; times rise by a fixed step.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import overload

from etl.simulator import gojson
from etl.simulator.graphs import SUCCESS, Job, Task, component_id, workflow_id
from etl.simulator.quality import FIRST_ID, ID_STEP, Instance, task_id
from etl.simulator.scripts import Host, HostRow, Record, Script, host_pool
from etl.simulator.state import State
from etl.simulator.times import from_ms, ms

MINUTE_MS = 60_000
INSTANCE_STEP_MS = 10_000
SAMPLE_ROWS = 3
_WORKFLOWS = tuple(f"workflow_{n:02}" for n in range(20))
_ALGORITHMS = ("PageRank", "Louvain")
_TABLES = tuple(f"table_{n:02}_not_null" for n in range(50))
_COMPONENTS = {
    name: tuple(component_id(name, place, algorithm) for place, algorithm in enumerate(_ALGORITHMS))
    for name in _WORKFLOWS
}
_WORKFLOW_IDS = {name: workflow_id(name) for name in _WORKFLOWS}
_TASK_IDS = {name: task_id(name) for name in _TABLES}


@dataclass(slots=True, frozen=True)
class Span:
    """So many executions, `step` milliseconds apart, the first at `first`."""

    count: int
    first: int
    step: int

    def __len__(self) -> int:
        """How many there are."""
        return self.count

    def time(self, index: int) -> int:
        """When number `index` begins."""
        return self.first + index * self.step

    def within(self, index: int) -> int | None:
        """The index itself, if there is such an execution."""
        return index if 0 <= index < self.count else None


class SampleRows(Sequence[Sequence[str]]):
    """Rows of a sample, made when they are read; each job has its own."""

    def __init__(self, job: int, count: int) -> None:
        """`count` rows of that job."""
        self._job, self._count = job, count

    def __len__(self) -> int:
        """How many rows there are."""
        return self._count

    @overload
    def __getitem__(self, at: int) -> Sequence[str]: ...
    @overload
    def __getitem__(self, at: slice) -> list[Sequence[str]]: ...
    def __getitem__(self, at: int | slice) -> Sequence[str] | Sequence[Sequence[str]]:
        """A row, or the rows of a slice."""
        if isinstance(at, slice):
            return [self._row(row) for row in range(self._count)[at]]
        return self._row(range(self._count)[at])

    def __iter__(self) -> Iterator[Sequence[str]]:
        """All rows, in order."""
        return (self._row(row) for row in range(self._count))

    def _row(self, row: int) -> list[str]:
        return [f"player{row:06}", f"{(self._job * 31 + row * 7) % 1_000_000 / 1e6:.6f}"]


class Jobs(Span):
    """Succeeded jobs of twenty workflows with two tasks each; ids from 1."""

    def at(self, index: int) -> Job:
        """Job number `index`."""
        name, created = _WORKFLOWS[index % len(_WORKFLOWS)], self.time(index)
        began, ended = created + 2_000, created + 32_000
        job = Job(
            index + 1, f"{name}_{index}", _WORKFLOW_IDS[name], name, created, SUCCESS, began, ended
        )
        job.tasks = [
            Task(component, algorithm, SUCCESS, began, ended, SampleRows(index, SAMPLE_ROWS))
            for component, algorithm in zip(_COMPONENTS[name], _ALGORITHMS, strict=True)
        ]
        return job

    def index(self, item_id: int) -> int | None:
        """Where a job id stands."""
        return self.within(item_id - 1)


class Records(Span):
    """Finished records of one script on two of forty hosts; the id begins with the index in hex."""

    def at(self, index: int) -> Record:
        """Record number `index`."""
        hosts = _pair(index)
        start = from_ms(self.time(index))
        return Record(
            f"{index:08x}-b166-{index & 0xFFFF:04x}-0a00-0123456789ab",
            start,
            start + timedelta(seconds=20),
            "done",
            "success",
            hosts=gojson.text([host.id for host in hosts]),
            script=_SCRIPT.text,
            parameters=_PARAMETERS,
            execute_id=f"{index:08x}-0e0e-0e0e-0e0e-0123456789ab",
            rows=[HostRow(host, "success", f"run {index} ok\n") for host in hosts],
        )

    def index(self, item_id: str) -> int | None:
        """Where a record id stands."""
        try:
            found = self.within(int(item_id[:8], 16))
        except ValueError:
            return None
        return found if found is not None and self.at(found).id == item_id else None


_POOL = host_pool(40)
_SCRIPT = Script()
_PARAMETERS = _SCRIPT.parameters()


def _pair(index: int) -> tuple[Host, Host]:
    return _POOL[index % len(_POOL)], _POOL[(index + 1) % len(_POOL)]


class Instances(Span):
    """Succeeded instances of fifty tasks."""

    def at(self, index: int) -> Instance:
        """Instance number `index`."""
        name, start = _TABLES[index % len(_TABLES)], self.time(index)
        new = Instance(FIRST_ID + index * ID_STEP, name, _TASK_IDS[name], start)
        new.run_status, new.end = "SUCCESS", start + 5_000
        return new

    def index(self, item_id: int) -> int | None:
        """Where an instance id stands."""
        index, rest = divmod(item_id - FIRST_ID, ID_STEP)
        return self.within(index) if rest == 0 else None


def fill(world: State, *, jobs: int, records: int, instances: int) -> None:
    """Gives the world generated executions, the last of each a step before now."""
    now = world.now()
    world.explorer.generate(Jobs(*_span(now, jobs, MINUTE_MS)))
    world.act2.generate(Records(*_span(now, records, MINUTE_MS)))
    world.dataarts.generate(Instances(*_span(now, instances, INSTANCE_STEP_MS)))


def _span(now: datetime, count: int, step: int) -> tuple[int, int, int]:
    last = ms(now.replace(microsecond=0))
    return count, last - count * step, step
