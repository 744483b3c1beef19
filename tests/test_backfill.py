"""Backfill: everything in a range, whatever the platform's list can do; stopped, it goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import count, pairwise
from typing import Any

import databases
import pytest
from backfill_kit import (
    QUIRKS,
    TABLES,
    a_world,
    empty,
    held,
    over,
    starts,
    stop_at,
)
from http_kit import START
from sqlalchemy import delete, select, update
from sync_kit import sources as named
from verify_kit import history

from etl import engine
from etl.backfill import planning
from etl.db import Database, open_database
from etl.errors import Usage
from etl.ledger import cursors
from etl.ledger.tables import completeness, sources, sync_runs
from etl.ledger.views import coverage
from etl.passes import Surroundings
from etl.prune import Pruned, prune
from etl.schema import metadata
from etl.simulator import Fault, Quirks, World
from etl.simulator.wire import Request
from etl.units import Since
from etl.verify import verify


@pytest.fixture
def other(servers: Callable[[str], databases.Server]) -> Iterator[Database]:
    """A second database, for what a backfill is compared with."""
    opened = open_database(servers("sqlite").migrated())
    yield opened
    opened.close()


@pytest.fixture
def _finely(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small history is cut as a large one would be."""
    monkeypatch.setattr(planning, "PRICE", 100.0)
    monkeypatch.setattr(planning, "MOST", 12)


@pytest.mark.usefixtures("_finely")
@pytest.mark.parametrize("platform", QUIRKS)
def test_it_brings_what_a_sync_of_everything_brings(
    database: Database, other: Database, platform: str
) -> None:
    name, quirks = QUIRKS[platform]
    world = a_world(2)
    with over(other, world, quirks) as backfilling:
        backfilling.synced(name)
        backfilling.database = database
        backfilling.done(name, "2026-11-01")
        assert backfilling.statuses() == {"done"}
        assert len(backfilling.windows()) >= 12
        with database.reading() as connection:
            stream = backfilling_stream(name)
            assert cursors.load(connection, name, stream) is None, "the live cursor is not its own"
    assert held(database) == held(other)
    assert held(database)[TABLES[name][0]]


def backfilling_stream(name: str) -> str:
    return {"graph": "jobs", "scripts": "job_records", "quality": "quality_instances"}[name]


@pytest.mark.parametrize(("since", "until"), [("2026-11-20", "2026-11-21T12:00"), ("2d", "1d")])
@pytest.mark.parametrize("name", TABLES)
def test_the_beginning_belongs_to_it_and_the_end_does_not(
    database: Database, name: str, since: str, until: str
) -> None:
    with over(database) as backfilling:
        backfilling.synced(name)
        every = starts(database, name)
        bounds = planning.Range(since, until).bounds(START, None)
        wanted = {id_ for id_, at in every.items() if bounds.since <= at < bounds.until}
        assert wanted
        empty(database, name)
        backfilling.done(name, since, until)
    assert starts(database, name).keys() == wanted


def test_what_the_platform_says_wins_over_what_the_table_holds(database: Database) -> None:
    with over(database) as backfilling:
        for name in TABLES:
            backfilling.synced(name)
        wanted = held(database)
        with database.writing() as connection:
            for table in ("jobs", "tasks", "job_records", "host_results", "quality_instances"):
                changed = metadata.tables[table]
                connection.execute(update(changed).values(status="unknown"))
            connection.execute(delete(metadata.tables["sample_rows"]))
            connection.execute(update(metadata.tables["tasks"]).values(sample_digest=None))
        backfilling.clock.advance(1)
        assert held(database) != wanted
        for name in TABLES:
            backfilling.synced(name)
        assert held(database) != wanted, "a sync takes the database's word"
        for name in TABLES:
            backfilling.done(name, "30d")
        assert held(database) == wanted


def test_a_short_answer_deletes_nothing(database: Database) -> None:
    with over(database) as backfilling:
        backfilling.synced("scripts")
        before = held(database)
        world = backfilling.sim.world.act2
        for record in list(world.records):
            if len(record.rows) > 1 and record.execute_status == "done":
                del world.records.own(record.id).rows[1:]
        backfilling.done("scripts", "30d")
        found = held(database)
        assert found["host_results"] == before["host_results"]
        assert found["job_records"] == before["job_records"]


