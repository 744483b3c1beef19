"""What Explorer still owes after a reading: when it is asked again, and when no more."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from explorer_kit import (
    DETAIL,
    NOW,
    Memory,
    details,
    ids,
    is_list,
    lists,
    one_job,
    refresh,
    samples,
    sync,
    world_of,
)

from etl.errors import Transient
from etl.simulator import Fault, Simulator
from etl.simulator.graphs import INTERRUPTED, RUNNING, STOPPING, SUCCESS
from etl.source import Debt


@pytest.fixture
def sim() -> Iterator[Simulator]:
    with Simulator(world_of(3)) as simulator:
        yield simulator


def test_a_job_that_is_owed_is_left_to_the_refresh() -> None:
    sim, job = one_job()
    with sim:
        memory = sync(sim, Memory())
        assert [debt.kind for debt in memory.debts.values()] == ["job"]
        sim.clear_log()
        sync(sim, memory)
        assert details(sim) == 0
        sim.world.explorer.finish(job.id, at=NOW)
        refresh(sim, memory)
        assert memory.jobs["1"].status == "succeeded"
        assert not memory.debts
        assert lists(sim) == 2


@pytest.mark.parametrize("status", [RUNNING, STOPPING, 9])
def test_what_is_not_final_is_owed(sim: Simulator, status: int) -> None:
    sim.world.explorer.edit(2).status = status
    memory = sync(sim, Memory())
    assert list(memory.debts) == [("job", "2")]


def test_a_task_that_is_sampled_is_not_sampled_again_until_it_runs_anew() -> None:
    sim, job = one_job()
    first = job.tasks[0]
    first.status, first.ended, first.sample = SUCCESS, job.began, [["a", "1"]]
    with sim:
        memory = sync(sim, Memory())
        assert len(samples(sim)) == 1
        assert memory.tasks[1, first.id].sample_row_count == 1
        refresh(sim, memory)
        assert len(samples(sim)) == 1
        assert memory.tasks[1, first.id].sample_row_count == 1
        assert job.began is not None
        first.ended = job.began + 60_000
        refresh(sim, memory)
        assert len(samples(sim)) == 2


def test_a_job_that_ended_before_its_tasks_is_owed_until_it_has_settled() -> None:
    sim, job = one_job()
    job.status, job.ended = INTERRUPTED, int((NOW - timedelta(minutes=1)).timestamp() * 1000)
    with sim:
        memory = sync(sim, Memory())
        assert list(memory.debts) == [("settle", "1")]
        refresh(sim, memory, now=NOW + timedelta(minutes=8))
        assert list(memory.debts) == [("settle", "1")]
        refresh(sim, memory, now=NOW + timedelta(minutes=9))
        assert not memory.debts
        assert memory.tasks[1, job.tasks[0].id].status == "running"


def test_without_an_end_settling_counts_from_the_first_sight() -> None:
    sim, job = one_job()
    job.status = INTERRUPTED
    with sim:
        memory = sync(sim, Memory())
        refresh(sim, memory, now=NOW + timedelta(minutes=9))
        assert list(memory.debts) == [("settle", "1")]
        refresh(sim, memory, now=NOW + timedelta(minutes=10))
        assert not memory.debts


def test_an_error_of_a_sample_is_an_answer_and_asked_for_in_three_more_passes(
    sim: Simulator,
) -> None:
    task = sim.world.explorer.edit(2).tasks[0]
    sim.world.explorer.set_sample(2, task.id, None)
    memory = sync(sim, Memory())
    row = memory.tasks[2, task.id]
    assert (row.sample_row_count, row.sample_digest) == (None, None)
    assert row.sample_error is not None
    assert "40004000" in row.sample_error
    assert not memory.rejects
    for _ in range(3):
        assert list(memory.debts) == [("sample", "2")]
        refresh(sim, memory)
    assert not memory.debts


def test_a_sample_that_comes_later_clears_the_error(sim: Simulator) -> None:
    fault = sim.fault(Fault("error", "/api-open/v1/jobs/2/tasks", code=50004000, times=2))
    memory = sync(sim, Memory())
    assert fault.hits == 2, "two attempts"
    assert list(memory.debts) == [("sample", "2")]
    refresh(sim, memory)
    row = next(task for (job_id, _), task in memory.tasks.items() if job_id == 2)
    assert (row.sample_row_count, row.sample_error) == (1, None)
    assert not memory.debts


def test_a_failing_sample_leaves_the_known_one(sim: Simulator) -> None:
    memory = sync(sim, Memory())
    task = sim.world.explorer.edit(2).tasks[0]
    sim.world.explorer.set_sample(2, task.id, None)
    sync(sim, memory, fresh=True, position=None)
    row = memory.tasks[2, task.id]
    assert (row.sample_row_count, row.sample_digest is None) == (1, False)
    assert row.sample_error is not None


@pytest.mark.parametrize(("most", "tried"), [(None, ["500"]), (100, ["500", "100"])])
def test_a_refused_limit_is_tried_smaller_and_remembered(
    sim: Simulator, most: int | None, tried: list[str]
) -> None:
    sim.quirks.explorer_sample_max = most
    memory = sync(sim, Memory(), more={"sample_limit": 500, "concurrency": 1})
    assert samples(sim) == tried + tried[-1:] * 2
    assert all(task.sample_row_count == 1 for task in memory.tasks.values())


def test_a_limit_of_ten_is_the_last_resort(sim: Simulator) -> None:
    sim.quirks.explorer_sample_max = 10
    sync(sim, Memory(), more={"concurrency": 1})
    assert samples(sim) == ["100", "10", "10", "10"]


@pytest.mark.parametrize("form", ["empty", "null"])
def test_a_missing_result_may_be_no_error_but_nothing(sim: Simulator, form: Any) -> None:
    sim.quirks.explorer_sample_of_unfinished = form
    task = sim.world.explorer.edit(2).tasks[0]
    sim.world.explorer.set_sample(2, task.id, None)
    memory = sync(sim, Memory())
    assert memory.tasks[2, task.id].sample_row_count == 0
    assert not memory.debts


def test_one_failing_detail_costs_that_detail(sim: Simulator) -> None:
    sim.fault(Fault("status", "/api-open/v1/jobs/2", times=5))
    memory = sync(sim, Memory())
    assert ids(memory) == {1, 2, 3}
    row = memory.jobs["2"]
    assert (row.status, row.workflow_name, row.task_count) == ("succeeded", "flow", None)
    assert list(memory.debts) == [("detail", "2")]
    assert not memory.rejects
    refresh(sim, memory)
    assert memory.jobs["2"].task_count == 1
    assert not memory.debts


def test_a_malformed_detail_is_rejected_and_owed(sim: Simulator) -> None:
    fault = sim.fault(Fault("body", "/api-open/v1/jobs/2", body=b'{"code":0,"data":[1]}', times=1))
    memory = sync(sim, Memory())
    assert fault.hits == 1
    assert [(reject.upstream_id, reject.payload["id"]) for reject in memory.rejects] == [("2", 2)]
    assert list(memory.debts) == [("detail", "2")]
    assert memory.jobs["2"].status == "succeeded"


def test_when_no_detail_works_the_pass_fails_after_what_the_list_told(sim: Simulator) -> None:
    sim.fault(Fault("status", "/api-open/v1/jobs/", times=None))
    memory = Memory()
    with pytest.raises(Transient, match="none of 3 job details can be read"):
        sync(sim, memory)
    assert ids(memory) == {1, 2, 3}
    assert len(memory.debts) == 3


def test_a_detail_that_fails_again_stays_owed_under_its_kind(sim: Simulator) -> None:
    sim.world.explorer.start(2)
    memory = sync(sim, Memory())
    sim.fault(Fault("status", "/api-open/v1/jobs/2", times=None))
    refresh(sim, memory)
    debt = memory.debts["job", "2"]
    assert debt.reason.startswith("no detail: ")
    assert list(memory.debts) == [("job", "2")]


def test_a_job_that_vanishes_before_its_detail_is_what_the_list_told(sim: Simulator) -> None:
    sim.fault(Fault("error", "/api-open/v1/jobs/2", status=404, code=40404000))
    memory = sync(sim, Memory())
    assert ids(memory) == {1, 2, 3}
    assert memory.jobs["2"].task_count is None
    assert not memory.debts


def test_a_debt_of_a_job_that_is_gone_is_settled() -> None:
    sim, _ = one_job()
    with sim:
        memory = sync(sim, Memory())
        sim.world.explorer.delete(1)
        refresh(sim, memory)
    assert not memory.debts
    assert ids(memory) == {1}, "its row stays"


def test_fields_that_only_the_list_has_survive_a_refresh() -> None:
    sim, job = one_job()
    listed = {**DETAIL, "id": 1, "status": 1, "createTime": job.created, "owner": "ann"}
    del listed["tasks"]
    body = json.dumps({"code": 0, "data": {"items": [listed], "total": 1}}).encode()
    with sim:
        sim.fault(Fault("body", "/api-open/v1/jobs", body=body, when=is_list, times=None))
        memory = sync(sim, Memory())
        assert memory.jobs["1"].extra == '{"owner":"ann"}'
        sim.world.explorer.finish(1, at=NOW)
        refresh(sim, memory)
    assert memory.jobs["1"].extra == '{"owner":"ann"}'
    assert memory.jobs["1"].status == "succeeded"


def test_a_repair_reads_the_job_whatever_its_debt_knows(sim: Simulator) -> None:
    memory = Memory(debts={("job", "2"): Debt("job", "2", "differs")})
    refresh(sim, memory, fresh=True)
    assert (ids(memory), len(samples(sim))) == ({2}, 1)
    assert not memory.debts


def test_details_that_failed_before_say_nothing_of_the_platform(sim: Simulator) -> None:
    for job_id in (1, 2, 3):
        sim.world.explorer.start(job_id)
    memory = sync(sim, Memory())
    sim.fault(Fault("status", "/api-open/v1/jobs/", times=None))
    with pytest.raises(Transient, match="none of 3 job details can be read"):
        refresh(sim, memory)
    refresh(sim, memory)
    assert [debt.kind for debt in memory.debts.values()] == ["job"] * 3
