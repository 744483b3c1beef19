"""Guarantee 3: nothing changed, nothing written, and a handful of requests whatever the history."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any

import databases
import pytest
from http_kit import START
from sqlalchemy import Connection, func, select, text, update
from sync_kit import DATA, NAMES, Syncing, count, data_of, owed

from etl.db import Database, open_database
from etl.ledger.tables import sources, unfinished
from etl.schema import metadata
from etl.simulator import Fault, Quirks, World
from etl.simulator.graphs import Job
from etl.simulator.times import ms
from etl.simulator.wire import Request
from etl.units import Since

AT_MOST = 10
"""Requests of a source in a pass with nothing new (DESIGN 6, Passes)."""
PAGE = 100
"""Jobs and instances on a full page of the overlap. Act2 has none: it reads its last page."""
STEP_MS = {"graph": 60_000, "scripts": 60_000, "quality": 10_000}
SMALL = {"graph": 1_000, "scripts": 1_000, "quality": 3_000}
FULL = {"graph": 100_000, "scripts": 100_000, "quality": 1_000_000}
HOUR_S, DAY_S = 3600.0, 86400.0

PLATFORMS = {
    "explorer": ("graph", Quirks()),
    "explorer without filters": ("graph", Quirks(explorer_ignores="filter")),
    "act2 live": ("scripts", Quirks()),
    "act2 doc": ("scripts", Quirks(act2_shape="doc")),
    "act2 doc newest first": ("scripts", Quirks(act2_shape="doc", act2_order="desc")),
    "dataarts": ("quality", Quirks()),
    "dataarts without windows": ("quality", Quirks(dataarts_ignores_window=True)),
}


@pytest.fixture
def sqlite(servers: Callable[[str], databases.Server]) -> Iterator[Database]:
    """A migrated SQLite file: the history is written in its own words."""
    opened = open_database(servers("sqlite").migrated())
    yield opened
    opened.close()


@pytest.mark.parametrize("platform", PLATFORMS)
def test_a_second_pass_writes_nothing(database: Database, platform: str) -> None:
    name, quirks = PLATFORMS[platform]
    world = World.believable(now=START, days=3)
    with Syncing.over(database, world, quirks).running() as syncing:
        world.clock = lambda: START
        assert syncing.synced(name).tally.written > 0
        before = data_of(database)
        for _ in range(2):
            syncing.clock.advance(300)
            assert syncing.synced(name).tally.written == 0
        assert data_of(database) == before


def test_what_is_new_costs_and_what_is_old_does_not(sqlite: Database) -> None:
    with with_history(sqlite, SMALL) as syncing:
        nothing_new_costs_nothing(syncing)
        ten_new_jobs_cost_ten_jobs(syncing)
        failing_details_stay_within_the_limit(syncing)


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_million_rows_make_no_pass_dearer(sqlite: Database) -> None:
    with with_history(sqlite, FULL) as syncing:
        assert count(sqlite, metadata.tables["quality_instances"]) == FULL["quality"]
        nothing_new_costs_nothing(syncing)
        ten_new_jobs_cost_ten_jobs(syncing)
        failing_details_stay_within_the_limit(syncing)


@pytest.mark.parametrize(
    "hours", [2, pytest.param(1 / 12, marks=pytest.mark.long, id="every five minutes")]
)
def test_a_record_that_stays_bad_for_a_year_costs_a_handful_of_requests_a_day(
    database: Database, hours: float
) -> None:
    """Asked a tenth of its age apart, at most an hour; no more once it is given up."""
    with Syncing.over(database, World.empty(START)).running() as syncing:
        bad, _ = (finished_job(syncing) for _ in range(2))
        syncing.sim.fault(Fault("status", times=None, when=lambda r: r.path == detail_of(bad)))
        first_day = asked_in(syncing, bad, DAY_S, hours * HOUR_S)
        assert 0 < first_day <= 50
        assert owed(database, "graph") == 1
        later = asked_in(syncing, bad, 6 * DAY_S, 12 * HOUR_S)
        assert 0 < later <= 13
        asked_in(syncing, bad, DAY_S, 12 * HOUR_S)
        assert owed(database, "graph") == 0, "it is given up"
        assert asked_in(syncing, bad, 357 * DAY_S, 30 * DAY_S) == 0
        assert count(database, unfinished) == 1, "and shown"


def nothing_new_costs_nothing(syncing: Syncing) -> None:
    """A pass over each source; the overlap of an hour holds 60 jobs and 360 instances."""
    before = last_changes(syncing.database)
    for name in NAMES:
        outcome = syncing.synced(name)
        in_overlap = int(HOUR_S * 1000) // STEP_MS[name]
        further = 0 if name == "scripts" else max(0, in_overlap // PAGE)
        assert outcome.requests <= AT_MOST + further, name
        assert outcome.tally.written == 0
    assert last_changes(syncing.database) == before


def ten_new_jobs_cost_ten_jobs(syncing: Syncing) -> None:
    syncing.clock.advance(60)
    new = [finished_job(syncing) for _ in range(10)]
    syncing.sim.clear_log()
    outcome = syncing.synced("graph")
    paths = [logged.path for logged in syncing.sim.requests]
    assert sorted(p for p in paths if p in {detail_of(job) for job in new}) == sorted(
        detail_of(job) for job in new
    )
    samples = [path for path in paths if path.endswith("/sample_result")]
    assert len(samples) == sum(len(job.tasks) for job in new)
    assert outcome.requests <= AT_MOST + len(new) + len(samples)
    assert outcome.tally.written == len(new) + 2 * len(samples)


def failing_details_stay_within_the_limit(syncing: Syncing) -> None:
    """One detail in ten fails for ever; passes a minute apart, by hand: all of it is due."""
    syncing.clock.advance(60)
    for name, failing, new in (
        ("graph", failing_jobs(syncing, 200), 200),
        ("scripts", failing_records(syncing, 40), 40),
    ):
        fault = Fault("status", times=None, when=partial(asks_for, failing))
        syncing.sim.fault(fault)
        syncing.synced(name)
        assert owed(syncing.database, name) >= len(failing)
        syncing.clock.advance(1200)
        syncing.synced(name)
        assert owed(syncing.database, name) == len(failing)
        for limit in (10, 30):
            for _ in range(3):
                syncing.clock.advance(60)
                outcome = syncing.synced(name, refresh_limit=limit)
                assert 0 < outcome.requests <= AT_MOST + new // PAGE + limit, name
                assert outcome.tally.written == 0
        assert owed(syncing.database, name) == len(failing)
        fault.times = 0
        syncing.synced(name)
        assert owed(syncing.database, name) == 0


def failing_jobs(syncing: Syncing, new: int) -> set[str]:
    """Ids of every tenth of so many new jobs."""
    return {str(job.id) for job in [finished_job(syncing) for _ in range(new)][::10]}


def failing_records(syncing: Syncing, new: int) -> set[str]:
    """Ids of every tenth of so many new records."""
    scripts, now = syncing.sim.world.act2, syncing.clock.now()
    records = [scripts.start(hosts=2, at=now) for _ in range(new)]
    for record in records:
        scripts.finish(record.id, at=now)
    return {record.id for record in records[::10]}


def asks_for(ids: set[str], request: Request) -> bool:
    """Whether a request asks for the detail of one of `ids`."""
    return request.path.rpartition("/")[2] in ids or (
        request.path == "/api/v1/job/record" and request.params["id"] in ids
    )


def asked_in(syncing: Syncing, job: Job, period_s: float, step_s: float) -> int:
    """Passes of a daemon every `step_s`; how many of them asked for the job's detail."""
    passes = 0
    for _ in range(round(period_s / step_s)):
        syncing.sim.clear_log()
        syncing.synced("graph", by_hand=False)
        passes += any(logged.path == detail_of(job) for logged in syncing.sim.requests)
        syncing.clock.advance(step_s)
    return passes


