"""Writing records: whole, only what differs, never older over newer, never poorer over richer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace
from sqlalchemy import select

from etl.clock import Clock
from etl.db import Database
from etl.ledger import names, seats
from etl.ledger.tables import status_changes
from etl.schema import DataTable
from etl.source import Part, Record
from etl.sources.act2.tables import HOST_RESULTS, JOB_RECORDS, HostResult, JobRecord
from etl.sources.explorer.tables import JOBS, SAMPLE_ROWS, TASKS, Job, SampleRow, Task
from etl.store import Store, Tally

T = datetime(2026, 1, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)


class StandingClock(Clock):
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.at = T

    def now(self) -> datetime:
        return self.at


@dataclass
class Desk:
    """A registered source with its seat taken, ready to write."""

    database: Database
    seat: seats.Seat
    tables: tuple[DataTable, ...]
    clock: StandingClock

    def write(self, *records: Record) -> Tally:
        with self.seat.transaction() as writing:
            tally = Store(self.tables, "s").write(
                writing.connection, records, stamp=writing.stamp, run_id=1
            )
            writing.changed = tally.changed
        return tally

    def rows(self, table: Any, *columns: str) -> list[tuple[Any, ...]]:
        chosen = [table.c[name] for name in columns]
        with self.database.reading() as connection:
            return sorted(tuple(row) for row in connection.execute(select(*chosen)))


def _desk(database: Database, api: str, *tables: DataTable) -> Iterator[Desk]:
    clock = StandingClock()
    with database.writing() as connection:
        names.register(
            connection,
            "s",
            api=api,
            identity={"url": "http://x"},
            account="a",
            since=None,
            expected_every_s=None,
            stale_after_s=None,
            now=clock.now(),
        )
    seat = seats.take(database, "s", "live", lease_s=30, clock=clock)
    yield Desk(database, seat, tables, clock)
    seat.release()


@pytest.fixture
def graph(every_database: Database) -> Iterator[Desk]:
    yield from _desk(every_database, "explorer", JOBS, TASKS, SAMPLE_ROWS)


@pytest.fixture
def scripts(every_database: Database) -> Iterator[Desk]:
    yield from _desk(every_database, "act2", JOB_RECORDS, HOST_RESULTS)


JOB = Job(5, "daily", "w1", "daily", "succeeded", 2, T, T, T, 2, '{"a":1}', False)
TASK = Task(5, "a", "PageRank", "succeeded", 2, T, T, 3, None, "d1", None, False)
ROW = SampleRow(5, "a", 1, "player110", "0.15", None, None)
RECORD = JobRecord(
    "r1", "succeeded", "done", "success", "script", "df -h", "bash", "ssh", "h", "", "e", "m", "",
    30, None, '["h1"]', T, T, 1, 1, None, False,
)  # fmt: skip
HOST = HostResult(
    "r1", "h1", 1, "10.0.0.1", "E", "青岛", "linux", "succeeded", "success", T, T, "out", "", "",
    3, 0, False, None, False,
)  # fmt: skip


def _job(job: Job = JOB, tasks: tuple[Task, ...] = (TASK,), *, asked_at: datetime = T) -> Record:
    samples = [
        ROW._replace(task_id=task.task_id, row_no=n + 1, column_2=f"{task.sample_digest}")
        for task in tasks
        for n in range(task.sample_row_count or 0)
    ]
    parts = [Part(JOBS, [job]), Part(TASKS, list(tasks)), Part(SAMPLE_ROWS, samples)]
    return Record(str(job.job_id), asked_at + 99 * DAY, parts)


def _record(*hosts: HostResult, record: JobRecord = RECORD) -> Record:
    return Record(
        record.record_id,
        T + 99 * DAY,
        [Part(JOB_RECORDS, [record]), Part(HOST_RESULTS, list(hosts))],
    )


def test_the_same_record_again_writes_nothing(graph: Desk) -> None:
    assert graph.write(_job()).written == 5
    before = graph.rows(JOBS.table, "changed_at") + graph.rows(TASKS.table, "changed_at")
    graph.clock.at += DAY
    again = graph.write(_job())
    assert (again.read, again.written, again.unchanged) == (5, 0, 5)
    assert graph.rows(JOBS.table, "changed_at") + graph.rows(TASKS.table, "changed_at") == before


def test_changed_at_moves_only_for_the_row_that_changed(graph: Desk) -> None:
    other = TASK._replace(task_id="b")
    graph.write(_job(tasks=(TASK, other)))
    graph.clock.at += DAY
    assert graph.write(_job(tasks=(TASK, other._replace(name="Louvain")))).written == 1
    assert graph.rows(TASKS.table, "task_id", "changed_at", "first_synced_at") == [
        ("a", T, T),
        ("b", T + DAY, T),
    ]


def test_changed_at_grows_with_every_transaction_even_if_the_clock_is_set_back(graph: Desk) -> None:
    stamps = []
    for number in range(4):
        graph.clock.at = T - number * DAY
        graph.write(_job(JOB._replace(name=f"name {number}")))
        stamps += graph.rows(JOBS.table, "changed_at")
    assert stamps == sorted(set(stamps))


def test_an_answer_asked_for_before_the_row_changed_is_left_out(graph: Desk) -> None:
    graph.write(_job())
    old = replace(_job(JOB._replace(status="running")), asked_at=T - timedelta(seconds=1))
    assert graph.write(old).written == 0
    assert graph.rows(JOBS.table, "status") == [("succeeded",)]


def test_columns_that_an_answer_does_not_own_are_left_alone(graph: Desk) -> None:
    graph.write(_job())
    listed = JOB._replace(name="renamed", task_count=None, extra=None)
    part = Part(JOBS, [listed], owns=("name", "status"))
    assert graph.write(Record("5", T + DAY, [part])).written == 1
    assert graph.rows(JOBS.table, "name", "task_count", "extra") == [("renamed", 2, '{"a":1}')]


def test_a_smaller_sample_is_not_believed_unless_the_task_ran_anew(graph: Desk) -> None:
    graph.write(_job())
    shorter = TASK._replace(sample_row_count=2, sample_digest="d2")
    assert graph.write(_job(tasks=(shorter,))).written == 0
    assert len(graph.rows(SAMPLE_ROWS.table, "row_no")) == 3
    anew = shorter._replace(finished_at=T + DAY)
    assert graph.write(_job(tasks=(anew,))).written == 3
    assert graph.rows(SAMPLE_ROWS.table, "row_no", "column_2") == [(1, "d2"), (2, "d2")]


def test_a_sample_that_cannot_be_had_again_stays(graph: Desk) -> None:
    graph.write(_job())
    lost = TASK._replace(sample_row_count=None, sample_digest=None, sample_error="gone")
    graph.write(_job(tasks=(lost,)))
    assert graph.rows(TASKS.table, "sample_row_count", "sample_digest") == [(3, "d1")]
    assert len(graph.rows(SAMPLE_ROWS.table, "row_no")) == 3


def test_tasks_changed_at_moves_with_its_sample(graph: Desk) -> None:
    graph.write(_job())
    graph.clock.at += DAY
    graph.write(_job(tasks=(TASK._replace(sample_digest="d9"),)))
    assert graph.rows(TASKS.table, "changed_at") == [(T + DAY,)]
    assert {row[0] for row in graph.rows(SAMPLE_ROWS.table, "column_2")} == {"d9"}


def test_a_truncated_sample_table_is_filled_again(graph: Desk) -> None:
    graph.write(_job())
    with graph.database.writing() as connection:
        connection.execute(SAMPLE_ROWS.table.delete().where(SAMPLE_ROWS.table.c.row_no > 1))
    graph.write(_job())
    assert len(graph.rows(SAMPLE_ROWS.table, "row_no")) == 3


def test_a_task_that_is_no_longer_named_stays_and_is_marked(graph: Desk) -> None:
    other = TASK._replace(task_id="b")
    graph.write(_job(tasks=(TASK, other)))
    graph.clock.at += DAY
    assert graph.write(_job()).marked == 1
    assert (
        graph.rows(TASKS.table, "task_id", "upstream_gone_at", "changed_at")[1][1:]
        == (T + DAY,) * 2
    )
    graph.clock.at += DAY
    graph.write(_job(tasks=(TASK, other)))
    assert graph.rows(TASKS.table, "task_id", "changed_at")[1] == ("b", T + 2 * DAY)
    with graph.database.reading() as connection:
        assert set(connection.execute(select(TASKS.table.c.upstream_gone_at)).scalars()) == {None}


def test_host_rows_are_never_replaced_by_fewer(scripts: Desk) -> None:
    second = HOST._replace(ordinal=2, stdout="out 2")
    elsewhere = HOST._replace(host_id="h2", stdout="old")
    scripts.write(_record(HOST, second, elsewhere))
    scripts.write(_record(HOST._replace(stdout="short"), elsewhere._replace(stdout="new")))
    assert scripts.rows(HOST_RESULTS.table, "host_id", "ordinal", "stdout") == [
        ("h1", 1, "out"),
        ("h1", 2, "out 2"),
        ("h2", 1, "new"),
    ]


def test_an_empty_answer_deletes_no_host_and_the_count_is_of_what_is_stored(scripts: Desk) -> None:
    scripts.write(_record(HOST, HOST._replace(host_id="h2")))
    scripts.write(_record(record=RECORD._replace(host_result_count=0)))
    assert len(scripts.rows(HOST_RESULTS.table, "host_id")) == 2
    assert scripts.rows(JOB_RECORDS.table, "host_result_count") == [(2,)]


def test_each_change_of_a_status_is_kept(scripts: Desk) -> None:
    running = RECORD._replace(status="running", finished_at=None)
    scripts.write(_record(HOST._replace(status="running"), record=running))
    scripts.write(_record(HOST))
    changes = scripts.rows(status_changes, "kind", "id", "new_status")
    assert changes == [
        ("host_result", "r1", "running"),
        ("host_result", "r1", "succeeded"),
        ("job_record", "r1", "running"),
        ("job_record", "r1", "succeeded"),
    ]
    with scripts.database.reading() as connection:
        part = select(
            status_changes.c.part_id, status_changes.c.ordinal, status_changes.c.old_status
        ).where(status_changes.c.kind == "host_result", status_changes.c.new_status == "succeeded")
        assert connection.execute(part).one() == ("h1", 1, "running")


def test_what_is_first_seen_final_is_no_change(scripts: Desk) -> None:
    scripts.write(_record(HOST))
    assert scripts.rows(status_changes, "kind") == []


def test_of_two_answers_about_one_record_the_later_is_written(scripts: Desk) -> None:
    first = replace(_record(HOST), asked_at=T + DAY)
    later = replace(_record(HOST._replace(stdout="later")), asked_at=T + 2 * DAY)
    tally = scripts.write(later, first)
    assert (tally.read, tally.written, tally.unchanged) == (4, 2, 2)
    assert scripts.rows(HOST_RESULTS.table, "stdout") == [("later",)]
