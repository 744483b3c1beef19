"""Servers that refuse a window, or one side of it alone, rather than ignore it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from dataarts_kit import NOW, Read, add, calls, filled, listed, ms, opened, scanned, simulator, span

from etl.errors import BadRequest
from etl.simulator import Fault
from etl.sources.dataarts import SOURCE

AN_HOUR_AGO = NOW - timedelta(hours=1)
REFUSING: list[dict[str, Any]] = [
    {"dataarts_refuses_window": refused, "dataarts_order": order}
    for refused in ("lone", "every")
    for order in ("asc", "desc")
]


@pytest.mark.parametrize("quirks", REFUSING)
@pytest.mark.parametrize("count", [3, 45, 300])
def test_a_first_pass_and_the_next_ones_read_everything(quirks: dict[str, Any], count: int) -> None:
    world = filled(count)
    with simulator(world, **quirks) as sim:
        first = scanned(sim, page_size=20)
        assert set(first.rows) == listed(world)
        new = add(world, count, NOW - timedelta(seconds=30)).id
        before = calls(sim)
        position = {"started_at": first.cursors[-1]}
        again = scanned(sim, span(position), page_size=20)
        assert new in again.rows
        assert again.doubts == []
        if quirks["dataarts_refuses_window"] == "lone":
            assert calls(sim) - before <= 10


@pytest.mark.parametrize("quirks", REFUSING)
@pytest.mark.parametrize("limit_max", [100, 12])
def test_one_side_of_an_interval_is_read_alone(quirks: dict[str, Any], limit_max: int) -> None:
    world = filled(300)
    with simulator(world, dataarts_limit_max=limit_max, **quirks) as sim:
        later = scanned(sim, span(since=AN_HOUR_AGO), page_size=20)
        earlier = scanned(sim, span(until=AN_HOUR_AGO), page_size=20)
    after = {one.id for one in world.dataarts.instances() if one.start >= ms(AN_HOUR_AGO)}
    assert (set(later.rows), set(earlier.rows)) == (after, listed(world) - after)


@pytest.mark.parametrize("quirks", REFUSING)
def test_what_is_owed_is_asked_for_again(quirks: dict[str, Any]) -> None:
    world = filled(45)
    running = add(world, 45, AN_HOUR_AGO, "RUNNING").id
    with simulator(world, **quirks) as sim:
        read = scanned(sim, page_size=20)
        again = Read()
        with opened(sim, page_size=20) as (api, made):
            for page in SOURCE.refresh(api, made, read.debts.values(), span()):
                again.take(page)
    assert set(again.rows) == {running}


def test_a_server_that_refuses_everything_is_asked_a_few_times() -> None:
    with simulator(filled(3)) as sim:
        sim.fault(Fault("error", platform="dataarts", status=400, code="DLM.4000", times=None))
        with pytest.raises(BadRequest):
            scanned(sim, span(since=AN_HOUR_AGO))
        assert calls(sim) <= 12
