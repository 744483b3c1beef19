"""A daemon whose time is in the test's hand: the real one, on real platforms and databases.

Nothing sleeps: the clock jumps to the next firing, and passes run one after the other.
"""

from __future__ import annotations

import datetime as datetimes
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from http_kit import START, FakeClock
from sqlalchemy import select

from etl import config
from etl.daemon.service import Daemon
from etl.daemon.state import DaemonState
from etl.db import Database
from etl.ledger.tables import sync_runs
from etl.passes import Outcome, Surroundings
from etl.simulator import Simulator, World

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)


def sources(sim: Simulator, *names: str, more: str = "") -> str:
    """The `sources` of a schedules.yaml for the simulator; `more` are settings of all of them."""
    own = sim.credentials
    texts = {
        "graph": f"api: explorer\n    url: {sim.explorer_url}\n    token: {own.explorer_token}",
        "scripts": f"api: act2\n    url: {sim.act2_url}\n    time_zone: Asia/Shanghai",
        "quality": f"api: dataarts\n    url: {sim.dataarts_url}\n    rate_limit: none"
        f"\n    project_id: {own.project_id}\n    workspace: {own.workspace}"
        f"\n    token: {own.dataarts_token}",
    }
    chosen = names or tuple(texts)
    defaults = f"defaults:\n  timeout: 5s\n{more}\n"
    return defaults + "sources:\n" + "".join(f"  {n}:\n    {texts[n]}\n" for n in chosen)


@dataclass
class Simulated:
    """A daemon and its clock; `runs` reads what it did."""

    daemon: Daemon
    database: Database
    clock: FakeClock
    file: Path
    stop: threading.Event
    outcomes: list[tuple[Outcome, str]] = field(default_factory=list)

    def until(self, moment: datetime) -> None:
        """Lets everything happen that is due until then."""
        while not self.stop.is_set():
            self.daemon.lanes.run_all()
            wait_s = self.daemon.turn()
            if self.busy:
                continue
            left_s = (moment - self.clock.now()).total_seconds()
            if left_s <= 0:
                return
            step_s = left_s if wait_s is None else min(wait_s, left_s)
            self.clock.advance(max(step_s, 0.001))

    def pass_by(self, time: timedelta) -> None:
        self.until(self.clock.now() + time)

    def sleep(self, time: timedelta) -> None:
        """The machine is suspended for so long."""
        self.clock.advance(time.total_seconds())

    @property
    def busy(self) -> bool:
        return any(lane.waits for lane in self.daemon.lanes.all())

    def runs(self, *where: Any) -> list[Any]:
        return runs(self.database, *where)


def runs(database: Database, *where: Any) -> list[Any]:
    """Rows of `sync_runs`, in their order."""
    with database.reading() as connection:
        statement = select(sync_runs).where(*where).order_by(sync_runs.c.run_id)
        return list(connection.execute(statement))


@pytest.fixture
def simulated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Simulated]:
    """Makes a daemon with an injected clock: `simulated(database, text)`."""
    return lambda database, text, **more: make(monkeypatch, tmp_path, database, text, **more)


def make(
    monkeypatch: pytest.MonkeyPatch,
    directory: Path,
    database: Database,
    text: str,
    *,
    clock: FakeClock | None = None,
    start: bool = True,
) -> Simulated:
    clock = clock or FakeClock()
    at = clock

    class Now(datetimes.datetime):
        """APScheduler asks the module's datetime for the time."""

        @classmethod
        def now(cls, tz: datetimes.tzinfo | None = None) -> Any:
            return at.now().astimezone(tz or UTC)

    monkeypatch.setattr("apscheduler.schedulers.base.datetime", Now)
    file = directory / "schedules.yaml"
    file.write_text(text)
    stop = threading.Event()
    around = Surroundings(database, stop, lambda *_: None, clock)
    outcomes: list[tuple[Outcome, str]] = []
    daemon = Daemon(
        lambda: config.load(file, {}),
        around,
        DaemonState(clock.now()),
        lambda outcome, mode: outcomes.append((outcome, mode)),
        threads=False,
    )
    made = Simulated(daemon, database, clock, file, stop, outcomes)
    if start:
        daemon.start()
    return made


@contextmanager
def platforms(world: World, clock: FakeClock) -> Iterator[Simulator]:
    """All three, in a world that lives by that clock."""
    world.clock = clock.now
    with Simulator(world) as sim:
        yield sim


class Hands(FakeClock):
    """A clock whose hands can be moved without time passing."""

    def __init__(self) -> None:
        super().__init__()
        self._moved = timedelta()

    def now(self) -> datetime:
        return super().now() + self._moved

    def set_back(self, by: timedelta) -> None:
        self._moved -= by


def clock_at(moment: datetime) -> Hands:
    clock = Hands()
    clock.advance((moment - START).total_seconds())
    return clock
