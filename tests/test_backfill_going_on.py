"""Stopped, killed, failed, overtaken: a backfill goes on, or says why it does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import count

import databases
import pytest
from backfill_kit import (
    QUIRKS,
    a_window,
    a_world,
    held,
    over,
    stop_at,
)
from crash_kit import DATA
from http_kit import START
from sqlalchemy import func, select, update

from etl import engine
from etl.backfill import planning, working
from etl.clock import Clock
from etl.db import Database, open_database
from etl.errors import LostSeat, Refused, SeatTaken, Stopped, Unauthorized, Usage
from etl.ledger import seats
from etl.ledger.tables import sync_runs
from etl.schema import metadata
from etl.simulator import Fault, World
from etl.simulator.wire import Request


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
def test_restart_gives_up_nothing_before_it_has_something_else(database: Database) -> None:
    with over(database, World.big(instances=600, now=START)) as backfilling:
        stop_at(backfilling, 8)
        backfilling.backfill("quality", "100m", workers=1, settings={"page_size": 10})
        backfilling.sim.clear_faults()
        backfilling.sim.fault(Fault("status", status=403))
        refused = backfilling.backfill("quality", "100m", restart=True)
        assert isinstance(refused.error, Refused)
        assert [one.status for one in backfilling.planned] == ["stopped"]


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


@pytest.mark.usefixtures("_finely")
def test_a_window_that_fails_once_is_done_in_the_end(database: Database) -> None:
    with over(database, World.big(instances=600, now=START)) as backfilling:
        bad = a_window()
        backfilling.sim.fault(Fault("status", status=403, times=1, when=bad))
        backfilling.done("quality", "100m")
        assert backfilling.statuses() == {"done"}
        assert all(window.error is None for window in backfilling.windows())


def test_a_window_that_failed_half_way_goes_on_from_there_when_it_is_tried_again(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "BATCH_ROWS", 50)
    monkeypatch.setattr(planning, "MOST", 1)
    settings = {"page_size": 10, "concurrency": 1}
    numbers = count(1)
    with over(database, World.big(jobs=300, now=START)) as backfilling:

        def late(request: Request) -> bool:
            return next(numbers) > 700 and request.path.endswith("/jobs")

        fault = backfilling.sim.fault(Fault("status", status=403, times=1, when=late))
        backfilling.done("graph", "2026-11-22", workers=1, settings=settings)
        assert fault.hits == 1
        asked = [r.path for r in backfilling.sim.requests if r.path.count("/") == 4]
        assert len(asked) < 400, "jobs that were written are not asked for again"
        (window,) = backfilling.windows()
        assert window.rows_written == sum(map(len, held(database, DATA).values()))


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
            connection.execute(update(metadata.tables["backfills"]).values(status="stopped"))
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
