"""An answer that lies, at any place of a walk, loses no job: on every kind of server.

Two lies in a row are left out where they tell one story: two pages that repeat an earlier one, or
two short pages of a list that counts nothing.
"""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from explorer_kit import NOW, is_list, lists, opened, settings_for

from etl.simulator import Fault, Quirks, Simulator, World
from etl.sources.explorer.listing import Interval, JobList
from etl.sources.explorer.walks import walk

PAGE = 4
CALLS = 7
LIES: list[tuple[Any, int]] = [
    ("page_size", 1),
    ("page_size", 2),
    ("empty_page", 0),
    ("repeat_page", 0),
    ("total", 1),
    ("total", -1),
]
SERVERS = [
    {"explorer_page_size_max": clamp, "beyond_end": beyond}
    for clamp, beyond in ((None, "empty"), (None, "repeat"), (3, "empty"))
]
ORDERS = ["as asked", "order ignored", "filter ignored", "window ignored", "always oldest first"]
MINUTES: list[tuple[list[int], int | None]] = [
    ([*range(6)], None),
    ([*range(5)], 2),
    ([*range(14)], 9),
    ([0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3], 1),
]
"""When jobs were created, and from when on they are asked for."""


def served(minutes: list[int], order: str, counts: bool, quirks: dict[str, Any]) -> Simulator:
    world = World.empty(NOW)
    for minute in minutes:
        world.explorer.create("flow", (), _at(minute))
    ignored: dict[str, Any] = {"order ignored": "order", "window ignored": "window"}
    ignores = ignored.get(order, "nothing" if order == "as asked" else "filter")
    sim = Simulator(world, Quirks(**quirks, explorer_ignores=ignores))
    answer = sim.explorer.answer

    def answered(request: Any) -> Any:
        if order == "always oldest first":
            sim.quirks.explorer_ignores = "window"
            request.query = [one for one in request.query if one[0] != "filter"]
            request.query.append(("filter", '{"orderByCreateTime":"asc"}'))
        response = answer(request)
        if is_list(request) and not counts:
            body = json.loads(response.body)
            body["data"].pop("total")
            response.body = json.dumps(body).encode()
        return response

    sim.explorer.answer = answered  # type: ignore[method-assign]
    return sim


def _at(minute: int) -> Any:
    return NOW - timedelta(minutes=60 - minute)


def read(sim: Simulator, api: Any, held: int | None) -> tuple[set[int], int]:
    """The jobs that a walk finds, and its requests."""
    before = lists(sim)
    interval = Interval(None if held is None else _at(held), None)
    batches = list(walk(JobList(api, PAGE), interval))
    return {int(entry.key) for batch in batches for entry in batch.jobs}, lists(sim) - before


@pytest.mark.parametrize("counts", [True, False], ids=["total", "no total"])
@pytest.mark.parametrize("server", SERVERS, ids=lambda one: "-".join(map(str, one.values())))
@pytest.mark.parametrize("order", ORDERS)
def test_lies_lose_nothing(order: str, server: dict[str, Any], counts: bool) -> None:
    lost = []
    for minutes, held in MINUTES:
        wanted = {n for n, minute in enumerate(minutes, 1) if held is None or minute >= held}
        with served(minutes, order, counts, server) as sim, opened(settings_for(sim)) as api:
            found, calls = read(sim, api, held)
            assert found == wanted
            for (kind, size), times in ((lie, times) for lie in LIES for times in (1, 2)):
                if (not counts and kind == "total") or (times == 2 and not _alone(kind, counts)):
                    continue
                for after in range(min(CALLS, calls + 1)):
                    fault = Fault(kind, when=is_list, times=times, after=after, size=size)
                    sim.clear_faults()
                    sim.fault(fault)
                    found, _ = read(sim, api, held)
                    if found != wanted:
                        lost.append((len(minutes), held, kind, size, times, after, wanted - found))
    assert lost == []


def _alone(kind: str, counts: bool) -> bool:
    """Whether two such lies in a row still contradict what else is told."""
    return kind != "repeat_page" and counts
