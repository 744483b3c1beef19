"""`etl sql`: reads and nothing else, exactly, in bounded memory, and stops when it is told to."""

from __future__ import annotations

import csv
import io
import json
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from command_line import await_handler, run, start
from sqlalchemy import func, insert, select

from etl.cli.printing import write_csv, write_json, write_table
from etl.db import Database
from etl.errors import Stopped, Usage
from etl.query import asked
from etl.sources.explorer.tables import JOBS

AT = datetime(2026, 3, 1, 8, 0, 0, 250000, tzinfo=UTC)
BIGGEST = 2**63 - 1


def _job(job_id: int, **more: Any) -> dict[str, Any]:
    plain = {"source": "graph", "job_id": job_id, "status": "failed", "text_repaired": False}
    return {**plain, "first_synced_at": AT, "changed_at": AT, **more}


def _fill(database: Database) -> None:
    with database.writing() as connection:
        row = _job(BIGGEST, name='a "b", 100%', created_at=AT, extra='{"a":1,"b":[1.5,null]}')
        connection.execute(insert(JOBS.table).values(row))


def _count(database: Database) -> int:
    with database.reading() as connection:
        return connection.execute(select(func.count()).select_from(JOBS.table)).scalar_one()


QUERY = "SELECT job_id, name, created_at, extra, workflow_id FROM jobs WHERE name LIKE '%100%'"
IN_JSON = {
    "job_id": BIGGEST,
    "name": 'a "b", 100%',
    "created_at": "2026-03-01T08:00:00.250000Z",
    "extra": '{"a":1,"b":[1.5,null]}',
    "workflow_id": None,
}


def test_every_database_says_the_same(every_database: Database) -> None:
    _fill(every_database)
    with asked(every_database, QUERY, threading.Event()) as answer:
        out = io.StringIO()
        write_json(answer.columns, answer.rows, out)
    assert json.loads(out.getvalue()) == [IN_JSON]
    with asked(every_database, QUERY, threading.Event()) as answer:
        out = io.StringIO(newline="")
        write_csv(answer.columns, answer.rows, out)
    assert list(csv.reader(io.StringIO(out.getvalue()))) == [
        list(IN_JSON),
        [str(value or "") for value in IN_JSON.values()],
    ]


def test_the_labels_are_told_when_there_are_no_rows(every_database: Database) -> None:
    query = "SELECT job_id, name FROM jobs WHERE job_id = 1"
    with asked(every_database, query, threading.Event()) as answer:
        assert (answer.columns, list(answer.rows)) == (("job_id", "name"), [])


def test_the_command_prints_the_format_that_is_asked_for(database_url: str, tmp_path: Path) -> None:
    form = ("--format", "json")
    done = run("--database", database_url, "sql", "SELECT 1 AS a", *form, cwd=tmp_path)
    assert (done.code, done.out, done.err) == (0, '[\n{"a": 1}\n]\n', "")
    form = ("--format", "csv")
    done = run("--database", database_url, "sql", "SELECT 1 AS a", *form, cwd=tmp_path)
    assert (done.code, done.out, done.err) == (0, "a\n1\n", "")
    assert not (tmp_path / "etl.db").exists()


@pytest.mark.parametrize(
    "query",
    [
        "DELETE FROM jobs",
        "/* SELECT */ DELETE FROM jobs",
        "-- SELECT\nDELETE FROM jobs",
        "WITH x AS (SELECT 1) DELETE FROM jobs",
        "SELECT 1; DELETE FROM jobs",
        "SELECT 1; COMMIT; DELETE FROM jobs",
        "EXPLAIN SELECT 1; COMMIT; DELETE FROM jobs",
        "COMMIT",
        "DROP TABLE jobs",
        "PRAGMA query_only = 0",
        "SET SESSION TRANSACTION READ WRITE",
        "",
        "-- nothing",
        "SELECT '\0'",
        "SELECT '\ud800'",
        "SELECT * FROM nothing_there",
        "SELECT ,",
    ],
)
def test_what_does_not_read_is_refused(every_database: Database, query: str) -> None:
    _fill(every_database)
    with (
        pytest.raises(Usage) as refused,
        asked(every_database, query, threading.Event()) as answer,
    ):
        list(answer.rows)
    assert "\n" not in str(refused.value)
    assert _count(every_database) == 1


