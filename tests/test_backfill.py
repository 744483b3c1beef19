"""Backfill: everything in a range, whatever the platform's list can do; stopped, it goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import count, pairwise
from typing import Any

import databases
import pytest
from backfill_kit import Backfilling, a_world, held, over
from http_kit import START
from sqlalchemy import delete, func, select, update

from etl import engine
from etl.backfill import planning, working
from etl.clock import Clock
from etl.db import Database, open_database
from etl.errors import LostSeat, SeatTaken, Stopped, Unauthorized, Usage
from etl.ledger import backfills, cursors, seats
from etl.ledger.tables import completeness, sources, sync_runs
from etl.schema import metadata
from etl.simulator import Fault, Quirks, World
from etl.simulator.wire import Request

QUIRKS = {
    "explorer": ("graph", Quirks()),
    "explorer without filters": ("graph", Quirks(explorer_ignores="filter")),
    "explorer without orders": ("graph", Quirks(explorer_ignores="order")),
    "explorer without intervals": ("graph", Quirks(explorer_ignores="window")),
    "explorer, old and small": (
        "graph",
        Quirks(
            explorer_page_size_max=3,
            explorer_window="exclusive",
            explorer_null_items=True,
            explorer_none="go_ms",
            beyond_end="repeat",
        ),
    ),
    "act2 live": ("scripts", Quirks()),
    "act2 doc": ("scripts", Quirks(act2_shape="doc", act2_page_size_max=3)),
    "act2 newest first": (
        "scripts",
        Quirks(act2_shape="doc", act2_order="desc", beyond_end="repeat"),
    ),
    "dataarts": ("quality", Quirks()),
    "dataarts without windows": ("quality", Quirks(dataarts_ignores_window=True)),
    "dataarts without windows, oldest first": (
        "quality",
        Quirks(dataarts_ignores_window=True, dataarts_order="asc"),
    ),
    "dataarts by pages": (
        "quality",
        Quirks(dataarts_offset="pages", dataarts_limit_max=10, dataarts_window="exclusive"),
    ),
}
TABLES = {
    "graph": ("jobs", "tasks", "sample_rows"),
    "scripts": ("job_records", "host_results"),
    "quality": ("quality_instances",),
}


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


def starts(database: Database, name: str) -> dict[Any, datetime]:
    """The listing time of each execution that is held, by its id."""
    table = metadata.tables[TABLES[name][0]]
    at = table.c.created_at if name == "graph" else table.c.started_at
    with database.reading() as connection:
        found = connection.execute(select(list(table.primary_key)[1], at)).all()
        return dict(map(tuple, found))


def empty(database: Database, name: str) -> None:
    with database.writing() as connection:
        for table in reversed(TABLES[name]):
            connection.execute(delete(metadata.tables[table]))


@pytest.mark.usefixtures("_finely")
@pytest.mark.parametrize("platform", ["explorer", "explorer without filters", "act2 live"])
def test_stopped_again_and_again_it_costs_little_more(
    database: Database, other: Database, platform: str
) -> None:
    name, quirks = QUIRKS[platform]
    world = a_world(2)
    with over(other, world, quirks) as backfilling:
        once = backfilling.done(name, "2d", workers=1).requests
        windows = len(backfilling.windows())
        backfilling.database = database
        asked, stops = 0, 0
        while True:
            stop_at(backfilling, max(20, once // 3))
            outcome = backfilling.backfill(name, "2d", workers=1)
            backfilling.sim.clear_faults()
            asked += outcome.requests
            if outcome.error is None:
                break
            assert isinstance(outcome.error, Stopped)
            assert backfilling.planned[0].status == "stopped"
            stops += 1
        assert stops >= 1
        assert len(backfilling.planned) == 1
        line = backfilling.watched.lines[0]
        assert line.startswith(
            "going on with backfill 1: 2026-11-20 12:00 … 2026-11-22 12:00 UTC, "
        )
        assert line.endswith(f" of {windows} windows done")
        assert asked <= 1.05 * once + stops * (once / windows + 60)
    assert held(database) == held(other)


def stop_at(backfilling: Backfilling, request: int) -> None:
    """Tells the run to stop when the platform gets that request from now on."""
    numbers = count(1)

    def harmless(_: Request) -> bool:
        if next(numbers) == request:
            backfilling.stop.set()
        return False

    backfilling.sim.fault(Fault("delay", times=None, when=harmless))


def test_an_unfinished_window_goes_on_from_its_own_cursor(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "BATCH_ROWS", 50)
    monkeypatch.setattr(planning, "MOST", 1)
    world = World.big(jobs=300, now=START)
    settings = {"page_size": 10, "concurrency": 1}
    with over(database, world) as backfilling:
        stop_at(backfilling, 700)
        backfilling.backfill("graph", "2026-11-22", workers=1, settings=settings)
        backfilling.sim.clear_faults()
        (window,) = backfilling.windows()
        assert window.position is not None
        assert window.rows_written > 0
        backfilling.sim.clear_log()
        backfilling.done("graph", "2026-11-22", workers=1, settings=settings)
        again = {r.path for r in backfilling.sim.requests if r.path.count("/") == 4}
        assert 0 < len(again) < 200, "jobs that were written are not asked for again"
    assert len(held(database)["jobs"]) == 300


@pytest.mark.usefixtures("_finely")
def test_one_that_is_done_begins_anew_and_other_arguments_begin_another(
    database: Database,
) -> None:
    with over(database, World.big(instances=50, now=START)) as backfilling:
        for since in ("2026-11-22", "2026-11-22", "2026-11-21"):
            backfilling.done("quality", since)
            assert backfilling.watched.lines[0].startswith("backfill ")
        assert [one.status for one in backfilling.planned] == ["done"] * 3
        assert [one.arguments for one in backfilling.planned] == [
            "--since 2026-11-21",
            "--since 2026-11-22",
            "--since 2026-11-22",
        ]


@pytest.mark.usefixtures("_finely")
def test_it_goes_on_with_the_bounds_of_its_planning(database: Database) -> None:
    with over(database, World.big(instances=600, now=START)) as backfilling:
        stop_at(backfilling, 8)
        backfilling.backfill("quality", "100m", workers=1, settings={"page_size": 10})
        backfilling.sim.clear_faults()
        before = backfilling.planned[0]
        backfilling.clock.advance(3600)
        backfilling.done("quality", "100m", settings={"page_size": 10})
        (after,) = backfilling.planned
        assert (after.since, after.until) == (before.since, before.until)
        assert after.until == START
        assert after.since == START - timedelta(minutes=100)


@pytest.mark.usefixtures("_finely")
def test_restart_gives_up_the_old_one(database: Database) -> None:
    with over(database, World.big(instances=600, now=START)) as backfilling:
        stop_at(backfilling, 8)
        backfilling.backfill("quality", "100m", workers=1, settings={"page_size": 10})
        backfilling.sim.clear_faults()
        backfilling.done("quality", "100m", restart=True)
        assert [one.status for one in backfilling.planned] == ["done", "cancelled"]


@pytest.mark.usefixtures("_finely")
@pytest.mark.parametrize("newest_first", [False, True])
def test_windows_are_read_in_the_order_that_is_asked_for(
    database: Database, newest_first: bool
) -> None:
    with over(database, World.big(instances=600, now=START)) as backfilling:
        stop_at(backfilling, 30)
        backfilling.backfill(
            "quality", "100m", workers=1, newest_first=newest_first, settings={"page_size": 10}
        )
        windows = backfilling.windows()
        read = [w.number for w in windows if w.status == "done" and w.rows_written]
        left = [w.number for w in windows if w.status != "done"]
        assert read
        assert left
        assert min(read) > max(left) if newest_first else max(read) < min(left)


@pytest.mark.usefixtures("_finely")
def test_a_window_that_fails_is_tried_again_and_costs_no_other(database: Database) -> None:
    with over(database, World.big(instances=600, now=START)) as backfilling:
        bad = a_window()
        fault = backfilling.sim.fault(Fault("status", status=403, times=None, when=bad))
        outcome = backfilling.backfill("quality", "100m", workers=2)
        assert outcome.status == "failed"
        (failed,) = (w for w in backfilling.windows() if w.status == "failed")
        others = {w.status for w in backfilling.windows()} - {"failed"}
        assert others == {"done"}
        assert fault.hits == working.TRIES
        assert failed.error is not None
        said = str(outcome.error)
        assert f"1 of {len(backfilling.windows())} windows failed (window {failed.number}: " in said
        assert "etl backfills retry 1" in said
        assert backfilling.planned[0].status == "failed"
        backfilling.sim.clear_faults()
        backfilling.sim.clear_log()
        backfilling.done("quality", 1)
        assert backfilling.statuses() == {"done"}
        assert len(backfilling.sim.requests) == 1, "only what had failed is read again"
        assert len(held(database)["quality_instances"]) == 600


def a_window() -> Callable[[Request], bool]:
    """Whether a request asks for the window that holds a certain moment."""
    moment = int((START - timedelta(minutes=45)).timestamp() * 1000)

    def bad(request: Request) -> bool:
        begins, ends = (int(request.params.get(f"{side}_time", 0)) for side in ("start", "end"))
        return begins <= moment < ends - 2 and ends - begins < 1_200_000

    return bad


@pytest.mark.usefixtures("_finely")
def test_a_window_that_fails_once_is_done_in_the_end(database: Database) -> None:
    with over(database, World.big(instances=600, now=START)) as backfilling:
        bad = a_window()
        backfilling.sim.fault(Fault("status", status=403, times=1, when=bad))
        backfilling.done("quality", "100m")
        assert backfilling.statuses() == {"done"}
        assert all(window.error is None for window in backfilling.windows())


@pytest.mark.usefixtures("_finely")
def test_a_platform_that_answers_nothing_ends_it_and_leaves_the_rest_to_do(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(working, "_DEAD", 3)
    with over(database, World.big(instances=600, now=START)) as backfilling:
        stop_at(backfilling, 8)
        backfilling.backfill("quality", "100m", workers=1, settings={"page_size": 10})
        backfilling.sim.clear_faults()
        backfilling.sim.fault(Fault("status", status=503, times=None))
        outcome = backfilling.backfill("quality", "100m", workers=1)
        assert outcome.status == "failed"
        assert "503" in str(outcome.error)
        statuses = [w.status for w in backfilling.windows()]
        assert statuses.count("failed") == 3
        assert "pending" in statuses
        backfilling.sim.clear_faults()
        backfilling.done("quality", "100m")


def test_refused_credentials_end_it_at_once(database: Database) -> None:
    with over(database, World.big(instances=600, now=START)) as backfilling:
        backfilling.sim.revoke_tokens()
        outcome = backfilling.backfill("quality", "100m")
        assert isinstance(outcome.error, Unauthorized)
        assert outcome.requests <= 2


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


@pytest.mark.usefixtures("_finely")
def test_workers_lose_no_figure_when_they_write_at_once(every_database: Database) -> None:
    with over(every_database, World.big(instances=3000, now=START)) as backfilling:
        outcome = backfilling.done("quality", "9h", workers=6, settings={"page_size": 20})
        assert outcome.tally.read == outcome.tally.written == 3000
        assert sum(window.rows_written for window in backfilling.windows()) == 3000
        with every_database.reading() as connection:
            held_now = connection.execute(
                select(func.count()).select_from(metadata.tables["quality_instances"])
            ).scalar_one()
            (run,) = connection.execute(select(sync_runs)).all()
        assert held_now == run.rows_written == 3000
        assert backfilling.watched.standing is not None
        assert backfilling.watched.standing.records == 3000


def test_a_living_backfill_keeps_its_seat_and_is_not_cancelled(database: Database) -> None:
    from etl.backfill import cancel  # noqa: PLC0415 - beside its only test

    with over(database, World.big(instances=60, now=START)) as backfilling:
        stop_at(backfilling, 1)
        backfilling.backfill("quality", "100m")
        backfilling.done("quality", "3h")
        with database.writing() as connection:
            connection.execute(update(backfills.backfills).values(status="stopped"))
        seat = seats.take(database, "quality", "backfill", lease_s=30, clock=Clock())
        try:
            outcome = backfilling.backfill("quality", "3h")
            assert isinstance(outcome.error, SeatTaken)
            with pytest.raises(SeatTaken, match="is at work on it"):
                cancel(database, 1, Clock())
            backfilling.synced("quality")
        finally:
            seat.release()
        cancel(database, 1, Clock())
        assert backfilling.planned[0].status == "cancelled"
        with pytest.raises(Usage, match="backfill 1 is cancelled"):
            cancel(database, 1, Clock())
        with pytest.raises(Usage, match="no backfill 7"):
            cancel(database, 7, Clock())


@pytest.mark.usefixtures("_finely")
def test_overtaken_it_writes_nothing_more(database: Database) -> None:
    with over(database, World.big(instances=600, now=START)) as backfilling:

        def overtake(_: Request) -> bool:
            if backfilling.planned:
                with database.writing() as connection:
                    leases = metadata.tables["sync_leases"]
                    connection.execute(update(leases).values(token=99))
            return False

        backfilling.sim.fault(Fault("delay", times=None, when=overtake))
        outcome = backfilling.backfill("quality", "100m", workers=3)
        assert isinstance(outcome.error, LostSeat)
        assert held(database)["quality_instances"] == []
        assert backfilling.planned[0].status == "running", "it is the next one's to say"


def test_times_are_read_in_utc_and_echoed_in_the_sources_zone_too(database: Database) -> None:
    with over(database, World.empty(START)) as backfilling:
        backfilling.done("scripts", "2026-11-20", "2026-11-21T08:00:00+08:00")
        assert backfilling.watched.lines == [
            "backfill 1: 2026-11-20 … 2026-11-21 UTC (in Asia/Shanghai 2026-11-20 08:00), 1 window"
        ]
        (window,) = backfilling.windows()
        assert (window.since, window.until) == (
            datetime(2026, 11, 20, tzinfo=UTC),
            datetime(2026, 11, 21, tzinfo=UTC),
        )
