"""Parts of the daemon one by one: when entries fire, how lanes and circuits behave."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from daemon_kit import DAY, HOUR, MINUTE, Simulated, clock_at, platforms, simulated, sources
from msgspec.structs import replace
from sqlalchemy import select

from etl import cron
from etl.config import Entry, Options
from etl.config.firings import jitter, last_until, next_after
from etl.daemon.circuit import Circuit
from etl.daemon.lanes import Lane, Lanes
from etl.daemon.scheduler import EntryTrigger
from etl.daemon.tasks import Firing, Planned, Task
from etl.db import Database
from etl.errors import Refused, Transient, Unauthorized
from etl.ledger.tables import completeness, sync_runs
from etl.simulator import World

__all__ = ["simulated"]

NOON = datetime(2027, 3, 10, 12, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)
Make = Callable[..., Simulated]


def _every(seconds: float) -> Entry:
    return Entry("sync", ("graph",), every_s=seconds)


def _cron(line: str, zone: str = "UTC") -> Entry:
    return Entry("sync", ("graph",), cron=cron.parse(line), time_zone=ZoneInfo(zone))


@pytest.mark.parametrize(
    "entry",
    [
        _every(1),
        _every(0.25),
        _every(300),
        _every(7 * 86400),
        _cron("* * * * *"),
        _cron("@daily", "Asia/Shanghai"),
        _cron("0 3 * * 0", "Europe/Berlin"),
        _cron("0 0 29 2 *"),
    ],
    ids=str,
)
def test_the_last_and_the_next_firing_are_neighbours(entry: Entry) -> None:
    for moment in (NOON, NOON + timedelta(seconds=37.5), datetime(2027, 3, 28, 1, 30, tzinfo=UTC)):
        last, following = last_until(entry, "graph", moment), next_after(entry, "graph", moment)
        assert last <= moment < following
        assert next_after(entry, "graph", last) == following
        assert last_until(entry, "graph", last) == last


def test_every_is_a_multiple_of_the_interval_with_a_jitter_of_the_name() -> None:
    entry = _every(300)
    shifts = {
        name: (next_after(entry, name, NOON) - datetime(1970, 1, 1, tzinfo=UTC)) % (300 * SECOND)
        for name in ("graph", "scripts", "quality")
    }
    assert shifts == {name: jitter(entry, name) for name in shifts}
    assert len(set(shifts.values())) == 3
    assert max(shifts.values()) < 30 * SECOND
    assert jitter(_every(86400), "graph") < MINUTE
    assert jitter(_every(1), "graph") < SECOND / 10


def test_the_trigger_jumps_over_what_was_slept_through() -> None:
    trigger = EntryTrigger(Planned(Task("graph", "sync"), _every(1)))
    slept = trigger.get_next_fire_time(NOON, NOON + 200 * DAY)
    assert NOON + 200 * DAY - slept < SECOND
    following = trigger.get_next_fire_time(slept, NOON + 200 * DAY)
    assert following - slept == SECOND


def test_a_circuit_opens_longer_each_time_and_closes_at_once() -> None:
    circuit, at, pauses = Circuit(dice=lambda: 1.0), NOON, []
    for _ in range(9):
        until = circuit.failed(Refused("no"), at)
        pauses.append((until - at).total_seconds())
        assert circuit.waits(at) == until
        assert circuit.waits(until) is None
        at = until
    assert pauses == [15, 30, 60, 120, 240, 480, 600, 600, 600]
    circuit.succeeded()
    assert circuit.waits(at) is None
    assert circuit.failed(None, at) - at == 15 * SECOND


def test_a_circuit_heeds_the_platform_and_refused_credentials() -> None:
    wish = Circuit(dice=lambda: 1.0).failed(Transient("busy", retry_after_s=1000), NOON)
    assert wish - NOON == 1000 * SECOND
    refused = Circuit(dice=lambda: 1.0).failed(Unauthorized("no"), NOON)
    assert refused - NOON == 300 * SECOND


def test_tries_are_spread() -> None:
    pauses = {Circuit().failed(None, NOON) for _ in range(20)}
    assert len(pauses) > 10
    assert all(11 * SECOND < until - NOON < 19 * SECOND for until in pauses)


def test_a_lane_that_hangs_holds_up_no_other() -> None:
    hanging, go_on = threading.Event(), threading.Event()
    done: list[str] = []
    finished = threading.Event()

    def perform(firing: Firing) -> None:
        if firing.task.source == "graph":
            hanging.set()
            go_on.wait(30)
            return
        done.append(firing.task.source)
        if len(done) == 100:
            finished.set()

    lanes = Lanes(perform)
    lanes.offer(Firing(Task("graph", "sync"), NOON))
    assert hanging.wait(10)
    for number in range(100):
        lanes.offer(Firing(Task("scripts", "sync", place=number), NOON))
    assert finished.wait(10)
    assert lanes.end(0.1) == ["graph"]
    go_on.set()
    assert lanes.end(10) == []


def test_a_lane_coalesces_a_task_and_takes_the_longest_due_first() -> None:
    done: list[Firing] = []
    lane = Lane("graph", done.append)
    sync, verify = Task("graph", "sync"), Task("graph", "verify")
    for firing in (
        Firing(sync, NOON),
        Firing(verify, NOON + SECOND),
        Firing(sync, NOON + 5 * SECOND),
        Firing(sync, NOON + 3 * SECOND, claims=False),
    ):
        lane.offer(firing)
    lane.run_all()
    assert done == [Firing(verify, NOON + SECOND), Firing(sync, NOON + 5 * SECOND)]


def test_tasks_with_other_options_claim_moments_of_their_own() -> None:
    first = Firing(Task("graph", "verify", Options(repair=True)), NOON)
    second = Firing(Task("graph", "verify", Options(), 1), NOON)
    assert first.scheduled_for == NOON
    assert second.scheduled_for == NOON + timedelta(microseconds=1)
    assert replace(first, claims=False).scheduled_for is None


def test_entries_fire_with_their_options_for_one_source_a_list_or_all(
    database: Database, simulated: Make
) -> None:
    clock, world = clock_at(NOON), World.empty()
    world.explorer.finish(world.explorer.create(at=NOON - 40 * DAY).id, at=NOON - 40 * DAY)
    kept = world.explorer.create(at=NOON - 2 * DAY)
    world.explorer.finish(kept.id, at=NOON - 2 * DAY)
    text = """
