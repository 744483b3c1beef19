"""The database refuses, is full, locked or away: nothing is half there (guarantees 1 and 2)."""

from __future__ import annotations

import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import crash_kit
import databases
import pytest
from crash_kit import Contents, Stage, assert_closed, assert_honest, assert_same
from crashing import Instant, Nursery
from http_kit import START, FakeClock
from relay import Relay
from sqlalchemy import text
from sqlalchemy.engine.default import DefaultDialect
from sync_kit import Syncing

from etl.clock import Clock
from etl.config import load
from etl.db import Database, Persistence, open_database, retriable
from etl.errors import DatabaseTrouble, Stopped
from etl.passes import Surroundings
from etl.simulator import World
from etl.sync import sync_all

Servers = Callable[[str], databases.Server]

_NOTHING: Contents = {name: [] for name in (*crash_kit.DATA, "unfinished", "rejected_records")}
_ONE_BATCH = 1_000_000


@dataclass
class Scene:
    """Platforms, and what an undisturbed sync makes of them."""

    stage: Stage
    wanted: Contents


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, servers: Servers) -> Iterator[Scene]:
    with (
        Nursery() as nursery,
        crash_kit.stage(nursery, tmp_path_factory.mktemp("trouble")) as stage,
    ):
        url = servers("sqlite").migrated()
        stage.synced(url)
        yield Scene(stage, crash_kit.contents(url))


@contextmanager
def _refusing(url: str, table: str, column: str, value: object) -> Iterator[None]:
    """The database takes every row of `table` but those."""
    shown = f"'{value}'" if isinstance(value, str) else f"{value}"
    with crash_kit.opened(url) as database:
        if database.dialect == "sqlite":
            put = (
                f"CREATE TRIGGER refusing BEFORE INSERT ON {table} WHEN NEW.{column} = {shown} "
                "BEGIN SELECT RAISE(ABORT, 'refused for a test'); END"
            )
            away = "DROP TRIGGER refusing"
        else:
            put = f"ALTER TABLE {table} ADD CONSTRAINT refusing CHECK ({column} <> {shown})"
            away = f"ALTER TABLE {table} DROP CONSTRAINT refusing"
        with database.writing() as connection:
            connection.execute(text(put))
        try:
            yield
        finally:
            with database.writing() as connection:
                connection.execute(text(away))


