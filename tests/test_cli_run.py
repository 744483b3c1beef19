"""`etl run` as an operator meets it: how it starts, reloads, waits, stops, and what it logs."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sqlite3
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import databases
import pytest
from command_line import run
from daemon_kit import runs, sources
from daemon_process import Running
from relay import Relay
from sqlalchemy import select, text

from etl.daemon.notify import Systemd
from etl.db import Database, open_database
from etl.ledger.tables import sync_leases
from etl.simulator import Fault, Simulator, World

Servers = Callable[[str], databases.Server]
EVERY_SECOND = "schedules:\n  - sync: all\n    every: 1s\n"
DAILY = "schedules:\n  - sync: all\n    cron: '@daily'\n"


@pytest.fixture(scope="module")
def sim() -> Iterator[Simulator]:
    world = World.empty()
    for _ in range(3):
        world.explorer.finish(world.explorer.create().id)
    with Simulator(world) as running:
        yield running


def _holders(url: str) -> list[str]:
    database = open_database(url)
    try:
        with database.reading() as connection:
            held = select(sync_leases.c.source).where(sync_leases.c.holder.is_not(None))
            return list(connection.execute(held).scalars())
    finally:
        database.close()


def test_a_daemon_from_its_start_on_an_empty_database_to_its_stop_in_a_hanging_call(
    sim: Simulator, blank_database_url: str, tmp_path: Path
) -> None:
    token, listen = sim.credentials.explorer_token, ("--listen", "127.0.0.1:0")
    given = sources(sim, "graph") + EVERY_SECOND
    with Running(tmp_path, blank_database_url, given, listen) as daemon:
        daemon.hears("sync: 6 rows written")
        port = next(e["message"] for e in daemon.events if "listening" in e["message"]).split()[-1]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=10) as answer:
            assert answer.status == 200
        hang = sim.fault(Fault("hang", times=None))
        daemon.sees(lambda: hang.hits)
        code, took_s = daemon.told(signal.SIGTERM)
        sim.clear_faults()
        assert (code, took_s < 10) == (0, True), daemon.log.read_text()
        assert _holders(blank_database_url) == []
        [wrote] = [event for event in daemon.events if "rows written" in event["message"]]
        assert (wrote["source"], wrote["run"], wrote["level"]) == ("graph", 1, "info")
        assert daemon.said("started: 1 sources, 1 schedules")
        assert daemon.said("stopped")
        assert len(daemon.events) == 4, "a quiet daemon logs nothing"
        log = daemon.log.read_text()
    assert token not in log
    database = open_database(blank_database_url)
    *_, last = runs(database)
    assert (last.status, last.triggered_by) == ("stopped", "schedule")
    database.close()


def test_sighup_and_a_changed_file_reload_and_a_broken_one_is_refused(
    sim: Simulator, database_url: str, tmp_path: Path
) -> None:
    given = sources(sim, "graph") + DAILY
    with Running(tmp_path, database_url, given, ("--reload-on-change",)) as daemon:
        daemon.hears("started")
        daemon.file.write_text(given.replace("cron", "corn"))
        daemon.hears("is refused, the old one goes on")
        daemon.file.write_text(given)
        os.utime(daemon.file, (1, 1))
        daemon.hears("reloaded: 1 sources")
        daemon.process.send_signal(signal.SIGHUP)
        daemon.sees(lambda: sum("reloaded" in e["message"] for e in daemon.events) == 2)
        code, took_s = daemon.told(signal.SIGINT)
        assert (code, took_s < 10) == (0, True)
        [refused] = [event for event in daemon.events if event["level"] == "error"]
        assert "did you mean 'cron'?" in refused["message"]


@pytest.mark.parametrize("by_option", [False, True])
def test_a_reload_tells_that_another_database_needs_a_restart(
    sim: Simulator, database_url: str, tmp_path: Path, by_option: bool
) -> None:
    given = sources(sim, "graph") + DAILY
    text = f"database: {database_url}\n{given}"
    with Running(tmp_path, database_url if by_option else "", text) as daemon:
        daemon.hears("started")
        for turn, changed in enumerate((text, f"database: sqlite:///{tmp_path}/new.db\n{given}")):
            assert not daemon.said("stays the one")
            daemon.file.write_text(changed)
            daemon.process.send_signal(signal.SIGHUP)
            daemon.sees(lambda: sum("reloaded" in e["message"] for e in daemon.events) > turn)  # noqa: B023
        assert daemon.said("the database stays the one of the start") is not by_option
        if not by_option:
            daemon.file.write_text(f"database: ${{NOT_SET}}\n{given}")
            daemon.process.send_signal(signal.SIGHUP)
            daemon.hears("NOT_SET; it is not set")


def test_a_daemon_waits_for_a_database_that_is_away_at_its_start(
    sim: Simulator, servers: Servers, tmp_path: Path
) -> None:
    url = servers("postgresql").migrated()
    place = tmp_path / "systemd"
    with (
        Relay(url) as relay,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd,
    ):
        systemd.bind(str(place))
        systemd.settimeout(60)
        relay.down()
        env = {"NOTIFY_SOCKET": str(place), "WATCHDOG_USEC": "400000"}
        given = sources(sim, "graph") + DAILY
        with Running(tmp_path, relay.url, given, env=env) as daemon:
            daemon.hears("waiting for the database")
            assert b"EXTEND_TIMEOUT_USEC=" in systemd.recv(1000)
            relay.up()
            heard = [systemd.recv(1000)]
            while heard[-1] != b"WATCHDOG=1":
                heard.append(systemd.recv(1000))
            assert b"READY=1" in heard
            assert daemon.told(signal.SIGTERM)[0] == 0
            while heard[-1] != b"STOPPING=1":
                heard.append(systemd.recv(1000))
        relay.down()
        with Running(tmp_path, relay.url, given, name="second") as waiting:
            waiting.hears("waiting for the database")
            waiting.process.send_signal(signal.SIGHUP)
            waiting.sees(lambda: len(waiting.events) > 1)  # it waits on
            code, took_s = waiting.told(signal.SIGTERM)
            assert (code, took_s < 10) == (0, True)


def test_a_database_of_another_release_is_refused_with_the_command(
    sim: Simulator, database_url: str, database: Database, tmp_path: Path
) -> None:
    (tmp_path / "schedules.yaml").write_text(sources(sim, "graph") + DAILY)
    for revision, mend in (("0002", "etl db upgrade"), ("9999", "install the newer release")):
        with database.writing() as connection:
            connection.execute(text(f"UPDATE etl_version SET version_num = '{revision}'"))
        done = run("--database", database_url, "run", cwd=tmp_path)
        assert done.code == 2
        assert mend in done.err


@pytest.mark.parametrize(
    ("words", "mend"),
    [
        (("run", "--listen", "nowhere"), "write 127.0.0.1:8080"),
        (("--log-level", "loud", "run"), "write debug, info, warning or error"),
    ],
)
def test_a_wrong_option_is_named(
    sim: Simulator, tmp_path: Path, words: tuple[str, ...], mend: str
) -> None:
    (tmp_path / "schedules.yaml").write_text(sources(sim, "graph") + DAILY)
    done = run(*words, cwd=tmp_path)
    assert done.code == 2
    assert mend in done.err


def test_no_secret_is_in_the_logs_and_the_database_of_a_failing_daemon(
    sim: Simulator, tmp_path: Path
) -> None:
    """Everything fails and is logged in full: refused tokens, a bug, wrong answers."""
    secret = 'tökén-"quoted"\\-0123456789'
    (tmp_path / "sitecustomize.py").write_text(_PLANT)
    given = sources(sim, "graph", "scripts") + EVERY_SECOND
    given = given.replace(f"token: {sim.credentials.explorer_token}", "token: ${GRAPH_TOKEN}")
    env = {"GRAPH_TOKEN": secret, "PYTHONPATH": str(tmp_path), "ETL_LOG_LEVEL": "debug"}
    url = f"sqlite:///{tmp_path}/etl.db"
    with Running(tmp_path, url, given, env=env) as daemon:
        daemon.sees(lambda: any("traceback" in event for event in daemon.events))
        daemon.sees(lambda: daemon.said("sync failed"))
        assert daemon.told(signal.SIGTERM)[0] == 0
        log = daemon.log.read_text()
    assert "[secret]" in log
    told = [event for event in daemon.events if "traceback" in event]
    assert "ValueError" in told[0]["traceback"]
    with contextlib.closing(sqlite3.connect(tmp_path / "etl.db")) as connection:
        dump = "\n".join(connection.iterdump())
    for form in (secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]):
        assert form not in log
        assert form not in dump


_PLANT = """\
import etl.sync

def _bug(configured, around, _sync=etl.sync.sync):
    if configured.name == "scripts" and not _bug.done:
        _bug.done = True
        import etl.redact
        raise ValueError("a bug with " + max(etl.redact._known, key=len))
    return _sync(configured, around)

_bug.done = False
etl.sync.sync = _bug
"""


def test_without_systemd_nobody_is_told() -> None:
    silent = Systemd({})
    silent.ready()
    assert silent.watchdog_s is None
    assert Systemd({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}).watchdog_s is None
    assert Systemd({"WATCHDOG_USEC": "30000000"}).watchdog_s == 15
