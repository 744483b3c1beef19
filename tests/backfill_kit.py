"""What tests of backfills share: a world, a backfill over it, and what both left."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count
from typing import Any

from crash_kit import DATA
from http_kit import START
from sqlalchemy import delete, select
from sync_kit import Syncing, sources

from etl.backfill import Order, Range, Standing, backfill
from etl.db import Database
from etl.ledger import backfills
from etl.ledger.backfills import Backfill, Window
from etl.ledger.tables import unfinished
from etl.passes import Outcome, Surroundings
from etl.schema import metadata
from etl.simulator import Fault, Quirks, Simulator, World
from etl.simulator.wire import Request
from etl.units import Rate

_WHEN = {"first_synced_at", "changed_at"}
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
"""Platforms with what they do where their documents are silent, by the source's name."""


@dataclass
class Watched:
    """A watcher that keeps what it was told."""

    lines: list[str] = field(default_factory=list)
    standing: Standing | None = None

    def says(self, line: str) -> None:
        self.lines.append(line)

    def watches(self, standing: Standing) -> None:
        self.standing = standing


@dataclass
class Backfilling(Syncing):
    """A simulator, and backfills from it."""

    watched: Watched = field(default_factory=Watched)
    stop: threading.Event = field(default_factory=threading.Event)

    def backfill(
        self,
        name: str,
        since: str | int,
        until: str | None = None,
        restore: bool = False,
        slower: Rate | None = None,
        settings: dict[str, Any] | None = None,
        **order: Any,
    ) -> Outcome:
        """One run, however it ends; an int is the number of a backfill to go on with."""
        self.watched, self.stop = Watched(), threading.Event()
        around = Surroundings(self.database, self.stop, lambda *_: None, self.clock, slower=slower)
        if isinstance(since, int):
            given = Order(backfill_id=since, **order)
        else:
            given = Order(Range(since, until, restore), **order)
        configured = sources(self.sim, **(settings or {}))[name]
        return backfill(configured, given, around, self.watched)

    def done(self, name: str, since: str | int, *rest: Any, **more: Any) -> Outcome:
        """One run that must succeed."""
        outcome = self.backfill(name, since, *rest, **more)
        assert outcome.error is None, outcome.error
        return outcome

    @property
    def planned(self) -> list[Backfill]:
        """Every backfill, the latest first."""
        with self.database.reading() as connection:
            return backfills.every(connection)

    def windows(self, backfill_id: int = 1) -> list[Window]:
        with self.database.reading() as connection:
            return backfills.windows(connection, backfill_id)

    def statuses(self, backfill_id: int = 1) -> set[str]:
        return {window.status for window in self.windows(backfill_id)}


@contextmanager
def over(
    database: Database, world: World | None = None, quirks: Quirks | None = None
) -> Iterator[Backfilling]:
    """Three days of a data team up to now, where the world stands still."""
    made = Backfilling(database, Simulator(world or a_world(), quirks))
    made.sim.world.clock = lambda: START
    with made.running():
        yield made


def a_world(days: int = 3) -> World:
    """What happened up to the moment of the tests."""
    return World.believable(7, START, days=days)


def held(database: Database, tables: Sequence[str] = DATA) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of the data tables without the times when it came, and what is owed."""
    found: dict[str, list[tuple[Any, ...]]] = {}
    with database.reading() as connection:
        for name in tables:
            table = metadata.tables[name]
            columns = [column for column in table.c if column.name not in _WHEN]
            rows = connection.execute(select(*columns).order_by(*table.primary_key))
            found[name] = [tuple(row) for row in rows]
        owed = select(unfinished.c.kind, unfinished.c.id)
        found["unfinished"] = sorted(tuple(row) for row in connection.execute(owed))
    return found


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


def stop_at(backfilling: Backfilling, request: int) -> None:
    """Tells the run to stop when the platform gets that request from now on."""
    numbers = count(1)

    def harmless(_: Request) -> bool:
        if next(numbers) == request:
            backfilling.stop.set()
        return False

    backfilling.sim.fault(Fault("delay", times=None, when=harmless))


def a_window() -> Callable[[Request], bool]:
    """Whether a request asks for the window that holds a certain moment."""
    moment = int((START - timedelta(minutes=45)).timestamp() * 1000)

    def bad(request: Request) -> bool:
        begins, ends = (int(request.params.get(f"{side}_time", 0)) for side in ("start", "end"))
        return begins <= moment < ends - 2 and ends - begins < 1_200_000

    return bad
