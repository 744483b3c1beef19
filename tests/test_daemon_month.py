"""A simulated month at slow schedules and a simulated day at the shipped ones, on real platforms.

Every schedule fires as due and none twice, clocks change both ways, each platform and the database
go away for a while, and at the end the tables equal the world.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import databases
import pytest
import world_rows
from daemon_kit import DAY, HOUR, MINUTE, Simulated, clock_at, platforms, simulated, sources
from relay import Relay

from etl.config import Config
from etl.config.firings import next_after
from etl.daemon.tasks import planned
from etl.db import Database, open_database
from etl.ledger.tables import sync_runs
from etl.simulator import Fault, Quirks, Simulator, World

__all__ = ["simulated"]

Make = Callable[..., Simulated]
Servers = Callable[[str], databases.Server]
History = dict[int, Any]
"""Rows of `sync_runs` by their number."""
_SETTLE = 3 * HOUR
"""After the last thing that happens, all that is not final is asked again within so long."""
_PLATFORMS: dict[str, Any] = {"graph": "explorer", "scripts": "act2", "quality": "dataarts"}
_LATE = timedelta(minutes=13)
"""A firing waits at most for the longest pause of its circuit, and for the pass in front of it."""


@dataclass(frozen=True)
class Away:
    """Something is away: one of the sources' platforms, or the database."""

    what: str
    since: datetime
    until: datetime

    def holds(self, at: datetime) -> bool:
        """Whether a firing of that moment may come late or be coalesced with a later one."""
        return self.since - MINUTE <= at <= self.until + _LATE


def _act(act: Callable[[datetime], object]) -> Callable[[datetime], None]:
    def happen(then: datetime) -> None:
        act(then)

    return happen


def _live(world: World, first: datetime, last: datetime, every: timedelta) -> None:
    """Executions begin again and again, run for a while, and end one way or another."""
    dice = Random("live")

    def plan(at: datetime, act: Callable[[datetime], object]) -> None:
        world.life.plan(at, _act(act))

    def job(at: datetime, turn: int) -> None:
        if at > last:
            return
        made = world.explorer.create(at=at, algorithms=("PageRank", "Louvain")[: 1 + turn % 2])
        took = timedelta(seconds=dice.randint(5, 4000))
        plan(at + took / 5, lambda then: world.explorer.start(made.id, then))
        end = world.explorer.fail if turn % 7 == 0 else world.explorer.finish
        plan(at + took, lambda then: end(made.id, at=then))

    def record(at: datetime, turn: int) -> None:
        if at > last:
            return
        made = world.act2.start(hosts=1 + turn % 3, at=at)
        result = ("success", "fail", "timeout")[turn % 3]
        over = at + timedelta(seconds=dice.randint(2, 2000))
        plan(over, lambda then: world.act2.finish(made.id, result, then))

    def instance(at: datetime, turn: int) -> None:
        if at > last:
            return
        made = world.dataarts.start(at=at)
        status = ("SUCCESS", "ALARMING", "FAILED")[turn % 3]
        over = at + timedelta(seconds=dice.randint(2, 2000))
        plan(over, lambda then: world.dataarts.finish(made.id, status, at=then))

    for place, happen in enumerate((job, record, instance)):
        world.life.recur(first + place * MINUTE, every, happen)


def _expected(
    config: Config, since: datetime, until: datetime
) -> dict[tuple[str, str], list[datetime]]:
    """Every firing of every task in (since, until]."""
    found: dict[tuple[str, str], set[datetime]] = {}
    for one in planned(config):
        at = next_after(one.entry, one.task.source, since)
        while at <= until:
            found.setdefault((one.task.source, one.task.command), set()).add(at)
            at = next_after(one.entry, one.task.source, at)
    return {key: sorted(times) for key, times in found.items()}


def _assert_fired_as_due(
    daemon: Simulated, history: History, since: datetime, away: list[Away]
) -> int:
    """Returns the number of firings."""
    claimed: dict[tuple[str, str], list[Any]] = {}
    for run in history.values():
        if run.scheduled_for is not None:
            claimed.setdefault((run.source, run.mode), []).append(run)
    total = 0
    for key, times in _expected(daemon.daemon.config, since, daemon.clock.now()).items():
        excused = [one for one in away if one.what in (key[0], "database")]
        made = Counter(run.scheduled_for for run in claimed[key] if run.scheduled_for > since)
        assert set(made.values()) == {1}, "none twice"
        assert made.keys() <= set(times), "none that was not due"
        missed = [at for at in times if at not in made]
        assert all(any(one.holds(at) for one in excused) for at in missed), (key, missed)
        for run in claimed[key]:
            late = run.started_at - run.scheduled_for
            on_time = late < MINUTE or run.scheduled_for <= since
            assert on_time or any(one.holds(run.scheduled_for) for one in away), (key, run)
        total += len(made)
    return total