def test_the_database_itself_refuses_to_write(every_database: Database) -> None:
    if every_database.dialect == "mariadb":
        pytest.skip("it has no WITH before DELETE")
    query = "WITH x AS (SELECT 1) DELETE FROM jobs"
    if every_database.dialect == "postgresql":
        query = "SELECT nextval('sync_runs_run_id_seq')"
    with (
        pytest.raises(Usage, match=r"; etl sql only reads$"),
        asked(every_database, query, threading.Event()) as answer,
    ):
        list(answer.rows)


@pytest.mark.parametrize("query", ["DROP TABLE jobs", "SELECT * FROM nothing_there"])
def test_a_refused_query_gets_one_line_and_exit_code_2(
    database_url: str, tmp_path: Path, query: str
) -> None:
    done = run("--database", database_url, "sql", query, cwd=tmp_path)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert done.err.startswith("etl: ")


def test_mysql_may_not_write_a_file_on_its_server(every_database: Database) -> None:
    if every_database.dialect not in ("mysql", "mariadb"):
        pytest.skip("only MySQL has INTO OUTFILE")
    for query in (
        "SELECT 1 INTO/**/OUTFILE '/nowhere/x'",
        "/* ' */ SELECT 1 INTO OUTFILE '/nowhere/x' /* ' */",
        "SELECT 1 /*!99999 */ /*! INTO DUMPFILE '/nowhere/x' */",
    ):
        with (
            pytest.raises(Usage, match="would write a file"),
            asked(every_database, query, threading.Event()),
        ):
            pytest.fail("it was run")
    with asked(every_database, "SELECT 'into outfile' AS a", threading.Event()) as answer:
        assert list(answer.rows) == [["into outfile"]]


def test_reading_statements_that_are_no_select_work(every_database: Database) -> None:
    queries = ["EXPLAIN SELECT 1", "VALUES (1)", "WITH x AS (SELECT 1 AS a) SELECT a FROM x"]
    if every_database.dialect != "sqlite":
        queries += ["SHOW TABLES" if every_database.dialect == "mariadb" else "SHOW TimeZone"]
    for query in queries:
        with asked(every_database, query, threading.Event()) as answer:
            assert answer.columns
            assert list(answer.rows)


def test_a_query_comes_from_stdin(database_url: str, tmp_path: Path) -> None:
    done = run("--database", database_url, "sql", "-", cwd=tmp_path, stdin="SELECT 'é' AS a\n;\n")
    assert (done.code, done.out) == (0, "a\n-\né\n")


