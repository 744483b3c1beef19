"""The quarantine as a user meets it: seen, shown, asked again, dismissed."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import Done, run

from etl.clock import Clock
from etl.db import open_database
from etl.ledger import seats
from etl.simulator import Fault, Simulator, World

BROKEN = '{"status":"success","message":"","content":{"id":7,"hosts":3}}'


@pytest.fixture
def sim() -> Iterator[Simulator]:
    world = World.empty()
    now = world.now()
    for _ in range(3):
        record = world.act2.start(None, 2, now)
        world.act2.finish(record.id, "success", now)
    with Simulator(world) as simulator:
        yield simulator


@pytest.fixture
def folder(tmp_path: Path, sim: Simulator) -> Path:
    """A configured folder with one record in quarantine."""
    settings = f"sources:\n  scripts:\n    api: act2\n    url: {sim.url}\n"
    (tmp_path / "schedules.yaml").write_text(settings)
    bad = next(iter(sim.world.act2.records)).id
    sim.fault(
        Fault(
            "body",
            times=None,
            body=BROKEN,
            when=lambda r: r.path.endswith("/record") and r.params.get("id") == bad,
        )
    )
    assert run("sync", cwd=tmp_path).code == 0
    return tmp_path


def _rejects(folder: Path, *words: str) -> Done:
    return run("rejects", *words, cwd=folder)


def test_a_bad_record_costs_only_itself(folder: Path) -> None:
    query = "SELECT COUNT(*) AS records, MIN(host_result_count) AS hosts FROM job_records"
    (row,) = json.loads(run("sql", "--format", "json", query, cwd=folder).out)
    assert row == {"records": 3, "hosts": 2}, "of the bad one what the page told"
    run_row = "SELECT rows_read - rows_written - rows_unchanged - rows_rejected AS d FROM sync_runs"
    assert json.loads(run("sql", "--format", "json", run_row, cwd=folder).out) == [{"d": 0}]


def test_it_is_listed_and_shown_with_its_reason(folder: Path) -> None:
    listed = _rejects(folder)
    assert listed.code == 0
    assert "scripts" in listed.out
    assert "open" in listed.out
    shown = _rejects(folder, "show", "1")
    assert '"hosts": 3' in shown.out


def test_retry_answers_1_while_it_stays_and_0_once_it_is_right(
    folder: Path, sim: Simulator
) -> None:
    stays = _rejects(folder, "retry")
    assert (stays.code, "stays" in stays.out) == (1, True)
    sim.clear_faults()
    mended = _rejects(folder, "retry", "1")
    assert (mended.code, "resolved" in mended.out) == (0, True)
    assert "nothing is in quarantine" in _rejects(folder, "list").out
    assert "written" in _rejects(folder, "list", "--all").out


def test_a_pass_that_reads_the_record_well_resolves_it(folder: Path, sim: Simulator) -> None:
    sim.clear_faults()
    assert run("sync", cwd=folder).code == 0
    assert "nothing is in quarantine" in _rejects(folder).out


def test_a_dismissed_one_is_not_shown_again(folder: Path) -> None:
    assert _rejects(folder, "dismiss", "1").code == 2, "a reason is required"
    assert _rejects(folder, "dismiss", "1", "--reason", "a test").code == 0
    run("sync", cwd=folder)
    assert "nothing is in quarantine" in _rejects(folder).out
    assert "a test" in _rejects(folder, "show", "1").out


def test_a_dismissed_one_that_is_retried_is_open_until_it_is_right(
    folder: Path, sim: Simulator
) -> None:
    _rejects(folder, "dismiss", "1", "--reason", "a test")
    stays = _rejects(folder, "retry", "1")
    assert (stays.code, "stays" in stays.out) == (1, True)
    assert "open" in _rejects(folder).out
    _rejects(folder, "dismiss", "1", "--reason", "a test")
    sim.clear_faults()
    mended = _rejects(folder, "retry", "1")
    assert (mended.code, "resolved" in mended.out) == (0, True)
    assert "written" in _rejects(folder, "list", "--all").out


def test_a_dismissed_one_that_cannot_be_asked_for_is_not_resolved(folder: Path) -> None:
    _rejects(folder, "dismiss", "1", "--reason", "a test")
    database = open_database(f"sqlite:///{folder}/etl.db")
    seat = seats.take(database, "scripts", "live", lease_s=30, clock=Clock())
    try:
        done = _rejects(folder, "retry", "1")
        assert (done.code, "resolved" in done.out) == (1, False)
        told = run("--log-format", "json", "rejects", "retry", "1", cwd=folder)
        assert all("is at work on it" in json.loads(line)["message"] for line in lines(told.err))
    finally:
        seat.release()
        database.close()
    assert "nothing is in quarantine" in _rejects(folder).out


def lines(text: str) -> list[str]:
    assert text
    return text.splitlines()


def test_a_source_that_is_not_configured_keeps_no_other_from_being_retried(
    folder: Path, sim: Simulator
) -> None:
    assert run("sources", "rename", "scripts", "old", cwd=folder).code == 0
    assert run("sync", cwd=folder).code == 0
    assert len(_rejects(folder, "list").out.splitlines()) == 4
    sim.clear_faults()
    done = _rejects(folder, "retry")
    assert done.code == 2
    assert "schedules.yaml names no such source" in done.out
    assert "2 scripts" in done.out
    assert len(_rejects(folder, "list").out.splitlines()) == 3


def test_no_control_character_of_a_platform_reaches_the_terminal(folder: Path) -> None:
    with sqlite3.connect(folder / "etl.db") as connection:
        connection.execute(
            "UPDATE rejected_records SET upstream_id = ?, reason = ?, payload = ?",
            ("\x1b[31mid", "\x9b2J", '{"a": "\\u009b\\ud800\\u001b"}'),
        )
    connection.close()
    for words in (("list",), ("show", "1"), ("retry",)):
        told = _rejects(folder, *words)
        assert told.err == ""
        assert all(character.isprintable() for character in told.out.replace("\n", ""))
    payload = _rejects(folder, "show", "1").out.partition("{")[2]
    assert json.loads("{" + payload) == {"a": "\x9b\ud800\x1b"}


def test_an_unknown_number_is_wrong_usage(folder: Path) -> None:
    done = _rejects(folder, "show", "99")
    assert (done.code, "no reject 99" in done.err) == (2, True)
    for words in (("show",), ("retry",), ("dismiss", "--reason", "a test")):
        done = _rejects(folder, *words, str(2**63))
        assert (done.code, "Traceback" in done.err) == (2, False)


def test_each_bad_row_of_a_record_is_kept_and_resolved_by_itself(tmp_path: Path) -> None:
    world = World.empty()
    job = world.explorer.create("flow", ("BFS",), world.now())
    world.explorer.finish(job.id, samples={"BFS": [["a"], ["b"], ["x"]]})
    with Simulator(world) as sim:
        url, token = sim.url, sim.credentials.explorer_token
        (tmp_path / "schedules.yaml").write_text(
            f"sources:\n  graph: {{api: explorer, url: '{url}', token: '{token}'}}\n"
        )
        sim.fault(_sample('[["a"], 5, "x"]'))
        assert run("sync", cwd=tmp_path).code == 0
        assert _open(tmp_path) == ["5", '"x"']
        sim.clear_faults()
        sim.fault(_sample('[["a"], ["b"], "x"]'))
        assert _rejects(tmp_path, "retry").code == 1
        assert _open(tmp_path) == ['"x"']
        sim.clear_faults()
        assert _rejects(tmp_path, "retry").code == 0
        assert _open(tmp_path) == []


def _sample(items: str) -> Fault:
    body = f'{{"code": 0, "message": "", "data": {{"items": {items}}}}}'
    return Fault("body", times=None, body=body, when=lambda r: r.path.endswith("/sample_result"))


def _open(folder: Path) -> list[str]:
    query = "SELECT payload FROM rejected_records WHERE resolved_at IS NULL ORDER BY reject_id"
    answer = run("sql", "--format", "json", query, cwd=folder)
    return [row["payload"] for row in json.loads(answer.out)]
