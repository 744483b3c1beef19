"""`etl backfill` and `etl backfills` as a user runs them."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import command_line
import pytest
from command_line import Done, run
from http_kit import START

from etl.backfill import planning
from etl.clock import Clock
from etl.db import open_database
from etl.ledger import seats
from etl.simulator import Fault, Simulator, World, environment

SCHEDULES = """\
sources:
  graph: {{api: explorer, url: "{url}", token: "{token}"}}
  other: {{api: explorer, url: "{url}", token: "{token}", since: 1d}}
"""
NOW = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)


@pytest.fixture(scope="module")
def sim() -> Iterator[Simulator]:
    with Simulator(World.big(jobs=400, now=NOW)) as running:
        yield running


@pytest.fixture
def folder(sim: Simulator, tmp_path: Path) -> Iterator[Path]:
    """A directory with schedules.yaml; the platform behaves again at the end."""
    token = environment(sim)["EXPLORER_TOKEN"]
    (tmp_path / "schedules.yaml").write_text(SCHEDULES.format(url=sim.url, token=token))
    yield tmp_path
    sim.clear_faults()
    sim.clear_log()


def etl(folder: Path, *words: str) -> Done:
    return run(*words, cwd=folder)


def rows(folder: Path, query: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(etl(folder, "sql", query, "--format", "json").out)
    return found


def test_a_dry_run_says_what_will_happen_and_does_none_of_it(folder: Path, sim: Simulator) -> None:
    told = etl(folder, "backfill", "graph", "--since", "2d", "--dry-run")
    assert told.code == 0, told.err
    assert told.out.startswith("would begin a backfill: ")
    assert rows(folder, "SELECT * FROM backfills") == []
    assert rows(folder, "SELECT * FROM sync_runs") == []
    windows, requests = (number(told.out, name) for name in ("windows", "requests"))
    assert number(told.out, "executions") == 400
    sim.clear_log()
    done = etl(folder, "backfill", "graph", "--since", "2d")
    assert done.code == 0, done.err
    assert len(rows(folder, "SELECT * FROM completeness")) == windows, "one for each that was read"
    assert abs(len(sim.requests) - requests) <= 0.1 * requests


def number(text: str, name: str) -> int:
    found = re.search(rf"^  {name} +(?:about )?([\d,]+)", text, re.MULTILINE)
    assert found is not None, text
    return int(found[1].replace(",", ""))


def test_a_dry_run_says_what_was_pruned_as_the_backfill_would(folder: Path) -> None:
    assert etl(folder, "sync", "graph").code == 0
    assert etl(folder, "prune", "graph", "--older-than", "1d").code == 0
    told = "was pruned and is left out; --restore fetches it"
    done = etl(folder, "backfill", "graph", "--since", "2d", "--dry-run")
    assert told in done.out
    restored = etl(folder, "backfill", "graph", "--since", "2d", "--dry-run", "--restore")
    assert (restored.code, told in restored.out) == (0, False)
    assert told in etl(folder, "backfill", "graph", "--since", "2d").out


def test_a_dry_run_tells_the_time_by_the_rate_that_holds(folder: Path) -> None:
    """1,200 calls and more at 6 in a second."""
    told = etl(folder, "backfill", "graph", "--since", "2d", "--dry-run", "--rate", "300/50s")
    at = re.search(r"done +about (.*) UTC", told.out)
    assert at is not None
    left = datetime.fromisoformat(at[1]).replace(tzinfo=UTC) - datetime.now(UTC)
    assert timedelta(seconds=130) < left < timedelta(seconds=260)


def test_it_prints_what_it_begins_and_what_it_did(folder: Path) -> None:
    done = etl(folder, "backfill", "graph", "--since", "2020-01-01", "--until", "2020-03-01")
    assert (done.code, done.err) == (0, "")
    begun, ended = done.out.splitlines()
    assert begun == "backfill 1: 2020-01-01 … 2020-03-01 UTC, 2 windows"
    assert re.fullmatch(
        r"backfill 1 graph: 2 of 2 windows done, 0 records read, 0 rows written, 0 rejected, "
        r"\d+ requests in 0:0\d",
        ended,
    )


def first_window_fails() -> Fault:
    """Whoever asks for January of 2020 is refused."""
    return Fault("error", code=40304000, times=None, when=lambda r: b"1580515200001" in r.head)


def test_failed_windows_are_named_with_the_mend_and_retried(folder: Path, sim: Simulator) -> None:
    sim.fault(first_window_fails())
    done = etl(folder, "backfill", "graph", "--since", "2020-01-01", "--until", "2020-03-01")
    assert done.code == 1
    assert "etl: graph: 1 of 2 windows failed (window 1: " in done.err
    assert "etl backfills retry 1" in done.err
    listed = etl(folder, "backfills")
    assert re.search(
        r"^ *1  graph +--since 2020-01-01 --until 2020-03-01 .* failed ", listed.out, re.M
    )
    assert "40304000" in etl(folder, "backfills", "show", "1").out
    sim.clear_faults()
    again = etl(folder, "backfills", "retry", "1")
    assert again.code == 0, again.err
    assert again.out.startswith(
        "going on with backfill 1: 2020-01-01 … 2020-03-01 UTC, 1 of 2 windows done\n"
    )
    assert etl(folder, "backfills", "retry", "1").code == 2


def test_a_cancelled_one_is_begun_anew(folder: Path, sim: Simulator) -> None:
    sim.fault(first_window_fails())
    words = ("backfill", "graph", "--since", "2020-01-01", "--until", "2020-03-01")
    etl(folder, *words)
    cancelled = etl(folder, "backfills", "cancel", "1")
    assert cancelled.out == "backfill 1 of graph is cancelled; what it brought stays\n"
    sim.clear_faults()
    assert etl(folder, *words).out.startswith("backfill 2: ")
    assert [row["status"] for row in rows(folder, "SELECT status FROM backfills")] == [
        "cancelled",
        "done",
    ]


def test_a_seat_that_is_taken_is_exit_code_3_for_backfills_alone(folder: Path) -> None:
    assert etl(folder, "sync", "other").code == 0
    database = open_database(f"sqlite:///{folder}/etl.db")
    seat = seats.take(database, "other", "backfill", lease_s=30, clock=Clock())
    try:
        done = etl(folder, "backfill", "other", "--since", "2d")
        assert (done.code, done.out) == (3, "")
        assert "is at work on it" in done.err
        assert etl(folder, "sync", "other").code == 0
    finally:
        seat.release()
        database.close()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("graph", "--since", "yesterday"), "--since: 'yesterday' is no point in time"),
        (("graph", "--since", "2d", "--until", "3d"), "--since 2d is not before --until 3d"),
        (("graph", "--since", "2200-01-01"), "--since 2200-01-01 is not before now"),
        (("graph", "--since", "2023-02-29"), "--since: '2023-02-29' is no point in time"),
        (("graph",), "Missing option '--since'"),
        (("graph", "--since", "2d", "--rate", "fast"), "--rate: 'fast' is no rate"),
        (("graph", "--since", "2d", "--rate", "5/0s"), "--rate: '5/0s' is no rate"),
        (("graph", "--since", "2d", "--workers", "0"), "Invalid value for '--workers'"),
        (("grahp", "--since", "2d"), "did you mean 'graph'"),
    ],
)
def test_a_mistake_is_told_before_anything_is_asked(
    folder: Path, sim: Simulator, words: tuple[str, ...], said: str
) -> None:
    done = etl(folder, "backfill", *words)
    assert done.code == 2
    assert said in done.err
    assert "Traceback" not in done.err
    assert sim.requests == []


def test_an_unknown_backfill_is_wrong_usage(folder: Path) -> None:
    for words in (("show", "5"), ("retry", "5"), ("cancel", "5")):
        done = etl(folder, "backfills", *words)
        assert done.code == 2
        assert "there is no backfill 5; see etl backfills list" in done.err
        done = etl(folder, "backfills", words[0], str(2**63))
        assert (done.code, "Traceback" in done.err) == (2, False)


def test_one_that_is_over_is_not_retried_and_no_run_of_it_has_failed(folder: Path) -> None:
    assert etl(folder, "backfill", "graph", "--since", "2d").code == 0
    done = etl(folder, "backfills", "retry", "1")
    assert (done.code, done.err) == (2, "etl: backfill 1 is done\n")
    told = etl(folder, "sql", "--format", "csv", "SELECT status FROM sync_runs")
    assert told.out.split() == ["status", "succeeded"]


def test_without_backfills_the_list_says_so(folder: Path) -> None:
    assert etl(folder, "backfills", "list").out == "there is no backfill yet\n"


def test_json_logs_leave_stdout_and_the_display_alone(folder: Path) -> None:
    done = etl(folder, "--log-format", "json", "-v", "backfill", "graph", "--since", "2020-01-01",
               "--until", "2020-02-01")  # fmt: skip
    assert (done.code, done.out) == (0, "")
    messages = [json.loads(line)["message"] for line in done.err.splitlines()]
    assert "backfill 1: 2020-01-01 … 2020-02-01 UTC, 1 window" in messages


def test_a_signal_stops_it_and_the_same_command_goes_on(folder: Path, sim: Simulator) -> None:
    sim.fault(Fault("delay", times=None, seconds=0.01))
    words = ("backfill", "graph", "--since", "2d")
    process = command_line.start(*words, cwd=folder, stdout=-1, stderr=-1)
    assert process.stdout is not None
    begun = process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 143, err
    assert "stopped; the same command goes on" in out
    (row,) = rows(folder, "SELECT status FROM backfills")
    assert row["status"] == "stopped"
    sim.clear_faults()
    done = etl(folder, *words)
    assert done.code == 0, done.err
    assert done.out.startswith("going on with " + begun.rpartition(", ")[0])
    assert len(rows(folder, "SELECT job_id FROM jobs")) == 400


def test_a_killed_one_is_shown_as_killed(folder: Path, sim: Simulator) -> None:
    sim.fault(Fault("delay", times=None, seconds=0.01))
    process = command_line.start("backfill", "graph", "--since", "2d", cwd=folder, stdout=-1)
    assert process.stdout is not None
    process.stdout.readline()
    process.kill()
    process.communicate(timeout=30)
    assert " killed " in etl(folder, "backfills").out
    told = etl(folder, "status").out
    assert "backfill crashed\n" in told
    assert "backfill 1 killed: " in told


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("2026-11-20", "2026-11-20 00:00:00+00:00"),
        ("2026-11-20T08:00", "2026-11-20 08:00:00+00:00"),
        ("2026-11-20T08:00:00+08:00", "2026-11-20 00:00:00+00:00"),
        ("1d", "2026-11-21 12:00:00+00:00"),
        ("0001-01-01", "1970-01-01 00:00:00+00:00"),
        ("999999d", "1970-01-01 00:00:00+00:00"),
    ],
)
def test_a_moment_may_be_typed_in_many_ways(typed: str, said: str) -> None:
    assert str(planning.Range(typed).bounds(START, None).since) == said
