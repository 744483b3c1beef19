"""Reading all of a workspace: every quirk of the list, lists that move, totals that lie."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from dataarts_kit import (
    NOW,
    Read,
    add,
    calls,
    filled,
    listed,
    ms,
    opened,
    scanned,
    simulator,
    span,
)

from etl.errors import TooLarge, Transient
from etl.simulator import Fault, Simulator, World
from etl.simulator.quality import FIRST_ID
from etl.simulator.wire import Request
from etl.sources.dataarts import SOURCE

HOUR = timedelta(hours=1)
QUIRKS: list[dict[str, Any]] = [
    {},
    {"dataarts_order": "asc"},
    {"dataarts_offset": "pages"},
    {"dataarts_offset": "pages", "dataarts_order": "asc"},
    {"dataarts_offset": "pages", "beyond_end": "repeat"},
    {"dataarts_offset": "pages from 1"},
    {"dataarts_offset": "pages from 1", "beyond_end": "repeat"},
    {"dataarts_offset": "pages from 1", "dataarts_ignores_window": True},
    {"beyond_end": "repeat"},
    {"dataarts_window": "exclusive"},
    {"dataarts_window": "half_open"},
    {"dataarts_limit_max": 12, "dataarts_limit_over": "clamp"},
    {"dataarts_limit_max": 12, "dataarts_limit_over": "error"},
    {"dataarts_limit_max": 12, "dataarts_limit_over": "clamp", "dataarts_offset": "pages"},
    {"dataarts_ignores_window": True},
    {"dataarts_ignores_window": True, "dataarts_order": "asc"},
    {"dataarts_ignores_window": True, "dataarts_offset": "pages"},
    {"dataarts_ignores_window": True, "dataarts_offset": "pages", "beyond_end": "repeat"},
    {"dataarts_ignores_window": True, "dataarts_offset": "pages", "dataarts_order": "asc"},
    {"dataarts_ignores_window": True, "beyond_end": "repeat", "dataarts_order": "asc"},
    {"dataarts_none": "absent"},
    {"dataarts_none": "zero"},
]


def each(quirks: list[dict[str, Any]]) -> pytest.MarkDecorator:
    names = [" ".join(f"{k[9:]}={v}" for k, v in one.items()) or "plain" for one in quirks]
    return pytest.mark.parametrize("quirks", quirks, ids=names)


@each(QUIRKS)
@pytest.mark.parametrize("count", [0, 20, 21, 80, 1300])
def test_every_instance_is_read_once_whatever_the_quirk(quirks: dict[str, Any], count: int) -> None:
    world = filled(count)
    if count:
        add(world, count, NOW - timedelta(seconds=1), "RUNNING")
    with simulator(world, **quirks) as sim:
        read = scanned(sim, page_size=20)
        assert read.rows.keys() == listed(world)
        assert read.handed_out == len(read.rows)
        assert (read.doubts, read.rejects) == ([], [])
        assert read.cursors[-1] == ms(NOW)
        assert len(read.debts) == (1 if count else 0)
        step = int(sim.requests[-1].params["limit"])
        assert calls(sim) <= 1.25 * count / step + 9


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("offset", ["rows", "pages", "pages from 1"])
@pytest.mark.parametrize("beyond_end", ["empty", "repeat"])
@pytest.mark.parametrize("ignores", [False, True])
def test_what_offset_counts_is_found_by_the_smallest_of_lists(
    order: str, offset: str, beyond_end: str, ignores: bool
) -> None:
    quirks = {
        "dataarts_order": order,
        "dataarts_offset": offset,
        "beyond_end": beyond_end,
        "dataarts_ignores_window": ignores,
    }
    for count in range(1, 10):
        world = filled(count)
        with simulator(world, **quirks) as sim:
            for page_size in (1, 2, 3) if offset != "pages from 1" else (2, 3):
                read = scanned(sim, page_size=page_size)
                assert read.rows.keys() == listed(world), (count, page_size)
                assert not read.doubts, (count, page_size)


@each(QUIRKS)
def test_an_interval_in_the_middle_is_read_alone(quirks: dict[str, Any]) -> None:
    world = filled(1300)
    since, until = NOW - 15 * HOUR, NOW - 5 * HOUR
    with simulator(world, **quirks) as sim:
        read = scanned(sim, span(since=since, until=until), page_size=20)
        wanted = {
            one.id for one in world.dataarts.instances() if ms(since) <= one.start < ms(until)
        }
        assert len(wanted) == 600
        assert read.rows.keys() == wanted
        assert read.doubts == []
        assert read.cursors[-1] == ms(until)


@each(QUIRKS)
def test_an_idle_pass_costs_a_handful_of_requests(quirks: dict[str, Any]) -> None:
    with simulator(filled(1300, timedelta(minutes=30)), **quirks) as sim:
        read = scanned(sim, span({"started_at": ms(NOW)}), page_size=20)
        assert len(read.rows) == 2  # what the overlap of an hour holds
        assert read.cursors == [ms(NOW)]
        assert calls(sim) <= 8


@each(QUIRKS)
def test_a_pass_goes_on_from_its_cursor_less_the_overlap(quirks: dict[str, Any]) -> None:
    world = filled(1300)
    with simulator(world, **quirks) as sim:
        of = span({"started_at": ms(NOW - 5 * HOUR)}, since=NOW - 900 * HOUR)
        read = scanned(sim, of, page_size=20)
        assert read.rows.keys() == {
            one.id for one in world.dataarts.instances() if one.start >= ms(NOW - 6 * HOUR)
        }
        step = int(sim.requests[-1].params["limit"])
        assert calls(sim) <= 13 + 360 / step


def test_windows_are_complete_one_after_the_other() -> None:
    """Whoever stops anywhere and goes on from the cursor has everything."""
    world = filled(2500)
    with simulator(world) as sim, opened(sim, page_size=20) as (api, made):
        read = Read()
        for page in SOURCE.scan(api, made, span()):
            read.take(page)
            if page.cursor:
                reached = page.cursor["started_at"]
                older = {one.id for one in world.dataarts.instances() if one.start < reached}
                assert older <= read.rows.keys()
        assert read.cursors == sorted(read.cursors)
        assert len(read.cursors) >= 5


def test_a_cursor_moves_only_at_the_end_when_the_newest_come_first() -> None:
    with simulator(filled(900), dataarts_ignores_window=True) as sim, opened(sim) as (api, made):
        *pages, last = SOURCE.scan(api, made, span())
        assert {page.cursor is None for page in pages} == {True}
        assert last.cursor == {"started_at": ms(NOW)}


def test_a_pass_that_fails_in_the_middle_has_promised_nothing_more() -> None:
    world = filled(2500)
    with simulator(world) as sim:
        sim.fault(Fault("status", platform="dataarts", after=70, times=None))
        read = Read()
        with opened(sim, page_size=20) as (api, made):
            pages = SOURCE.scan(api, made, span())
            with pytest.raises(Transient):
                deque(map(read.take, pages), maxlen=0)
        assert read.cursors
        sim.clear_faults()
        rest = scanned(sim, span({"started_at": read.cursors[-1]}), page_size=20)
        assert read.rows.keys() | rest.rows.keys() == listed(world)


def test_dense_and_sparse_times_cost_hardly_more() -> None:
    world = World.empty(NOW)
    for n in range(10):
        add(world, n, NOW - timedelta(days=3000 - 100 * n))
    for n in range(10, 1810):  # all within two seconds
        add(world, n, NOW - HOUR + timedelta(milliseconds=n))
    with simulator(world) as sim:
        assert scanned(sim, page_size=20).rows.keys() == listed(world)
        assert calls(sim) <= 150


def test_more_at_one_instant_than_a_window_should_hold() -> None:
    world = World.empty(NOW)
    for n in range(1000):
        add(world, n, NOW - HOUR)
    with simulator(world) as sim:
        read = scanned(sim, page_size=20)
        assert read.rows.keys() == listed(world)
        assert read.doubts == []


def test_a_smaller_page_size_is_kept_and_a_larger_one_never_asked() -> None:
    with simulator(filled(300)) as sim:
        scanned(sim, page_size=30)
        assert {logged.params["limit"] for logged in sim.requests} == {"30"}
        sim.clear_log()
        scanned(sim, page_size=5000)
        assert {logged.params["limit"] for logged in sim.requests} == {"100"}


# lists that move


def during(sim: Simulator, change: Callable[[int], None]) -> None:
    """Calls `change` with the number of each request for instances, before its answer."""
    numbers: Iterator[int] = iter(range(1_000_000))

    def when(request: Request) -> bool:
        change(next(numbers))
        return False

    sim.fault(Fault("delay", platform="dataarts", when=when))


MOVING: list[dict[str, Any]] = [
    {},
    {"dataarts_order": "asc"},
    {"dataarts_offset": "pages"},
    {"dataarts_ignores_window": True},
    {"dataarts_ignores_window": True, "dataarts_order": "asc"},
    {"dataarts_ignores_window": True, "dataarts_offset": "pages"},
]


@each(MOVING)
@pytest.mark.parametrize("count", [532, 1300])
@pytest.mark.parametrize("concurrency", [1, 8])
def test_deletions_while_paging_lose_nothing(
    quirks: dict[str, Any], count: int, concurrency: int
) -> None:
    world = filled(count)
    with simulator(world, **quirks) as sim:

        def delete(number: int) -> None:
            if number % 3 == 2 and number < 60:
                with world.lock:
                    ids = [one.id for one in world.dataarts.instances()]
                    gone = ids[-8 * number :][:23] + ids[2 * number :][:7]
                    for one in set(gone):
                        world.dataarts.delete(one)

        during(sim, delete)
        read = scanned(sim, concurrency=concurrency, page_size=20)
        assert read.rows.keys() >= listed(world)
        assert read.doubts == []


@each(MOVING)
@pytest.mark.parametrize("count", [532, 1300])
def test_what_starts_while_paging_hides_nothing_older(quirks: dict[str, Any], count: int) -> None:
    world = filled(count)
    before = listed(world)
    with simulator(world, **quirks) as sim:

        def start(number: int) -> None:
            if number < 60:
                with world.lock:
                    for n in range(3):
                        add(world, 10_000 + 3 * number + n, NOW + timedelta(seconds=number))

        during(sim, start)
        read = scanned(sim, page_size=20)
        assert read.rows.keys() >= before
        assert read.doubts == []


@each(MOVING)
def test_both_at_once(quirks: dict[str, Any]) -> None:
    world = filled(1300)
    before = listed(world)
    with simulator(world, **quirks) as sim:

        def churn(number: int) -> None:
            if number < 80:
                with world.lock:
                    newest = [one.id for one in world.dataarts.instances()][-6 * (number + 1) :]
                    for one in newest[:5]:
                        world.dataarts.delete(one)
                    add(world, 10_000 + number, NOW + timedelta(seconds=number))
                    add(world, 20_000 + number, NOW + timedelta(seconds=number))

        during(sim, churn)
        read = scanned(sim, page_size=20)
        assert read.rows.keys() >= listed(world) & before


# lists that lie


@each(MOVING)
@pytest.mark.parametrize("wrong", [-1, -450, 1, 450])
@pytest.mark.parametrize("times", [1, None])
def test_a_wrong_total_loses_nothing(quirks: dict[str, Any], wrong: int, times: int | None) -> None:
    world = filled(950)
    with simulator(world, **quirks) as sim:
        sim.fault(Fault("total", platform="dataarts", size=wrong, times=times))
        read = scanned(sim)
        assert read.rows.keys() == listed(world)
        assert calls(sim) <= 60
        assert bool(read.doubts) is (times is None)


def test_a_doubt_says_what_was_counted_and_what_was_shown() -> None:
    with simulator(filled(950)) as sim:
        sim.fault(Fault("total", platform="dataarts", size=4, times=None))
        [doubt] = scanned(sim, span(since=NOW - 100 * HOUR)).doubts
        assert (doubt.upstream_total, doubt.upstream_ids) == (954, 950)
        assert (doubt.since, doubt.until) == (NOW - 100 * HOUR, None)


@each(MOVING)
@pytest.mark.parametrize("kind", ["empty_page", "repeat_page", "page_size"])
@pytest.mark.parametrize("after", [1, 4])
@pytest.mark.parametrize("count", [190, 1300])
def test_a_page_that_is_empty_repeated_or_short_loses_nothing(
    quirks: dict[str, Any], kind: Any, after: int, count: int
) -> None:
    world = filled(count)
    with simulator(world, **quirks) as sim:
        sim.fault(Fault(kind, platform="dataarts", after=after, size=7))
        read = scanned(sim, concurrency=1, page_size=20)
        assert read.rows.keys() == listed(world)
        assert read.doubts == []


@pytest.mark.parametrize("kind", ["empty_page", "page_size", "repeat_page"])
def test_a_faulty_page_loses_nothing_where_the_walk_ends_early(kind: Any) -> None:
    """No total proves such a walk: what is missing of a page must be noticed at once."""
    world = filled(1300)
    with simulator(world, dataarts_ignores_window=True) as sim:
        third = Fault(kind, when=lambda request: request.params.get("offset") == "60", size=7)
        sim.fault(third)
        of = span({"started_at": ms(NOW - 5 * HOUR)})
        read = scanned(sim, of, page_size=20, concurrency=1)
        assert third.hits == 1
        assert read.rows.keys() == {
            one.id for one in world.dataarts.instances() if one.start >= ms(NOW - 6 * HOUR)
        }


@each(MOVING)
@pytest.mark.parametrize("count", [8, 9, 10, 21])
def test_pages_that_are_short_at_first_do_not_teach_a_wrong_offset(
    quirks: dict[str, Any], count: int
) -> None:
    """The calls that find out what `offset` counts are answered short, too."""
    world = filled(count)
    for after, times, size in itertools.product((0, 1, 2), (1, 2, 3), (1, 2)):
        with simulator(world, **quirks) as sim:
            sim.fault(Fault("page_size", platform="dataarts", after=after, size=size, times=times))
            read = scanned(sim, concurrency=1, page_size=3)
            assert read.rows.keys() == listed(world), (after, times, size)


def test_a_page_size_that_shrinks_in_the_middle_loses_nothing() -> None:
    for count in (190, 1300):
        with simulator(filled(count)) as sim:
            sim.fault(Fault("page_size", platform="dataarts", after=4, size=7, times=None))
            assert len(scanned(sim, page_size=20).rows) == count


def test_a_page_beyond_max_body_is_asked_for_in_parts() -> None:
    world = filled(950)
    world.dataarts.edit(FIRST_ID + 500).name = "x" * 10_000
    with simulator(world) as sim:
        read = scanned(sim, max_body=8000)
        assert read.rows.keys() == listed(world) - {FIRST_ID + 500}
        [reject] = read.rejects
        assert "max_body" in reject.reason
        assert read.doubts == []


@pytest.mark.parametrize("after", [0, 2])
def test_a_list_that_answers_nothing_but_too_large_ends(after: int) -> None:
    with simulator(filled(20)) as sim:
        sim.fault(Fault("bomb", platform="dataarts", after=after, size=2, times=None))
        with pytest.raises(TooLarge):
            scanned(sim, page_size=5, max_body=10**6)
        assert calls(sim) < 100