def _assert_equal(database: Database, world: World) -> None:
    held = {name: world_rows.table(database, name) for name in (
        "jobs", "tasks", "sample_rows", "job_records", "host_results", "quality_instances",
    )}  # fmt: skip
    records = list(world.act2.records)
    quirks = Quirks()
    for name, wanted in (
        ("jobs", world_rows.jobs(world)),
        ("tasks", world_rows.tasks(world, quirks)),
        ("job_records", world_rows.job_records(records, quirks)),
        ("quality_instances", world_rows.instances(world)),
    ):
        assert held[name].keys() == wanted.keys(), name
        world_rows.assert_holds(held[name], wanted, name)
    ids = {record.id for record in records}
    wanted_hosts = world_rows.host_results(records, quirks)
    assert world_rows.hosts_held(held["host_results"], ids) == wanted_hosts
    samples = world_rows.samples_held(held["sample_rows"])
    for key, rows in world_rows.sample_rows(world).items():
        assert samples.get(key, []) == rows, key


@pytest.fixture
def relayed(servers: Servers) -> Iterator[tuple[Database, Relay]]:
    """A PostgreSQL that can be taken away."""
    with Relay(servers("postgresql").migrated()) as relay:
        database = open_database(relay.url)
        yield database, relay
        database.close()


def _until(daemon: Simulated, moment: datetime, history: History) -> None:
    """The ledger forgets runs that found nothing after a week: they are written down before."""
    while daemon.clock.now() < moment:
        daemon.until(min(moment, daemon.clock.now() + 5 * DAY))
        history |= {run.run_id: run for run in daemon.runs()}


def _let_go_by(
    daemon: Simulated, sim: Simulator, relay: Relay, away: list[Away], end: datetime
) -> History:
    """Time passes; what is to be away is away meanwhile. Returns every run."""
    history: History = {}
    for one in sorted(away, key=lambda each: each.since):
        _until(daemon, one.since, history)
        if one.what == "database":
            relay.down()
        else:
            sim.fault(Fault("status", platform=_PLATFORMS[one.what], status=503, times=None))
        daemon.until(one.until)
        relay.up()
        sim.clear_faults()
    _until(daemon, end, history)
    return history


_SLOW = """
schedules:
  - sync: graph
    every: 1h
  - sync: scripts
    cron: "30 * * * *"
    time_zone: Australia/Sydney
  - sync: quality
    every: 90m
  - sync: quality
    cron: "15 2 * * *"          # skipped on the day that the clocks go forward
    time_zone: Europe/Berlin
  - sync: quality
    cron: "45 2 * * mon-fri"    # twice on the wall on the day that they go back
    time_zone: Australia/Sydney
  - verify: graph
    cron: "0 3 * * 0"
    time_zone: Europe/Berlin
    repair: true
"""


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_simulated_month(relayed: tuple[Database, Relay], simulated: Make) -> None:
    database, relay = relayed
    began = datetime(2027, 3, 10, 9, 17, tzinfo=UTC)
    end = began + 31 * DAY
    assert _offsets("Europe/Berlin", began, end) == [1, 2], "forward"
    assert _offsets("Australia/Sydney", began, end) == [11, 10], "and back"
    world, clock = World.empty(), clock_at(began)
    _live(world, began - DAY, end - _SETTLE, timedelta(minutes=47))
    away = [
        _away("graph", began + 3 * DAY, 2 * HOUR),
        _away("scripts", began + 9 * DAY, 90 * MINUTE),
        _away("database", began + 15 * DAY, 100 * MINUTE),
        _away("quality", began + 21 * DAY, 4 * HOUR),
    ]
    with platforms(world, clock) as sim:
        daemon = simulated(database, sources(sim) + _SLOW, clock=clock)
        history = _let_go_by(daemon, sim, relay, away, end)
        fired = _assert_fired_as_due(daemon, history, began, away)
    assert fired > 1900
    assert len(daemon.runs()) < len(history), "the ledger forgot some that found nothing"
    _assert_equal(database, world)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_simulated_day_at_the_shipped_schedules(
    relayed: tuple[Database, Relay], simulated: Make
) -> None:
    """The day is a Sunday, so that the weekly verify is in it."""
    database, relay = relayed
    began = datetime(2027, 3, 28, 0, 0, tzinfo=UTC)
    end = began + DAY
    world, clock = World.empty(), clock_at(began)
    _live(world, began - DAY, end - _SETTLE, timedelta(minutes=9))
    away = [
        _away("graph", began + 5 * HOUR, HOUR),
        _away("scripts", began + 8 * HOUR, HOUR),
        _away("database", began + 11 * HOUR, HOUR),
        _away("quality", began + 14 * HOUR, HOUR),
    ]
    shipped = (Path(__file__).parent.parent / "schedules.yaml").read_text()
    schedules = shipped[shipped.index("\nschedules:") :]
    with platforms(world, clock) as sim:
        daemon = simulated(database, sources(sim) + schedules, clock=clock)
        history = _let_go_by(daemon, sim, relay, away, end)
        fired = _assert_fired_as_due(daemon, history, began, away)
    assert fired > 1440 * 0.9 + 2 * 288 * 0.9
    assert {run.source for run in daemon.runs(sync_runs.c.mode == "verify")} == set(_PLATFORMS)
    _assert_equal(database, world)


def _away(what: str, since: datetime, time: timedelta) -> Away:
    return Away(what, since, since + time)


def _offsets(zone: str, began: datetime, end: datetime) -> list[float]:
    return [
        (moment.astimezone(ZoneInfo(zone)).utcoffset() or timedelta()) / HOUR
        for moment in (began, end)
    ]
