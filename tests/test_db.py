"""The database's door: all or nothing, one moment for readers, and errors that say what to do."""

from __future__ import annotations

import sqlite3
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import databases
import pytest
from sqlalchemy import Connection, inspect, make_url, text

from etl import migrate
from etl.db import Database, open_database, retriable
from etl.db.trouble import translated
from etl.errors import DatabaseTrouble, Stopped, Usage
from etl.redact import masked

PASSWORD = "s3cret/word"
SERVERS = pytest.mark.parametrize("every_blank_database_url", databases.SERVERS, indirect=True)


def set_up(database: Database) -> None:
    with database.writing() as connection:
        connection.execute(text("CREATE TABLE counters (id integer PRIMARY KEY, n integer)"))
    with database.writing() as connection:
        connection.execute(text("INSERT INTO counters VALUES (1, 0)"))


def value(connection: Connection) -> int:
    found: int = connection.execute(text("SELECT n FROM counters WHERE id = 1")).scalar_one()
    return found


def add(connection: Connection, amount: int = 1) -> None:
    connection.execute(text("UPDATE counters SET n = n + :n WHERE id = 1"), {"n": amount})


def test_a_block_that_ends_well_is_committed(every_blank_database: Database) -> None:
    set_up(every_blank_database)
    with every_blank_database.writing() as connection:
        add(connection)
    with every_blank_database.reading() as connection:
        assert value(connection) == 1


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, Stopped])
def test_a_block_that_fails_leaves_nothing(
    every_blank_database: Database, error: type[BaseException]
) -> None:
    set_up(every_blank_database)
    with pytest.raises(error), every_blank_database.writing() as connection:  # noqa: PT012 - raised at its end or within
        add(connection)
        raise error
    with every_blank_database.reading() as connection:
        assert value(connection) == 0


def test_a_savepoint_fails_alone(every_blank_database: Database) -> None:
    set_up(every_blank_database)
    with every_blank_database.writing() as connection:
        add(connection)
        nested = connection.begin_nested()
        add(connection, 100)
        nested.rollback()
    with every_blank_database.reading() as connection:
        assert value(connection) == 1


def test_a_reading_cannot_write_and_a_writing_after_it_can(
    every_blank_database: Database,
) -> None:
    set_up(every_blank_database)
    for _ in range(2):
        with (
            pytest.raises(DatabaseTrouble, match=r"(?i)read.?only") as caught,
            every_blank_database.reading() as connection,
        ):
            add(connection)
        assert not retriable(caught.value)
        with every_blank_database.writing() as connection:
            add(connection)
    with every_blank_database.reading() as connection:
        assert value(connection) == 2


def test_a_reading_sees_one_moment_while_others_write(every_blank_database: Database) -> None:
    set_up(every_blank_database)
    with every_blank_database.reading() as reader:
        assert value(reader) == 0
        with every_blank_database.writing() as writer:
            add(writer)
        assert value(reader) == 0
    with every_blank_database.reading() as reader:
        assert value(reader) == 1


def test_threads_and_processes_lose_no_update(every_blank_database_url: str) -> None:
    opened = [open_database(every_blank_database_url) for _ in range(2)]
    set_up(opened[0])

    def work(number: int) -> None:
        for _ in range(25):
            with opened[number % 2].writing() as connection:
                connection.execute(text("UPDATE counters SET n = n + 1 WHERE id = 1"))
            with opened[number % 2].reading() as connection:
                assert value(connection) > 0

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    with opened[0].reading() as connection:
        assert value(connection) == 100
    for database in opened:
        database.close()


@SERVERS
def test_a_lost_connection_is_retriable_and_the_next_try_works(
    every_blank_database_url: str,
) -> None:
    database = open_database(every_blank_database_url)
    own, kill = {
        "postgresql": ("SELECT pg_backend_pid()", "SELECT pg_terminate_backend({})"),
        "mariadb": ("SELECT CONNECTION_ID()", "KILL {}"),
    }[database.dialect]
    set_up(database)
    with pytest.raises(DatabaseTrouble) as caught, database.writing() as connection:  # noqa: PT012 - raised at its end or within
        add(connection)
        victim = connection.execute(text(own)).scalar()
        with database.writing() as other:
            other.execute(text(kill.format(victim)))
        add(connection)
    assert retriable(caught.value)
    with database.writing() as connection:
        add(connection)
        assert value(connection) == 1
    database.close()


