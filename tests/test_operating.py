"""The README's recipes work: grants on real servers, alerts on metrics that exist, the unit."""

from __future__ import annotations

import configparser
import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import databases
import pytest
import readme
import yaml
from command_line import run
from daemon_kit import runs, sources
from sqlalchemy import make_url, text

from etl.db import Database, open_database
from etl.simulator import Simulator, World

Servers = Callable[[str], databases.Server]
README = readme.README.read_text(encoding="utf-8")
PASSWORD = "never-Told-0123456789"


def _block(after: str, kind: str) -> str:
    """The first fenced block of that kind after a text."""
    found = re.search(rf"```{kind}\n(.*?)```", README.partition(after)[2], re.DOTALL)
    assert found is not None
    return found[1]


def _statements(kind: str, database: str, mark: str) -> list[str]:
    sql = _block(f"<!-- grants {kind} -->", "sql").replace("…", PASSWORD)
    sql = sql.replace("DATABASE etl ", f"DATABASE {database} ").replace("etl.*", f"{database}.*")
    sql = re.sub(r"etl_(writer|reader)", rf"{mark}_\1", sql)
    return [statement.strip() for statement in sql.split(";") if statement.strip()]


@contextmanager
def _granted(kind: str, url: str) -> Iterator[Callable[[str], str]]:
    """The README's grants, done by the owner; gives the URL of the writer and of the reader."""
    mark, name = f"u{uuid.uuid4().hex[:8]}", make_url(url).database
    owner = open_database(url)

    def do(statement: str) -> None:
        engine = owner.engine.execution_options(isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.exec_driver_sql(statement)

    def who(role: str) -> str:
        changed = make_url(url).set(username=f"{mark}_{role}", password=PASSWORD)
        return changed.render_as_string(hide_password=False)

    try:
        for statement in _statements(kind, str(name), mark):
            do(statement)
        yield who
    finally:
        for role in ("writer", "reader"):
            if kind == "postgresql":
                do(f"DROP OWNED BY {mark}_{role}")
                do(f"DROP ROLE {mark}_{role}")
            else:
                do(f"DROP USER {mark}_{role}")
        owner.close()


@pytest.mark.parametrize("kind", databases.SERVERS)
def test_the_grants_are_enough_for_writer_and_reader(
    servers: Servers, kind: str, tmp_path: Path
) -> None:
    url = servers(kind).migrated()
    world = World.empty()
    world.explorer.finish(world.explorer.create().id)
    world.act2.finish(world.act2.start().id)
    with Simulator(world) as sim, _granted(kind, url) as who:
        (tmp_path / "schedules.yaml").write_text(sources(sim, "graph", "scripts"))
        done = run("--database", who("writer"), "sync", cwd=tmp_path)
        assert done.code == 0, done.err
        pruned = run(
            "--database", who("writer"), "prune", "graph", "--older-than", "1h", cwd=tmp_path
        )
        assert pruned.code == 0, pruned.err
        assert run("--database", who("reader"), "status", cwd=tmp_path).code in (0, 1)
        asked = run("--database", who("reader"), "sql", "SELECT job_id FROM jobs", cwd=tmp_path)
        assert asked.code == 0, asked.err
        refused = run("--database", who("reader"), "sync", cwd=tmp_path)
        assert refused.code == 1
        assert PASSWORD not in refused.err + done.err
        for role, statement in (
            ("reader", "DELETE FROM tasks"),
            ("writer", "DROP TABLE tasks"),
            ("writer", "CREATE TABLE mine (a INT)"),
        ):
            with pytest.raises(Exception, match=r"denied|must be owner"):
                _do(open_database(who(role)), statement)
    owner = open_database(url)
    assert {made.status for made in runs(owner)} == {"succeeded"}
    owner.close()


def _do(database: Database, statement: str) -> None:
    try:
        with database.writing() as connection:
            connection.execute(text(statement))
    finally:
        database.close()


def test_alerts_speak_of_metrics_that_exist() -> None:
    rules: Any = yaml.safe_load(_block("<!-- alerts -->", "yaml"))
    said = " ".join(rule["expr"] for group in rules["groups"] for rule in group["rules"])
    names = set(re.findall(r"\betl_\w+", said))
    told = set(re.findall(r"`(etl_\w+)", README.partition("## Watching it")[2]))
    assert len(names) >= 5
    assert names <= told


def test_the_unit_is_one_that_systemd_reads() -> None:
    unit = configparser.ConfigParser(strict=True, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]  # systemd minds the case
    unit.read_string(_block("**systemd**", "ini"))
    service = unit["Service"]
    assert (service["Type"], service["RestartPreventExitStatus"]) == ("notify", "2")
    assert int(service["TimeoutStopSec"]) > 10, "the daemon's own time"
    assert float(service["WatchdogSec"]) > 10
    assert "run --listen" in service["ExecStart"]
