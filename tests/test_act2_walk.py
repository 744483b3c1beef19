"""The walk over pages, in either order: the first pass, the next ones, windows, holes."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from act2_kit import (
    DETAIL,
    HOUR_AGO,
    NOW,
    PAGE,
    SHAPES,
    Held,
    asked,
    filled,
    ids,
    opened,
    record_ids,
    refreshed,
    scanned,
    served,
    simulator,
    span,
    walked,
)

from etl.simulator import Fault, World
from etl.sources.act2 import SOURCE

# first and later passes


@pytest.mark.parametrize("quirks", SHAPES)
@pytest.mark.parametrize("count", [0, 1, 4, 5, 6, 10, 23])
def test_everything_is_read_and_an_idle_pass_costs_almost_nothing(
    quirks: dict[str, Any], count: int
) -> None:
    world = filled(count)
    with simulator(world, **quirks) as sim:
        held = walked(sim, Held())
        assert set(held.rows) == ids(world)
        assert (held.debts, held.rejects, held.doubts) == ({}, [], [])
        assert len(asked(sim, DETAIL)) == count
        sim.clear_log()
        before = len(held.taken), len(held.cursors)
        walked(sim, held)
        assert len(sim.requests) <= 3
        assert (len(held.taken), len(held.cursors)) == before


@pytest.mark.parametrize("quirks", SHAPES)
def test_only_what_is_new_is_asked_for(quirks: dict[str, Any]) -> None:
    world = filled(23)
    with simulator(world, **quirks) as sim:
        held = walked(sim, Held())
        sim.clear_log()
        new = {served(world, f"new{n}", NOW - timedelta(minutes=30 - n)).id for n in range(7)}
        walked(sim, held)
        assert {params["id"] for params in asked(sim, DETAIL)} == new
        assert len(asked(sim, PAGE)) <= 5
    assert set(held.rows) == ids(world)


@pytest.mark.parametrize("quirks", SHAPES)
@pytest.mark.parametrize("stopped_after", [1, 2, 3, 4])
def test_a_walk_that_was_cut_off_goes_on_and_loses_nothing(
    quirks: dict[str, Any], stopped_after: int
) -> None:
    world = filled(23)
    held = Held()
    with simulator(world, **quirks) as sim:
        with opened(sim, page_size=5, time_zone="Asia/Shanghai") as (api, made):
            pages = SOURCE.scan(api, made, span(held))
            for _ in range(stopped_after):
                held.take(next(pages))
        served(world, "new", NOW - timedelta(minutes=30))
        walked(sim, held)
        assert len(asked(sim, DETAIL)) <= 24 + 5
    assert set(held.rows) == ids(world)


@pytest.mark.parametrize("quirks", SHAPES)
def test_the_first_sync_begins_at_since(quirks: dict[str, Any]) -> None:
    world = filled(200)
    since = HOUR_AGO - timedelta(minutes=30)
    with simulator(world, **quirks) as sim:
        held = Held()
        of = span(held, since=since)
        scanned(sim, held, of=of, page_size=5, time_zone="Asia/Shanghai")
        starts = {world.act2.records.own(id_).start for id_ in held.rows}
        assert starts == {since + timedelta(minutes=n) for n in range(31)}
        assert len(asked(sim, PAGE)) <= 7 + 6 + 4
        sim.clear_log()
        new = served(world, "new", NOW - timedelta(minutes=30)).id
        of = span(held, since=since)
        scanned(sim, held, of=of, page_size=5, time_zone="Asia/Shanghai")
        assert [params["id"] for params in asked(sim, DETAIL)] == [new]
        assert len(asked(sim, PAGE)) <= 3


@pytest.mark.parametrize("quirks", SHAPES)
def test_a_window_of_a_backfill_holds_its_beginning_and_not_its_end(
    quirks: dict[str, Any],
) -> None:
    world = filled(60)
    since, until = HOUR_AGO - timedelta(minutes=40), HOUR_AGO - timedelta(minutes=20)
    with simulator(world, **quirks) as sim:
        held = Held()
        of = span(held, since=since, until=until, fresh=True)
        scanned(sim, held, of=of, page_size=5, time_zone="Asia/Shanghai")
        starts = {world.act2.records.own(id_).start for id_ in held.rows}
        assert starts == {since + timedelta(minutes=n) for n in range(20)}
        assert len(asked(sim, DETAIL)) == 20
        assert len(asked(sim, PAGE)) <= 14


def test_a_window_that_was_cut_off_goes_on_from_its_own_position() -> None:
    world = filled(60)
    since, until = HOUR_AGO - timedelta(minutes=40), HOUR_AGO - timedelta(minutes=10)
    held = Held()
    with simulator(world) as sim:
        with opened(sim, page_size=5) as (api, made):
            pages = SOURCE.scan(api, made, span(held, since=since, until=until, fresh=True))
            for _ in range(4):
                held.take(next(pages))
        sim.clear_log()
        of = span(held, since=since, until=until, fresh=True)
        scanned(sim, held, of=of, page_size=5)
        assert len(asked(sim, DETAIL)) < 20
    assert len(held.rows) == 30


def test_records_without_a_start_come_first_and_do_not_mislead_the_bisection() -> None:
    world = World.empty(NOW)
    zero = NOW.replace(year=1)
    for place in range(12):
        served(world, f"zero{place}", zero + timedelta(seconds=place), end=None)
    for place in range(12):
        served(world, f"r{place}", HOUR_AGO + timedelta(minutes=place))
    with simulator(world) as sim:
        held = Held()
        since = HOUR_AGO + timedelta(minutes=6)
        scanned(sim, held, of=span(held, since=since), page_size=3)
        everything = scanned(sim, page_size=3)
    assert len(held.rows) == 6
    assert set(everything.rows) == ids(world)


# holes


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_a_hole_is_passed_and_never_forgotten(order: str) -> None:
    world = filled(23)
    hidden = record_ids(world)[7]
    world.act2.hide_rows(hidden)
    with simulator(world, act2_order=order) as sim:
        held = walked(sim, Held())
        assert set(held.rows) == ids(world) - {hidden}
        [debt] = held.debts.values()
        assert (debt.kind, debt.hint["missing"]) == ("hole", 1)
        assert debt.reason.endswith("lists 4 of 5 records")
        with opened(sim, page_size=5) as (api, made):
            assert [page.debts for page in SOURCE.scan(api, made, span(held, position=None))] == [
                ()
            ] * 5
        walked(sim, refreshed(sim, held, page_size=5))
        assert held.kinds() == ["hole"]
        world.act2.show_rows(hidden)
        refreshed(sim, held, page_size=5)
    assert (held.debts, set(held.rows)) == ({}, ids(world))


def test_the_name_of_a_hole_is_its_page() -> None:
    world = filled(23)
    for hidden in record_ids(world)[5:10]:
        world.act2.hide_rows(hidden)
    with simulator(world) as sim:
        held = walked(sim, Held())
        [debt] = held.debts.values()
        assert (debt.id, debt.reason) == ("5:2", "page 2 of 5 lists 0 of 5 records")
        assert len(held.rows) == 18
        world.act2.show_rows(record_ids(world)[6])
        refreshed(sim, held)
        [debt] = held.debts.values()
        assert (debt.id, debt.reason) == ("5:2", "page 2 of 5 lists 1 of 5 records")
    assert len(held.rows) == 19


def test_the_order_shows_though_the_oldest_page_is_a_hole() -> None:
    world = filled(21)
    world.act2.hide_rows(record_ids(world)[0])
    with simulator(world, act2_order="desc") as sim:
        held = walked(sim, Held())
    assert held.cursor is not None
    assert held.cursor["order"] == "desc"
    assert len(held.rows) == 20


def test_a_hole_at_the_young_end_closes_in_the_next_pass() -> None:
    world = filled(23)
    late = served(world, "late", NOW - timedelta(minutes=30))
    world.act2.hide_rows(late.id)
    with simulator(world) as sim:
        held = walked(sim, Held())
        assert held.kinds() == ["hole"]
        world.act2.show_rows(late.id)
        served(world, "later", NOW - timedelta(minutes=29))
        walked(sim, held)
    assert (held.debts, set(held.rows)) == ({}, ids(world))


def test_holes_on_every_page_keep_an_idle_pass_cheap() -> None:
    world = filled(60)
    for hidden in record_ids(world)[::5]:
        world.act2.hide_rows(hidden)
    with simulator(world) as sim:
        held = walked(sim, Held())
        assert len(held.open_debts("hole")) == 12
        served(world, "new", NOW - timedelta(minutes=30))
        sim.clear_log()
        walked(sim, held)
        assert len(sim.requests) <= 4
        assert len(held.rows) == 49


def test_a_hole_that_cannot_be_read_now_stays_owed() -> None:
    world = filled(12)
    world.act2.hide_rows(record_ids(world)[2])
    with simulator(world) as sim:
        held = walked(sim, Held())
        sim.fault(Fault("status", path=PAGE, times=None))
        refreshed(sim, held)
        [debt] = held.debts.values()
        assert "503" in debt.reason
        sim.clear_faults()
        world.act2.show_rows(record_ids(world)[2])
        refreshed(sim, held)
    assert held.debts == {}


def test_an_empty_page_in_the_middle_is_no_end() -> None:
    world = filled(23)
    with simulator(world) as sim:
        sim.fault(Fault("empty_page", path=PAGE, when=lambda r: r.params["pageNo"] == "3"))
        held = walked(sim, Held())
        assert len(held.rows) == 18
        refreshed(sim, held)
    assert (held.debts, set(held.rows)) == ({}, ids(world))