schedules:
  - sync: all
    every: 1h
  - verify: [graph, scripts]
    since: 7d
    repair: true
    cron: "30 13 * * *"
  - verify: graph
    cron: "30 13 * * *"
  - prune: graph
    older_than: 30d
    cron: "45 13 * * *"
"""
    with platforms(world, clock) as sim:
        daemon = simulated(database, sources(sim) + text, clock=clock)
        daemon.pass_by(HOUR)
        world.explorer.create(at=NOON - 3 * DAY)  # behind the cursor: only verify finds it
        daemon.pass_by(HOUR)
    at = NOON + 1.5 * HOUR
    verified = daemon.runs(sync_runs.c.mode == "verify")
    assert sorted((run.source, run.scheduled_for) for run in verified) == [
        ("graph", at),
        ("graph", at + timedelta(microseconds=1)),
        ("scripts", at),
    ]
    [pruned] = daemon.runs(sync_runs.c.mode == "prune")
    assert (pruned.source, pruned.scheduled_for) == ("graph", NOON + 1.75 * HOUR)
    assert {run.status for run in daemon.runs()} == {"succeeded"}
    with database.reading() as connection:
        begun = connection.execute(select(completeness.c.since)).scalars().all()
        jobs = connection.exec_driver_sql("SELECT job_id FROM jobs ORDER BY job_id")
        assert all(since is None or since.day == 1 for since in begun), "whole months"
        assert [job for (job,) in jobs] == [2, 3], "repaired, and pruned"


def test_the_moments_of_a_minute_schedule_are_a_minute_apart_across_both_clock_changes() -> None:
    for zone, day in (("Europe/Berlin", (2027, 3, 28)), ("Europe/Berlin", (2027, 10, 31))):
        entry, at = _cron("*/10 * * * *", zone), datetime(*day, tzinfo=UTC) - HOUR
        times = [at]
        while times[-1] < at + 5 * HOUR:
            times.append(next_after(entry, "graph", times[-1]))
        assert {b - a for a, b in pairwise(times)} == {10 * MINUTE}


def test_a_source_that_no_schedule_syncs_is_named(
    database: Database, simulated: Make, caplog: pytest.LogCaptureFixture
) -> None:
    with platforms(World.empty(), clock := clock_at(NOON)) as sim:
        only = "schedules:\n  - sync: graph\n    every: 1h\n"
        simulated(database, sources(sim) + only, clock=clock)
    warned = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert warned == [
        "no schedule syncs the source 'scripts'",
        "no schedule syncs the source 'quality'",
    ]
