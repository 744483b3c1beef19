"""Views answer alike on every database, with the same values of the same types."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Table, insert, inspect, select, text

from etl.db import Database
from etl.ledger import tables, views
from etl.sources.act2.tables import HOST_RESULTS, JOB_RECORDS
from etl.sources.dataarts.tables import QUALITY_INSTANCES
from etl.sources.explorer.tables import JOBS, TASKS
from etl.values import FINAL, STATUSES, canonical

NOW = datetime.now(UTC)
T = datetime(2026, 1, 31, 23, 59, 59, 250_001, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
LATER = T + timedelta(seconds=90, microseconds=999_999)


def put(database: Database, table: Table[Any], *rows: dict[str, Any]) -> None:
    """Inserts rows of a data table or the ledger; what all data tables have is filled in."""
    common = {"source": "s", "text_repaired": False, "first_synced_at": T, "changed_at": T}
    filled = {name: value for name, value in common.items() if name in table.c}
    with database.writing() as connection:
        for row in rows:
            connection.execute(insert(table).values({**filled, **row}))


def ask(database: Database, view: Any, *names: str, **where: Any) -> list[tuple[Any, ...]]:
    query = select(*(view.c[name] for name in names))
    for name, value in where.items():
        query = query.where(view.c[name] == value)
    with database.reading() as connection:
        rows = [tuple(row) for row in connection.execute(query)]
    return sorted(rows, key=str)


def test_the_declared_columns_are_those_of_the_database(every_database: Database) -> None:
    inspector = inspect(every_database.engine)
    assert {view.name for view in views.VIEWS} == set(inspector.get_view_names())
    for view in views.VIEWS:
        found = [column["name"] for column in inspector.get_columns(view.name)]
        assert found == list(view.c.keys())


def test_executions_have_one_shape(every_database: Database) -> None:
    job = {"job_id": 2**62, "name": "nightly", "workflow_id": "w1", "workflow_name": "Rank"}
    times = {"started_at": T, "finished_at": LATER}
    put(
        every_database,
        JOBS.table,
        {**job, **times, "status": "failed", "status_code": 3, "created_at": T - MINUTE},
    )
    put(
        every_database,
        JOB_RECORDS.table,
        {
            "record_id": "r-1",
            "status": "timed_out",
            "result_status": "timeout",
            **times,
            "execute_status": "done",
            "script": "é" * 200,
            "script_hash": "ab",
        },
        {"record_id": "r-2", "status": "running", "execute_status": "doing", "result_status": ""},
    )
    instance = {"instance_id": 5, "name": "nulls", "task_id": 2**53 + 1, "run_status": "SUCCESS"}
    put(
        every_database,
        QUALITY_INSTANCES.table,
        {**instance, **times, "status": "succeeded", "upstream_gone_at": LATER},
    )
    ended = (T, T, LATER, 90.999999)
    job_row = ("explorer", "job", str(2**62), "nightly", "w1", "Rank", "failed", "3")
    over = ("act2", "job_record", "r-1", None, "ab", "é" * 80, "timed_out", "timeout")
    running = ("act2", "job_record", "r-2", None, None, None, "running", "doing")
    instance_row = ("dataarts", "quality_instance", "5", "nulls", str(2**53 + 1), "nulls")
    assert ask(every_database, views.executions, *views.executions.c.keys()) == sorted(
        [
            ("s", *job_row, True, True, T - MINUTE, *ended[1:], 60.0, T, None),
            ("s", *over, True, True, *ended, None, T, None),
            ("s", *running, False, False, *[None] * 5, T, None),
            ("s", *instance_row, "succeeded", "SUCCESS", True, False, *ended, None, T, LATER),
        ],
        key=str,
    )


def test_every_status_is_final_or_failed_as_the_vocabulary_says(every_database: Database) -> None:
    for number, status in enumerate(STATUSES):
        put(every_database, JOBS.table, {"job_id": number, "status": status})
    put(every_database, JOBS.table, {"job_id": 99, "status": "unknown", "finished_at": T})
    found = ask(every_database, views.executions, "id", "status", "is_final", "is_failure")
    failures = {"failed", "timed_out"}
    expected = [(str(n), s, s in FINAL, s in failures) for n, s in enumerate(STATUSES)]
    assert found == sorted([*expected, ("99", "unknown", True, False)], key=str)


FAILED: dict[str, Any] = {"status": "failed", "started_at": T, "finished_at": LATER}


def test_a_failed_job_is_told_by_its_tasks_or_by_itself(every_database: Database) -> None:
    job = {**FAILED, "workflow_name": "Rank", "status_code": 3}
    put(
        every_database,
        JOBS.table,
        {**job, "job_id": 1},
        {**job, "job_id": 2},
        {**job, "job_id": 3, "status": "succeeded"},
    )
    task = {**FAILED, "name": "A", "status_code": 3, "sample_error": "no such task"}
    put(
        every_database,
        TASKS.table,
        {**task, "job_id": 1, "task_id": "t1"},
        {**task, "job_id": 1, "task_id": "t2", "status": "succeeded"},
        {**task, "job_id": 2, "task_id": "t1", "status": "cancelled"},
    )
    end = ("Rank", "failed", "3", T, LATER)
    assert ask(every_database, views.failures, *views.failures.c.keys()) == [
        ("s", "explorer", "job", "2", None, None, *end, None, None, None),
        ("s", "explorer", "task", "1", "t1", "A", *end, "no such task", None, None),
    ]


def test_a_failed_record_is_told_by_its_hosts_or_by_itself(every_database: Database) -> None:
    record = {**FAILED, "script": "df -h", "result_status": "fail", "execute_status": "done"}
    put(
        every_database,
        JOB_RECORDS.table,
        {**record, "record_id": "a"},
        {**record, "record_id": "b", "status": "timed_out", "result_status": "timeout"},
    )
    host = {**FAILED, "record_id": "a", "ordinal": 1, "output_cut": False, "host_ip": "10.0.0.1"}
    said = {"status_text": "timeout", "message": "late", "stdout": "out", "stderr": "err"}
    put(
        every_database,
        HOST_RESULTS.table,
        {**host, **said, "host_id": "h1", "status": "timed_out"},
        {**host, **said, "host_id": "h2", "status": "succeeded"},
    )
    end = ("df -h", "timed_out", "timeout", T, LATER)
    assert ask(every_database, views.failures, *views.failures.c.keys()) == [
        ("s", "act2", "host_result", "a", "h1", "10.0.0.1", *end, "late", "out", "err"),
        ("s", "act2", "job_record", "b", None, None, *end, None, None, None),
    ]


def test_a_failed_instance_is_told_by_itself(every_database: Database) -> None:
    instance = {**FAILED, "name": "nulls", "run_status": "FAILED"}
    put(
        every_database,
        QUALITY_INSTANCES.table,
        {**instance, "instance_id": 9},
        {**instance, "instance_id": 10, "status": "alarmed"},
    )
    end = ("nulls", "failed", "FAILED", T, LATER)
    assert ask(every_database, views.failures, *views.failures.c.keys()) == [
        ("s", "dataarts", "quality_instance", "9", None, None, *end, None, None, None)
    ]


def test_failed_hosts_carry_the_records_script_and_user(every_database: Database) -> None:
    record = {"record_id": "a", "status": "failed", "script_hash": "ab", "user_name": "root"}
    put(every_database, JOB_RECORDS.table, record)
    for number, status in enumerate(STATUSES):
        host = {"record_id": "a", "host_id": status, "ordinal": 1, "status": status}
        put(
            every_database, HOST_RESULTS.table, {**host, "output_cut": True, "stdout_bytes": number}
        )
    found = ask(
        every_database,
        views.failed_hosts,
        *("host_id", "script_hash", "user_name", "output_cut", "text_repaired", "changed_at"),
    )
    assert found == [
        ("failed", "ab", "root", True, False, T),
        ("timed_out", "ab", "root", True, False, T),
    ]


def test_silent_hosts_are_expected_or_never_said_how_it_ended(every_database: Database) -> None:
    over = {"status": "succeeded", "started_at": T, "finished_at": LATER, "script": "df -h"}
    put(
        every_database,
        JOB_RECORDS.table,
        {**over, "record_id": "a", "host_ids": canonical(["h1", "h2", "h2", "H1", "h1 ", "10"])},
        {"record_id": "b", "status": "running", "host_ids": canonical(["h9"])},
        {"record_id": "c", "status": "running"},
        {**over, "record_id": "d", "host_ids": canonical({"odd": "h1"})},
        {**over, "record_id": "e", "host_ids": "null"},
    )
    host = {"ordinal": 1, "output_cut": False}
    put(
        every_database,
        HOST_RESULTS.table,
        {**host, "record_id": "a", "host_id": "h1", "status": "unknown"},
        {**host, "record_id": "a", "host_id": "10", "status": "succeeded"},
        {**host, "record_id": "c", "host_id": "h1", "status": "unknown"},
    )
    ended = ("succeeded", T, LATER, "df -h")
    assert ask(every_database, views.silent_hosts, *views.silent_hosts.c.keys()) == sorted(
        [
            ("s", "a", "h1", "no status", *ended),
            ("s", "a", "h2", "no row", *ended),
            ("s", "a", "H1", "no row", *ended),
            ("s", "a", "h1 ", "no row", *ended),
            ("s", "b", "h9", "no row", "running", None, None, None),
        ],
        key=str,
    )


def test_usual_durations_are_median_and_nearest_rank(every_database: Database) -> None:
    def runs(definition: str, *seconds: float, **other: Any) -> Iterator[dict[str, Any]]:
        for each in seconds:
            start = NOW - timedelta(days=1, seconds=each)
            name = f"{definition} of {each}"
            yield {"workflow_id": definition, "workflow_name": name, "status": "succeeded"} | {
                "started_at": start,
                "finished_at": start + timedelta(seconds=each),
                **other,
            }

    rows = [
        *runs("odd", 30, 10, 20),
        *runs("even", 1, 2, 3.5, 100),
        *runs("hundred", *range(1, 101)),
        *runs("failed", 10, status="failed"),
        *runs("old", 10, finished_at=NOW - timedelta(days=91)),
        *runs("running", 10, finished_at=None),
    ]
    put(every_database, JOBS.table, *({"job_id": n, **row} for n, row in enumerate(rows)))
    names = ("definition_id", "runs", "median_s", "p95_s")
    assert ask(every_database, views.usual_durations, *names) == [
        ("even", 4, 2.75, 100.0),
        ("hundred", 100, 50.5, 95.0),
        ("odd", 3, 20.0, 30.0),
    ]


def test_a_definition_has_the_name_of_its_latest_run(every_database: Database) -> None:
    for number, name in enumerate(("zebra", "ant")):
        at = NOW - timedelta(days=2 - number)
        row = {"workflow_id": "w", "workflow_name": name, "started_at": at, "finished_at": at}
        put(every_database, JOBS.table, {**row, "job_id": number, "status": "succeeded"})
    found = ask(every_database, views.usual_durations, "definition_name", "median_s")
    assert found == [("ant", 0.0)]


def run_of(source: str, minutes_ago: float, **other: Any) -> dict[str, Any]:
    counted = ("requests", "retries", "bytes_read", "pid")
    rows = ("rows_read", "rows_written", "rows_unchanged", "rows_rejected")
    ended = NOW - timedelta(minutes=minutes_ago)
    return {
        "source": source,
        "mode": "sync",
        "triggered_by": "command",
        "status": "succeeded",
        "started_at": ended - timedelta(minutes=1),
        "finished_at": ended,
        "version": "1",
        "host": "h",
        **dict.fromkeys((*counted, *rows), 0),
        **other,
    }


def source_row(name: str, **other: Any) -> dict[str, Any]:
    used = {"first_used_at": T, "last_used_at": T}
    return {"source": name, "api": "act2", "address": "{}", **used, **other}


def test_freshness_is_the_age_of_the_last_succeeded_sync(every_database: Database) -> None:
    put(
        every_database,
        tables.sources,
        source_row("fresh", expected_every_s=300, stale_after_s=86400),
        source_row("stale", expected_every_s=300),
        source_row("never", expected_every_s=300),
        source_row("unscheduled"),
    )
    put(
        every_database,
        tables.sync_runs,
        run_of("fresh", 60),
        run_of("fresh", 11),
        run_of("fresh", 5, status="failed", error="first"),
        run_of("fresh", 4, status="failed", error="last"),
        run_of("fresh", 3, mode="verify"),
        run_of("stale", 11),
        run_of("never", 1, status="stopped"),
        run_of("unscheduled", 1),
    )
    at = NOW - timedelta(minutes=11)
    names = ("source", "last_success_at", "copied_until", "fresh", "last_error")
    found = {row[0]: row[1:] for row in ask(every_database, views.source_freshness, *names)}
    assert found == {
        "fresh": (at, at - timedelta(minutes=1), True, "last"),
        "stale": (at, at - timedelta(minutes=1), False, None),
        "never": (None, None, False, None),
        "unscheduled": (NOW - timedelta(minutes=1), NOW - timedelta(minutes=2), None, None),
    }


def test_freshness_counts_debts_and_open_rejects(every_database: Database) -> None:
    put(every_database, tables.sources, source_row("s"), source_row("other"))
    debt = {"kind": "job", "first_seen_at": T, "changed_at": T, "next_due_at": T, "attempts": 1}
    put(
        every_database,
        tables.unfinished,
        {**debt, "id": "1", "reason": "running"},
        {**debt, "id": "2", "reason": "running"},
        {**debt, "id": "3", "reason": "running", "given_up_at": T},
    )
    reject = {"stream": "jobs", "reason": "no key", "payload": "{}", "seen_count": 1}
    seen = {"first_seen_at": T, "last_seen_at": T}
    put(
        every_database,
        tables.rejected_records,
        {**reject, **seen, "fingerprint": "a"},
        {**reject, **seen, "fingerprint": "b", "resolved_at": T, "resolution": "written"},
    )
    names = ("source", "unfinished", "given_up", "rejects")
    found = ask(every_database, views.source_freshness, *names)
    assert found == [("other", 0, 0, 0), ("s", 2, 1, 1)]


def month(number: int, day: int = 1) -> datetime:
    return datetime(2026, number, day, tzinfo=UTC)


def checked(since: datetime | None, until: datetime | None, verdict: str) -> dict[str, Any]:
    return {"stream": "jobs", "since": since, "until": until, "verdict": verdict, "checked_at": T}


def coverage_of(database: Database) -> dict[str, str]:
    return dict(ask(database, views.coverage, "month", "verdict", source="s"))


def test_a_month_has_its_latest_verdict(every_database: Database) -> None:
    moments = [T, month(3), month(4) - timedelta(microseconds=1), month(4), month(5, 20)]
    rows = [{"job_id": n, "status": "succeeded", "created_at": at} for n, at in enumerate(moments)]
    put(every_database, JOBS.table, *rows, {"job_id": 99, "status": "pending"})
    put(
        every_database,
        tables.completeness,
        checked(month(3), month(4), "incomplete"),
        checked(month(3), month(4), "complete"),
        checked(month(4), month(5), "complete"),
        checked(month(4, 7), month(4, 8), "unproven"),
        checked(month(6), month(7), "complete"),
        checked(None, None, "unproven"),
        {**checked(month(1), month(2), "complete"), "source": "other"},
    )
    assert coverage_of(every_database) == {
        "2026-01": "unchecked",
        "2026-03": "complete",
        "2026-04": "unproven",
        "2026-05": "unchecked",
        "2026-06": "complete",
    }
    names = ("month", "executions", "checked_since", "checked_until", "checked_at")
    assert ask(every_database, views.coverage, *names, month="2026-03") == [
        ("2026-03", 2, month(3), month(4), T)
    ]


def test_a_month_checked_in_part_is_not_complete(every_database: Database) -> None:
    rows = [{"job_id": n, "status": "failed", "created_at": month(3, n)} for n in (2, 20)]
    put(every_database, JOBS.table, *rows)
    put(every_database, tables.completeness, checked(month(3, 10), month(4), "complete"))
    assert coverage_of(every_database) == {"2026-03": "unproven"}
    put(every_database, tables.completeness, checked(month(3), month(3, 10), "complete"))
    assert coverage_of(every_database) == {"2026-03": "complete"}


def test_a_month_with_a_stretch_that_was_never_checked_is_not_complete(
    every_database: Database,
) -> None:
    rows = [{"job_id": n, "status": "failed", "created_at": month(3, n)} for n in (2, 20)]
    put(every_database, JOBS.table, *rows)
    complete = partial(checked, verdict="complete")
    put(
        every_database,
        tables.completeness,
        complete(month(3), month(3, 9)),
        complete(month(3, 2), month(3, 5)),
        complete(month(3, 15), month(4)),
    )
    assert coverage_of(every_database) == {"2026-03": "unproven"}
    put(every_database, tables.completeness, complete(month(3, 9), month(3, 15)))
    assert coverage_of(every_database) == {"2026-03": "complete"}


@pytest.mark.parametrize(
    ("query", "index"),
    [
        ("failures WHERE finished_at >= '2026-01-01'", "ix_tasks_status_finished_at"),
        ("failures WHERE started_at >= '2026-01-01'", "ix_host_results_status_started_at"),
        ("failed_hosts WHERE started_at >= '2026-01-01'", "ix_host_results_status_started_at"),
        ("executions WHERE created_at >= '2026-01-01'", "ix_jobs_created_at"),
        ("executions WHERE created_at >= '2026-01-01'", "ix_job_records_started_at"),
        ("executions WHERE created_at >= '2026-01-01'", "ix_quality_instances_started_at"),
        ("usual_durations", "ix_jobs_status_finished_at"),
    ],
)
@pytest.mark.parametrize("every_database_url", ["sqlite"], indirect=True)  # servers count rows
def test_indexes_serve_the_views(every_database: Database, query: str, index: str) -> None:
    with every_database.reading() as connection:
        plan = connection.execute(text(f"EXPLAIN QUERY PLAN SELECT * FROM {query}"))
        assert index in " ".join(row.detail for row in plan)
