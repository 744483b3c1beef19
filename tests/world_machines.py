"""The three platforms' worlds: what may happen in them, and what the tables must then hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import hypothesis.strategies as st
import world_rows
from hypothesis.stateful import initialize, precondition, rule
from world_machine import OVERLAP_S, SETTLE_S, WorldMachine, ago

from etl.redact import Secret
from etl.simulator import HostRow, Instance, Script
from etl.simulator.graphs import (
    FAILED,
    FINAL,
    INTERRUPTED,
    PREPARING,
    RUNNING,
    STOPPING,
    SUCCESS,
    Job,
)
from etl.simulator.scripts import Record
from etl.simulator.times import ms
from etl.sources.dataarts.settings import Iam
from etl.sources.explorer.settings import Login

OPEN = (PREPARING, RUNNING, STOPPING)
PICK = st.integers(0, 1_000)
LATE_S = st.sampled_from([0, 0, 0, 30, 500])
"""How long ago something began that shows only now; always within the overlap."""
SAMPLE = st.lists(st.lists(st.sampled_from(["a", "é", ""]), min_size=1, max_size=5), max_size=4)


T = TypeVar("T")


def chosen(some: Sequence[T], pick: int) -> T:
    return some[pick % len(some)]


class ExplorerMachine(WorldMachine):
    """Jobs start, end, run again in place, and vanish."""

    name = "graph"
    list_path = "/api-open/v1/jobs"

    def __init__(self, new_database: Callable[[], str]) -> None:
        super().__init__(new_database)
        self.taken_away: set[tuple[int, str]] = set()
        self._newest = 0

    @initialize(
        ignores=st.sampled_from(["nothing", "nothing", "filter", "order", "window"]),
        window=st.sampled_from(["inclusive", "exclusive", "half_open"]),
        none=st.sampled_from(["null", "zero", "empty", "absent", "go", "go_ms"]),
        beyond_end=st.sampled_from(["empty", "repeat"]),
        flags=st.tuples(*[st.booleans()] * 5),
        page_size=st.integers(2, 7),
    )
    def platform(
        self, ignores: Any, window: Any, none: Any, beyond_end: Any, flags: Any, page_size: int
    ) -> None:
        quirks = self.quirks
        quirks.explorer_ignores, quirks.explorer_window = ignores, window
        quirks.explorer_none, quirks.beyond_end = none, beyond_end
        quirks.explorer_capitals, quirks.explorer_null_items = flags[:2]
        quirks.explorer_null_tasks, quirks.explorer_errors_as_200 = flags[2:4]
        quirks.explorer_null_sample = flags[4]
        self.page_size = page_size

    def login(self) -> dict[str, Any]:
        own = self.sim.credentials
        login = Login(
            username=own.explorer_user,
            password=Secret(own.explorer_password),
            address=own.explorer_address,
            port=own.explorer_port,
        )
        return {"token": None, "login": login}

    @property
    def jobs(self) -> list[Job]:
        return list(self.world.explorer.jobs)

    @rule(tasks=st.integers(0, 3), late=LATE_S, many=st.sampled_from([1, 1, 4, 9]))
    def job_is_submitted(self, tasks: int, late: float, many: int) -> None:
        for _ in range(many):
            at = ago(self.now, late)
            job = self.world.explorer.create("flow", ("BFS", "Louvain", "Degree")[:tasks], at)
            self._newest = max(self._newest, job.created)
        self.clock.advance(1)

    def something_happens(self) -> None:
        job = self.world.explorer.create("flow", ("BFS",), self.now)
        self._newest = max(self._newest, job.created)
        self.world.explorer.start(job.id)
        self.clock.advance(1)
        self.world.explorer.finish(job.id, SUCCESS, samples={"BFS": [["a"]]})

    def jobs_in(self, *statuses: int) -> list[Job]:
        return [job for job in self.jobs if job.status in statuses]

    @precondition(lambda self: self.jobs_in(PREPARING))
    @rule(pick=PICK)
    def job_starts(self, pick: int) -> None:
        self.world.explorer.start(chosen(self.jobs_in(PREPARING), pick).id)
        self.clock.advance(1)

    @precondition(lambda self: self.jobs_in(*OPEN))
    @rule(pick=PICK, status=st.sampled_from([SUCCESS, SUCCESS, FAILED, INTERRUPTED]), sample=SAMPLE)
    def job_ends(self, pick: int, status: int, sample: list[list[str]]) -> None:
        samples = {"BFS": sample, "Louvain": sample[:1]}
        self.world.explorer.finish(chosen(self.jobs_in(*OPEN), pick).id, status, samples=samples)
        self.clock.advance(1)

    @precondition(lambda self: self.jobs_in(RUNNING))
    @rule(pick=PICK)
    def job_ends_before_its_tasks(self, pick: int) -> None:
        """It is stopped; its tasks end a little later, or never."""
        job = chosen(self.jobs_in(RUNNING), pick)
        job.status, job.ended = INTERRUPTED, ms(self.now)
        self.clock.advance(1)

    @precondition(lambda self: self.straggling)
    @rule(pick=PICK)
    def straggling_tasks_end(self, pick: int) -> None:
        for task in chosen(self.straggling, pick).tasks:
            task.status, task.ended = FAILED, ms(self.now)
        self.clock.advance(1)

    @property
    def straggling(self) -> list[Job]:
        """Jobs that ended before their tasks, so recently that they have not settled."""
        young = ms(ago(self.now, SETTLE_S - 60))
        return [
            job
            for job in self.jobs_in(INTERRUPTED)
            if (job.ended or 0) > young and any(task.status == RUNNING for task in job.tasks)
        ]

    @precondition(lambda self: self.jobs_in(RUNNING))
    @rule(pick=PICK)
    def job_is_stopping(self, pick: int) -> None:
        chosen(self.jobs_in(RUNNING), pick).status = STOPPING

    @precondition(lambda self: self.repeatable)
    @rule(pick=PICK)
    def job_runs_again(self, pick: int) -> None:
        self.clock.advance(2)
        self.world.explorer.rerun(chosen(self.repeatable, pick).id)
        self.clock.advance(2)

    @property
    def repeatable(self) -> list[Job]:
        """Jobs that may run again in place: only within the overlap can anybody see it."""
        first = self._newest - OVERLAP_S * 1000 + 1000
        return [job for job in self.jobs_in(*FINAL) if job.created > first]

    @precondition(lambda self: any(job.tasks for job in self.jobs_in(*OPEN)))
    @rule(pick=PICK)
    def task_is_named_no_more(self, pick: int) -> None:
        job = chosen([job for job in self.jobs_in(*OPEN) if job.tasks], pick)
        task = chosen(job.tasks, pick)
        self.world.explorer.delete_task(job.id, task.id)
        self.taken_away.add((job.id, task.id))

    @precondition(lambda self: self.jobs)
    @rule(pick=PICK)
    def job_is_deleted(self, pick: int) -> None:
        self.world.explorer.delete(chosen(self.jobs, pick).id)

    @rule(size=st.sampled_from([None, 1, 3]))
    def pages_are_clamped(self, size: int | None) -> None:
        self.quirks.explorer_page_size_max = size

    def assert_equal(self) -> None:
        held = {n: world_rows.table(self.database, n) for n in ("jobs", "tasks", "sample_rows")}
        wanted = world_rows.tasks(self.world, self.quirks)
        world_rows.assert_holds(held["jobs"], world_rows.jobs(self.world), "jobs")
        world_rows.assert_holds(held["tasks"], wanted, "tasks")
        present = {job.id for job in self.jobs}
        for key in held["tasks"].keys() - wanted.keys():
            gone = held["tasks"][key]["upstream_gone_at"] is not None
            assert key[0] not in present or (gone and key in self.taken_away), key
        samples = world_rows.samples_held(held["sample_rows"])
        for key, rows in world_rows.sample_rows(self.world).items():
            assert samples.get(key, []) == rows, f"sample_rows {key}"


class Act2Machine(WorldMachine):
    """Records run, their hosts answer late, short or anew; some show only later."""

    name = "scripts"
    list_path = "/api/v1/job/record/page"

    def __init__(self, new_database: Callable[[], str]) -> None:
        super().__init__(new_database)
        self._race: tuple[int, int] | None = None

    @initialize(
        shape=st.sampled_from(["live", "live", "doc"]),
        order=st.sampled_from(["asc", "desc"]),
        time_format=st.sampled_from(["rfc3339", "plain"]),
        beyond_end=st.sampled_from(["empty", "repeat"]),
        flags=st.tuples(st.booleans(), st.booleans()),
        page_size=st.integers(2, 7),
    )
    def platform(
        self, shape: Any, order: Any, time_format: Any, beyond_end: Any, flags: Any, page_size: int
    ) -> None:
        quirks = self.quirks
        quirks.act2_shape, quirks.act2_order = shape, order
        quirks.act2_time_format, quirks.beyond_end = time_format, beyond_end
        quirks.act2_zero_row_times, quirks.act2_reshuffle = flags
        self.page_size = page_size

    @property
    def records(self) -> list[Record]:
        return list(self.world.act2.records)

    @property
    def running(self) -> list[Record]:
        return [record for record in self.records if record.end is None]

    @property
    def open(self) -> list[Record]:
        """Records whose hosts may still answer."""
        return [r for r in self.records if r.end is None or r.end > ago(self.now, SETTLE_S - 60)]

    def something_happens(self) -> None:
        record = self.world.act2.start(Script(), 1, self.now)
        self.clock.advance(1)
        self.world.act2.finish(record.id, "success")

    @precondition(lambda self: self.quirks.act2_shape == "live")
    @rule(pages=st.integers(1, 5))
    def record_shows_when_it_is_pages_back(self, pages: int) -> None:
        """Syncs pass it while it is counted and not listed."""
        record = self.world.act2.start(Script(), 1, self.now)
        record.hidden = True
        for _ in range(pages):
            for _ in range(self.page_size):
                self.something_happens()
            self._sync()
        record.hidden = False

    @rule(
        hosts=st.integers(1, 3),
        late=LATE_S,
        urls=st.sampled_from([(), (), ("http://a", "http://b")]),
        many=st.sampled_from([1, 1, 4, 9]),
        hidden=st.booleans(),
    )
    def record_starts(
        self, hosts: int, late: float, urls: tuple[str, ...], many: int, hidden: bool
    ) -> None:
        """A hidden one is counted and not listed, in the live shape."""
        for _ in range(many):
            script = Script(urls=urls)
            record = self.world.act2.start(script, hosts, ago(self.now, late))
        record.hidden = hidden and self.quirks.act2_shape == "live"
        self.clock.advance(1)

    @precondition(lambda self: self.running)
    @rule(pick=PICK, result=st.sampled_from(["success", "fail", "timeout"]), silent=st.booleans())
    def record_ends(self, pick: int, result: str, silent: bool) -> None:
        """A silent host has not answered by then."""
        self.clock.advance(2)
        record = chosen(self.running, pick)
        host = record.rows[0].host
        answers = {host.id: HostRow(host)} if silent else {}
        self.world.act2.finish(record.id, result, answers=answers)

    @precondition(lambda self: self.open)
    @rule(pick=PICK, status=st.sampled_from(["success", "fail"]))
    def host_answers(self, pick: int, status: str) -> None:
        record = chosen(self.open, pick)
        row = chosen(record.rows, pick)
        row.status, row.stdout, row.stderr = status, f"{pick}\n中", f"error {pick}"
        self.clock.advance(1)

    @precondition(lambda self: self.open)
    @rule(pick=PICK)
    def rows_are_written_anew(self, pick: int) -> None:
        record = chosen(self.open, pick)
        rows = [HostRow(row.host, "success", f"anew {pick}") for row in record.rows]
        self.world.act2.rewrite_rows(record.id, rows[::-1])
        self.clock.advance(1)

    @precondition(lambda self: self.records)
    @rule()
    def hidden_records_show(self) -> None:
        for record in self.records:
            record.hidden = False

    @rule(reads=st.integers(1, 3), keep=st.integers(0, 2))
    def rows_are_being_rewritten(self, reads: int, keep: int) -> None:
        """The next sync sees fewer rows of every record whose hosts may still answer."""
        self._race = reads, keep
        self._sync()

    def before_sync(self) -> None:
        if self._race is not None:
            reads, keep = self._race
            for record in self.open:
                self.world.act2.shorten(record.id, reads, keep)

    def after_sync(self) -> None:
        self._race = None
        for record in self.records:
            record.short_reads.clear()

    @rule(size=st.sampled_from([None, 1, 3]))
    def pages_are_clamped(self, size: int | None) -> None:
        self.quirks.act2_page_size_max = size

    def assert_equal(self) -> None:
        listed = [record for record in self.records if not record.hidden]
        held = world_rows.table(self.database, "job_records")
        wanted = world_rows.job_records(listed, self.quirks)
        world_rows.assert_holds(held, wanted, "job_records")
        hosts = world_rows.table(self.database, "host_results")
        found = world_rows.hosts_held(hosts, {record.id for record in listed})
        assert found == world_rows.host_results(listed, self.quirks)


class DataArtsMachine(WorldMachine):
    """Instances run, end and vanish."""

    name = "quality"
    list_path = "/quality/instances"

    @initialize(
        ignores=st.booleans(),
        window=st.sampled_from(["inclusive", "exclusive", "half_open"]),
        order=st.sampled_from(["asc", "desc"]),
        offset=st.sampled_from(["rows", "pages"]),
        none=st.sampled_from(["null", "absent", "zero"]),
        beyond_end=st.sampled_from(["empty", "repeat"]),
        page_size=st.integers(2, 7),
    )
    def platform(
        self,
        ignores: bool,
        window: Any,
        order: Any,
        offset: Any,
        none: Any,
        beyond_end: Any,
        page_size: int,
    ) -> None:
        quirks = self.quirks
        quirks.dataarts_ignores_window, quirks.dataarts_window = ignores, window
        quirks.dataarts_order, quirks.dataarts_offset = order, offset
        quirks.dataarts_none, quirks.beyond_end = none, beyond_end
        quirks.dataarts_limit_over = "clamp"
        self.page_size = page_size

    def login(self) -> dict[str, Any]:
        own = self.sim.credentials
        iam = Iam(
            url=self.sim.iam_url,
            domain=own.huawei_domain,
            username=own.huawei_user,
            password=Secret(own.huawei_password),
        )
        return {"token": None, "iam": iam}

    @property
    def instances(self) -> list[Instance]:
        return list(self.world.dataarts.instances())

    @property
    def running(self) -> list[Instance]:
        return [one for one in self.instances if one.run_status in ("RUNNING", "SUSPENDING")]

    def something_happens(self) -> None:
        instance = self.world.dataarts.start("检查", at=self.now)
        self.clock.advance(1)
        self.world.dataarts.finish(instance.id, "SUCCESS", "SUCCESS")

    @rule(late=LATE_S, many=st.sampled_from([1, 1, 4, 9]))
    def instance_starts(self, late: float, many: int) -> None:
        for _ in range(many):
            self.world.dataarts.start(f"检查 {many}", at=ago(self.now, late))
        self.clock.advance(1)

    @precondition(lambda self: self.running)
    @rule(pick=PICK, word=st.sampled_from(["SUCCESS", "FAILED", "ALARMING", "SUSPENDING"]))
    def instance_ends(self, pick: int, word: str) -> None:
        instance = chosen(self.running, pick)
        if word == "SUSPENDING":
            instance.run_status = word
        else:
            self.world.dataarts.finish(instance.id, word, "SUCCESS")
        self.clock.advance(1)

    @precondition(lambda self: self.instances)
    @rule(pick=PICK)
    def instance_is_deleted(self, pick: int) -> None:
        self.world.dataarts.delete(chosen(self.instances, pick).id)

    @rule(size=st.sampled_from([100, 1, 3]))
    def pages_are_clamped(self, size: int) -> None:
        self.quirks.dataarts_limit_max = size

    def assert_equal(self) -> None:
        held = world_rows.table(self.database, "quality_instances")
        world_rows.assert_holds(held, world_rows.instances(self.world), "quality_instances")
