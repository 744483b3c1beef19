"""What is told of every source: the facts, their JSON, and the command."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import readme
import status_kit as kit
from command_line import run
from sqlalchemy import event, select
from status_kit import DAY, MINUTE, NOW

from etl.clock import Clock
from etl.config import next_run_at
from etl.db import Database
from etl.ledger import seats, tables
from etl.ledger.views import source_freshness
from etl.redact import known
from etl.status import Status, document, expected, read
from etl.status.one_run import neighbours, read_run, trace
from etl.status.words import ago, ahead, span


def _read(database: Database, directory: Path, now: datetime = NOW, runs: int = 1) -> Status:
    due = expected(kit.configured(directory), now)
    with database.reading() as connection:
        return read(connection, due, now, runs=runs)


def test_a_source_is_fresh_until_it_is_as_old_as_it_may_be(
    every_database: Database, tmp_path: Path
) -> None:
    kit.add_source(every_database, "graph")
    kit.add_run(every_database, "graph", finished_at=NOW)
    for age, fresh in ((0, True), (600, True), (601, False)):
        graph = _read(every_database, tmp_path, NOW + timedelta(seconds=age)).sources[0]
        assert (graph.freshness_s, graph.fresh) == (age, fresh)
        assert graph.stale_after_s == 600, "twice the gap of its schedule"


def test_only_a_sync_that_succeeded_makes_a_source_fresh(
    database: Database, tmp_path: Path
) -> None:
    kit.add_source(database, "graph")
    good = kit.add_run(database, "graph", NOW - 5 * MINUTE)
    others: tuple[dict[str, Any], ...] = (
        {"mode": "verify"},
        {"mode": "backfill"},
        {"status": "failed", "error": "no"},
        {"status": "stopped"},
        {"status": "running", "finished_at": None},
    )
    for number, more in enumerate(others):
        kit.add_run(database, "graph", NOW - 4 * MINUTE + timedelta(seconds=number), **more)
    graph = _read(database, tmp_path).sources[0]
    with database.reading() as connection:
        first = read_run(connection, good)
    assert first is not None
    assert (graph.last_success_at, graph.copied_until) == (first.finished_at, first.started_at)
    assert graph.last_run is not None
    assert graph.last_run.status == "running"


def test_what_a_dead_process_left_behind_does_not_run(
    every_database: Database, tmp_path: Path
) -> None:
    database = every_database
    kit.add_source(database, "graph")
    running: dict[str, Any] = {"status": "running", "finished_at": None}
    for seat, mode in (("live", "sync"), ("backfill", "backfill")):
        held = seats.take(database, "graph", seat, lease_s=30, clock=Clock())
        if mode == "backfill":
            kit.add_backfill(database, "graph", ["done", "running"])
        run_id = kit.add_run(database, "graph", NOW, mode=mode, **running)
        assert _told(database, tmp_path, run_id) == "running"
        held.release()
        assert _told(database, tmp_path, run_id) == "crashed"
    (backfill,) = _read(database, tmp_path).sources[0].backfills
    assert (backfill.status, backfill.windows["running"]) == ("killed", 1)


def _told(database: Database, tmp_path: Path, run_id: int) -> str:
    """The status of the latest run, which is `run_id`."""
    run = _read(database, tmp_path).sources[0].last_run
    with database.reading() as connection:
        alone = read_run(connection, run_id)
    assert run is not None
    assert alone == run
    return run.status


def test_a_source_that_was_never_copied_is_not_fresh(database: Database, tmp_path: Path) -> None:
    found = _read(database, tmp_path)
    assert [(one.source, one.fresh) for one in found.sources] == [
        ("graph", False),
        ("scripts", False),
        ("quality", False),
    ]
    assert found.stale == ("graph", "scripts", "quality")


def test_the_facts_agree_with_the_view(every_database: Database, tmp_path: Path) -> None:
    _fill(every_database)
    statement = select(source_freshness).order_by(source_freshness.c.source)
    with every_database.reading() as connection:
        rows = connection.execute(statement).all()
    ours = {one.source: one for one in _read(every_database, tmp_path).sources}
    assert rows
    for row in rows:
        one = ours[row.source]
        assert (one.last_success_at, one.copied_until) == (row.last_success_at, row.copied_until)
        assert (one.unfinished, one.given_up, one.rejects) == row[6:9]
        assert one.last_error == row.last_error


def test_what_is_open_is_counted_and_named(every_database: Database, tmp_path: Path) -> None:
    _fill(every_database)
    graph = _read(every_database, tmp_path, runs=2).sources[0]
    assert (graph.unfinished, graph.given_up, graph.rejects) == (3, 1, 3)
    assert [(each.kind, each.asked, each.given_up) for each in graph.owed] == [
        ("hole", 0, 1),
        ("job", 2, 0),
        ("sample", 1, 0),
    ]
    assert [(each.reason, each.rejects) for each in graph.reasons] == [("no key", 2), ("torn", 1)]
    (backfill,) = graph.backfills
    assert (backfill.done, backfill.total, backfill.rows_written) == (2, 4, 200)
    assert (backfill.windows["failed"], backfill.error) == (1, "HTTP 500")
    assert (graph.day.runs, graph.day.failed, graph.day.rows_written) == (2, 1, 4)
    assert [each.status for each in graph.runs] == ["failed", "succeeded"]


def test_a_check_stands_until_a_later_one_covers_it(database: Database, tmp_path: Path) -> None:
    kit.add_source(database, "graph")
    months = [NOW - 90 * DAY, NOW - 60 * DAY, NOW - 30 * DAY]
    kit.add_check(database, "graph", months[0], months[1], verdict="incomplete")
    kit.add_check(database, "graph", months[1], months[2], verdict="unproven")
    kit.add_check(database, "graph", months[0], months[1])
    kit.add_check(database, "graph", None, None, verdict="unproven", checked_at=NOW - 8 * DAY)
    graph = _read(database, tmp_path).sources[0]
    assert graph.verdicts() == {"complete": 1, "incomplete": 0, "unproven": 1}
    assert [each.since for each in graph.checks] == months[:2], "by time, the doubt forgotten"


def test_a_name_that_the_configuration_lacks_is_not_configured(
    database: Database, tmp_path: Path
) -> None:
    kit.add_source(database, "aged")
    kit.add_run(database, "aged", NOW - 90 * DAY)
    found = _read(database, tmp_path)
    aged = found.sources[-1]
    assert (aged.source, aged.configured, aged.fresh) == ("aged", False, None)
    assert "aged" not in found.stale
    with database.reading() as connection:
        alone = read(connection, None, NOW)
    assert alone.stale == ("aged",), "without a file the ledger's own memory counts"


def test_the_next_run_is_that_of_the_schedule(database: Database, tmp_path: Path) -> None:
    config = kit.configured(tmp_path)
    for one in _read(database, tmp_path).sources:
        assert one.next_run_at == next_run_at(config, one.source, NOW)


def test_a_large_ledger_is_read_through_indexes(database: Database, tmp_path: Path) -> None:
    """No statement walks over all runs or rejects."""
    _fill(database)
    if database.dialect != "sqlite":
        pytest.skip("EXPLAIN QUERY PLAN is SQLite's")
    told: list[tuple[str, Any]] = []
    event.listen(database.engine, "before_cursor_execute", lambda *a: told.append((a[2], a[3])))
    _read(database, tmp_path, runs=48)
    plans = []
    with database.reading() as connection:
        for statement, values in [each for each in told if each[0].startswith("SELECT")]:
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)
            plans += [row[3] for row in plan]
    walked = [line for line in plans if line.startswith("SCAN")]
    assert not [line for line in walked if "sync_runs" in line or "rejected" in line], walked
    assert any("ix_sync_runs_source_status_started_at" in line for line in plans)
    assert any("ix_rejected_records_source_resolved_at" in line for line in plans)


def test_a_run_has_neighbours_and_leaves_a_trace(database: Database) -> None:
    _fill(database)
    with database.reading() as connection:
        ids = connection.execute(
            select(tables.sync_runs.c.run_id)
            .where(tables.sync_runs.c.source == "graph")
            .order_by(tables.sync_runs.c.run_id)
        ).scalars().all()  # fmt: skip
        first = read_run(connection, ids[0])
        assert first is not None
        assert neighbours(connection, first) == (None, ids[1])
        left = trace(connection, first)
        assert left.changes == (("job", "succeeded", 1),)
        assert [reason for _, _, reason in left.rejects] == ["torn"]
        assert read_run(connection, 4711) is None


def test_the_json_holds_the_documented_keys_and_plain_values(
    database: Database, tmp_path: Path
) -> None:
    _fill(database)
    made = json.loads(json.dumps(document(_read(database, tmp_path))))
    graph = made["sources"][0]
    contract = {
        "source", "api", "last_success_at", "freshness_s", "fresh", "next_run_at", "last_run",
        "unfinished", "given_up", "rejects", "last_error",
    }  # fmt: skip
    assert contract <= graph.keys()
    assert graph["last_success_at"] == "2026-11-22T07:58:01.000Z"
    assert graph["freshness_s"] == 119.0
    assert graph["last_run"]["status"] == "failed"
    assert graph["last_run"]["duration_s"] == 1.0
    assert graph["completeness"]["complete"] == 0
    assert made["sources"][1]["last_run"] is None


def test_every_key_of_the_json_is_in_the_readme(database: Database, tmp_path: Path) -> None:
    _fill(database)
    kit.add_check(database, "graph", NOW - DAY, NOW)
    section = readme.README.read_text(encoding="utf-8").partition("\n## Watching it\n")[2]
    documented = set(re.findall(r"`([a-z_0-9]+)`", section.partition("\n#### Metrics")[0]))
    assert _keys(document(_read(database, tmp_path))["sources"]) <= documented


def _keys(made: Any) -> set[str]:
    """All keys, however deep."""
    if isinstance(made, list):
        return {key for each in made for key in _keys(each)}
    if isinstance(made, dict):
        return set(made) | {key for each in made.values() for key in _keys(each)}
    return set()


@pytest.mark.shows_secrets("an older release left one in the ledger")
def test_no_known_secret_is_in_the_json(database: Database, tmp_path: Path) -> None:
    known("hunter2-hunter2")
    kit.add_source(database, "graph")
    kit.add_run(database, "graph", status="failed", error="token hunter2-hunter2 refused")
    kit.add_reject(database, "graph", 1, "hunter2-hunter2 is no status")
    text = json.dumps(document(_read(database, tmp_path)))
    assert "hunter2" not in text
    assert text.count("[secret]") == 3


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.42, "0.4 s"), (12, "12 s"), (59.6, "1 min"), (180, "3 min"), (7500, "2 h 5 min"),
     (86400 * 4 + 3600 * 3, "4 d 3 h"), (3600, "1 h")],
)  # fmt: skip
def test_durations_are_said_in_two_units_at_most(seconds: float, said: str) -> None:
    assert span(seconds) == said


def test_moments_are_said_from_now() -> None:
    assert ago(None, NOW) == "never"
    assert ago(NOW - 3 * MINUTE, NOW) == "3 min ago"
    assert ago(NOW - timedelta(seconds=5.2), NOW) == "5 s ago"
    assert ago(NOW + MINUTE, NOW) == "just now", "another machine's clock may be ahead"
    assert ahead(NOW + timedelta(seconds=30), NOW) == "in 30 s"
    assert ahead(NOW - MINUTE, NOW) == "now"
    assert ahead(None, NOW) == "not scheduled"


def test_the_command_needs_no_token_and_answers_1_for_a_stale_source(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    kit.configured(tmp_path)
    _fill(database)
    database.close()
    done = run("--database", database_url, "status", cwd=tmp_path)
    assert done.code == 1, done.err
    assert "graph    explorer  STALE" in done.out
    assert "scripts  act2      never" in done.out
    assert "graph: 3 unfinished, asked for again (2 job, 1 sample)" in done.out
    assert "graph: 3 rejects; see etl rejects list" in done.out
    assert "graph: backfill 1 running: 2 of 4 windows done, 1 failed" in done.out
    assert "last error" in done.out


def test_the_command_answers_0_when_all_is_fresh(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    lines = [line.replace("every: 5m", "every: 52w") for line in kit.SCHEDULES.splitlines()]
    kit.configured(tmp_path, "\n".join(lines))
    for name, api in kit.APIS.items():
        kit.add_source(database, name, api)
        kit.add_run(database, name)
    database.close()
    done = run("--database", database_url, "status", "--json", cwd=tmp_path)
    assert done.code == 0, done.out + done.err
    assert [one["fresh"] for one in json.loads(done.out)["sources"]] == [True] * 3


def test_the_command_without_any_source_is_wrong_usage(database_url: str, tmp_path: Path) -> None:
    done = run("--database", database_url, "status", cwd=tmp_path)
    assert done.code == 2
    assert "none is configured; `etl init`" in done.err


def _fill(database: Database) -> None:
    kit.add_source(database, "graph")
    kit.add_source(database, "aged")
    first = kit.add_run(database, "graph", NOW - 2 * MINUTE)
    kit.add_run(database, "graph", NOW - MINUTE, status="failed", error="HTTP 500")
    kit.add_run(database, "aged", NOW - 90 * DAY)
    kit.add_debt(database, "graph", "job", "1")
    kit.add_debt(database, "graph", "job", "2")
    kit.add_debt(database, "graph", "sample", "2/a")
    kit.add_debt(database, "graph", "hole", "page 3", given_up_at=NOW)
    kit.add_reject(database, "graph", 1, "no key")
    kit.add_reject(database, "graph", 2, "no key")
    kit.add_reject(database, "graph", 3, "torn", run_id=first)
    kit.add_reject(database, "graph", 4, "gone", resolved_at=NOW, resolution="written")
    kit.add_backfill(database, "graph", ["done", "failed", "pending", "done"])
    kit.add(
        database, tables.status_changes, source="graph", kind="job", id="1", new_status="succeeded",
        observed_at=NOW - 2 * MINUTE, run_id=first,
    )  # fmt: skip
