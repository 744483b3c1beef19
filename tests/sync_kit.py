"""What tests of whole syncs share: the three platforms as sources, one simulator, one clock."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from http_kit import FakeClock
from sqlalchemy import Table, func, select

from etl.db import Database
from etl.ledger.tables import unfinished
from etl.passes import Outcome, Surroundings
from etl.redact import Secret
from etl.schema import metadata
from etl.simulator import Quirks, Simulator, World
from etl.source import Settings, Source
from etl.sources import act2, dataarts, explorer
from etl.sync import sync
from etl.units import Duration, Rate

NAMES = ("graph", "scripts", "quality")
DATA = ("jobs", "tasks", "sample_rows", "job_records", "host_results", "quality_instances")


@dataclass(frozen=True)
class Named:
    """A source of a configuration."""

    name: str
    source: Source
    settings: Settings
    expected_every_s: float | None = 300.0
    stale_after_s: float | None = None


def sources(sim: Simulator, names: Sequence[str] = NAMES, **changes: Any) -> dict[str, Named]:
    """The platforms `names` of a simulator; `changes` are settings of all of them."""
    own = sim.credentials
    common: dict[str, Any] = {"timeout": Duration(5), **changes}
    made: tuple[tuple[Source, Mapping[str, Any]], ...] = (
        (explorer.SOURCE, {"url": sim.explorer_url, "token": Secret(own.explorer_token)}),
        (act2.SOURCE, {"url": sim.act2_url, "time_zone": "Asia/Shanghai"}),
        (
            dataarts.SOURCE,
            {
                "url": sim.dataarts_url,
                "project_id": own.project_id,
                "workspace": own.workspace,
                "token": Secret(own.dataarts_token),
                "rate_limit": Rate.parse("none"),
            },
        ),
    )
    return {
        name: Named(name, source, source.settings(api=source.api, **{**own_settings, **common}))
        for name, (source, own_settings) in zip(NAMES, made, strict=True)
        if name in names
    }


@dataclass
class Syncing:
    """A database and a simulator whose world lives by the clock of the syncs."""

    database: Database
    sim: Simulator
    clock: FakeClock = field(default_factory=FakeClock)

    @classmethod
    def over(cls, database: Database, world: World, quirks: Quirks | None = None) -> Syncing:
        """A simulator of `world`, whose time is that of the syncs; not started yet."""
        made = cls(database, Simulator(world, quirks))
        world.clock = made.clock.now
        return made

    @contextmanager
    def running(self) -> Iterator[Syncing]:
        """Serves meanwhile."""
        with self.sim:
            yield self

    def sync(self, name: str, *, by_hand: bool = True, **changes: Any) -> Outcome:
        """One pass, however it ends."""
        around = Surroundings(
            self.database, threading.Event(), lambda *_: None, self.clock, all_due=by_hand
        )
        return sync(sources(self.sim, **changes)[name], around)

    def synced(self, name: str, **more: Any) -> Outcome:
        """One pass that must succeed."""
        outcome = self.sync(name, **more)
        assert outcome.error is None, outcome.error
        return outcome


def data_of(database: Database) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of the data tables, with all columns."""
    with database.reading() as connection:
        return {
            name: [
                tuple(row)
                for row in connection.execute(
                    select(metadata.tables[name]).order_by(*metadata.tables[name].primary_key)
                )
            ]
            for name in DATA
        }


def count(database: Database, table: Table) -> int:
    with database.reading() as connection:
        return int(connection.execute(select(func.count()).select_from(table)).scalar_one())


def owed(database: Database, name: str) -> int:
    """What the source owes and still asks for."""
    statement = select(func.count()).where(
        unfinished.c.source == name, unfinished.c.given_up_at.is_(None)
    )
    with database.reading() as connection:
        return int(connection.execute(statement).scalar_one())
