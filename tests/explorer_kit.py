"""What the tests of the explorer source share: a simulated Explorer and a small memory."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from etl.clock import Clock
from etl.http import Api, open_api
from etl.http.account import Registry
from etl.redact import Secret
from etl.simulator import Quirks, Simulator, World
from etl.simulator.graphs import Job as SimulatedJob
from etl.source import Debt, Known, Page, Record, Span
from etl.sources.explorer import SOURCE
from etl.sources.explorer.settings import ExplorerSettings
from etl.sources.explorer.tables import JOBS, SAMPLE_ROWS, TASKS, Job, SampleRow, Task

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
DETAIL = json.loads(
    '{"id":1964,"name":"workflow_xkkjf_20220712103332","workflowId":"3992429968",'
    '"workflowName":"workflow_xkkjf","status":2,"tasks":[{"id":"f93dea90fc3a11ecac7e6da0662c195b",'
    '"name":"BFS","runBeginTime":"2022-07-12T10:33:35+08:00","runEndTime":'
    '"2022-07-12T10:33:38+08:00","status":2}],"runBeginTime":1657593215000,"runEndTime":'
    '1657593218000,"createTime":1657593212505}'
)
"""The published detail."""


class Hurried(Clock):
    """A clock whose waits take no time."""

    def __init__(self) -> None:
        self._s = 0.0

    def monotonic(self) -> float:
        return self._s

    def wait(self, event: threading.Event, seconds: float) -> bool:
        self._s += max(0.0, seconds)
        return event.is_set()


@dataclass
class Memory:
    """What a database would hold after the pages that it was given."""

    jobs: dict[str, Job] = field(default_factory=dict)
    tasks: dict[tuple[int, str], Task] = field(default_factory=dict)
    rows: dict[tuple[int, str], list[SampleRow]] = field(default_factory=dict)
    debts: dict[tuple[str, str], Debt] = field(default_factory=dict)
    rejects: list[Any] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    position: dict[str, Any] | None = None
    read: list[str] = field(default_factory=list)
    """Ids of the records, in the order they came."""

    def known(self, ids: Sequence[str]) -> Mapping[str, Known]:
        open_ids = {id_ for _, id_ in self.debts}
        return {
            id_: Known(
                self.jobs[id_].status,
                {name: getattr(self.jobs[id_], name) for name in SOURCE.remembers},
                id_ in open_ids,
            )
            for id_ in ids
            if id_ in self.jobs
        }

    def open_debts(self, kind: str) -> Sequence[Debt]:
        return [debt for debt in self.debts.values() if debt.kind == kind]

    def take(self, pages: Iterable[Page]) -> Memory:
        for page in pages:
            for pending in page.records:
                self._write(pending if isinstance(pending, Record) else pending.result())
            self.rejects += page.rejects
            self.debts.update({(debt.kind, debt.id): debt for debt in page.debts})
            for settled in page.settled:
                self.debts.pop(settled, None)
            self.doubts += [page.doubt.reason] if page.doubt else []
            self.position = page.cursor or self.position
        return self

    def _write(self, record: Record) -> None:
        self.read.append(record.id)
        self.debts = {key: debt for key, debt in self.debts.items() if key[1] != record.id}
        self.debts.update({(debt.kind, debt.id): debt for debt in record.debts})
        self.rejects += record.rejects
        for part in record.parts:
            for row in part.rows:
                if part.table is JOBS:
                    job = self.jobs.get(record.id)
                    self.jobs[record.id] = Job(*_merged(Job, job, row, part.owns))
                elif part.table is TASKS:
                    key = (row[0], row[1])
                    task = self.tasks.get(key)
                    self.tasks[key] = Task(*_merged(Task, task, row, part.owns))
                else:
                    assert part.table is SAMPLE_ROWS
                    self.rows.setdefault((row[0], row[1]), []).append(SampleRow(*row))


def _merged(kind: Any, old: Any, row: tuple[Any, ...], owns: tuple[str, ...] | None) -> Any:
    if old is None or owns is None:
        return row
    return [new if n in owns else getattr(old, n) for n, new in zip(kind._fields, row, strict=True)]


def settings_for(sim: Simulator, **more: Any) -> ExplorerSettings:
    given = {"api": "explorer", "url": sim.explorer_url, **more}
    if "login" not in given:
        given.setdefault("token", Secret(sim.credentials.explorer_token))
    return ExplorerSettings(**given)


@contextmanager
def opened(settings: ExplorerSettings, accounts: Registry | None = None) -> Iterator[Api]:
    platform = SOURCE.platform(settings)
    registry = accounts or Registry()
    stop = threading.Event()
    with open_api(platform, settings, stop=stop, clock=Hurried(), accounts=registry) as api:
        yield api


def span(memory: Memory, **more: Any) -> Span:
    given = {"since": None, "until": None, "position": memory.position, "now": NOW, **more}
    return Span(memory=memory, **given)


def sync(sim: Simulator, memory: Memory, *, more: Any = None, **spanned: Any) -> Memory:
    """One scan into `memory`."""
    settings = settings_for(sim, **(more or {}))
    with opened(settings) as api:
        return memory.take(SOURCE.scan(api, settings, span(memory, **spanned)))


def refresh(sim: Simulator, memory: Memory, *, more: Any = None, **spanned: Any) -> Memory:
    """One refresh of all debts in `memory`."""
    settings = settings_for(sim, **(more or {}))
    with opened(settings) as api:
        owed = list(memory.debts.values())
        return memory.take(SOURCE.refresh(api, settings, owed, span(memory, **spanned)))


def world_of(count: int, *, apart: timedelta = timedelta(minutes=1)) -> World:
    """Succeeded jobs of one task, evenly apart, the last one now; ids from 1."""
    world = World.empty(NOW)
    for n in range(count):
        at = NOW - apart * (count - 1 - n)
        job = world.explorer.create("flow", ("PageRank",), at)
        world.explorer.finish(job.id, at=at + timedelta(seconds=9), samples={"PageRank": [["a"]]})
    return world


def one_job(**changes: Any) -> tuple[Simulator, SimulatedJob]:
    """A simulator of a single job of two tasks that runs."""
    world = World.empty(NOW)
    job = world.explorer.create("flow", ("PageRank", "BFS"), NOW - timedelta(minutes=30))
    world.explorer.start(job.id, NOW - timedelta(minutes=29))
    return Simulator(world, Quirks(**changes)), job


def is_list(request: Any) -> bool:
    """Whether a request asks for the list."""
    return bool(request.path.endswith("/jobs"))


def ids(memory: Memory) -> set[int]:
    return {int(id_) for id_ in memory.jobs}


def lists(sim: Simulator) -> int:
    """Requests for the list so far."""
    return sum(one.path.endswith("/jobs") for one in sim.requests)


def details(sim: Simulator) -> int:
    """Requests for details so far."""
    return sum("/jobs/" in one.path and "/tasks/" not in one.path for one in sim.requests)


def samples(sim: Simulator) -> list[str]:
    """The limits of the requests for samples so far."""
    return [one.params["limit"] for one in sim.requests if one.path.endswith("sample_result")]
