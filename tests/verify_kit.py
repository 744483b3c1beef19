"""What the tests of verify and prune share: copied worlds, and holes planted behind their back."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

from http_kit import START
from sqlalchemy import Table, delete, func, select, update
from sync_kit import Named, Syncing, sources

from etl.db import Database
from etl.ledger.tables import completeness
from etl.passes import Surroundings
from etl.prune import Pruned, prune
from etl.schema import metadata
from etl.simulator import HostRow, Instance, Quirks, World
from etl.simulator.quality import FIRST_ID, task_id
from etl.simulator.scripts import Record, uuid_like
from etl.simulator.times import ms
from etl.units import Since
from etl.verify import Verified, Window, verify

T = TypeVar("T")
DAY = timedelta(days=1)
EXECUTIONS = {"graph": "jobs", "scripts": "job_records", "quality": "quality_instances"}
LISTED_BY = {"graph": "created_at", "scripts": "started_at", "quality": "started_at"}


def history(days: int = 75, now: datetime = START) -> World:
    """A finished execution a day on each platform, the last one yesterday: three months of them."""
    world = World.empty(now)
    for place in range(days):
        add(world, place, now - DAY * (days - place))
    return world


def add(world: World, place: int, at: datetime) -> None:
    """The execution number `place` on each platform."""
    job = world.explorer.create("flow", ("PageRank", "Louvain"), at)
    rows = {"PageRank": [["a", "1"], ["b", "2"]], "Louvain": [["a", "7"]]}
    world.explorer.finish(job.id, at=at + timedelta(seconds=9), samples=rows)
    hosts = world.act2.pool[:2]
    world.act2.add(
        Record(
            uuid_like(f"copied {place}"),
            at,
            end=at + timedelta(seconds=5),
            execute_status="done",
            result_status="success",
            hosts="[" + ",".join(f'"{host.id}"' for host in hosts) + "]",
            script="uptime",
            rows=[HostRow(host, "success", f"up {place} days") for host in hosts],
        )
    )
    name = f"check {place % 3}"
    world.dataarts.add(
        Instance(
            FIRST_ID + place, name, task_id(name), ms(at), run_status="SUCCESS", end=ms(at) + 5000
        )
    )


@dataclass
class Proving(Syncing):
    """A copied world that is verified and pruned."""

    def around(self) -> Surroundings:
        return Surroundings(self.database, threading.Event(), lambda *_: None, self.clock)

    def named(self, name: str, **changes: Any) -> Named:
        return sources(self.sim, **changes)[name]

    def verify(
        self,
        name: str,
        *,
        repair: bool = False,
        since: datetime | None = None,
        until: datetime | None = None,
        **changes: Any,
    ) -> Verified:
        """One verify that must reach its end."""
        verified = verify(
            self.named(name, **changes), self.around(), since=since, until=until, repair=repair
        )
        assert verified.outcome.error is None, verified.outcome.error
        return verified

    def prune(self, name: str, before: datetime, *, dry_run: bool = False) -> Pruned:
        pruned = prune(self.named(name), self.around(), before=before, dry_run=dry_run)
        assert pruned.outcome.error is None, pruned.outcome.error
        return pruned

    def ids(self, name: str) -> list[Any]:
        """Ids of the executions that the database holds, oldest first."""
        table = metadata.tables[EXECUTIONS[name]]
        key = next(c for c in table.primary_key if c.name != "source")
        with self.database.reading() as connection:
            statement = select(key).order_by(table.c[LISTED_BY[name]], key)
            return list(connection.execute(statement).scalars())

    def alter(self, name: str, id_: Any, **values: Any) -> None:
        """Changes an execution's row, as somebody with a shell might."""
        table = metadata.tables[EXECUTIONS[name]]
        with self.database.writing() as connection:
            connection.execute(update(table).where(table.c[key_of(table)] == id_).values(**values))

    def delete(self, id_: Any, *tables: str) -> int:
        """Deletes all rows of one execution from `tables`, children first."""
        hit = 0
        with self.database.writing() as connection:
            for name in tables:
                table = metadata.tables[name]
                hit += connection.execute(
                    delete(table).where(table.c[key_of(table)] == id_)
                ).rowcount
        assert hit, f"there was nothing of {id_} to delete"
        return hit

    def seen(self, work: Callable[[], T]) -> tuple[T, list[str]]:
        """What `work` came to, and the paths of the requests that it made."""
        before = len(self.sim.requests)
        result = work()
        return result, [one.path for one in self.sim.requests[before:]]

    def gone(self, name: str) -> list[Any]:
        """Ids of the executions that are marked as gone upstream."""
        table = metadata.tables[EXECUTIONS[name]]
        statement = select(table.c[key_of(table)]).where(table.c.upstream_gone_at.is_not(None))
        with self.database.reading() as connection:
            return list(connection.execute(statement.order_by(table.c.started_at)).scalars())

    def lose(self, name: str, *ids: Any) -> None:
        """The platform has lost them."""
        world = self.sim.world
        lost = {"graph": world.explorer, "scripts": world.act2, "quality": world.dataarts}[name]
        for id_ in ids:
            lost.delete(id_)  # type: ignore[attr-defined]  # all three can


def key_of(table: Table) -> str:
    """The first column of the key after `source`: the execution's id."""
    return next(c.name for c in table.primary_key if c.name != "source")


@contextmanager
def copied(
    database: Database,
    name: str,
    world: World | None = None,
    since: Since | None = None,
    **quirks: Any,
) -> Iterator[Proving]:
    """The world, served, and one source of it copied whole (or from `since`) a day later."""
    with served(database, world, **quirks) as proving:
        proving.clock.advance(86400)
        proving.synced(name, since=since)
        yield proving


@contextmanager
def served(database: Database, world: World | None = None, **quirks: Any) -> Iterator[Proving]:
    """The world, served, and nothing copied yet."""
    proving = Proving.over(database, world or history(), Quirks(**quirks))
    assert isinstance(proving, Proving)
    with proving.running():
        yield proving


CHILDREN: Mapping[str, tuple[str, ...]] = {
    "graph": ("sample_rows", "tasks"),
    "scripts": ("host_results",),
    "quality": (),
}
"""The tables below the executions, lowest first."""


def tables(name: str) -> tuple[str, ...]:
    """All tables of a platform, lowest first."""
    return (*CHILDREN[name], EXECUTIONS[name])


def totals(windows: Sequence[Window]) -> dict[str, int]:
    """What was found in all windows together."""
    names = ("missing", "differing", "short", "gone", "repaired", "marked")
    return {name: sum(getattr(window, name) for window in windows) for name in names}


def verdicts(verified: Verified) -> set[str]:
    return {window.verdict for window in verified.windows}


def kept(database: Database) -> list[Any]:
    """The rows of `completeness`, in order."""
    with database.reading() as connection:
        return list(
            connection.execute(select(completeness).order_by(completeness.c.check_id)).mappings()
        )


def count(database: Database, name: str) -> int:
    with database.reading() as connection:
        return int(
            connection.execute(select(func.count()).select_from(metadata.tables[name])).scalar_one()
        )
