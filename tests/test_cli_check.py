"""`etl check`: each thing that a pass needs, on a line, with what is wrong and what mends it."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from command_line import Done, run
from sqlalchemy import select

from etl.check import check_sources
from etl.clock import Clock
from etl.config import load
from etl.db import Database
from etl.ledger import names
from etl.ledger.tables import sources
from etl.simulator import Simulator, World, environment

NOW = datetime(2026, 3, 1, 8, tzinfo=UTC)
SCHEDULES = """
sources:
  graph:
    api: explorer
    url: ${EXPLORER_URL}
    token: ${EXPLORER_TOKEN}
  scripts:
    api: act2
    url: ${ACT2_URL}
    max_output: 1 GiB
  quality:
    api: dataarts
    url: ${DATAARTS_URL}
    project_id: ${HUAWEI_PROJECT_ID}
    workspace: ${DATAARTS_WORKSPACE}
    iam:
      url: ${IAM_URL}
      domain: ${HUAWEI_DOMAIN}
      username: ${HUAWEI_USER}
      password: simulated-huawei-password
schedules:
  - sync: [graph, scripts]
    every: 5m
"""


@pytest.fixture(scope="module")
def platforms() -> Iterator[Simulator]:
    """The three platforms; what is asked of them changes nothing."""
    with Simulator(World.believable(1, NOW, lively=False)) as simulator:
        yield simulator


class Desk:
    """A directory with a schedules.yaml that fits the simulators."""

    def __init__(self, directory: Path, url: str, simulator: Simulator) -> None:
        self._directory = directory
        self._url = url
        self.env = environment(simulator)
        self.write(SCHEDULES)

    def write(self, text: str) -> None:
        (self._directory / "schedules.yaml").write_text(text)

    def check(self, *words: str, database: str | None = None) -> Done:
        where = ("--database", database or self._url)
        return run(*where, "check", *words, cwd=self._directory, env=self.env)


@pytest.fixture
def desk(tmp_path: Path, database_url: str, platforms: Simulator) -> Desk:
    return Desk(tmp_path, database_url, platforms)


def _marks(done: Done) -> list[tuple[str, str]]:
    """(mark, what) of each line; what a server's own settings add is left out."""
    told = (line for line in done.out.splitlines() if "max_allowed_packet" not in line)
    words = (line.split(maxsplit=2) for line in told)
    return [(mark, what.rstrip(":")) for mark, what, _ in words]


def test_all_is_well_and_says_what_a_first_sync_costs(desk: Desk, database: Database) -> None:
    done = desk.check()
    assert (done.code, done.err) == (0, "")
    assert _marks(done) == [
        ("ok", "configuration"),
        ("note", "quality"),
        ("ok", "database"),
        ("ok", "graph"),
        ("ok", "scripts"),
        ("ok", "quality"),
    ]
    (graph,) = (line for line in done.out.splitlines() if line.split()[1] == "graph:")
    assert "a first sync" in graph
    with database.reading() as connection:
        assert connection.execute(select(sources)).all() == []


def test_only_the_named_sources_are_asked(desk: Desk, platforms: Simulator) -> None:
    before = len(platforms.requests)
    done = desk.check("graph")
    assert _marks(done)[-1] == ("ok", "graph")
    assert {r.platform for r in platforms.requests[before:]} == {"explorer"}


def test_one_that_fails_does_not_stop_the_others(desk: Desk) -> None:
    desk.env["EXPLORER_TOKEN"] = "a-wrong-token"
    done = desk.check()
    assert done.code == 1
    assert _marks(done)[-3:] == [("wrong", "graph"), ("ok", "scripts"), ("ok", "quality")]
    assert "a-wrong-token" not in done.out


def test_a_setting_that_is_not_set_is_2(desk: Desk) -> None:
    del desk.env["EXPLORER_TOKEN"]
    done = desk.check("graph", "scripts")
    assert done.code == 2
    assert _marks(done)[-2:] == [("wrong", "graph"), ("ok", "scripts")]
    assert "EXPLORER_TOKEN" in done.out


