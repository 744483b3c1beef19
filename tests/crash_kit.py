"""What the tests of crashes and stops share: platforms, runs of `etl`, and what they left."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import command_line
import pytest
from crashing import Ended, Instant, Nursery, Order
from sqlalchemy import Connection, Table, inspect, select

from etl.db import Database, open_database
from etl.ledger.tables import (
    rejected_records,
    sync_cursors,
    sync_leases,
    sync_runs,
    unfinished,
)
from etl.schema import metadata
from etl.simulator import Fault, Quirks, Simulator, World, environment

NOW = datetime(2026, 11, 22, 8, tzinfo=UTC)
DATA = (
    "jobs",
    "tasks",
    "sample_rows",
    "job_records",
    "host_results",
    "quality_instances",
)
SOURCES = ("graph", "scripts", "quality")
NEWEST_FIRST = Quirks(
    explorer_ignores="filter", dataarts_ignores_window=True, act2_shape="doc", act2_order="desc"
)
"""Every platform lists newest first, and none of them knows a filter."""

_MARIADB = pytest.param("mariadb", marks=pytest.mark.long)
POSTGRESQL_AND_LONG = ("postgresql", _MARIADB)
SQLITE_AND_LONG = ("sqlite", pytest.param("postgresql", marks=pytest.mark.long), _MARIADB)
"""Databases, of which the quick suite takes the first."""

_WHEN = {"first_synced_at", "changed_at"}
_UNDER_WAY = {"pending", "running", "paused", "stopping"}
_SCHEDULES = """\
defaults: {timeout: 2s, overlap: 1s, lease: LEASE}
sources:
  graph: {api: explorer, url: "${EXPLORER_URL}", token: "${EXPLORER_TOKEN}", page_size: 7}
  scripts: {api: act2, url: "${ACT2_URL}", time_zone: Asia/Shanghai, page_size: 4}
  quality:
    api: dataarts
    url: ${DATAARTS_URL}
    project_id: ${HUAWEI_PROJECT_ID}
    workspace: ${DATAARTS_WORKSPACE}
    rate_limit: none
    page_size: 10
    iam:
      url: ${IAM_URL}
      domain: ${HUAWEI_DOMAIN}
      username: ${HUAWEI_USER}
      password: ${HUAWEI_PASSWORD}
"""

Contents = dict[str, list[tuple[Any, ...]]]


@dataclass
class Stage:
    """Three platforms that stand still, and a place to run `etl` from."""

    sim: Simulator
    nursery: Nursery
    folder: Path
    runs: Iterator[int]

    @property
    def variables(self) -> dict[str, str]:
        """The environment of a run."""
        password = self.sim.credentials.huawei_password
        return {**environment(self.sim), "HUAWEI_PASSWORD": password}

    def arguments(self, url: str, sources: Sequence[str] = (), lease: str = "30s") -> list[str]:
        """The words after `etl` for a sync."""
        path = self.folder / f"{lease}.yaml"
        path.write_text(_SCHEDULES.replace("LEASE", lease), encoding="utf-8")
        return ["--config", str(path), "--database", url, "sync", *sources]

    def sync(
        self,
        url: str,
        instant: Instant | None = None,
        sources: Sequence[str] = (),
        *,
        lease: str = "30s",
        **more: Any,
    ) -> Ended:
        """One sync in a process of its own; it never ends with a traceback. `more`: see `Order`."""
        output = self.folder / f"{next(self.runs)}.txt"
        words = self.arguments(url, sources, lease)
        order = replace(Order(words, str(output), self.variables, instant=instant), **more)
        ended = self.nursery.run(order)
        assert "Traceback" not in ended.output, ended.output
        return ended

    def synced(self, url: str, sources: Sequence[str] = (), *, lease: str = "30s") -> None:
        """One sync that must succeed."""
        ended = self.sync(url, sources=sources, lease=lease)
        assert ended.code == 0, ended.output

    @contextmanager
    def process(self, url: str, sources: Sequence[str] = ()) -> Iterator[subprocess.Popen[bytes]]:
        """`python -m etl` as a user starts it, killed at the end if it still lives; its output
        is in `printed`."""
        with self.printed.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "etl", *self.arguments(url, sources)],
                env=command_line.environment(self.variables),
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            yield process
        finally:
            process.kill()
            process.wait(10)

    @property
    def printed(self) -> Path:
        """What the last `process` printed."""
        return self.folder / "process.txt"

    def at_request(self, number: int, action: Callable[[], object]) -> None:
        """Does something when the platforms get their `number`th request (from 1) from now."""
        requests = count(1)

        def harmless(_: object) -> bool:
            if next(requests) == number:
                action()
            return False

        self.sim.fault(Fault("delay", times=None, when=harmless))


@contextmanager
def stage(
    nursery: Nursery, folder: Path, quirks: Quirks | None = None, world: World | None = None
) -> Iterator[Stage]:
    with Simulator(world or World.believable(7, NOW, days=3), quirks) as sim:
        yield Stage(sim, nursery, folder, count())


@contextmanager
def opened(url: str) -> Iterator[Database]:
    database = open_database(url)
    try:
        yield database
    finally:
        database.close()


def contents(url: str) -> Contents:
    """Every data table: all columns but the two that tell when a row came here, and what is owed
    or rejected."""
    with opened(url) as database, database.reading() as connection:
        found = {name: _rows(connection, metadata.tables[name]) for name in DATA}
        u, r = unfinished.c, rejected_records.c
        found["unfinished"] = _sorted(connection, u.source, u.kind, u.id)
        found["rejected_records"] = _sorted(connection, r.source, r.fingerprint, r.reason)
        return found


def _rows(connection: Connection, table: Table) -> list[tuple[Any, ...]]:
    columns = [column for column in table.c if column.name not in _WHEN]
    key = list(table.primary_key.columns)
    return [tuple(row) for row in connection.execute(select(*columns).order_by(*key))]


def _sorted(connection: Connection, *columns: Any) -> list[tuple[Any, ...]]:
    return sorted(tuple(row) for row in connection.execute(select(*columns)))


def assert_same(found: Contents, wanted: Contents) -> None:
    """Compares table by table, and says which rows differ rather than show them all."""
    for name, rows in wanted.items():
        here, there = _lasting(found[name], name), _lasting(rows, name)
        missing = [row for row in there if row not in set(here)]
        added = [row for row in here if row not in set(there)]
        differs = f"{name}: missing {missing[:3]}, added {added[:3]}"
        assert (missing, added, len(here)) == ([], [], len(there)), differs


def _lasting(rows: list[tuple[Any, ...]], name: str) -> list[tuple[Any, ...]]:
    """A sample that fails is asked for four times in all: a killed pass may have used a try up."""
    return [row for row in rows if name != "unfinished" or row[1] != "sample"]


def cursors(url: str) -> dict[str, Mapping[str, Any]]:
    """The position of each source that has one."""
    c = sync_cursors.c
    with opened(url) as database, database.reading() as connection:
        found = connection.execute(select(c.source, c.position))
        return {source: json.loads(position) for source, position in found}


def run_rows(url: str, source: str) -> list[Any]:
    """The source's rows of `sync_runs`, oldest first."""
    statement = select(sync_runs).where(sync_runs.c.source == source).order_by(sync_runs.c.run_id)
    with opened(url) as database, database.reading() as connection:
        return list(connection.execute(statement))


