"""Explorers that refuse a page: one beyond the end, or one of so many jobs."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from explorer_kit import Memory, ids, is_list, lists, sync, world_of

from etl.errors import BadRequest, Malformed
from etl.simulator import Fault, Quirks, Simulator

TEN = {"page_size": 10}
NULL = b'{"code": 0, "message": "Success", "data": null}'
NEWEST_FIRST = {"explorer_ignores": "filter"}


def _beyond(sim: Simulator, known: bool, size: int = 10) -> Any:
    def beyond(request: Any) -> bool:
        if not is_list(request):
            return False
        world = sim.world.explorer.jobs
        since = json.loads(request.params.get("filter", "{}")).get("fromCreateTime", 0)
        since = since if known else 0
        left = sum(job.created >= since for job in world)
        return (int(request.params["page"]) - 1) * size >= max(1, left)

    return beyond


@pytest.mark.parametrize("count", [0, 1, 10, 45])
@pytest.mark.parametrize("quirks", [{}, NEWEST_FIRST])
@pytest.mark.parametrize("answer", ["refused", "gone", "null"])
def test_a_page_beyond_the_end_may_be_refused_or_null(
    count: int, quirks: dict[str, Any], answer: str
) -> None:
    memory = Memory()
    with Simulator(world_of(count), Quirks(**quirks)) as sim:
        fault = (
            Fault("body", times=None, body=NULL)
            if answer == "null"
            else Fault("error", times=None, code=40404000 if answer == "gone" else 40004001)
        )
        fault.when = _beyond(sim, known=not quirks)
        sim.fault(fault)
        sync(sim, memory, more=TEN)
        assert ids(memory) == set(range(1, count + 1))
        assert memory.doubts == []
        sim.clear_log()
        sync(sim, memory, more=TEN)
        assert lists(sim) <= 10


@pytest.mark.parametrize("quirks", [{}, NEWEST_FIRST])
@pytest.mark.parametrize("most", [50, 20, 10])
def test_a_page_size_that_is_refused_is_tried_smaller(quirks: dict[str, Any], most: int) -> None:
    memory = Memory()
    with Simulator(world_of(130), Quirks(**quirks)) as sim:
        sim.fault(
            Fault(
                "error",
                times=None,
                code=40004001,
                when=lambda one: is_list(one) and int(one.params["pageSize"]) > most,
            )
        )
        sync(sim, memory)
        assert ids(memory) == set(range(1, 131))
        assert memory.doubts == []
        sim.clear_log()
        sync(sim, memory)
        assert lists(sim) <= 10 + 60 // most  # an hour of them is read again


def test_a_first_page_that_is_refused_or_null_is_no_empty_list() -> None:
    for fault, error in (
        (Fault("error", times=None, code=40004001, when=is_list), BadRequest),
        (Fault("body", times=None, body=NULL, when=is_list), Malformed),
    ):
        with Simulator(world_of(3)) as sim:
            sim.fault(fault)
            with pytest.raises(error):
                sync(sim, Memory())
            assert lists(sim) <= 8


@pytest.mark.parametrize("quirks", [{}, NEWEST_FIRST])
@pytest.mark.parametrize("count", [1, 12, 230])
@pytest.mark.parametrize("pages", [False, True])
def test_an_idle_pass_over_a_list_that_counts_nothing_or_its_pages_costs_a_handful(
    count: int, quirks: dict[str, Any], pages: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = Memory()
    with Simulator(world_of(count, apart=timedelta(hours=1)), Quirks(**quirks)) as sim:
        answer = sim.explorer.answer

        def uncounted(request: Any) -> Any:
            response = answer(request)
            if is_list(request):
                body = json.loads(response.body)
                body["data"].pop("total")
                body["data"] |= {"total": len(body["data"]["items"])} if pages else {}
                response.body = json.dumps(body).encode()
            return response

        monkeypatch.setattr(sim.explorer, "answer", uncounted)
        sync(sim, memory)
        assert ids(memory) == set(range(1, count + 1))
        sim.clear_log()
        sync(sim, memory)
        assert lists(sim) <= 10