class Impatient(Clock):
    """Its waits take no time."""

    def __init__(self) -> None:
        self._waited_s = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self._waited_s

    def wait(self, event: threading.Event, seconds: float) -> bool:
        self._waited_s += max(0.0, seconds)
        return event.is_set()


def test_a_platform_that_does_not_answer_is_1(tmp_path: Path) -> None:
    path = tmp_path / "schedules.yaml"
    path.write_text("sources: {scripts: {api: act2, url: http://127.0.0.1:1}}")
    config = load(path, {})
    (found,) = check_sources(config, ["scripts"], None, threading.Event(), Impatient())
    assert (found.mark, found.what, found.exit_code) == ("wrong", "scripts", 1)


def test_a_name_that_stood_for_another_address_is_wrong(desk: Desk, database: Database) -> None:
    with database.writing() as connection:
        names.register(
            connection,
            "graph",
            api="explorer",
            identity={"url": "http://elsewhere"},
            account="a",
            since=None,
            expected_every_s=None,
            stale_after_s=None,
            now=NOW,
        )
    done = desk.check("graph")
    assert done.code == 2
    assert "etl sources move graph" in done.out.splitlines()[-1]


@pytest.mark.parametrize(
    ("text", "mend"),
    [
        (SCHEDULES.replace("every: 5m", "evry: 5m"), "did you mean 'every'?"),
        ("sources: {}", "no source"),
    ],
)
def test_a_wrong_file_is_2(desk: Desk, text: str, mend: str) -> None:
    desk.write(text)
    done = desk.check()
    assert done.code == 2
    assert done.out.startswith("wrong  configuration: schedules.yaml: ")
    assert mend in done.out


def test_an_unknown_source_is_2_with_the_nearest(desk: Desk) -> None:
    done = desk.check("grpah")
    assert done.code == 2
    assert "did you mean 'graph'?" in done.out


def test_a_database_that_is_not_there_yet_is_not_made(desk: Desk, tmp_path: Path) -> None:
    done = desk.check("graph", database="sqlite:///new.db")
    assert done.code == 0
    assert ("ok", "database") in _marks(done)
    assert not (tmp_path / "new.db").exists()


def test_a_database_that_does_not_answer_is_1(desk: Desk) -> None:
    done = desk.check("graph", database="postgresql://u@127.0.0.1:1/x")
    assert done.code == 1
    assert _marks(done)[-2:] == [("wrong", "database"), ("ok", "graph")]


def test_a_database_behind_is_2_with_the_command(desk: Desk, blank_database_url: str) -> None:
    run("--database", blank_database_url, "db", "upgrade", "0001", cwd=Path.cwd())
    done = desk.check("graph", database=blank_database_url)
    assert done.code == 2
    assert "etl db upgrade" in done.out
    run("--database", blank_database_url, "db", "downgrade", "base", "--yes", cwd=Path.cwd())
    done = desk.check("graph", database=blank_database_url)
    assert (done.code, "no tables yet" in done.out) == (0, True)


def test_a_foreign_table_of_one_of_our_names_is_2(desk: Desk, tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "foreign.db")) as connection:
        connection.execute("CREATE TABLE jobs (x)")
    done = desk.check("scripts", database="sqlite:///foreign.db")
    assert done.code == 2
    assert ("wrong", "database") in _marks(done)
    assert "foreign.db holds tables that are not of etl but have its names: jobs" in done.out


def test_every_database_is_understood(
    every_database_url: str, tmp_path: Path, platforms: Simulator
) -> None:
    done = Desk(tmp_path, every_database_url, platforms).check("graph", "scripts")
    assert done.code == 0
    packet = [line for line in done.out.splitlines() if "max_allowed_packet" in line]
    assert bool(packet) is every_database_url.startswith(("mysql", "mariadb"))
    assert all(line.startswith("note ") and "scripts" in line for line in packet)