def holders(url: str) -> list[str]:
    """Sources whose seat is held."""
    statement = select(sync_leases.c.source).where(sync_leases.c.holder.is_not(None))
    with opened(url) as database, database.reading() as connection:
        return [str(source) for source in connection.execute(statement).scalars()]


def assert_closed(url: str, last: str = "succeeded") -> None:
    """The ledger agrees with what happened: no run is open, no seat is held, the figures add up."""
    assert holders(url) == []
    for source in SOURCES:
        runs = run_rows(url, source)
        assert [run.status for run in runs if run.status == "running"] == []
        assert not runs or runs[-1].status == last
        for run in runs:
            came = run.rows_written + run.rows_unchanged + run.rows_rejected
            assert run.rows_read == came


def assert_honest(url: str, wanted: Contents) -> None:
    """What is true at any instant, not only after the next sync: a cursor says that everything up
    to it is complete (guarantee 2), and what is not over stands in `unfinished` (guarantee 4)."""
    if not _is_migrated(url):
        return
    found, at = contents(url), cursors(url)
    owed = {id_ for _, _, id_ in found["unfinished"]}
    for name in ("jobs", "job_records", "quality_instances"):
        place = _columns(name).index("status")
        under_way = {str(row[1]) for row in found[name] if row[place] in _UNDER_WAY}
        assert under_way <= owed, f"{name}: nobody would ask again"
    if "graph" in at:
        created = datetime.fromisoformat(at["graph"]["created_at"])
        ids = _before(wanted["jobs"], "jobs", "created_at", created, owed)
        for name in ("jobs", "tasks", "sample_rows"):
            _assert_holds(found[name], [row for row in wanted[name] if row[1] in ids], name)
    if "quality" in at:
        started = datetime.fromtimestamp(at["quality"]["started_at"] / 1000, UTC)
        name = "quality_instances"
        ids = _before(wanted[name], name, "started_at", started, owed)
        _assert_holds(found[name], [row for row in wanted[name] if row[1] in ids], name)


def _columns(table: str) -> list[str]:
    return [column.name for column in metadata.tables[table].c if column.name not in _WHEN]


def _is_migrated(url: str) -> bool:
    with opened(url) as database, database.reading() as connection:
        return inspect(connection).has_table(sync_cursors.name)


def _before(
    rows: list[tuple[Any, ...]], table: str, column: str, moment: datetime, owed: set[str]
) -> set[Any]:
    place = _columns(table).index(column)
    return {row[1] for row in rows if row[place] < moment and str(row[1]) not in owed}


def _assert_holds(found: list[tuple[Any, ...]], rows: list[tuple[Any, ...]], name: str) -> None:
    held = set(found)
    assert [row for row in rows if row not in held][:3] == [], f"{name}: behind the cursor"
