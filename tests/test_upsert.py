"""Many rows at once: COPY and one merge on PostgreSQL, and the same rules as row by row."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import event, select, text
from sqlalchemy.exc import DBAPIError

from etl.db import Database, retriable
from etl.db.among import among
from etl.errors import DatabaseTrouble
from etl.ledger import names
from etl.sources.act2.tables import HOST_RESULTS, HostResult
from etl.sources.explorer.tables import JOBS, SAMPLE_ROWS, TASKS, Job, SampleRow, Task
from etl.upsert import postgresql, sqlite, upsert

T = datetime(2026, 1, 1, 12, tzinfo=UTC)
LATER = T + timedelta(hours=1)
WORDS = ("a\tb", "c\\N", "\\N", "\\.", "line\nend\r\n", "", 'quote"s', "杭州 😀", "NULL", None)
MANY = 120


def job(number: int, **changes: Any) -> Job:
    row = Job(
        job_id=number,
        name=WORDS[number % len(WORDS)],
        workflow_id="w",
        workflow_name=None,
        status="succeeded",
        status_code=2,
        created_at=T + timedelta(microseconds=number),
        started_at=None,
        finished_at=T,
        task_count=number,
        extra='{"a":"\\\\u2400\\t","b":[1,null]}' if number % 3 else None,
        text_repaired=bool(number % 2),
    )
    return row._replace(**changes)


def write(database: Database, rows: list[Job], at: datetime, **more: Any) -> None:
    with database.writing() as connection:
        if connection.execute(text("SELECT count(*) FROM sources")).scalar_one() == 0:
            names.register(
                connection,
                "s",
                api="explorer",
                identity={},
                account="a",
                since=None,
                expected_every_s=None,
                stale_after_s=None,
                now=T,
            )
        upsert(connection, JOBS, rows, source="s", stamp=at, **more)


def read(database: Database, *columns: str) -> list[tuple[Any, ...]]:
    chosen = [JOBS.table.c[name] for name in columns]
    with database.reading() as connection:
        found = connection.execute(select(*chosen).order_by(JOBS.table.c.job_id))
        return [tuple(row) for row in found]


def test_many_rows_come_back_as_they_went_in(every_database: Database) -> None:
    rows = [job(number) for number in range(MANY)]
    write(every_database, rows, T)
    assert read(every_database, *JOBS.fields) == [tuple(row) for row in rows]


@pytest.mark.parametrize("count", [1, 111, 112, 113, 250])
def test_sample_rows_are_written_whatever_their_number(database: Database, count: int) -> None:
    write(database, [job(1)], T)
    task: dict[str, Any] = dict.fromkeys(Task._fields) | {
        "job_id": 1,
        "task_id": "t",
        "status": "succeeded",
    }
    rows = [SampleRow(1, "t", place, WORDS[place % 10], "b", None, None) for place in range(count)]
    with database.writing() as connection:
        tasks = [Task(**{**task, "text_repaired": False})]
        upsert(connection, TASKS, tasks, source="s", stamp=T)
        for some in (rows, [row._replace(column_2="c") for row in rows[-3:]]):
            upsert(connection, SAMPLE_ROWS, some, source="s", stamp=T)
    expected = [*rows[:-3], *(row._replace(column_2="c") for row in rows[-3:])]
    columns = SAMPLE_ROWS.table.c
    with database.reading() as connection:
        wanted = select(*(columns[name] for name in SAMPLE_ROWS.fields)).order_by(columns.row_no)
        assert [tuple(row) for row in connection.execute(wanted)] == expected


AWKWARD = [
    job(1, created_at=T, finished_at=T + timedelta(microseconds=120)),
    job(2, created_at=datetime(1, 1, 1, tzinfo=UTC), finished_at=None),
    job(3, finished_at=datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)),
    job(4, task_count=2**63 - 1, status_code=-(2**63)),
    job(5, job_id=2**63 - 1, name="[1,null]", workflow_name="2026-01-01T12:00:00Z"),
    job(6, name="\x01\x7f\u2028\\u2400", workflow_name="", text_repaired=True),
]


@pytest.mark.parametrize("every_database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    "more",
    [
        [],
        [job(7, name="a\x00b")],
        [job(7, finished_at=datetime(2026, 1, 1, 20, tzinfo=timezone(timedelta(hours=8))))],
    ],
    ids=["one text", "NUL", "another zone"],
)
def test_rows_as_one_text_are_stored_as_rows_one_by_one(
    every_database: Database, monkeypatch: pytest.MonkeyPatch, more: list[Job]
) -> None:
    stored = []
    rows = [*AWKWARD, *more]
    assert (sqlite._as_json(JOBS, rows) is None) == bool(more)
    for _ in range(2):
        write(every_database, rows, T)
        columns = ", ".join(f"quote({column})" for column in (*JOBS.fields, "changed_at"))
        with every_database.writing() as connection:
            kept = connection.execute(text(f"SELECT {columns} FROM jobs ORDER BY job_id"))
            stored.append([tuple(row) for row in kept])
            connection.execute(text("DELETE FROM jobs"))
        monkeypatch.setattr(sqlite, "_as_json", lambda table, rows: None)
    assert len(stored[0]) == len(rows)
    assert stored[0] == stored[1]


def test_rows_of_long_texts_go_in_portions_of_bounded_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "_PORTION", 1000)
    sizes = [5000, 1, 400, 599, 1, 1, 5000, 5000]
    empty: dict[str, Any] = dict.fromkeys(HostResult._fields)
    hosts = [
        HostResult(**{**empty, "record_id": "r", "host_id": str(place), "stdout": "x" * size})
        for place, size in enumerate(sizes)
    ]
    stdout = HostResult._fields.index("stdout")
    portions = list(sqlite._portions(HOST_RESULTS, hosts[::-1]))
    assert [[len(row[stdout]) for row in rows] for rows in portions] == [
        [5000],
        [1, 400, 599],
        [1, 1],
        [5000],
        [5000],
    ]


def test_of_many_rows_only_those_that_differ_are_touched(every_database: Database) -> None:
    rows = [job(number) for number in range(MANY)]
    write(every_database, rows, T)
    rows[7] = rows[7]._replace(name="new")
    rows[8] = rows[8]._replace(started_at=T)
    write(every_database, rows, LATER)
    changed = {n for n, at in read(every_database, "job_id", "changed_at") if at == LATER}
    assert changed == {7, 8}
    assert {at for (at,) in read(every_database, "first_synced_at")} == {T}


def test_many_rows_that_know_some_columns_leave_the_others_alone(every_database: Database) -> None:
    write(every_database, [job(number) for number in range(MANY)], T)
    poorer = [job(number, name="new", task_count=None) for number in range(MANY)]
    write(every_database, poorer, LATER, owns=("job_id", "name"))
    assert read(every_database, "name", "task_count") == [("new", n) for n in range(MANY)]


def test_of_rows_with_one_key_the_last_counts(every_database: Database) -> None:
    rows = [job(number) for number in range(MANY)]
    write(every_database, [*rows, job(5, name="last")], T)
    assert read(every_database, "name")[5] == ("last",)


def test_two_batches_of_one_transaction_do_not_mix(every_database: Database) -> None:
    with every_database.writing() as connection:
        for start in (0, 1000):
            rows = [job(start + number) for number in range(MANY)]
            upsert(connection, JOBS, rows, source="s", stamp=T)
    assert len(read(every_database, "job_id")) == 2 * MANY


def test_a_batch_that_cannot_be_written_is_the_databases_trouble(every_database: Database) -> None:
    rows = [job(number) for number in range(MANY)]
    rows[60] = rows[60]._replace(status="longer than its column")
    if every_database.dialect == "sqlite":  # it knows no lengths
        rows[60] = rows[60]._replace(text_repaired=None)  # type: ignore[arg-type]
    with pytest.raises(DatabaseTrouble) as caught:
        write(every_database, rows, T)
    assert not retriable(caught.value)
    assert read(every_database, "job_id") == []
    write(every_database, rows[:60], T)
    assert len(read(every_database, "job_id")) == 60


def samples(tasks: int, rows: int) -> list[SampleRow]:
    return [
        SampleRow(1, f"t{t}", n, "a", "b", None, None) for t in range(tasks) for n in range(rows)
    ]


def write_tasks(database: Database, count: int) -> None:
    write(database, [job(1)], T)
    nothing: dict[str, Any] = dict.fromkeys(Task._fields)
    known = {"job_id": 1, "status": "succeeded", "text_repaired": False}
    with database.writing() as connection:
        tasks = [Task(**{**nothing, **known, "task_id": f"t{n}"}) for n in range(count)]
        upsert(connection, TASKS, tasks, source="s", stamp=T)


def put(database: Database, rows: list[SampleRow]) -> None:
    with database.writing() as connection:
        upsert(connection, SAMPLE_ROWS, rows, source="s", stamp=T)


def count_samples(database: Database) -> int:
    with database.reading() as connection:
        return int(connection.execute(text("SELECT count(*) FROM sample_rows")).scalar_one())


@pytest.mark.parametrize("rows", [10, 1000])
def test_rows_without_a_parent_are_refused_however_many(
    every_database: Database, rows: int
) -> None:
    write_tasks(every_database, 2)
    with pytest.raises(DatabaseTrouble):
        put(every_database, samples(3, rows))
    assert count_samples(every_database) == 0
    put(every_database, samples(2, rows))
    assert count_samples(every_database) == 2 * rows


@pytest.mark.parametrize("every_database_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize("rows", [10, 1000])
def test_a_parent_stays_until_its_rows_are_committed(every_database: Database, rows: int) -> None:
    write_tasks(every_database, 2)
    with every_database.writing() as connection:
        upsert(connection, SAMPLE_ROWS, samples(1, rows), source="s", stamp=T)
        with every_database.engine.connect() as other:
            other.execute(text("SET lock_timeout = '50ms'"))
            other.execute(text("DELETE FROM tasks WHERE task_id = 't1'"))
            with pytest.raises(DBAPIError, match="lock timeout"):
                other.execute(text("DELETE FROM tasks WHERE task_id = 't0'"))


@pytest.mark.parametrize("every_database_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize("rows", [10, 1000])
def test_a_trigger_of_the_user_fires_for_every_row(every_database: Database, rows: int) -> None:
    write_tasks(every_database, 1)
    with every_database.writing() as connection:
        connection.exec_driver_sql(
            "CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN NEW.column_2 := 'seen'; RETURN NEW; END $$"
        )
        connection.exec_driver_sql(
            "CREATE TRIGGER shouts BEFORE INSERT ON sample_rows "
            "FOR EACH ROW EXECUTE FUNCTION shout()"
        )
    put(every_database, samples(1, rows))
    with every_database.reading() as connection:
        seen = connection.execute(text("SELECT DISTINCT column_2 FROM sample_rows"))
        assert seen.scalars().all() == ["seen"]
    with every_database.writing() as connection:  # the next test gets the same database
        connection.exec_driver_sql("DROP FUNCTION shout() CASCADE")


@pytest.mark.parametrize("every_database_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize("allowed", [True, False])
def test_parents_are_looked_for_at_once_where_that_is_allowed(
    every_database: Database, monkeypatch: pytest.MonkeyPatch, allowed: bool
) -> None:
    write_tasks(every_database, 2)
    if not allowed:
        monkeypatch.setattr(postgresql, "_MAY_BE_QUIET", ["SELECT false"] * 2)
    said = []
    event.listen(
        every_database.engine,
        "before_cursor_execute",
        lambda _connection, _cursor, statement, *_: said.append(statement),
    )
    put(every_database, samples(2, 1000))
    quiet = [one for one in said if one.startswith("SET LOCAL session_replication_role = replica")]
    assert len(quiet) == int(allowed)
    assert count_samples(every_database) == 2000


@pytest.mark.parametrize("every_database_url", ["postgresql"], indirect=True)
def test_a_server_that_goes_while_rows_are_copied_is_waited_for(every_database: Database) -> None:
    def copy_from_the_dead() -> None:
        with every_database.writing() as connection:
            pid = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
            with every_database.writing() as other:
                other.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
            postgresql._copy(connection, "COPY jobs FROM STDIN", [], 1)

    with pytest.raises(DatabaseTrouble) as caught:
        copy_from_the_dead()
    assert retriable(caught.value)
    write(every_database, [job(1)], T)


@pytest.mark.parametrize("count", [0, 1203])
def test_ids_are_found_whatever_their_number(every_database: Database, count: int) -> None:
    write(every_database, [job(7, job_id=2**60 + number) for number in range(10)], T)
    wanted = [2**60 + number for number in range(5, 5 + count)]
    with every_database.reading() as connection:
        found = [
            id_
            for condition in among(connection, JOBS.table.c.job_id, wanted)
            for (id_,) in connection.execute(select(JOBS.table.c.job_id).where(condition))
        ]
    assert sorted(found) == wanted[: min(count, 5)]