def test_a_reader_that_leaves_early_hears_no_complaint(
    every_database_url: str, tmp_path: Path
) -> None:
    process = start(
        "--database", every_database_url, "sql", "--format", "csv",
        _many(every_database_url, 20_000),
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "a\n"
    process.stdout.close()
    assert process.wait(20) == 0
    assert process.stderr is not None
    assert process.stderr.read() == ""
    process.stderr.close()


_PEAK = """
import atexit, re, sys
from pathlib import Path
from etl.cli import main

def tell():
    sys.stderr.write(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

atexit.register(tell)
main()
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells the peak")
def test_memory_does_not_grow_with_the_answer(every_database_url: str, tmp_path: Path) -> None:
    query = _many(every_database_url, 30_000)
    words = ("--database", every_database_url, "sql", "--format", "json", query)
    done = subprocess.run(
        [sys.executable, "-c", _PEAK, *words],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        check=True,
        encoding="utf-8",
    )
    assert int(done.stderr) < 180 * 1024, "300 MB were read"


def _many(url: str, count: int) -> str:
    """A query with `count` rows of ten kilobytes."""
    if url.startswith("sqlite"):
        return (
            f"WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT {count}) "
            "SELECT i || hex(zeroblob(5000)) AS a FROM n"
        )
    rows = f"generate_series(1, {count})" if url.startswith("postgres") else f"seq_1_to_{count}"
    return f"SELECT repeat('x', 10000) AS a FROM {rows} AS n"


_LONG = {
    "sqlite": "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) "
    "SELECT max(i) FROM n",
    "postgresql": "SELECT count(*) FROM generate_series(1, 300000000)",
    "mariadb": "SELECT benchmark(300000000, sha2('x', 512))",
}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_long_query_ends_when_it_is_told_to(
    every_database: Database, tmp_path: Path, number: signal.Signals
) -> None:
    url = every_database.engine.url.render_as_string(hide_password=False)
    process = start(
        "--database", url.replace("+psycopg", "").replace("+pymysql", "").replace("+pysqlite", ""),
        "sql", _LONG[every_database.dialect],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    await_handler(process, signal.SIGTERM)
    time.sleep(1)  # the query of another process cannot be awaited
    assert process.poll() is None
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (128 + number, "", "etl: stopped\n")


def test_a_stop_ends_the_reading_of_rows(every_database: Database) -> None:
    stop = threading.Event()

    def read() -> None:
        with asked(every_database, _many(str(every_database.engine.url), 10_000), stop) as answer:
            for _ in answer.rows:
                stop.set()

    with pytest.raises(Stopped):
        read()
    with asked(every_database, "SELECT 1 AS a", threading.Event()) as answer:
        assert [list(row) for row in answer.rows] == [[1]]


def test_rows_given_up_half_way_leave_a_connection_that_works(every_database: Database) -> None:
    query = _many(str(every_database.engine.url), 400_000)

    def leave() -> None:
        with asked(every_database, query, threading.Event()) as answer:
            for _ in answer.rows:
                raise BrokenPipeError

    began = time.monotonic()
    with pytest.raises(BrokenPipeError):
        leave()
    assert time.monotonic() - began < 10
    with every_database.writing() as connection:
        connection.execute(insert(JOBS.table).values(_job(1)))


COLUMNS = ("id", "output")
ROWS = [(1, "first\nsecond\x1b[31m"), (22, "x" * 300), (3, None)]


def test_a_table_that_is_no_terminal_is_aligned_and_complete() -> None:
    out = io.StringIO()
    write_table(COLUMNS, ROWS, out, None)
    lines = out.getvalue().splitlines()
    assert lines[0] == "id  output"
    assert lines[2] == " 1  first\\nsecond\\x1b[31m"
    assert lines[3] == "22  " + "x" * 300
    assert lines[4] == " 3"


def test_a_table_on_a_terminal_fits_and_says_what_it_cut() -> None:
    out = io.StringIO()
    write_table(COLUMNS, ROWS, out, 40)
    lines = out.getvalue().splitlines()
    assert "\x1b[31m" not in out.getvalue()
    assert lines[2] == "22  " + "x" * 35 + "…"


def test_wide_characters_take_two_cells() -> None:
    out = io.StringIO()
    write_table(("名", "n"), [("数据质量", "a"), ("b", "c")], out, None)
    assert out.getvalue().splitlines()[2:] == ["数据质量  a", "b         c"]
    out = io.StringIO()
    write_table(("名", "n"), [("数据质量作业", "a")], out, 13)
    assert out.getvalue().splitlines()[1] == "数据质量…   a"


def test_rows_with_too_many_columns_stand_as_blocks_on_a_terminal() -> None:
    out = io.StringIO()
    labels = [f"column_{n}" for n in range(12)]
    write_table(labels, [range(12), range(12)], out, 60)
    lines = out.getvalue().splitlines()
    assert len(lines) == 26
    assert lines[12] == "column_11  11"


def test_csv_tells_null_from_an_empty_text() -> None:
    out = io.StringIO()
    write_csv(("a", "b"), [(None, ""), ("x\r\n", Decimal("1.10"))], out)
    assert out.getvalue() == 'a,b\r\n,""\r\n"x\r\n",1.10\r\n'


def test_json_loses_no_digit_and_no_column() -> None:
    out = io.StringIO()
    row = (2**70, Decimal("12345678901234567890.123"), float("nan"), b"\x00\xff", [1, None])
    write_json(("n", "n", "f", "b", "l"), [row], out)
    assert out.getvalue() == (
        '[\n{"n": 1180591620717411303424, "n_2": 12345678901234567890.123, '
        '"f": "nan", "b": "00ff", "l": [1, null]}\n]\n'
    )
    empty = io.StringIO()
    write_json(("n",), [], empty)
    assert empty.getvalue() == "[]\n"
