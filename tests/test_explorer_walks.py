"""The list of jobs over real HTTP: whatever moves, lies or is ignored, no job is lost."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from explorer_kit import (
    NOW,
    Memory,
    ids,
    is_list,
    lists,
    opened,
    settings_for,
    span,
    sync,
    world_of,
)

from etl.simulator import Fault, Quirks, Simulator, World
from etl.source import Doubt, Page
from etl.sources.explorer import SOURCE
from etl.sources.explorer.listing import Interval, JobList
from etl.sources.explorer.walks import walk

TEN = {"page_size": 10}
MINUTE = timedelta(minutes=1)


@pytest.fixture
def sim() -> Iterator[Simulator]:
    with Simulator(world_of(45)) as simulator:
        yield simulator


def listed(
    sim: Simulator, since: datetime | None = None, until: datetime | None = None
) -> tuple[list[int], list[str]]:
    """Ids in the order they were handed out, and the reasons of doubt."""
    found, doubts = [], []
    settings = settings_for(sim)
    with opened(settings) as api:
        for batch in walk(JobList(api, 10), Interval(since, until)):
            found += [int(entry.key) for entry in batch.jobs]
            doubts += [batch.doubt.reason] if batch.doubt else []
    return found, doubts


def filters(sim: Simulator) -> list[dict[str, Any]]:
    return [json.loads(one.params.get("filter", "{}")) for one in sim.requests]


def test_jobs_come_oldest_first_from_page_to_page_by_creation(sim: Simulator) -> None:
    assert listed(sim) == (list(range(1, 46)), [])
    assert filters(sim)[0] == {"orderByCreateTime": "asc"}
    asked = [wanted.get("fromCreateTime") for wanted in filters(sim)]
    last_of_first = NOW - 35 * MINUTE
    assert asked[1] == int(last_of_first.timestamp() * 1000) - 1
    assert {one.params["page"] for one in sim.requests[:-1]} == {"1"}
    assert len(asked) == 6


def test_the_cursor_moves_with_each_page_and_never_beyond_it(sim: Simulator) -> None:
    memory, settings, pages = Memory(), settings_for(sim, **TEN), list[Page]()
    with opened(settings) as api:
        for page in SOURCE.scan(api, settings, span(memory)):
            memory.take([page])
            pages.append(page)
    moved = [page.cursor["created_at"] for page in pages if page.cursor]
    assert moved == [(NOW - n * MINUTE).isoformat() for n in (35, 26, 17, 8, 0)]
    assert [round(page.progress or 0, 1) for page in pages][-1] == 1.0


def test_a_cursor_never_lies_in_the_future(sim: Simulator) -> None:
    sim.world.explorer.create("flow", (), NOW + timedelta(days=2))
    assert sync(sim, Memory()).position == {"created_at": NOW.isoformat()}


def test_a_sync_goes_on_at_the_cursor_less_the_overlap(sim: Simulator) -> None:
    memory = Memory(position={"created_at": NOW.isoformat()})
    sync(sim, memory, more={"overlap": 600.0})
    assert ids(memory) == set(range(35, 46))


def test_a_sync_never_goes_below_since(sim: Simulator) -> None:
    memory = Memory(position={"created_at": NOW.isoformat()})
    sync(sim, memory, since=NOW - 3 * MINUTE)
    assert ids(memory) == {42, 43, 44, 45}


@pytest.mark.parametrize("window", ["inclusive", "exclusive", "half_open"])
@pytest.mark.parametrize("ignored", ["nothing", "filter", "order", "window"])
def test_an_interval_holds_its_beginning_and_not_its_end(
    sim: Simulator, window: Any, ignored: Any
) -> None:
    sim.quirks.explorer_window, sim.quirks.explorer_ignores = window, ignored
    found, doubts = listed(sim, NOW - 30 * MINUTE, NOW - 10 * MINUTE)
    assert sorted(found) == list(range(15, 35))
    assert not doubts


@pytest.mark.parametrize("window", ["inclusive", "exclusive", "half_open"])
@pytest.mark.parametrize("ignored", ["nothing", "filter", "order", "window"])
@pytest.mark.parametrize("beyond", ["empty", "repeat"])
@pytest.mark.parametrize("clamp", [None, 1, 7])
def test_every_server_gives_every_job_once(
    sim: Simulator, window: Any, ignored: Any, beyond: Any, clamp: int | None
) -> None:
    sim.quirks.explorer_window, sim.quirks.explorer_ignores = window, ignored
    sim.quirks.beyond_end, sim.quirks.explorer_page_size_max = beyond, clamp
    sim.quirks.explorer_null_items = True
    found, doubts = listed(sim)
    assert sorted(found) == list(range(1, 46))
    assert not doubts
    assert listed(sim, NOW + MINUTE) == ([], [])


def test_a_server_that_refuses_the_filter_is_walked_without() -> None:
    with Simulator(world_of(25)) as sim:
        sim.fault(
            Fault(
                "error",
                "/api-open/v1/jobs",
                code=40004001,
                when=lambda request: "filter" in request.params,
                times=None,
            )
        )
        found, doubts = listed(sim, NOW - 12 * MINUTE)
        assert sorted(found) == list(range(13, 26))
        assert not doubts


@pytest.mark.parametrize("ignored", ["filter", "window"])
def test_newest_first_stops_where_the_interval_begins(sim: Simulator, ignored: Any) -> None:
    sim.quirks.explorer_ignores = ignored
    found, _ = listed(sim, NOW - 5 * MINUTE)
    assert sorted(found) == list(range(40, 46))
    assert lists(sim) <= 4


@pytest.mark.parametrize("ignored", ["filter", "order"])
@pytest.mark.parametrize("clamp", [None, 1])
def test_newest_first_moves_the_cursor_only_at_its_end(
    sim: Simulator, ignored: Any, clamp: int | None
) -> None:
    sim.quirks.explorer_ignores, sim.quirks.explorer_page_size_max = ignored, clamp
    memory, settings = Memory(), settings_for(sim, **TEN)
    with opened(settings) as api:
        pages = list(SOURCE.scan(api, settings, span(memory)))
        memory.take(pages)
    assert [page.cursor for page in pages[:-1]] == [None] * (len(pages) - 1)
    assert pages[-1].cursor == {"created_at": NOW.isoformat()}
    assert ids(memory) == set(range(1, 46))


@pytest.mark.parametrize("ignored", ["nothing", "filter", "order", "window"])
def test_an_idle_pass_is_cheap_whatever_the_server_ignores(sim: Simulator, ignored: Any) -> None:
    sim.quirks.explorer_ignores = ignored
    memory = sync(sim, Memory(), more={"overlap": 300.0})
    sim.clear_log()
    sync(sim, memory, more={"overlap": 300.0})
    assert len(sim.requests) <= 4


@pytest.mark.parametrize("ignored", ["nothing", "filter", "order", "window"])
@pytest.mark.parametrize("clamp", [None, 7])
def test_jobs_deleted_and_added_while_paging_cost_nothing(
    sim: Simulator, ignored: Any, clamp: int | None
) -> None:
    sim.quirks.explorer_ignores, sim.quirks.explorer_page_size_max = ignored, clamp
    gone = iter([44, 43, 3, 20, 42, 41, 22, 40, 1, 39])
    moved = set[int]()

    def move(request: Any) -> bool:
        if request.path.endswith("/jobs") and lists(sim) % 2:
            victim = next(gone, None)
            if victim is not None:
                sim.world.explorer.delete(victim)
                moved.add(victim)
            elif len(sim.world.explorer.jobs) < 60:
                sim.world.explorer.create("flow", (), NOW)
        return False

    sim.fault(Fault("delay", when=move, times=None))
    found, _ = listed(sim)
    assert len(found) == len(set(found))
    assert set(range(1, 46)) - moved <= set(found)


def delete_before(sim: Simulator, number: int, *jobs: int) -> None:
    """Jobs go just before the list is answered for that time."""

    def due(request: Any) -> bool:
        if request.path.endswith("/jobs") and lists(sim) == number - 1:
            for job_id in jobs:
                sim.world.explorer.delete(job_id)
        return False

    sim.fault(Fault("delay", when=due, times=None))


def test_newest_first_does_not_stop_at_a_page_that_slipped(sim: Simulator) -> None:
    sim.quirks.explorer_ignores = "filter"
    delete_before(sim, 3, *range(36, 46))  # the first asks oldest first, the second is page 1
    found, _ = listed(sim, NOW - 14 * MINUTE)
    assert sorted(found) == list(range(31, 46))


def test_a_page_of_one_creation_that_slipped_moves_no_cursor() -> None:
    world = World.empty(NOW)
    for n in range(30):
        world.explorer.create("flow", (), NOW - (30 - max(n, 15)) * MINUTE)
    with Simulator(world) as sim:
        delete_before(sim, 2, 1, 2)
        memory, settings = Memory(), settings_for(sim, **TEN)
        with opened(settings) as api:
            pages = list(SOURCE.scan(api, settings, span(memory)))
        memory.take(pages)
    assert set(range(1, 31)) - ids(memory) <= {1, 2}
    assert [page.cursor for page in pages[:2]] == [None, None]


@pytest.mark.parametrize("ignored", ["nothing", "filter"])
@pytest.mark.parametrize("size", [-40, -3, 4, 400])
def test_a_total_that_lies_costs_a_doubt_and_no_job(
    sim: Simulator, ignored: Any, size: int
) -> None:
    sim.quirks.explorer_ignores = ignored
    sim.fault(Fault("total", "/api-open/v1/jobs", size=size, times=None))
    found, doubts = listed(sim)
    assert sorted(found) == list(range(1, 46))
    assert size < 0 or doubts
    assert lists(sim) < 60


@pytest.mark.parametrize("ignored", ["nothing", "filter"])
@pytest.mark.parametrize("kind", ["empty_page", "repeat_page"])
@pytest.mark.parametrize("after", [0, 1, 2, 4])
def test_a_page_that_is_wrong_once_costs_no_job(
    sim: Simulator, ignored: Any, kind: Any, after: int
) -> None:
    sim.quirks.explorer_ignores = ignored
    sim.fault(Fault(kind, "/api-open/v1/jobs", after=after))
    found, _ = listed(sim)
    assert sorted(found) == list(range(1, 46))


@pytest.mark.parametrize("ignores", ["nothing", "filter", "order", "window"])
@pytest.mark.parametrize("since", [None, NOW - 30 * MINUTE])
def test_a_page_that_comes_short_hides_nothing_behind_it(
    ignores: Any, since: datetime | None
) -> None:
    """Short pages are followed by full ones, which begin where a full page would have ended."""
    wanted = set(range(1 if since is None else 15, 46))
    for after, times, size in itertools.product((0, 1, 2, 3), (1, 2), (1, 4)):
        with Simulator(world_of(45), Quirks(explorer_ignores=ignores)) as sim:
            sim.fault(Fault("page_size", when=is_list, after=after, times=times, size=size))
            found: set[int] = set()
            with opened(settings_for(sim)) as api:
                for batch in walk(JobList(api, 10), Interval(since, None)):
                    found |= {int(entry.key) for entry in batch.jobs}
                    assert batch.doubt is None
                    if batch.complete_to is not None:
                        done = 45 - (NOW - batch.complete_to) // MINUTE
                        assert found >= {n for n in wanted if n <= done}, (after, times, size)
            assert found == wanted, (after, times, size)


@pytest.mark.parametrize("clamp", [None, 1, 7])
@pytest.mark.parametrize("ignored", ["nothing", "filter", "order", "window"])
def test_many_jobs_of_one_creation_are_gone_through_by_page(
    clamp: int | None, ignored: Any
) -> None:
    world = World.empty(NOW)
    for n in range(57):
        world.explorer.create("flow", (), NOW - MINUTE if 5 <= n < 52 else NOW - (56 - n) * MINUTE)
    with Simulator(world) as sim:
        sim.quirks.explorer_page_size_max, sim.quirks.explorer_ignores = clamp, ignored
        found, doubts = listed(sim)
        assert sorted(found) == list(range(1, 58))
        assert not doubts


@pytest.mark.parametrize("large", [45, 44, 20, 1])
@pytest.mark.parametrize("size", [10, 2])
def test_a_job_beyond_max_body_is_counted_once_whatever_order_is_kept(
    sim: Simulator, large: int, size: int
) -> None:
    sim.quirks.explorer_ignores = "order"
    sim.world.explorer.edit(large).name = "x" * 5000
    memory = sync(sim, Memory(), more={"page_size": size, "max_body": 4000})
    assert ids(memory) == set(range(1, 46)) - {large}
    assert memory.doubts == ["1 listed items are beyond max_body even alone"]
    assert [reject.reason for reject in memory.rejects] == ["a listed job is beyond max_body"]


def test_a_page_beyond_max_body_is_asked_for_in_halves(sim: Simulator) -> None:
    sim.world.explorer.edit(20).name = "x" * 5000
    memory = sync(sim, Memory(), more={"page_size": 10, "max_body": 4000})
    assert ids(memory) == set(range(1, 46)) - {20}
    assert memory.doubts == ["1 listed jobs are beyond max_body"]
    assert [reject.reason for reject in memory.rejects] == ["a listed job is beyond max_body"]


def test_a_doubt_names_interval_and_counts(sim: Simulator) -> None:
    sim.fault(Fault("total", "/api-open/v1/jobs", size=3, times=None))
    settings, since = settings_for(sim), NOW - 4 * MINUTE
    with opened(settings) as api:
        *_, last = SOURCE.inventory(api, settings, span(Memory(), since=since))
    assert isinstance(last, Doubt)
    assert (last.since, last.until, last.upstream_total) == (since, None, 8)