@SERVERS
def test_a_forgotten_transaction_is_ended_by_the_server(every_blank_database_url: str) -> None:
    database = open_database(every_blank_database_url, lease_s=1)
    set_up(database)
    with pytest.raises(DatabaseTrouble) as caught, database.writing() as forgotten:  # noqa: PT012 - raised at its end or within
        add(forgotten, 100)
        with database.writing() as other:  # waits for the row until the server ends the first
            add(other)
        add(forgotten)
    assert retriable(caught.value)
    with database.reading() as connection:
        assert value(connection) == 1
    database.close()


@SERVERS
def test_a_lock_that_is_not_granted_is_retriable(every_blank_database_url: str) -> None:
    database = open_database(every_blank_database_url)
    shorter = {
        "postgresql": "SET LOCAL lock_timeout = '10ms'",
        "mariadb": "SET SESSION innodb_lock_wait_timeout = 0",
    }[database.dialect]
    set_up(database)
    with database.writing() as holder:
        add(holder)
        with pytest.raises(DatabaseTrouble) as caught, database.writing() as waiting:  # noqa: PT012 - raised at its end or within
            waiting.execute(text(shorter))
            add(waiting)
    assert retriable(caught.value)
    database.close()


@pytest.fixture
def held_file(tmp_path: Path) -> Path:
    """A SQLite file with a table."""
    path = tmp_path / "held.db"
    database = open_database(f"sqlite:///{path}")
    set_up(database)
    database.close()
    return path


def test_a_file_held_by_another_process_is_retriable(held_file: Path) -> None:
    database = open_database(f"sqlite:///{held_file}", lease_s=0.05)
    other = sqlite3.connect(held_file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(DatabaseTrouble, match="locked") as caught, database.writing():
        pass
    assert retriable(caught.value)
    with database.reading() as connection:
        assert value(connection) == 0
    other.execute("ROLLBACK")
    other.close()
    with database.writing() as connection:
        add(connection)
    database.close()


def test_stop_ends_the_wait_for_a_held_file(held_file: Path) -> None:
    stop = threading.Event()
    database = open_database(f"sqlite:///{held_file}", lease_s=0.05, stop=stop)
    other = sqlite3.connect(held_file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    stop.set()
    with pytest.raises(Stopped), database.writing():
        pass
    other.close()
    database.close()


def test_a_thread_that_writes_for_too_long_is_named(held_file: Path) -> None:
    database = open_database(f"sqlite:///{held_file}", lease_s=0.05)

    def write() -> None:
        with database.writing():
            pass

    with (
        database.writing(),
        ThreadPoolExecutor(1) as pool,
        pytest.raises(DatabaseTrouble, match="another pass of this process writes"),
    ):
        pool.submit(write).result()
    database.close()


def test_sessions_are_told_the_same_everywhere(every_blank_database: Database) -> None:
    all_questions: dict[str, dict[str, object]] = {
        "sqlite": {
            "PRAGMA journal_mode": "wal",
            "PRAGMA foreign_keys": 1,
            "PRAGMA synchronous": 1,
        },
        "postgresql": {
            "SHOW TimeZone": "UTC",
            "SHOW transaction_isolation": "read committed",
            "SHOW idle_in_transaction_session_timeout": "30s",
            "SHOW lock_timeout": "35s",
        },
        "mariadb": {
            "SELECT @@time_zone": "+00:00",
            "SELECT @@tx_isolation": "READ-COMMITTED",
            "SELECT @@collation_connection": "utf8mb4_nopad_bin",
            "SELECT @@idle_write_transaction_timeout": 30,
            "SELECT @@innodb_lock_wait_timeout": 35,
            "SELECT LOCATE('STRICT_ALL_TABLES', @@sql_mode) > 0": 1,
        },
    }
    questions = all_questions[every_blank_database.dialect]
    with every_blank_database.writing() as connection:
        found = {each: connection.exec_driver_sql(each).scalar() for each in questions}
    assert found == questions


def test_a_constraint_that_is_broken_is_not_retriable(every_blank_database: Database) -> None:
    set_up(every_blank_database)
    with (
        pytest.raises(DatabaseTrouble, match=r"(?i)unique|duplicate") as caught,
        every_blank_database.writing() as connection,
    ):
        connection.execute(text("INSERT INTO counters VALUES (1, 0)"))
    assert not retriable(caught.value)
    assert "\n" not in str(caught.value)


def test_retriable_knows_nothing_of_other_errors() -> None:
    assert not retriable(ValueError("no"))
    assert not retriable(DatabaseTrouble("no"))


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("nonsense", "the URL cannot be read"),
        ("mysql://u:p@host:port/x", "the URL cannot be read"),
        ("oracle://host/x", "'oracle' is not supported"),
        ("postgresql+psycopg2://host/x", r"'psycopg2' is not supported; write postgresql://"),
        ("sqlite://", "SQLite needs a file"),
        ("sqlite:///:memory:", "SQLite needs a file"),
        ("sqlite:////nowhere/at/all/x.db", "/nowhere/at/all/x.db: the directory does not exist"),
    ],
)
def test_a_wrong_url_is_wrong_usage(url: str, words: str) -> None:
    with pytest.raises(Usage, match=words):
        open_database(url)