def test_what_it_finds_unfinished_is_owed_and_asked_again_by_a_sync(database: Database) -> None:
    with over(database) as backfilling:
        job = backfilling.sim.world.explorer.create(at=START - timedelta(hours=1))
        backfilling.sim.world.explorer.start(job.id, at=START - timedelta(hours=1))
        backfilling.done("graph", "2d")
        assert ("job", str(job.id)) in held(database)["unfinished"]
        backfilling.clock.advance(60)
        backfilling.sim.world.explorer.finish(job.id, at=START)
        backfilling.clock.advance(3600)
        backfilling.synced("graph", since=None)
        assert ("job", str(job.id)) not in held(database)["unfinished"]


@pytest.mark.usefixtures("_finely")
def test_each_window_says_in_completeness_what_it_proved(database: Database) -> None:
    with over(database, World.big(instances=600, now=START)) as backfilling:
        backfilling.done("quality", "100m")
        rows = proofs(database)
        assert [(row.since, row.until) for row in rows] == [
            (w.since, w.until) for w in backfilling.windows() if w.rows_written
        ]
        assert all(a.until == b.since for a, b in pairwise(rows))
        assert {row.verdict for row in rows} == {"complete"}
        assert sum(row.upstream_ids for row in rows) == 600
        backfilling.sim.fault(Fault("total", times=None, size=999))
        backfilling.done("quality", "100m")
        assert "unproven" in {row.verdict for row in proofs(database)}


def test_a_rejected_record_leaves_its_window_incomplete(database: Database) -> None:
    with over(database, World.big(instances=20, now=START)) as backfilling:
        backfilling.sim.world.dataarts.start(at=START - timedelta(hours=1)).id = 2**70
        backfilling.done("quality", "100m")
        (row,) = proofs(database)
        assert (row.verdict, row.rejected) == ("incomplete", 1)


def test_records_that_are_nowhere_listed_leave_a_window_unproven(database: Database) -> None:
    with over(database, World.empty(START)) as backfilling:
        world = backfilling.sim.world.act2
        for hours in (5, 4, 3):
            record = world.start(hosts=1, at=START - timedelta(hours=hours))
            world.finish(record.id, at=START - timedelta(hours=hours))
        world.records.own(record.id).rows.clear()
        for _ in range(2):  # it is told again although it is owed already
            backfilling.done("scripts", "1d")
            row = proofs(database)[-1]
            assert (row.verdict, row.unlisted, row.upstream_ids) == ("unproven", 1, 2)


def test_a_later_verify_of_each_month_has_the_last_word_on_a_window_of_several(
    database: Database,
) -> None:
    with over(database, history(), Quirks(dataarts_ignores_window=True)) as backfilling:
        backfilling.sim.fault(Fault("total", size=1, times=None, platform="dataarts"))
        backfilling.done("quality", "60d")
        assert len(backfilling.windows()) == 1
        assert set(verdicts(database).values()) == {"unproven"}
        backfilling.sim.clear_faults()
        around = Surroundings(database, threading.Event(), lambda *_: None, backfilling.clock)
        since = START - timedelta(days=60)
        quality = named(backfilling.sim)["quality"]
        assert verify(quality, around, since=since, until=START, repair=False).proven
        assert set(verdicts(database).values()) == {"complete"}


def verdicts(database: Database) -> dict[str, str]:
    with database.reading() as connection:
        found = connection.execute(select(coverage.c.month, coverage.c.verdict))
        return {row.month: row.verdict for row in found}


def proofs(database: Database) -> list[Any]:
    with database.reading() as connection:
        return list(connection.execute(select(completeness).order_by(completeness.c.since)))


