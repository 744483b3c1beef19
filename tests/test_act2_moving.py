"""A list that moves under the walk: whatever appears, vanishes or hides, nothing is lost."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

import pytest
from act2_kit import (
    DETAIL,
    HOUR_AGO,
    IDLE,
    NOW,
    PAGE,
    SHAPES,
    Held,
    asked,
    filled,
    ids,
    late,
    opened,
    record_ids,
    refreshed,
    scanned,
    served,
    simulator,
    span,
    walked,
)

from etl.simulator import Fault
from etl.simulator.wire import Request
from etl.sources.act2 import SOURCE


@pytest.mark.parametrize("quirks", SHAPES)
def test_a_record_that_appears_behind_the_cursor_between_passes_is_found(
    quirks: dict[str, Any],
) -> None:
    world = filled(43)
    with simulator(world, **quirks) as sim:
        held = walked(sim, Held())
        sim.clear_log()
        late = served(world, "late", HOUR_AGO - timedelta(minutes=29, seconds=30)).id
        walked(sim, held)
        assert [params["id"] for params in asked(sim, DETAIL)] == [late]
        assert set(held.rows) == ids(world)
        sim.clear_log()
        walked(sim, held)
        assert len(sim.requests) <= 3


@pytest.mark.parametrize("quirks", SHAPES)
def test_records_that_appear_behind_the_walk_are_found_in_the_same_pass(
    quirks: dict[str, Any],
) -> None:
    world = filled(33)

    def appear(number: int) -> None:
        if number in (3, 5):
            served(world, f"late{number}", HOUR_AGO - timedelta(minutes=31, seconds=number))

    with simulator(world, **quirks) as sim:
        held = walked(sim, Held(), appear)
        assert set(held.rows) == ids(world)
        assert held.doubts == []
        walked(sim, held)
    assert set(held.rows) == ids(world)


@pytest.mark.parametrize("quirks", SHAPES)
@pytest.mark.parametrize("replaced", [False, True])
def test_deletions_while_paging_lose_nothing_in_the_same_pass(
    quirks: dict[str, Any], replaced: bool
) -> None:
    """`replaced`: as many records begin as vanish, so that the total tells nothing."""
    world = filled(43)
    before = ids(world)

    def vanish(number: int) -> None:
        if number in (2, 4):
            world.act2.delete(record_ids(world)[number])
            if replaced:
                served(world, f"new{number}", NOW - timedelta(minutes=30 - number))

    with simulator(world, **quirks) as sim:
        held = walked(sim, Held(), vanish)
    assert before & ids(world) <= set(held.rows)
    assert held.doubts == []


@pytest.mark.parametrize("quirks", SHAPES)
def test_records_that_begin_while_it_walks_do_not_disturb_it(quirks: dict[str, Any]) -> None:
    world = filled(23)

    def begin(number: int) -> None:
        if number < 12:
            served(world, f"new{number}", NOW - timedelta(minutes=50) + timedelta(minutes=number))

    with simulator(world, **quirks) as sim:
        held = walked(sim, Held(), begin)
        walked(sim, held)
    assert set(held.rows) == ids(world)
    assert held.doubts == []


def test_a_list_that_never_stands_still_is_read_to_its_end_with_a_doubt() -> None:
    world = filled(40)

    def appear(number: int) -> None:
        if number < 60:
            served(world, f"late{number}", HOUR_AGO - timedelta(minutes=39, seconds=-number))

    with simulator(world) as sim:
        held = walked(sim, Held(), appear)
        [doubt] = held.doubts
        assert "behind the walk" in doubt.reason
        assert len(held.rows) >= 40
        walked(sim, held)
    assert set(held.rows) == ids(world)


@pytest.mark.parametrize(
    ("order", "count", "size", "hidden", "young"),
    [
        ("asc", 23, 5, (19,), 0),  # the last of a page: what moves on leaves no trace there
        ("asc", 23, 5, (15, 19), 0),
        ("asc", 18, 4, (11, 14, 15), 0),  # a neighbour with too many holes to tell anything
        ("desc", 20, 5, (17,), 1),
        ("desc", 20, 5, (15, 19), 2),
    ],
)
def test_holes_do_not_hide_that_the_list_moved(
    order: str, count: int, size: int, hidden: tuple[int, ...], young: int
) -> None:
    world = filled(count)
    gone = [record_ids(world)[rank] for rank in hidden]
    for id_ in gone:
        world.act2.hide_rows(id_)
    with simulator(world, act2_order=order) as sim:
        held = walked(sim, Held(), page_size=size)
        late(world, 2)
        for number in range(young):
            served(world, f"new{number}", NOW - timedelta(minutes=30 - number))
        walked(sim, held, page_size=size)
    assert set(held.rows) == ids(world) - set(gone)


def test_what_moved_out_of_a_hole_is_noticed_within_a_walk() -> None:
    world = filled(23)
    hidden = record_ids(world)[9]
    world.act2.hide_rows(hidden)

    def appear(number: int) -> None:
        if number == 2:
            late(world, 2)

    held = Held()
    with simulator(world) as sim, opened(sim, page_size=5) as (api, made):
        of = span(held, until=HOUR_AGO + timedelta(minutes=1))
        for number, page in enumerate(SOURCE.scan(api, made, of), 1):
            held.take(page)
            appear(number)
    assert set(held.rows) == ids(world) - {hidden}


def test_several_that_appear_at_once_do_not_cancel_out() -> None:
    """Two below the window that is held and two inside, so that one page alone looks unmoved."""
    world = filled(12)
    with simulator(world, act2_order="desc") as sim:
        held = walked(sim, Held(), page_size=3)
        late(world, 11, "inside")
        late(world, 11, "inside too")
        late(world, 0, "below")
        late(world, 0, "below too")
        walked(sim, held, page_size=3)
    assert set(held.rows) == ids(world)


@pytest.mark.parametrize("begin", [1, 4, 7])
def test_records_that_begin_during_the_bisection_do_not_lead_past_the_first(begin: int) -> None:
    world = filled(60)
    since = HOUR_AGO - timedelta(minutes=29)
    expected = {record.id for record in world.act2.records if record.start >= since}
    fresh = iter(range(begin))

    def more(request: Request) -> bool:
        number = next(fresh, None)
        if number is not None:
            served(world, f"new{number}", NOW - timedelta(minutes=30 - number))
        return False

    with simulator(world, act2_order="desc") as sim:
        sim.fault(Fault("delay", path=PAGE, when=more))
        held = Held()
        scanned(sim, held, of=span(held, since=since), page_size=5)
    assert expected <= set(held.rows)


@pytest.mark.parametrize("seed", range(12))
def test_whatever_moves_everything_arrives(seed: int) -> None:
    """Records begin, turn up late, hide and show, at random, while two passes are walking."""
    chance = random.Random(seed)
    world = filled(chance.randrange(40))
    oldest = HOUR_AGO - timedelta(minutes=40)

    def move(number: int) -> None:
        match chance.randrange(5):
            case 0 if number < 30:
                served(world, f"new{number}{len(ids(world))}", NOW - timedelta(minutes=30))
            case 1 if number < 30:
                at = oldest + timedelta(seconds=chance.randrange(2400))
                served(world, f"late{number}{len(ids(world))}", at)
            case 2 if ids(world):
                world.act2.hide_rows(chance.choice(record_ids(world)))
            case 3 if ids(world):
                world.act2.show_rows(chance.choice(record_ids(world)))

    with simulator(world, **chance.choice(SHAPES)) as sim:
        held = walked(sim, Held(), move, page_size=3)
        walked(sim, held, move, page_size=3)
        for record in world.act2.records:
            world.act2.show_rows(record.id)
        for _ in range(2):
            walked(sim, held, page_size=3)
            refreshed(sim, held, time_zone="Asia/Shanghai")
        assert set(held.rows) == ids(world)
        assert held.open_debts("hole") == []
        sim.clear_log()
        walked(sim, held, page_size=3)
        assert len(sim.requests) <= IDLE
