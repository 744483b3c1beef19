"""Asking DataArts for single instances again, for ids and statuses, and keeping what is known."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

import pytest
from dataarts_kit import NOW, Read, add, calls, filled, listed, ms, opened, simulator, span

from etl.simulator import Fault, Simulator, World
from etl.simulator.quality import FIRST_ID
from etl.source import Debt, Doubt, Listed, Span
from etl.sources.dataarts import SOURCE

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def debt(number: int, at: Any) -> Debt:
    hint = {"started_at": ms(at)} if at is not None else {}
    return Debt("quality_instance", str(FIRST_ID + number), "run_status is RUNNING", hint)


def asked_again(sim: Simulator, debts: list[Debt], of: Span | None = None, **changes: Any) -> Read:
    read = Read()
    with opened(sim, **changes) as (api, made):
        for page in SOURCE.refresh(api, made, debts, of or span()):
            read.take(page)
    return read


def running(world: World, *ages: timedelta) -> list[Debt]:
    """An instance that runs, for each age, and its debt."""
    debts = []
    for n, age in enumerate(ages):
        add(world, 100_000 + n, NOW - age, "RUNNING")
        debts.append(debt(100_000 + n, NOW - age))
    return debts


def listing(answers: Iterable[Sequence[Listed] | Doubt]) -> list[Listed]:
    """All lines of a listing without a doubt."""
    lines: list[Listed] = []
    for answer in answers:
        assert not isinstance(answer, Doubt)
        lines += answer
    return lines


QUIRKS: list[dict[str, Any]] = [
    {},
    {"dataarts_order": "asc"},
    {"dataarts_window": "exclusive"},
    {"dataarts_window": "half_open"},
    {"dataarts_offset": "pages"},
    {"dataarts_limit_max": 40},
    {"dataarts_ignores_window": True},
    {"dataarts_ignores_window": True, "dataarts_order": "asc"},
    {"dataarts_ignores_window": True, "dataarts_offset": "pages"},
]


@pytest.mark.parametrize("quirks", QUIRKS, ids=str)
def test_what_has_ended_is_final_and_what_runs_is_owed_still(quirks: dict[str, Any]) -> None:
    world = filled(2000)
    debts = running(world, 30 * HOUR, 5 * HOUR, 4 * HOUR)
    world.dataarts.finish(FIRST_ID + 100_000, "ALARMING")
    world.dataarts.finish(FIRST_ID + 100_001, "FAILED")
    with simulator(world, **quirks) as sim:
        read = asked_again(sim, debts)
        assert {number - FIRST_ID: row.status for number, row in read.rows.items()} == {
            100_000: "alarmed",
            100_001: "failed",
            100_002: "running",
        }
        assert read.debts == {debts[2].id: debts[2]}
        assert read.cursors == []


def test_neighbours_share_one_request() -> None:
    world = filled(2000)
    debts = running(world, *(HOUR + timedelta(minutes=n) for n in range(30)))
    with simulator(world) as sim:
        assert len(asked_again(sim, debts).rows) == 30
        assert calls(sim) == 1


def test_a_debt_far_from_the_others_has_a_request_of_its_own() -> None:
    world = filled(5000)
    debts = running(world, 80 * HOUR, HOUR, timedelta(minutes=50))
    with simulator(world) as sim:
        assert len(asked_again(sim, debts).rows) == 3
        assert calls(sim) <= 3
        for logged in sim.requests[1:]:
            assert int(logged.params["end_time"]) - int(logged.params["start_time"]) < 700_000


def test_one_among_many_that_began_at_the_same_instant() -> None:
    world = World.empty(NOW)
    for n in range(950):
        add(world, n, NOW - HOUR)
    with simulator(world) as sim:
        read = asked_again(sim, [debt(3, NOW - HOUR), debt(940, NOW - HOUR)])
        assert read.rows.keys() == {FIRST_ID + 3, FIRST_ID + 940}


@pytest.mark.parametrize("ignores", [False, True])
def test_one_that_is_no_longer_listed_gives_nothing(ignores: bool) -> None:
    world = filled(500)
    [gone, there] = running(world, 6 * HOUR, 5 * HOUR)
    world.dataarts.delete(int(gone.id))
    with simulator(world, dataarts_ignores_window=ignores) as sim:
        assert {str(number) for number in asked_again(sim, [gone, there]).rows} == {there.id}


def test_a_server_may_give_itself_away_when_all_has_been_found() -> None:
    world = filled(20)
    runs = running(world, *[10 * HOUR] * 6)
    with simulator(world, dataarts_ignores_window=True, dataarts_order="asc") as sim:
        found = asked_again(sim, runs, page_size=3).rows
        assert {str(number) for number in found} == {one.id for one in runs}


def test_a_server_without_windows_is_read_for_a_bounded_number_of_pages() -> None:
    world = filled(20_000, timedelta(seconds=1))
    [lost] = running(world, 300 * DAY)
    world.dataarts.delete(int(lost.id))
    with simulator(world, dataarts_ignores_window=True) as sim:
        assert asked_again(sim, [lost], refresh_limit=20).rows == {}
        assert calls(sim) <= 20 + 12  # what was on its way when it stopped
        sim.clear_log()
        recent = debt(19_990, NOW - timedelta(seconds=69))
        assert len(asked_again(sim, [recent]).rows) == 1
        assert calls(sim) <= 12  # as above: far fewer than all 200 pages


def test_without_a_start_it_is_looked_for_only_when_all_is_read_anew() -> None:
    world = filled(500)
    with simulator(world) as sim:
        unknown = [debt(400, None), debt(77, None)]
        assert asked_again(sim, unknown).rows == {}
        assert calls(sim) == 0
        whole = span(since=NOW - 2 * HOUR, until=NOW, fresh=True)
        assert asked_again(sim, unknown, whole).rows.keys() == {FIRST_ID + 400}


@pytest.mark.parametrize("quirks", QUIRKS, ids=str)
def test_an_inventory_lists_ids_and_statuses(quirks: dict[str, Any]) -> None:
    world = filled(950)
    running(world, 3 * HOUR)
    with simulator(world, **quirks) as sim, opened(sim) as (api, made):
        of = span(since=NOW - 10 * HOUR, until=NOW - HOUR)
        lines = listing(SOURCE.inventory(api, made, of))
        assert len(lines) == 9 * 60 + 1
        assert {line.id for line in lines} <= {str(number) for number in listed(world)}
        assert [line.status for line in lines].count("running") == 1
        assert {line.status for line in lines} == {"running", "succeeded"}


def test_an_inventory_that_is_not_proven_says_so() -> None:
    with simulator(filled(950)) as sim, opened(sim) as (api, made):
        sim.fault(Fault("total", platform="dataarts", size=4, times=None))
        answers = list(SOURCE.inventory(api, made, span()))
        [doubt] = [answer for answer in answers if isinstance(answer, Doubt)]
        assert (doubt.upstream_total, doubt.upstream_ids) == (954, 950)


def test_a_rejected_instance_is_looked_for_at_its_own_start() -> None:
    at = NOW - timedelta(minutes=401)
    payload = {"id": FIRST_ID + 599, "start_time": ms(at), "name": 7}
    with simulator(filled(1000)) as sim:
        kept = Debt("quality_instance", str(FIRST_ID + 599), "rejects retry", payload)
        assert asked_again(sim, [kept], span(fresh=True)).rows.keys() == {FIRST_ID + 599}
        assert calls(sim) == 1


def test_a_poisoned_neighbour_does_not_hide_the_wanted_one() -> None:
    world = filled(5)
    body = (
        b'{"count":2,"resources":[{"id":"none","start_time":%d},'
        b'{"id":%d,"run_status":"SUCCESS","start_time":%d,"end_time":%d}]}'
    ) % (ms(NOW), FIRST_ID + 9, ms(NOW), ms(NOW) + 1000)
    with simulator(world) as sim:
        sim.fault(Fault("body", platform="dataarts", body=body))
        read = asked_again(sim, [debt(9, NOW)])
        assert {row.status for row in read.rows.values()} == {"succeeded"}
