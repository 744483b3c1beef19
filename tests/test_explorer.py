"""Explorer read over real HTTP: what becomes of jobs, tasks and samples."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from explorer_kit import (
    DETAIL,
    NOW,
    Memory,
    details,
    ids,
    is_list,
    one_job,
    opened,
    samples,
    settings_for,
    span,
    sync,
    world_of,
)

from etl.errors import Unauthorized
from etl.redact import Secret
from etl.simulator import Fault, Simulator
from etl.source import Doubt
from etl.sources.explorer import SOURCE, items
from etl.sources.explorer.settings import ExplorerSettings, Login
from etl.sources.explorer.tables import Job as JobRow
from etl.sources.explorer.tables import SampleRow
from etl.sources.explorer.tables import Task as TaskRow
from etl.units import Since

SAMPLE = [["player110", "0.150000"], ["team219", "0.452126"], ["player121", "0.262148"]]
BEGAN = datetime(2022, 7, 12, 2, 33, 35, tzinfo=UTC)
ENDED = BEGAN + timedelta(seconds=3)
CREATED = datetime(2022, 7, 12, 2, 33, 32, 505000, tzinfo=UTC)
TASK_ID = "f93dea90fc3a11ecac7e6da0662c195b"


@pytest.fixture
def sim() -> Iterator[Simulator]:
    with Simulator(world_of(3)) as simulator:
        yield simulator


def test_the_published_job_is_read_field_by_field() -> None:
    assert items.job(DETAIL, 1) == JobRow(
        job_id=1964,
        name="workflow_xkkjf_20220712103332",
        workflow_id="3992429968",
        workflow_name="workflow_xkkjf",
        status="succeeded",
        status_code=2,
        created_at=CREATED,
        started_at=BEGAN,
        finished_at=ENDED,
        task_count=1,
        extra=None,
        text_repaired=False,
    )
    task = items.task(1964, DETAIL["tasks"][0])
    assert task == TaskRow(
        1964, TASK_ID, "BFS", "succeeded", 2, BEGAN, ENDED, None, None, None, None, False
    )
    found = items.sample(task, SAMPLE)
    assert found.rows == [
        SampleRow(1964, TASK_ID, 1, "player110", "0.150000", None, None),
        SampleRow(1964, TASK_ID, 2, "team219", "0.452126", None, None),
        SampleRow(1964, TASK_ID, 3, "player121", "0.262148", None, None),
    ]
    text = '[["player110","0.150000"],["team219","0.452126"],["player121","0.262148"]]'
    assert found.digest == hashlib.sha256(text.encode()).hexdigest()


def test_the_digest_of_a_sample_is_that_of_its_canonical_json() -> None:
    """Of every character that can be stored, whichever way the sample is read."""
    task = items.task(1964, DETAIL["tasks"][0])
    every = [[chr(code), "x"] for code in range(1, 0x11000) if not 0xD800 <= code < 0xE000]
    found = items.sample(task, every)
    text = json.dumps(every, ensure_ascii=False, separators=(",", ":"))
    assert found.digest == hashlib.sha256(text.encode()).hexdigest()
    assert [*map(tuple, found.rows)] == [*map(tuple, items._any_sample(task, every).rows)]
    assert found.digest == items._any_sample(task, every).digest


def test_a_scan_brings_job_tasks_and_samples(sim: Simulator) -> None:
    world = sim.world.explorer
    job = world.create("flow", ("PageRank", "BFS"), NOW)
    world.finish(job.id, at=NOW, samples={"PageRank": SAMPLE, "BFS": []})
    memory = sync(sim, Memory())
    row = memory.jobs[str(job.id)]
    assert (row.name, row.workflow_id, row.status) == (job.name, job.workflow_id, "succeeded")
    assert (row.created_at, row.finished_at, row.task_count, row.extra) == (NOW, NOW, 2, None)
    rank, bfs = (memory.tasks[job.id, task.id] for task in job.tasks)
    assert (rank.sample_row_count, rank.sample_error) == (3, None)
    assert (bfs.sample_row_count, bfs.sample_digest) == (0, hashlib.sha256(b"[]").hexdigest())
    assert [r.column_1 for r in memory.rows[job.id, rank.task_id]] == [r[0] for r in SAMPLE]
    assert (job.id, bfs.task_id) not in memory.rows
    assert memory.position == {"created_at": NOW.isoformat()}
    assert not memory.debts
    assert not memory.doubts


@pytest.mark.parametrize("none", ["null", "zero", "empty", "absent", "go", "go_ms"])
def test_a_time_that_has_not_come_is_none_however_it_is_written(none: Any) -> None:
    sim, job = one_job(explorer_none=none, explorer_null_tasks=True, explorer_capitals=False)
    waiting = sim.world.explorer.create("flow", ("BFS",), NOW)
    with sim:
        memory = sync(sim, Memory())
    row = memory.jobs[str(waiting.id)]
    assert (row.status, row.started_at, row.finished_at, row.extra) == ("pending", None, None, None)
    task = memory.tasks[waiting.id, waiting.tasks[0].id]
    assert (task.status, task.started_at, task.finished_at, task.extra) == (
        "pending",
        None,
        None,
        None,
    )
    running = memory.jobs[str(job.id)]
    assert running.started_at == NOW - timedelta(minutes=29)
    assert running.finished_at is None


def test_what_runs_has_no_end_even_if_it_shows_one() -> None:
    row = items.job({**DETAIL, "status": 1})
    assert (row.status, row.started_at, row.finished_at) == ("running", BEGAN, None)


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (0, "pending"),
        (1, "running"),
        (2, "succeeded"),
        (3, "failed"),
        (4, "cancelled"),
        (5, "stopping"),
        (77, "unknown"),
    ],
)
def test_every_status_has_its_word_and_keeps_its_number(code: int, status: str) -> None:
    assert items.job({**DETAIL, "status": code})[4:6] == (status, code)
    assert items.task(1, {**DETAIL["tasks"][0], "status": code})[3:5] == (status, code)


def test_what_is_unknown_or_unreadable_is_kept_in_extra() -> None:
    row = items.job({**DETAIL, "queue": "gpu", "runEndTime": "soon", "status": "odd"})
    assert (row.status, row.status_code, row.finished_at) == ("unknown", None, None)
    assert row.extra == '{"queue":"gpu","runEndTime":"soon","status":"odd"}'


def test_poisoned_text_is_repaired_and_said_so() -> None:
    assert items.job({**DETAIL, "name": "a\x00b"})[1] == "a\u2400b"
    assert items.job({**DETAIL, "name": "a\ud800b"}).text_repaired
    task = items.task(1, DETAIL["tasks"][0])
    found = items.sample(task, [["\x00", None, 7, {"b": 1}, "e"], []])
    assert found.repaired
    assert found.rows[0][2:] == (1, "\u2400", None, "7", '[{"b":1},"e"]')
    assert found.rows[1][2:] == (2, None, None, None, None)


def test_a_second_scan_asks_for_the_list_only(sim: Simulator) -> None:
    memory = sync(sim, Memory())
    sim.clear_log()
    before = len(memory.read)
    sync(sim, memory)
    assert len(memory.read) == before
    assert len(sim.requests) == 2


def test_what_is_read_anew_is_asked_for_whatever_is_known(sim: Simulator) -> None:
    memory = sync(sim, Memory())
    sim.clear_log()
    sync(sim, memory, fresh=True)
    assert (details(sim), len(samples(sim))) == (1, 1), "from its own position, without overlap"
    sync(sim, memory, fresh=True, position=None)
    assert details(sim) == 4


def test_a_job_that_ran_anew_is_read_again(sim: Simulator) -> None:
    memory = sync(sim, Memory())
    sim.world.explorer.rerun(2, NOW + timedelta(minutes=1))
    sync(sim, memory)
    assert memory.read[3:] == ["2"]
    assert memory.jobs["2"].status == "running"
    task = next(task for (job_id, _), task in memory.tasks.items() if job_id == 2)
    assert (task.status, task.sample_row_count) == ("running", 1), "the old sample stays"


def test_tasks_may_be_null(sim: Simulator) -> None:
    known = sync(sim, Memory())
    sim.quirks.explorer_detail_null_tasks = True
    memory = sync(sim, Memory())
    assert memory.jobs["2"].task_count == 0
    sync(sim, known, fresh=True, position=None)
    assert known.jobs["2"].task_count == 1, "a poorer answer is not believed"


def test_a_bad_task_id_costs_that_task() -> None:
    sim, job = one_job()
    job.tasks[0].id = ""
    with sim:
        memory = sync(sim, Memory())
    assert [key[1] for key in memory.tasks] == [job.tasks[1].id]
    assert [reject.upstream_id for reject in memory.rejects] == ["1"]
    assert memory.jobs["1"].task_count == 2


def test_an_item_without_a_usable_id_costs_that_item(sim: Simulator) -> None:
    page = {"items": [{"name": "no id"}, {**DETAIL, "id": 1}, 7], "total": 3}
    body = json.dumps({"code": 0, "data": page}).encode()
    sim.fault(Fault("body", "/api-open/v1/jobs", body=body, when=is_list, times=None))
    memory = sync(sim, Memory())
    assert ids(memory) == {1}
    assert [reject.payload for reject in memory.rejects] == [{"name": "no id"}, 7]


def test_a_job_without_a_readable_creation_does_not_break_the_walk(sim: Simulator) -> None:
    listed = [{**DETAIL, "id": n, "createTime": at} for n, at in ((1, "odd"), (2, None), (3, 5))]
    body = json.dumps({"code": 0, "data": {"items": listed, "total": 3}}).encode()
    sim.fault(Fault("body", "/api-open/v1/jobs", body=body, when=is_list, times=None))
    memory = sync(sim, Memory())
    assert ids(memory) == {1, 2, 3}


def test_a_refused_token_ends_the_pass_with_the_mend(sim: Simulator) -> None:
    with pytest.raises(Unauthorized, match="set a new one in token:"):
        sync(sim, Memory(), more={"token": Secret("a token of last year")})


def test_an_inventory_lists_ids_and_statuses_of_the_interval(sim: Simulator) -> None:
    sim.world.explorer.fail(3, NOW)
    settings = settings_for(sim)
    since = NOW - timedelta(minutes=1)
    with opened(settings) as api:
        lines = list(SOURCE.inventory(api, settings, span(Memory(), since=since)))
    pages = [page for page in lines if not isinstance(page, Doubt)]
    told = [[(line.id, line.status) for line in page] for page in pages]
    assert told == [[("2", "succeeded"), ("3", "failed")], [], []]
    assert details(sim) == 0


def test_an_inventory_says_when_it_is_not_proven(sim: Simulator) -> None:
    sim.fault(Fault("total", "/api-open/v1/jobs", size=2, times=None))
    settings = settings_for(sim)
    with opened(settings) as api:
        *_, last = SOURCE.inventory(api, settings, span(Memory()))
    assert getattr(last, "upstream_total", None) == 5


def test_ping_says_what_a_first_sync_would_read(sim: Simulator) -> None:
    settings = settings_for(sim, since=Since.parse("2026-11-22T11:59:00"))
    with opened(settings) as api:
        assert SOURCE.ping is not None
        assert SOURCE.ping(api, settings) == (
            "3 jobs, 2 jobs since 2026-11-22; "
            "a first sync asks for each job and for a sample of each of its tasks"
        )


LOGIN = Login(username="u", password=Secret("pass-word"), address="graphd")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "exactly one of them; came: neither"),
        ({"token": Secret("t"), "login": LOGIN}, "exactly one of them; came: both"),
        ({"token": Secret("t"), "sample_limit": 0}, "sample_limit must be 1 or more, not 0"),
        ({"token": Secret("t"), "page_size": 0}, "page_size must be 1 or more, not 0"),
    ],
)
def test_settings_that_contradict_themselves_are_refused(given: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ExplorerSettings(api="explorer", url="http://localhost:7002", **given)


def test_a_name_stands_for_the_address_and_an_account_for_who_asks() -> None:
    def made(**more: Any) -> ExplorerSettings:
        url = more.pop("url", "http://x:7002")
        return ExplorerSettings(api="explorer", url=url, **more)

    plain = made(token=Secret("one token"))
    other = made(token=Secret("other token"), url="http://x:7002/api-open/v1/")
    assert SOURCE.identity(plain) == SOURCE.identity(other) == {"url": "http://x:7002"}
    accounts = {SOURCE.platform(each).account for each in (plain, other, made(login=LOGIN))}
    assert len(accounts) == 3
    assert not any("token" in name for name in accounts)