def finished_job(syncing: Syncing) -> Job:
    """A job of two tasks with a sample row each, that has just ended."""
    graphs, now = syncing.sim.world.explorer, syncing.clock.now()
    job = graphs.create("new", ("PageRank", "BFS"), now - timedelta(seconds=20))
    return graphs.finish(job.id, at=now, samples={"PageRank": [["a"]], "BFS": [["b"]]})


def detail_of(job: Job) -> str:
    return f"/api-open/v1/jobs/{job.id}"


def last_changes(database: Database) -> dict[str, Any]:
    """The latest `changed_at` of each table that has one, and its number of rows."""
    with database.reading() as connection:
        return {
            name: connection.execute(
                select(func.count(), func.max(table.c.changed_at))
                if "changed_at" in table.c
                else select(func.count()).select_from(table)
            ).one()
            for name, table in ((name, metadata.tables[name]) for name in DATA)
        }


# a long history


@contextmanager
def with_history(database: Database, sizes: Mapping[str, int]) -> Iterator[Syncing]:
    """All three platforms, synced and settled: the youngest two hours by syncs, what is older
    written directly (samples aside); from then on no `since` stands between them."""
    world = World.big(sizes["graph"], sizes["scripts"], sizes["quality"], START)
    with Syncing.over(database, world).running() as syncing:
        for name in NAMES:
            syncing.synced(name, since=Since.parse("2h"))
        with database.writing() as connection:
            connection.execute(update(sources).values(since=None))
            for name, size in sizes.items():
                _fill(connection, name, size)
        syncing.clock.advance(1200)
        for name in NAMES:
            syncing.synced(name)
            assert owed(database, name) == 0
        yield syncing


_KEYS = {
    "jobs": {"job_id": "i + 1"},
    "tasks": {"job_id": "i + 1"},
    "job_records": {"record_id": "printf('%08x-b166-%04x-0a00-0123456789ab', i, i & 65535)"},
    "host_results": {"record_id": "printf('%08x-b166-%04x-0a00-0123456789ab', i, i & 65535)"},
    "quality_instances": {"instance_id": "1012386207306600401 + i * 16777258"},
}
"""Ids as `World.big` gives them."""
_TABLES = {
    "graph": ("jobs", "tasks"),
    "scripts": ("job_records", "host_results"),
    "quality": ("quality_instances",),
}


def _fill(connection: Connection, name: str, size: int) -> None:
    """What is older than the synced tail: like its first execution, but with ids and times."""
    first = ms(START) - size * STEP_MS[name]
    times = {
        column: f"strftime('%Y-%m-%d %H:%M:%f000', ({first} + i * {STEP_MS[name]} + {later})"
        " / 1000.0, 'unixepoch')"
        for column, later in (("created_at", 0), ("started_at", 2000), ("finished_at", 5000))
    }
    top, *_ = _TABLES[name]
    key = next(iter(_KEYS[top]))
    model = connection.execute(text(f"SELECT MIN({key}) FROM {top}")).scalar_one()
    for table in _TABLES[name]:
        made = {**times, **_KEYS[table]}
        columns = list(metadata.tables[table].c.keys())
        chosen = ", ".join(made.get(column, f"model.{column}") for column in columns)
        connection.execute(
            text(
                f"INSERT OR IGNORE INTO {table} ({', '.join(columns)})"
                " WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n"
                f" WHERE i + 1 < {size})"
                f" SELECT {chosen} FROM n, (SELECT * FROM {table} WHERE {key} = :model) AS model"
            ),
            {"model": model},
        )
