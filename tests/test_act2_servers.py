"""Servers that differ, or lie: sizes, totals, orders, pages too large; and the cursor itself."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from act2_kit import (
    DETAIL,
    HOUR_AGO,
    IDLE,
    NOW,
    PAGE,
    RESULT,
    SHAPES,
    Held,
    asked,
    filled,
    ids,
    opened,
    record_ids,
    served,
    simulator,
    span,
    walked,
)

from etl.errors import Transient
from etl.simulator import Fault, HostRow, Simulator, World
from etl.simulator.wire import Request, Response
from etl.source import Page
from etl.sources.act2 import SOURCE
from etl.sources.act2.position import Position, Window, thinned
from etl.units import Size


@pytest.mark.parametrize("clamp", [1, 2, 3])
def test_a_page_size_that_is_clamped(clamp: int) -> None:
    world = filled(10)
    with simulator(world, act2_page_size_max=clamp) as sim:
        held = walked(sim, Held())
        assert (set(held.rows), held.debts) == (ids(world), {})
        sim.clear_log()
        walked(sim, held)
        assert len(sim.requests) <= 3


def test_a_page_size_that_is_clamped_in_the_middle_of_a_walk() -> None:
    world = filled(23)
    with simulator(world) as sim:
        sim.fault(Fault("page_size", path=PAGE, size=3, after=3, times=2))
        held = walked(sim, Held())
        walked(sim, held)
    assert (set(held.rows), held.debts) == (ids(world), {})


def test_another_page_size_in_the_settings_begins_anew_without_reading_details() -> None:
    world = filled(23)
    with simulator(world) as sim:
        held = walked(sim, Held())
        sim.clear_log()
        walked(sim, held, page_size=7)
        assert asked(sim, DETAIL) == []
        sim.clear_log()
        walked(sim, held, page_size=7)
        assert len(sim.requests) <= 3


def test_a_cursor_that_cannot_be_read_begins_anew() -> None:
    world = filled(12)
    held = Held(cursor={"page": 7})
    with simulator(world) as sim:
        walked(sim, held)
    assert set(held.rows) == ids(world)


@pytest.mark.parametrize("off", [-22, -13, -7, -4, -3, -1, 1, 13])
@pytest.mark.parametrize("quirks", SHAPES)
def test_a_total_that_lies(quirks: dict[str, Any], off: int) -> None:
    world = filled(23)
    with simulator(world, **quirks) as sim:
        sim.fault(Fault("total", path=PAGE, size=off, times=None))
        held = walked(sim, Held())
        assert set(held.rows) == ids(world)
        sim.clear_log()
        walked(sim, held)
        assert len(sim.requests) <= IDLE


@pytest.mark.parametrize("quirks", [*SHAPES[:1], *SHAPES[2:]])
@pytest.mark.parametrize("beyond", ["empty", "repeat"])
@pytest.mark.parametrize("off", [10**6, 10**6 + 2, 10**12])
def test_a_total_beyond_all_measure_makes_no_walk_endless(
    quirks: dict[str, Any], beyond: str, off: int
) -> None:
    world = filled(23)
    with simulator(world, beyond_end=beyond, **quirks) as sim:
        sim.fault(Fault("total", path=PAGE, size=off, times=None))
        held = walked(sim, Held())
        assert set(held.rows) == ids(world)
        assert len(asked(sim, PAGE)) < 200
        assert len(held.doubts) == 1
        sim.clear_log()
        walked(sim, held)
        assert len(asked(sim, PAGE)) < (IDLE if quirks["act2_shape"] == "doc" else 200)


@pytest.mark.parametrize("quirks", SHAPES[2:])
@pytest.mark.parametrize("count", [1, 5, 23, 25])
@pytest.mark.parametrize("status", [400, 404, 416])
def test_pages_beyond_the_end_of_an_uncounted_list_may_be_refused(
    quirks: dict[str, Any], count: int, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = filled(count)
    refusal = Response(status, b'{"message":"page out of range"}')

    def beyond(response: Response, request: Request) -> Response:
        number = int(request.params["pageNo"])
        return refusal if number > 1 and not json.loads(response.body)["list"] else response

    with simulator(world, **quirks) as sim:
        _changed(sim, monkeypatch, _without_counts, beyond)
        held = walked(sim, Held())
        assert set(held.rows) == ids(world)
        sim.clear_log()
        walked(sim, held)
        assert len(asked(sim, PAGE)) <= IDLE


@pytest.mark.parametrize("quirks", SHAPES[2:])
@pytest.mark.parametrize("count", [3, 23, 25])
def test_a_page_size_that_tells_what_came_makes_no_page_smaller(
    quirks: dict[str, Any], count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = filled(count)
    with simulator(world, **quirks) as sim:
        _changed(sim, monkeypatch, lambda page: {**page, "pageSize": len(page["list"])})
        held = walked(sim, Held())
        assert (set(held.rows), held.doubts) == (ids(world), [])
        assert len(asked(sim, DETAIL)) == count
        assert {params["pageSize"] for params in asked(sim, PAGE)} == {"5"}


@pytest.mark.parametrize("quirks", SHAPES)
@pytest.mark.parametrize("beyond", ["empty", "repeat"])
@pytest.mark.parametrize("count", [0, 3, 5, 10, 23])
def test_a_server_that_counts_nothing(
    quirks: dict[str, Any], beyond: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = filled(count)
    with simulator(world, beyond_end=beyond, **quirks) as sim:
        _changed(sim, monkeypatch, _without_counts)
        held = walked(sim, Held())
        assert set(held.rows) == ids(world)
        assert len(held.doubts) == (1 if count else 0)
        served(world, "new", NOW - timedelta(minutes=30))
        sim.clear_log()
        walked(sim, held)
        assert set(held.rows) == ids(world)
        assert len(asked(sim, PAGE)) <= IDLE


def _changed(
    sim: Simulator,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Any], Any],
    then: Callable[[Response, Request], Response] = lambda response, _: response,
) -> None:
    """Every page goes through `change` (and `then`) before it is sent."""
    answer = sim.act2.answer

    def changed(request: Request) -> Response:
        response = answer(request)
        if request.path == PAGE and response.status == 200:
            response.body = json.dumps(change(json.loads(response.body))).encode()
            return then(response, request)
        return response

    monkeypatch.setattr(sim.act2, "answer", changed)


def _without_counts(body: Any) -> Any:
    """The page without page size, count and total."""
    kept = {"list", "List", "pageNo", "PageNo"}
    page = body.get("content", body)
    page = {name: value for name, value in page.items() if name in kept}
    return {**body, "content": page} if "content" in body else page


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("rows", [True, False])
def test_the_live_envelope_with_documented_keys(
    order: str, rows: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pages of a fixed size whatever was asked, and an error beyond the last."""
    world = filled(30)
    with simulator(world, act2_order=order, act2_shape="live" if rows else "doc") as sim:
        _fixed_pages(sim, monkeypatch)
        held = walked(sim, Held())
        assert (set(held.rows), held.debts, held.doubts) == (ids(world), {}, [])
        assert len(asked(sim, RESULT)) == (0 if rows else 30)
        sim.clear_log()
        walked(sim, held)
        assert len(sim.requests) <= 2


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_pages_that_are_larger_than_asked_and_do_not_say_so(
    order: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = filled(30)
    with simulator(world, act2_order=order, act2_shape="doc") as sim:
        _fixed_pages(sim, monkeypatch)
        _changed(sim, monkeypatch, _without_size)
        held = walked(sim, Held())
        assert (set(held.rows), held.debts) == (ids(world), {})
        assert len(asked(sim, PAGE)) <= 6


def _without_size(body: Any) -> Any:
    page = {name: value for name, value in body["content"].items() if name != "pageSize"}
    return {**body, "content": page}


def _fixed_pages(sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = sim.act2.answer

    def fixed(request: Request) -> Response:
        if request.path != PAGE:
            return answer(request)
        number = int(request.params["pageNo"])
        if number > 3:
            return Response(404, b"<html>404 Not Found</html>", "text/html")
        request.query = [("pageNo", str(number)), ("pageSize", "10")]
        body = json.loads(answer(request).body)
        page = body.get("content", body)
        page = {name[0].lower() + name[1:]: value for name, value in page.items()}
        envelope = {"status": "success", "message": "", "content": page}
        return Response(200, json.dumps(envelope).encode())

    monkeypatch.setattr(sim.act2, "answer", fixed)


def test_another_page_than_was_asked_for_is_asked_for_again() -> None:
    world = filled(23)
    with simulator(world) as sim:
        fault = sim.fault(Fault("repeat_page", path=PAGE, after=2, times=2))
        held = walked(sim, Held())
        assert fault.hits == 2
    assert (set(held.rows), held.debts) == (ids(world), {})


def test_a_detail_that_is_nowhere_costs_its_record_alone() -> None:
    world = filled(12)
    one = sorted(ids(world))[3]

    def is_it(request: Request) -> bool:
        return request.path == DETAIL and request.params["id"] == one

    with simulator(world) as sim:
        sim.fault(Fault("status", status=404, body="404 page not found\n", when=is_it, times=None))
        held = walked(sim, Held())
    assert set(held.rows) == ids(world)
    assert {id_ for _, id_ in held.debts} == {one}


def test_a_walk_is_never_endless() -> None:
    with simulator(filled(23)) as sim:
        sim.fault(Fault("repeat_page", path=PAGE, after=2, times=None))
        with pytest.raises(Transient, match="another page comes"):
            walked(sim, Held())


# pages too large


def bulky(count: int, *large: int) -> World:
    """So many records of one host; those in `large` with much output."""
    world = World.empty(NOW)
    host = world.act2.pool[0]
    for place in range(count):
        text = "x" * (9000 if place in large else 10)
        at = HOUR_AGO + timedelta(minutes=place)
        served(world, f"r{place}", at, 1, rows=[HostRow(host, "success", text)])
    return world


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("size", [4, 5, 7])
def test_a_page_too_large_is_read_in_smaller_ones(order: str, size: int) -> None:
    world = bulky(23, 3, 4, 5, 12)
    with simulator(world, act2_order=order) as sim:
        held = walked(sim, Held(), page_size=size, max_body=Size(16_000))
        assert (set(held.rows), held.rejects, held.debts) == (ids(world), [], {})
        sim.clear_log()
        walked(sim, held, page_size=size, max_body=Size(16_000))
        assert asked(sim, DETAIL) == []


@pytest.mark.parametrize("large", [0, 7, 11])
@pytest.mark.parametrize("size", [1, 4, 20])
def test_a_record_too_large_for_any_page_is_rejected_and_the_walk_goes_on(
    size: int, large: int
) -> None:
    world = bulky(12, large)
    with simulator(world) as sim:
        held = walked(sim, Held(), page_size=size, max_body=Size(8_000))
    assert set(held.rows) == ids(world) - {record_ids(world)[large]}
    [reject] = held.rejects
    assert reject.payload == {"pageNo": large + 1, "pageSize": 1}
    assert "larger than max_body" in reject.reason
    assert held.cursor is not None
    assert held.cursor["rank"] == 12


def test_the_cursor_stays_small() -> None:
    with simulator(filled(400)) as sim:
        held = walked(sim, Held(), page_size=5)
    assert len(json.dumps(held.cursor)) < 1500


def test_windows_grow_sparse_with_their_distance() -> None:
    windows: list[Window] = []
    for place in range(1000):
        lo = place * 10
        windows = thinned([*windows, Window(lo, lo + 10, 0, frozenset())], 10)
        assert windows[-1].lo == lo
        assert len(windows) <= 3 + 11
    ages = [1000 - window.lo // 10 for window in windows]
    assert ages[-3:] == [3, 2, 1]
    assert all(older <= 4 * younger for older, younger in itertools.pairwise(ages))


def test_a_position_survives_the_cursor() -> None:
    window = Window(20, 30, 2, frozenset({"0123456789", "abcdef0123"}))
    position = Position("desc", 20, 10, 509, 3, 500, True, (window,))
    assert Position.from_json(json.loads(json.dumps(position.to_json()))) == position


def test_progress_rises_to_one() -> None:
    with simulator(filled(23)) as sim, opened(sim, page_size=5) as (api, made):
        pages: list[Page] = list(SOURCE.scan(api, made, span(Held())))
    shares = [page.progress for page in pages if page.progress is not None]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_parameters_are_never_negative_and_never_missing() -> None:
    world = filled(23)
    with simulator(world) as sim:
        walked(sim, walked(sim, Held()))
        for params in asked(sim, PAGE):
            assert int(params["pageNo"]) >= 1
            assert int(params["pageSize"]) >= 1