def test_what_was_pruned_stays_away_unless_it_is_restored(database: Database) -> None:
    with over(database, World.big(instances=600, now=START)) as backfilling:
        backfilling.done("quality", "100m")
        hour = START - timedelta(hours=1)
        with database.writing() as connection:
            table = metadata.tables["quality_instances"]
            connection.execute(delete(table).where(table.c.started_at < hour))
            connection.execute(update(sources).values(pruned_before=hour))
        backfilling.done("quality", "3h")
        assert min(starts(database, "quality").values()) >= hour
        assert backfilling.watched.lines[0] == (
            "what is older than 2026-11-22 11:00 UTC was pruned and is left out; "
            "--restore fetches it"
        )
        backfilling.done("quality", "3h", None, True)
        assert len(starts(database, "quality")) == 600


@pytest.mark.usefixtures("_finely")
def test_a_prune_in_the_middle_holds_for_the_windows_that_are_left(database: Database) -> None:
    with over(database, World.big(instances=600, now=START)) as backfilling:
        stop_at(backfilling, 8)
        backfilling.backfill("quality", "100m", workers=1, settings={"page_size": 10})
        backfilling.sim.clear_faults()
        pruned = START - timedelta(minutes=25)
        empty(database, "quality")
        with database.writing() as connection:
            connection.execute(update(sources).values(pruned_before=pruned))
        backfilling.done("quality", "100m")
        assert backfilling.statuses() == {"done"}
        assert min(starts(database, "quality").values()) >= pruned


def test_a_prune_in_the_middle_holds_for_the_window_in_hand(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "BATCH_ROWS", 20)
    monkeypatch.setattr(planning, "MOST", 1)
    with over(database, World.big(instances=600, now=START)) as backfilling:
        border = START - timedelta(minutes=15)
        around = Surroundings(database, threading.Event(), lambda *_: None, backfilling.clock)
        pruned: list[Pruned] = []
        numbers = count(1)

        def prune_beside(_: Request) -> bool:
            if next(numbers) == 5:
                pruned.append(prune(named(backfilling.sim)["quality"], around, before=border))
            return False

        backfilling.synced("quality", since=Since.parse("1m"))
        backfilling.sim.fault(Fault("delay", times=None, when=prune_beside))
        settings = {"page_size": 10, "concurrency": 1}
        backfilling.done("quality", "100m", workers=1, settings=settings)
        (done,) = pruned
        assert done.outcome.error is None
        assert len(backfilling.windows()) == 1
        found = sorted(starts(database, "quality").values())
        assert found[0] >= border, "what was pruned has not come back"
        assert len(found) == 90, "one every ten seconds"


def test_everything_pruned_is_said_rather_than_done(database: Database) -> None:
    with over(database, World.big(instances=60, now=START)) as backfilling:
        backfilling.synced("quality")
        with database.writing() as connection:
            connection.execute(update(sources).values(pruned_before=START))
        outcome = backfilling.backfill("quality", "3h")
        assert isinstance(outcome.error, Usage)
        assert "--restore" in str(outcome.error)


def test_one_run_stands_in_the_ledger_for_each_command(database: Database) -> None:
    with over(database, World.big(instances=600, now=START)) as backfilling:
        outcome = backfilling.done("quality", "100m")
        with database.reading() as connection:
            (run,) = connection.execute(select(sync_runs)).all()
        assert (run.mode, run.status) == ("backfill", "succeeded")
        assert run.rows_read == run.rows_written == 600
        assert run.requests == outcome.requests == len(backfilling.sim.requests)


def test_times_are_read_in_utc_and_echoed_in_the_sources_zone_too(database: Database) -> None:
    with over(database, World.empty(START)) as backfilling:
        backfilling.done("scripts", "2026-11-20", "2026-11-21T08:00:00+08:00")
        assert backfilling.watched.lines == [
            "backfill 1: 2026-11-20 … 2026-11-21 UTC (in Asia/Shanghai 2026-11-20 08:00), 1 window"
        ]
        backfilling.done("scripts", "2026-11-20", "2026-11-21 06:00")
        assert backfilling.watched.lines == [
            "backfill 2: 2026-11-20 … 2026-11-21 06:00 UTC (in Asia/Shanghai 2026-11-20 08:00), "
            "1 window"
        ]
        (window,) = backfilling.windows()
        assert (window.since, window.until) == (
            datetime(2026, 11, 20, tzinfo=UTC),
            datetime(2026, 11, 21, tzinfo=UTC),
        )