@pytest.mark.parametrize("batch_rows", [_ONE_BATCH, pytest.param(25, marks=pytest.mark.long)])
@pytest.mark.parametrize("kind", crash_kit.SQLITE_AND_LONG)
@pytest.mark.parametrize(
    ("source", "table", "column"),
    [
        ("graph", "tasks", "job_id"),
        ("scripts", "host_results", "record_id"),
        ("quality", "quality_instances", "instance_id"),
    ],
)
def test_a_page_that_cannot_be_written_moves_nothing(
    scene: Scene,
    servers: Servers,
    kind: str,
    source: str,
    table: str,
    column: str,
    batch_rows: int,
) -> None:
    url, wanted = servers(kind).migrated(), scene.wanted
    refused = wanted[table][len(wanted[table]) // 2][1]
    with _refusing(url, table, column, refused):
        ended = scene.stage.sync(url, sources=[source], batch_rows=batch_rows)
        assert ended.code == 1, ended.output
        [run] = crash_kit.run_rows(url, source)
        assert (run.status, run.error_kind) == ("failed", "database")
        found = crash_kit.contents(url)
        assert_honest(url, wanted)
        if batch_rows == _ONE_BATCH:
            assert (found, crash_kit.cursors(url), run.rows_read) == (_NOTHING, {}, 0)
    scene.stage.synced(url)
    assert_same(crash_kit.contents(url), wanted)
    assert_closed(url)


@pytest.mark.parametrize("limit", ["max_pages", "max_bytes"])
def test_a_full_disk_leaves_nothing_half_written(
    scene: Scene, servers: Servers, limit: str
) -> None:
    url = servers("sqlite").migrated()
    with crash_kit.opened(url) as database, database.reading() as connection:
        pages = connection.execute(text("PRAGMA page_count")).scalar_one()
        size = connection.execute(text("PRAGMA page_size")).scalar_one()
    room = {"max_pages": pages + 12} if limit == "max_pages" else {"max_bytes": 60 * size}
    ended = scene.stage.sync(url, **room)
    assert ended.code == 1, ended.output
    assert "database" in ended.output
    assert_honest(url, scene.wanted)
    assert crash_kit.contents(url) != scene.wanted
    scene.stage.synced(url)
    assert_same(crash_kit.contents(url), scene.wanted)
    assert_closed(url)


def _holder(url: str) -> sqlite3.Connection:
    """Another program that has opened the file; any thread may lock it."""
    path = url.removeprefix("sqlite:///")
    return sqlite3.connect(path, isolation_level=None, check_same_thread=False)


def test_a_database_that_stays_locked_ends_the_pass(scene: Scene, servers: Servers) -> None:
    """In this process, where the wait of `lease` seconds can be shorter than the command's."""
    url = servers("sqlite").migrated()
    stage, other = scene.stage, _holder(url)
    config = load(Path(stage.arguments(url, lease="1s")[1]), stage.variables)
    stage.at_request(20, lambda: other.execute("BEGIN IMMEDIATE"))
    database = open_database(url, lease_s=0.5)
    around = Surroundings(database, threading.Event(), lambda *_: None)
    outcomes = sync_all(config.select(()), around)
    stage.sim.clear_faults()
    other.close()
    database.close()
    assert {outcome.status for outcome in outcomes} == {"failed"}
    assert {type(outcome.error) for outcome in outcomes} == {DatabaseTrouble}
    assert_honest(url, scene.wanted)
    time.sleep(1)  # this process lives, so its seats are free only when their lease is over
    stage.synced(url)
    assert_same(crash_kit.contents(url), scene.wanted)
    assert_closed(url)


def test_a_database_that_somebody_locks_for_a_while_is_waited_for(
    scene: Scene, servers: Servers
) -> None:
    url = servers("sqlite").migrated()
    other = _holder(url)
    free = threading.Timer(1.0, other.rollback)
    locked = threading.Event()

    def lock() -> None:
        other.execute("BEGIN IMMEDIATE")
        locked.set()
        free.start()

    scene.stage.at_request(20, lock)
    scene.stage.synced(url)
    scene.stage.sim.clear_faults()
    free.join()
    other.close()
    assert locked.is_set()
    assert_same(crash_kit.contents(url), scene.wanted)
    assert_closed(url)


@pytest.mark.parametrize(
    "instant",
    [
        Instant("INSERT INTO quality_instances", 2),
        *(
            pytest.param(instant, marks=pytest.mark.long)
            for instant in (
                Instant("INSERT INTO job_records", 2),
                Instant("INSERT INTO sync_cursors", 1),
                Instant("UPDATE sync_runs SET", 5),
                Instant("SELECT jobs.job_id, jobs.status,", 2),
                Instant("executed", 250),
                Instant("committed", 10),
                Instant("committed", 40),
            )
        ),
    ],
    ids=lambda instant: f"{instant.kind} {instant.number}",
)
@pytest.mark.parametrize("kind", crash_kit.POSTGRESQL_AND_LONG)
def test_a_pass_outlives_its_connections(
    scene: Scene, servers: Servers, kind: str, instant: Instant
) -> None:
    url = servers(kind).migrated()
    ended = scene.stage.sync(url, replace(instant, cut=url))
    assert ended.code == 0, ended.output
    assert ended.events[instant.kind] >= instant.number
    assert_same(crash_kit.contents(url), scene.wanted)
    assert_closed(url)


@pytest.mark.parametrize("request_number", [60, pytest.param(5, marks=pytest.mark.long)])
@pytest.mark.parametrize("kind", crash_kit.POSTGRESQL_AND_LONG)
def test_a_pass_outlives_a_restart_of_the_server(
    scene: Scene, servers: Servers, kind: str, request_number: int
) -> None:
    url = servers(kind).migrated()
    with Relay(url) as relay:
        back = threading.Timer(1.5, relay.up)

        def restart() -> None:
            relay.down()
            back.start()

        scene.stage.at_request(request_number, restart)
        ended = scene.stage.sync(relay.url)
        scene.stage.sim.clear_faults()
        back.join()
    assert ended.code == 0, ended.output
    assert_same(crash_kit.contents(url), scene.wanted)
    assert_closed(url)


@pytest.mark.long
@pytest.mark.parametrize("kind", databases.SERVERS)
def test_a_server_that_stays_away_ends_the_pass(scene: Scene, servers: Servers, kind: str) -> None:
    url = servers(kind).migrated()
    with Relay(url) as relay:
        scene.stage.at_request(60, relay.down)
        ended = scene.stage.sync(relay.url, lease="2s")
        scene.stage.sim.clear_faults()
    assert ended.code == 1
    assert ended.output.count("etl: ") == len(crash_kit.SOURCES), ended.output
    assert_honest(url, scene.wanted)
    scene.stage.synced(url, lease="2s")
    assert_same(crash_kit.contents(url), scene.wanted)
    assert_closed(url)
    runs = [run for source in crash_kit.SOURCES for run in crash_kit.run_rows(url, source)]
    assert {run.status for run in runs} == {"crashed", "succeeded"}


class _Away:
    """Fails so often as a database that is away for a moment does, then works."""

    def __init__(self, failures: int, *, retriable: bool = True) -> None:
        self.tries = 0
        self._failures = failures
        self._retriable = retriable

    def __call__(self) -> str:
        self.tries += 1
        if self.tries > self._failures:
            return "done"
        cause = sqlite3.OperationalError()
        cause.sqlite_errorcode = sqlite3.SQLITE_BUSY if self._retriable else sqlite3.SQLITE_FULL
        raise DatabaseTrouble("away") from cause


def test_what_may_work_later_is_tried_until_patience_ends() -> None:
    clock = FakeClock()
    work = _Away(10**6)
    with pytest.raises(DatabaseTrouble):
        Persistence(30, clock, threading.Event())(work)
    assert work.tries > 3
    assert sum(clock.waits) <= 30


def test_what_will_not_work_later_is_tried_once() -> None:
    work = _Away(1, retriable=False)
    with pytest.raises(DatabaseTrouble):
        Persistence(30, FakeClock(), threading.Event())(work)
    assert work.tries == 1


def test_a_stop_ends_the_wait_for_the_database() -> None:
    stop, work = threading.Event(), _Away(10**6)
    stop.set()
    with pytest.raises(Stopped):
        Persistence(30, Clock(), stop)(work)
    assert work.tries == 1


@pytest.mark.parametrize("number", range(1, 8))
def test_a_commit_whose_acknowledgement_is_lost_fails_no_pass(
    database: Database, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Whether it registers the source, takes the seat, writes, or closes the run."""
    plain, commits = DefaultDialect.do_commit, count(1)

    def do_commit(dialect: DefaultDialect, connection: Any) -> None:
        plain(dialect, connection)  # type: ignore[no-untyped-call]  # SQLAlchemy's
        if next(commits) == number:
            lost = sqlite3.OperationalError("lost in a commit")
            lost.sqlite_errorcode = sqlite3.SQLITE_BUSY
            raise lost

    world = World.believable(now=START, days=4)
    with Syncing.over(database, world).running() as syncing:
        monkeypatch.setattr(DefaultDialect, "do_commit", do_commit)
        outcome = syncing.sync("quality")
        assert next(commits) > number
        assert outcome.error is None, outcome.error
        again = syncing.sync("quality")
    assert (again.error, again.tally.written) == (None, 0)


@pytest.mark.parametrize("replaced", [False, True])
def test_a_file_that_was_moved_away_takes_no_rows_with_it(tmp_path: Path, replaced: bool) -> None:
    """An open file is written wherever it went, and whoever reads by its name would see nothing."""
    path, away = tmp_path / "etl.db", tmp_path / "away.db"
    database = open_database(f"sqlite:///{path}")
    _add_one(database)
    path.rename(away)
    if replaced:
        path.write_bytes(away.read_bytes())
    for use in (database.writing, database.reading):
        with pytest.raises(DatabaseTrouble, match="moved, removed or replaced") as raised, use():
            pass
        assert not retriable(raised.value)
    away.replace(path)
    _add_one(database)
    with database.reading() as connection:
        assert connection.execute(text("SELECT count(*) FROM seen")).scalar() == 2
    database.close()


def _add_one(database: Database) -> None:
    with database.writing() as connection:
        connection.execute(text("CREATE TABLE IF NOT EXISTS seen (number INTEGER)"))
        connection.execute(text("INSERT INTO seen VALUES (1)"))


@pytest.mark.parametrize("kind", ["postgresql", "mysql"])
def test_a_server_that_takes_the_connection_and_says_nothing_is_away(
    monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr("etl.db._CONNECT_S", 2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        with pytest.raises(DatabaseTrouble) as raised:
            open_database(f"{kind}://somebody@127.0.0.1:{silent.getsockname()[1]}/etl")
    assert retriable(raised.value), "whoever can wait for it does"
    assert time.monotonic() - began < 20


@pytest.mark.parametrize("kind", databases.SERVERS)
def test_an_answer_may_take_longer_than_a_connection(
    monkeypatch: pytest.MonkeyPatch, servers: Servers, kind: str
) -> None:
    monkeypatch.setattr("etl.db._CONNECT_S", 2)
    database = open_database(servers(kind).migrated())
    sleep = "SELECT pg_sleep(2.5)" if kind == "postgresql" else "SELECT SLEEP(2.5)"
    with database.reading() as connection:
        connection.execute(text(sleep))
    database.close()
