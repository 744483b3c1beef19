"""The documented list, whose items and order nobody defines: it is walked completely."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from act2_kit import (
    DETAIL,
    HOUR_AGO,
    IDLE,
    NOW,
    PAGE,
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

from etl.source import Doubt, Listed, Span
from etl.sources.act2 import SOURCE

VAGUE: list[dict[str, Any]] = [
    {"act2_shape": "doc", "act2_doc_item": item, "act2_order": order, "act2_unordered": mixed}
    for item, order, mixed in (
        ("no_times", "asc", False),
        ("no_times", "desc", False),
        ("no_times", "asc", True),
        ("id", "desc", False),
        ("id", "asc", True),
        ("whole", "asc", True),
    )
]
LATER = HOUR_AGO - timedelta(minutes=20)
"""Half of 43 records began before it."""


@pytest.mark.parametrize("quirks", VAGUE)
@pytest.mark.parametrize("count", [1, 5, 43])
def test_everything_is_read_and_an_idle_pass_costs_little(
    quirks: dict[str, Any], count: int
) -> None:
    world = filled(count)
    with simulator(world, **quirks) as sim:
        held = walked(sim, Held())
        assert set(held.rows) == ids(world)
        assert (held.debts, held.rejects, held.doubts) == ({}, [], [])
        sim.clear_log()
        walked(sim, held)
        assert len(sim.requests) <= IDLE
        assert asked(sim, DETAIL) == []


@pytest.mark.parametrize("quirks", VAGUE)
def test_what_began_since_a_time_is_read_wherever_it_stands(quirks: dict[str, Any]) -> None:
    world = filled(43)
    with simulator(world, **quirks) as sim:
        held = _read(sim, since=LATER)
    assert _from(world, LATER, None) <= set(held.rows)


@pytest.mark.parametrize("quirks", VAGUE)
def test_what_began_until_a_time_is_read_wherever_it_stands(quirks: dict[str, Any]) -> None:
    world = filled(43)
    with simulator(world, **quirks) as sim:
        held = _read(sim, until=LATER)
    assert _from(world, None, LATER) <= set(held.rows)


@pytest.mark.parametrize("quirks", VAGUE)
def test_what_begins_later_is_read_wherever_it_stands(quirks: dict[str, Any]) -> None:
    world = filled(43)
    with simulator(world, **quirks) as sim:
        held = walked(sim, Held())
        sim.clear_log()
        new = {served(world, f"new{n}", NOW - timedelta(minutes=30 - n)).id for n in range(7)}
        walked(sim, held)
        assert set(held.rows) == ids(world)
        assert {params["id"] for params in asked(sim, DETAIL)} == new


@pytest.mark.parametrize("quirks", VAGUE)
def test_an_inventory_lists_what_began_in_its_span(quirks: dict[str, Any]) -> None:
    world = filled(43)
    with simulator(world, **quirks) as sim:
        held = walked(sim, Held())
        for known in (held, Held()):
            lines = _inventory(sim, span(known, position=None, since=LATER, until=HOUR_AGO))
            assert {line.id for line in lines} == _from(world, LATER, HOUR_AGO)
            assert {line.status for line in lines} == {"succeeded"}


@pytest.mark.parametrize("quirks", VAGUE)
def test_a_backfill_is_told_that_no_time_can_be_had_alone(quirks: dict[str, Any]) -> None:
    with simulator(filled(43), **quirks) as sim, opened(sim, page_size=5) as (api, made):
        assert SOURCE.outlook is not None
        told = SOURCE.outlook(api, made, span(Held(), since=LATER))
        assert (told.by_time, told.executions, told.oldest) == (False, 43, None)
        assert len(sim.requests) < IDLE


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_an_order_that_shows_is_used(order: str) -> None:
    world = filled(103)
    with simulator(world, act2_shape="doc", act2_order=order) as sim:
        held = _read(sim, since=LATER)
        assert set(held.rows) == _from(world, LATER, None)
        assert len(asked(sim, PAGE)) < 15


def test_records_that_began_at_once_show_no_disorder() -> None:
    world = filled(103, timedelta(0))
    with simulator(world, act2_shape="doc") as sim:
        held = walked(sim, Held())
        assert held.cursor is not None
        assert (set(held.rows), held.cursor["order"]) == (ids(world), "asc")


def _read(sim: Any, **ends: Any) -> Held:
    held = Held()
    with opened(sim, page_size=5, time_zone="Asia/Shanghai") as (api, made):
        for page in SOURCE.scan(api, made, span(held, **ends)):
            held.take(page)
    return held


def _inventory(sim: Any, of: Span) -> list[Listed]:
    with opened(sim, page_size=5, time_zone="Asia/Shanghai") as (api, made):
        told = list(SOURCE.inventory(api, made, of))
    assert [one for one in told if isinstance(one, Doubt)] == []
    return [line for lines in told if not isinstance(lines, Doubt) for line in lines]


def _from(world: Any, since: datetime | None, until: datetime | None) -> set[str]:
    return {
        i
        for i in record_ids(world)
        if (since is None or world.act2.records.get(i).start >= since)
        and (until is None or world.act2.records.get(i).start < until)
    }
