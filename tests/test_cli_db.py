"""`etl db` and `--version`: where the tables stand, up and down, and what is refused."""

from __future__ import annotations

from pathlib import Path

from command_line import run

from etl import __version__, migrate
from etl.db import Database

HEAD = migrate.revisions()[-1]


def test_up_down_and_current(blank_database_url: str, tmp_path: Path) -> None:
    def db(*words: str) -> tuple[int, str]:
        done = run("--database", blank_database_url, "db", *words, cwd=tmp_path)
        return done.code, done.out.rpartition(": ")[2].strip() or done.err.strip()

    assert db("current") == (0, f"none (head is {HEAD})")
    assert db("check")[0] == 2
    assert db("upgrade", "0001") == (0, "none → 0001")
    assert db("upgrade") == (0, f"0001 → {HEAD}")
    assert db("upgrade")[1].endswith(f"is at revision {HEAD} already")
    assert db("current") == (0, f"{HEAD} (head)")
    assert db("downgrade", "0001", "--yes") == (0, f"{HEAD} → 0001")
    assert db("downgrade", "base", "--yes") == (0, "0001 → none")


def test_the_wrong_direction_and_unknown_revisions_are_refused(
    database_url: str, tmp_path: Path
) -> None:
    for words, mend in (
        (("upgrade", "0001"), "etl db downgrade 0001"),
        (("upgrade", "9999"), "there is no revision '9999'"),
        (("downgrade", "9999", "--yes"), "there is no revision '9999'"),
    ):
        refused = run("--database", database_url, "db", *words, cwd=tmp_path)
        assert (refused.code, refused.out) == (2, "")
        assert mend in refused.err


def test_without_a_terminal_going_down_needs_yes(
    database_url: str, database: Database, tmp_path: Path
) -> None:
    done = run("--database", database_url, "db", "downgrade", "base", cwd=tmp_path, stdin="y\n")
    assert done.code == 2
    assert "--yes" in done.err
    assert migrate.current(database) == HEAD


def test_check_tells_a_difference_from_a_wrong_revision(
    every_database: Database, tmp_path: Path
) -> None:
    url = every_database.engine.url
    plain = url.set(drivername=url.get_backend_name().replace("mariadb", "mysql"))
    text = plain.render_as_string(hide_password=False)
    assert run("--database", text, "db", "check", cwd=tmp_path).code == 0
    with every_database.writing() as connection:
        connection.exec_driver_sql("ALTER TABLE jobs ADD COLUMN smuggled_in INTEGER")
    try:
        done = run("--database", text, "db", "check", cwd=tmp_path)
        assert (done.code, done.out) == (1, "")
        assert "smuggled_in" in done.err
    finally:
        with every_database.writing() as connection:
            connection.exec_driver_sql("ALTER TABLE jobs DROP COLUMN smuggled_in")
    with every_database.writing() as connection:
        connection.exec_driver_sql("UPDATE etl_version SET version_num = '0001'")
    try:
        assert run("--database", text, "db", "check", cwd=tmp_path).code == 2
    finally:
        with every_database.writing() as connection:
            connection.exec_driver_sql(f"UPDATE etl_version SET version_num = '{HEAD}'")


def test_version_makes_no_database(tmp_path: Path) -> None:
    done = run("--version", cwd=tmp_path)
    assert (done.code, done.out) == (0, f"etl {__version__}, database none\n")
    assert list(tmp_path.iterdir()) == []


def test_version_tells_the_revision(database_url: str, tmp_path: Path) -> None:
    done = run("--version", cwd=tmp_path, env={"ETL_DATABASE_URL": database_url})
    assert (done.code, done.out) == (0, f"etl {__version__}, database {HEAD}\n")


def test_version_is_told_without_a_database_that_answers(tmp_path: Path) -> None:
    done = run("--database", "postgresql://u@127.0.0.1:1/x", "--version", cwd=tmp_path)
    assert done.code == 0
    assert done.out.startswith(f"etl {__version__}, database unknown: ")