@pytest.mark.parametrize(
    ("scheme", "module", "extra"),
    [
        ("postgres", "psycopg", "postgresql"),
        ("postgresql", "psycopg", "postgresql"),
        ("mysql", "pymysql", "mysql"),
        ("mariadb", "pymysql", "mysql"),
    ],
)
def test_a_missing_driver_comes_with_the_pip_line(
    monkeypatch: pytest.MonkeyPatch, scheme: str, module: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(Usage, match=rf"needs the driver {module}: pip install 'etl\[{extra}\]'"):
        open_database(f"{scheme}://host/name")


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "mysql", "mariadb"])
def test_a_server_that_does_not_answer_is_trouble_without_the_password(scheme: str) -> None:
    with pytest.raises(DatabaseTrouble) as caught:
        open_database(f"{scheme}://someone:s3cret%2Fword@127.0.0.1:1/name")
    assert retriable(caught.value)
    assert "someone" in str(caught.value)
    assert "s3cret" not in str(caught.value)
    assert masked(PASSWORD) == "[secret]"


@SERVERS
def test_a_wrong_name_or_password_is_wrong_usage(every_blank_database_url: str) -> None:
    url = make_url(every_blank_database_url)
    for wrong in (url.set(database="no_such_database"), url.set(username="n", password=PASSWORD)):
        with pytest.raises(Usage) as caught:
            open_database(wrong.render_as_string(hide_password=False))
        assert "s3cret" not in str(caught.value)


def test_a_file_that_cannot_be_written_is_told_with_its_mend(tmp_path: Path) -> None:
    sqlite3.connect(tmp_path / "x.db").close()
    reading = sqlite3.connect(f"file:{tmp_path}/x.db?mode=ro", uri=True)
    with pytest.raises(sqlite3.OperationalError) as told:
        reading.execute("CREATE TABLE t (n INTEGER)")
    reading.close()
    error = translated(told.value, "sqlite:///x.db", opening=True)
    assert isinstance(error, Usage)
    assert "must be able to write the file and in its folder" in str(error)


def test_a_file_that_is_no_database_is_wrong_usage(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_text("this is a text of some length, and no database\n" * 100)
    with pytest.raises(Usage, match="not a database"):
        open_database(f"sqlite:///{tmp_path / 'x.db'}")


def test_a_relative_path_means_the_directory_of_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    database = open_database("sqlite:///x.db")
    monkeypatch.chdir("/")
    set_up(database)
    database.close()
    assert (tmp_path / "x.db").exists()


def test_postgresql_may_have_a_schema_of_its_own(every_blank_database_url: str) -> None:
    if not every_blank_database_url.startswith("postgres"):
        with pytest.raises(Usage, match="only PostgreSQL has schemas"):
            open_database(every_blank_database_url, schema="own")
        return
    for schema in ("own", 'od"d Näme'):
        database = open_database(every_blank_database_url, schema=schema)
        migrate.require_head(database)
        migrate.check(database)
        with database.engine.connect() as connection:
            assert inspect(connection).get_table_names(schema="public") == []
            assert "jobs" in inspect(connection).get_table_names(schema=schema)
        database.close()


def test_an_old_server_is_refused(
    every_blank_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    oldest = dict.fromkeys(("sqlite", "postgresql", "mariadb", "mysql"), (99, 1))
    monkeypatch.setattr("etl.db.session._OLDEST", oldest)
    with pytest.raises(Usage, match=r"is too old; 99\.1 or later is needed"):
        open_database(every_blank_database_url)


@pytest.mark.parametrize("every_blank_database_url", ["mariadb"], indirect=True)
@pytest.mark.parametrize("scheme", ["mysql", "mariadb", "mysql+pymysql"])
def test_the_server_says_whether_it_is_mariadb(every_blank_database_url: str, scheme: str) -> None:
    url = make_url(every_blank_database_url).set(drivername=scheme)
    database = open_database(url.render_as_string(hide_password=False))
    assert (database.dialect, database.engine.dialect.name) == ("mariadb", "mariadb")
    database.close()
