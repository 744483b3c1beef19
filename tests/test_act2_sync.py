"""Act2 with the engine and a real database: what a sync leaves, and what the next one costs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from act2_kit import (
    DETAIL,
    NOW,
    PAGE,
    asked,
    filled,
    late,
    record_ids,
    served,
    settings,
    simulator,
)
from http_kit import FakeClock
from sqlalchemy import func, select

from etl.db import Database
from etl.ledger import tables as ledger
from etl.passes import Outcome, Surroundings
from etl.schema import metadata
from etl.simulator import Fault, Script, Simulator, World
from etl.simulator.wire import Request
from etl.source import Settings, Source
from etl.sources.act2 import SOURCE
from etl.sources.act2.tables import HOST_RESULTS, JOB_RECORDS
from etl.sync import sync


@dataclass(frozen=True)
class Scripts:
    """The source `scripts` of a configuration."""

    settings: Settings
    name: str = "scripts"
    source: Source = SOURCE
    expected_every_s: float | None = None
    stale_after_s: float | None = None


Sync = Callable[..., Outcome]


@pytest.fixture
def synced(database: Database) -> Sync:
    """Syncs by hand, a minute after the time before."""
    clock = FakeClock()

    def run(sim: Simulator, **changes: Any) -> Outcome:
        clock.advance(60)
        around = Surroundings(database, threading.Event(), lambda *_: None, clock)
        outcome = sync(Scripts(settings(sim.act2_url, **changes)), around)
        assert outcome.error is None
        return outcome

    return run


def count(database: Database, table: Any) -> int:
    with database.reading() as connection:
        found: int = connection.execute(select(func.count()).select_from(table)).scalar_one()
        return found


@pytest.mark.parametrize("shape", ["live", "doc"])
@pytest.mark.parametrize("order", ["asc", "desc"])
def test_a_second_sync_writes_nothing_and_costs_almost_nothing(
    database: Database, synced: Sync, shape: str, order: str
) -> None:
    world = World.believable(now=NOW, days=4)
    with simulator(world, act2_shape=shape, act2_order=order) as sim:
        first = synced(sim)
        assert count(database, JOB_RECORDS.table) + _hidden(world) == len(world.act2.records)
        rows = sum(len(r.rows) for r in world.act2.records if not r.hidden)
        assert count(database, HOST_RESULTS.table) == rows
        assert first.tally.read == first.tally.written + first.tally.rejected
        owed = count(database, ledger.unfinished)
        sim.clear_log()
        second = synced(sim)
        assert second.tally.written == 0
        assert second.requests <= 10 + 4 * owed


def _hidden(world: World) -> int:
    return sum(1 for r in world.act2.records if r.hidden or not r.rows)


def test_a_record_that_nobody_lists_arrives_when_it_is_listed(
    database: Database, synced: Sync
) -> None:
    world = filled(30)
    hidden = list(world.act2.records)[3].id
    world.act2.hide_rows(hidden)
    with simulator(world) as sim:
        synced(sim, page_size=5)
        assert count(database, ledger.unfinished) == 1
        synced(sim, page_size=5)
        assert count(database, JOB_RECORDS.table) == 29
        world.act2.show_rows(hidden)
        synced(sim, page_size=5)
    assert count(database, JOB_RECORDS.table) == 30
    assert count(database, ledger.unfinished) == 0


def test_a_record_that_appears_behind_the_cursor_costs_one_detail(
    database: Database, synced: Sync
) -> None:
    world = filled(60)
    with simulator(world) as sim:
        synced(sim, page_size=5)
        late = served(world, "late", NOW - timedelta(minutes=90, seconds=30)).id
        sim.clear_log()
        synced(sim, page_size=5)
        assert [params["id"] for params in asked(sim, DETAIL)] == [late]
    assert count(database, JOB_RECORDS.table) == 61


def test_short_answers_take_no_row_away(database: Database, synced: Sync) -> None:
    world = World.empty(NOW)
    running = world.act2.start(Script(urls=("http://a/x", "http://b/y")), 3, NOW)
    with simulator(world) as sim:
        synced(sim)
        world.act2.finish(running.id, at=NOW + timedelta(seconds=9))
        synced(sim)
        for keep in (0, 1, 5):
            world.act2.shorten(running.id, reads=5, keep=keep)
            synced(sim)
            running.short_reads.clear()
            assert count(database, HOST_RESULTS.table) == 6
    with database.reading() as connection:
        stored = connection.execute(select(JOB_RECORDS.table.c.host_result_count)).scalars()
        assert list(stored) == [6]


def test_no_password_reaches_any_table(database: Database, synced: Sync) -> None:
    word, secret = "weakly-encrypted-word", "token-of-the-environment"
    world = World.empty(NOW)
    script = Script(password=word, env=(("API_TOKEN", secret),))
    for minute in range(3):
        world.act2.start(script, 2, NOW - timedelta(minutes=minute))
    broken = world.act2.start(script, 2, NOW)
    broken.parameters = broken.parameters[:-1]
    with simulator(world) as sim:
        synced(sim)
    with database.reading() as connection:
        everything = [
            repr(row)
            for table in metadata.sorted_tables
            for row in connection.execute(select(table))
        ]
    assert len([line for line in everything if broken.id in line]) >= 3
    assert [line for line in everything if word in line or secret in line] == []


def test_a_hole_that_a_moving_list_shows_twice_in_a_batch_is_owed_once(
    database: Database, synced: Sync
) -> None:
    """The walk goes back for a late record, and comes by the page again: more is hidden there."""
    world = filled(33)
    ranked = record_ids(world)
    world.act2.hide_rows(ranked[11])

    def move(request: Request) -> bool:
        if request.path == PAGE and len(asked(sim, PAGE)) == 7:
            late(world, 6)
            world.act2.hide_rows(ranked[12])
        return False

    with simulator(world) as sim:
        sim.fault(Fault("delay", times=None, when=move))
        synced(sim, page_size=5)
    assert count(database, JOB_RECORDS.table) == 33  # the second was hidden after it was read
    with database.reading() as connection:
        [reason] = connection.execute(select(ledger.unfinished.c.reason)).scalars()
    assert reason == "page 3 of 5 lists 3 of 5 records"
