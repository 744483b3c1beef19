"""The daemon with an injected clock: what fires, what is tried again, what is left alone."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from daemon_kit import (
    DAY,
    HOUR,
    MINUTE,
    Simulated,
    clock_at,
    platforms,
    simulated,
    sources,
)
from sqlalchemy import text, update

from etl.config import next_run_at
from etl.daemon.tasks import Firing, Task
from etl.db import Database
from etl.errors import Migrated
from etl.ledger import seats
from etl.ledger.process import this_process
from etl.ledger.tables import sync_leases, sync_runs
from etl.passes import Surroundings
from etl.simulator import Fault, World
from etl.sync import sync

__all__ = ["simulated"]

NOON = datetime(2027, 3, 10, 12, 0, tzinfo=UTC)
HOURLY = "schedules:\n  - sync: all\n    every: 1h\n"
Make = Callable[..., Simulated]


def _failing(platform: Any = "explorer", status: int = 503) -> Fault:
    return Fault("status", platform=platform, status=status, times=None)


def test_every_firing_is_run_once_when_it_is_due(database: Database, simulated: Make) -> None:
    clock = clock_at(NOON)
    with platforms(World.empty(), clock) as sim:
        daemon = simulated(database, sources(sim) + HOURLY, clock=clock)
        daemon.pass_by(6 * HOUR)
    for name in ("graph", "scripts", "quality"):
        first, *others = daemon.runs(sync_runs.c.source == name)
        assert (first.started_at, first.triggered_by) == (NOON, "schedule")
        assert [run.started_at for run in others] == [run.scheduled_for for run in others]
        assert [run.scheduled_for - first.scheduled_for for run in others] == [
            HOUR * turn for turn in range(1, 7)
        ]
        at = first.scheduled_for.replace(minute=0, second=0, microsecond=0)
        assert first.scheduled_for - at < MINUTE
    jitters = {run.scheduled_for.minute * 60 + run.scheduled_for.second for run in daemon.runs()}
    assert len(jitters) == 3, "not all at the same moment"


def test_the_next_firing_is_known_with_and_without_a_daemon(
    database: Database, simulated: Make
) -> None:
    clock = clock_at(NOON)
    with platforms(World.empty(), clock) as sim:
        daemon = simulated(database, sources(sim, "graph") + HOURLY, clock=clock)
        told = next_run_at(daemon.daemon.config, "graph", clock.now())
        assert told is not None
        assert daemon.daemon.scheduler.next_runs() == {"graph": told}
        daemon.until(told)
    assert [run.scheduled_for for run in daemon.runs()][-1] == told


def test_what_was_slept_through_is_run_once(database: Database, simulated: Make) -> None:
    clock = clock_at(NOON)
    with platforms(World.empty(), clock) as sim:
        every = "schedules:\n  - sync: all\n    every: 1s\n"
        daemon = simulated(database, sources(sim, "graph") + every, clock=clock)
        daemon.pass_by(timedelta(seconds=2))
        before = len(daemon.runs())
        daemon.sleep(9 * HOUR)
        daemon.until(clock.now())
        woken = daemon.runs()[before:]
        assert len(woken) == 1
        assert clock.now() - woken[0].scheduled_for < timedelta(seconds=1), "the latest of them"


def test_a_start_catches_up_once_and_a_restart_repeats_nothing(
    database: Database, simulated: Make
) -> None:
    clock = clock_at(NOON)
    with platforms(World.empty(), clock) as sim:
        given = sources(sim, "graph") + "schedules:\n  - sync: all\n    cron: '@daily'\n"
        simulated(database, given, clock=clock).until(clock.now())
        again = simulated(database, given, clock=clock)
        again.pass_by(HOUR)
        assert len(again.runs()) == 1, "it had just run"
        clock.advance(3 * DAY.total_seconds())
        late = simulated(database, given, clock=clock)
        late.pass_by(HOUR)
        [_, caught_up] = late.runs()
        assert caught_up.scheduled_for == datetime(2027, 3, 13, tzinfo=UTC)


def test_a_stopped_or_failed_firing_is_owed_after_a_restart(
    database: Database, simulated: Make
) -> None:
    clock = clock_at(NOON)
    with platforms(World.empty(), clock) as sim:
        given = sources(sim, "graph") + "schedules:\n  - sync: all\n    cron: '@daily'\n"
        for left in ("stopped", "failed", "crashed"):
            daemon = simulated(database, given, clock=clock)
            daemon.until(clock.now())
            with database.writing() as connection:
                last = daemon.runs()[-1].run_id
                mark = update(sync_runs).where(sync_runs.c.run_id == last)
                connection.execute(mark.values(status=left))
            runs = len(daemon.runs())
            again = simulated(database, given, clock=clock)
            again.until(clock.now())
            *_, retried = again.runs()
            assert len(again.runs()) == runs + 1, left
            assert (retried.status, retried.scheduled_for) == ("succeeded", None)
            clock.advance(DAY.total_seconds())


def test_an_outage_is_tried_at_growing_distances_until_the_first_success(
    database: Database, simulated: Make
) -> None:
    clock = clock_at(NOON)
    with platforms(World.empty(), clock) as sim:
        daemon = simulated(database, sources(sim, "graph") + HOURLY, clock=clock)
        daemon.pass_by(2 * HOUR)
        sim.fault(_failing())
        daemon.pass_by(2 * HOUR)
        failed = daemon.runs(sync_runs.c.status == "failed")
        assert {run.error_kind for run in failed} == {"transient"}
        gaps = [(b.started_at - a.finished_at).total_seconds() for a, b in pairwise(failed)]
        assert all(b > a for a, b in pairwise(gaps[:5])), gaps
        assert max(gaps) < 600 * 1.25 + 2
        assert 12 < len(failed) < 25
        assert len({run.scheduled_for for run in failed} - {None}) == 2, "each firing is claimed"
        sim.clear_faults()
        daemon.pass_by(15 * MINUTE)
        recovered = daemon.runs()[len(failed) + 3]
        assert recovered.status == "succeeded"
        before = len(daemon.runs())
        daemon.pass_by(2 * HOUR)
        later = daemon.runs()[before:]
        assert [run.started_at for run in later] == [run.scheduled_for for run in later]
        assert len(later) == 2, "all is as before"


def test_another_platform_does_not_notice_the_outage(database: Database, simulated: Make) -> None:
    clock = clock_at(NOON)
    with platforms(World.empty(), clock) as sim:
        daemon = simulated(database, sources(sim) + HOURLY, clock=clock)
        sim.fault(_failing())
        daemon.pass_by(2 * HOUR)
        for name in ("scripts", "quality"):
            runs = daemon.runs(sync_runs.c.source == name)
            assert [run.status for run in runs] == ["succeeded"] * 3


def test_refused_credentials_are_left_alone_for_five_minutes(
    database: Database, simulated: Make
) -> None:
    clock = clock_at(NOON)
    with platforms(World.empty(), clock) as sim:
        every = "schedules:\n  - sync: all\n    every: 10s\n"
        sim.fault(_failing(status=401))
        daemon = simulated(database, sources(sim, "graph") + every, clock=clock)
        daemon.pass_by(16 * MINUTE)
        runs = daemon.runs()
        assert {run.error_kind for run in runs} == {"unauthorized"}
        gaps = [(b.started_at - a.finished_at).total_seconds() for a, b in pairwise(runs)]
        assert len(runs) >= 3
        assert min(gaps) >= 300


def test_a_firing_that_another_process_made_is_not_made_again(
    database: Database, simulated: Make
) -> None:
    clock = clock_at(NOON)
    with platforms(World.empty(), clock) as sim:
        given = sources(sim) + HOURLY
        one = simulated(database, given, clock=clock)
        two = simulated(database, given, clock=clock)
        for _ in range(5 * 12):
            one.until(clock.now())
            two.pass_by(5 * MINUTE)
        runs = one.runs()
        assert len(runs) == 3 * 6
        firings = [(run.source, run.scheduled_for) for run in runs]
        assert len(set(firings)) == len(firings)
        assert {run.status for run in runs} == {"succeeded"}


def _held(database: Database, clock: Any, lease_s: float) -> None:
    """Another machine is at work on `graph`, for its lease."""
    other = seats.take(database, "graph", "live", lease_s=lease_s, clock=clock)
    other._done.set()
    with database.writing() as connection:
        connection.execute(update(sync_leases).values(host="elsewhere", holder="elsewhere:1"))


def test_a_taken_seat_is_waited_for_and_its_firing_taken_over(
    database: Database, simulated: Make
) -> None:
    clock = clock_at(NOON)
    with platforms(World.empty(), clock) as sim:
        daemon = simulated(database, sources(sim, "graph") + HOURLY, clock=clock)
        daemon.until(clock.now())
        _held(database, clock, lease_s=600)
        daemon.pass_by(20 * MINUTE)
        due = next_run_at(daemon.daemon.config, "graph", NOON)
        assert len(daemon.runs()) == 1, "somebody else is at work"
        with database.writing() as connection:
            mine = {"source": "graph", "mode": "sync", "scheduled_for": due, "started_at": due}
            counts = dict.fromkeys(("requests", "retries", "bytes_read"), 0)
            rows = ("rows_read", "rows_written", "rows_unchanged", "rows_rejected")
            connection.execute(
                sync_runs.insert().values(
                    **mine,
                    **counts,
                    **dict.fromkeys(rows, 0),
                    status="running",
                    triggered_by="schedule",
                    version="1",
                    host="elsewhere",
                    pid=1,
                )
            )
            connection.execute(
                update(sync_leases).values(expires_at=datetime(2020, 1, 1, tzinfo=UTC))
            )
        daemon.pass_by(11 * MINUTE)
        theirs, ours = daemon.runs()[1:3]
        assert (theirs.status, theirs.scheduled_for) == ("crashed", due)
        assert (ours.status, ours.scheduled_for, ours.host) == (
            "succeeded",
            None,
            this_process().host,
        )


def test_a_reload_takes_the_new_schedule_and_refuses_a_broken_one(
    database: Database, simulated: Make, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "etl.daemon")
    clock = clock_at(NOON)
    with platforms(World.empty(), clock) as sim:
        given = sources(sim, "graph") + HOURLY
        daemon = simulated(database, given, clock=clock)
        daemon.until(clock.now())
        daemon.file.write_text(given.replace("1h", "1 hour").replace("every", "evry"))
        daemon.daemon.reload_asked.set()
        daemon.pass_by(2 * HOUR)
        assert len(daemon.runs()) == 3, "the old schedule goes on"
        [refused] = [r for r in caplog.records if r.levelno == logging.ERROR]
        assert "evry" in refused.getMessage()
        assert "did you mean 'every'?" in refused.getMessage()
        daemon.file.write_text(given.replace("1h", "30m"))
        daemon.daemon.reload_asked.set()
        daemon.pass_by(2 * HOUR)
        assert len(daemon.runs()) - 3 in (4, 5)
        assert "reloaded: 1 sources, 1 schedules" in caplog.text


def test_a_sync_by_hand_is_no_reason_to_catch_up(database: Database, simulated: Make) -> None:
    clock = clock_at(NOON)
    with platforms(World.empty(), clock) as sim:
        given = sources(sim, "graph") + "schedules:\n  - sync: all\n    cron: '@daily'\n"
        by_hand = simulated(database, given, clock=clock, start=False).daemon.config.source("graph")
        around = Surroundings(database, threading.Event(), lambda *_: None, clock)
        for _ in range(2):
            assert sync(by_hand, around).error is None
            clock.advance(DAY.total_seconds() / 2 + 60)
        daemon = simulated(database, given, clock=clock)
        daemon.pass_by(HOUR)
        assert [run.triggered_by for run in daemon.runs()] == ["command"] * 2


def test_a_source_that_is_taken_out_is_left_alone(
    database: Database, simulated: Make, caplog: pytest.LogCaptureFixture
) -> None:
    clock = clock_at(NOON)
    with platforms(World.empty(), clock) as sim:
        daemon = simulated(database, sources(sim) + HOURLY, clock=clock)
        sim.fault(_failing("act2"))
        daemon.pass_by(10 * MINUTE)
        daemon.file.write_text(sources(sim, "graph") + HOURLY)
        daemon.daemon.reload_asked.set()
        daemon.until(clock.now())
        before = len(daemon.runs())
        daemon.daemon.lanes.offer(Firing(Task("scripts", "sync"), clock.now()))  # on its way
        caplog.clear()
        daemon.pass_by(3 * HOUR)
        assert {run.source for run in daemon.runs()[before:]} == {"graph"}
        assert caplog.records == []


@pytest.mark.parametrize("idle", [False, True])
def test_a_migrated_database_ends_the_daemon(
    database: Database, simulated: Make, idle: bool
) -> None:
    from etl import migrate  # noqa: PLC0415 - only here

    migrate.require_head(database)
    clock = clock_at(NOON)
    with platforms(World.empty(), clock) as sim:
        every = "schedules:\n  - sync: all\n    cron: '{} * * * *'\n"
        every = every.format(59 if idle else 1)
        daemon = simulated(database, sources(sim, "graph") + every, clock=clock)
        daemon.until(clock.now())
        with database.writing() as connection:
            connection.execute(text("UPDATE etl_version SET version_num = '9999'"))
        daemon.pass_by(6 * MINUTE if idle else 2 * MINUTE)
    assert isinstance(daemon.daemon.ended_by, Migrated)
    assert daemon.daemon.ended_by.exit_code == 2
    assert "9999" in str(daemon.daemon.ended_by)
    assert daemon.stop.is_set()
    assert len(daemon.runs()) == 1


def test_a_clock_that_is_set_back_stops_nothing(
    database: Database, simulated: Make, caplog: pytest.LogCaptureFixture
) -> None:
    clock = clock_at(NOON + 300 * DAY)
    with platforms(World.empty(), clock) as sim:
        daemon = simulated(database, sources(sim, "graph") + HOURLY, clock=clock)
        daemon.pass_by(HOUR)
        clock.set_back(300 * DAY)
        before = len(daemon.runs())
        daemon.pass_by(3 * HOUR)
        assert len(daemon.runs()) - before == 3
    assert "the clock was set back" in caplog.text


def test_a_mistake_in_the_code_ends_one_pass_only(
    database: Database,
    simulated: Make,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("a bug")

    clock = clock_at(NOON)
    with platforms(World.empty(), clock) as sim:
        daemon = simulated(database, sources(sim, "graph") + HOURLY, clock=clock)
        with monkeypatch.context() as bug:
            bug.setattr("etl.daemon.tasks.sync", broken)
            daemon.until(clock.now())
        [told] = [r for r in caplog.records if r.levelno == logging.ERROR]
        assert told.exc_info is not None
        daemon.pass_by(MINUTE / 2)
        assert [run.status for run in daemon.runs()] == ["succeeded"]


def test_a_quiet_hour_logs_nothing(
    database: Database, simulated: Make, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    clock = clock_at(NOON)
    with platforms(World.empty(), clock) as sim:
        every = "schedules:\n  - sync: all\n    every: 5m\n"
        daemon = simulated(database, sources(sim) + every, clock=clock)
        daemon.until(clock.now())
        caplog.clear()
        daemon.pass_by(HOUR)
        assert len(daemon.runs()) > 30
    own = [record for record in caplog.records if record.name.startswith("etl")]
    assert own == []


def test_every_outcome_is_observed_with_its_mode(database: Database, simulated: Make) -> None:
    clock = clock_at(NOON)
    with platforms(World.empty(), clock) as sim:
        daemon = simulated(database, sources(sim, "graph") + HOURLY, clock=clock)
        daemon.pass_by(HOUR)
        sim.fault(_failing())
        daemon.pass_by(HOUR)
    runs = daemon.runs()
    seen = [(outcome.run_id, outcome.status, mode) for outcome, mode in daemon.outcomes]
    assert seen == [(run.run_id, run.status, "sync") for run in runs]
    assert {status for _, status, _ in seen} == {"succeeded", "failed"}
