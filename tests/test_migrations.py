"""Migrations: up and down, on every database, by several at once, and never over others' tables."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text

from etl import migrate
from etl.db import Database, open_database
from etl.errors import Usage


def tables_of(database: Database) -> set[str]:
    inspector = inspect(database.engine)
    return {*inspector.get_table_names(), *inspector.get_view_names()}


def run(database: Database, statement: str) -> None:
    with database.writing() as connection:
        connection.execute(text(statement))


def test_there_is_one_head_and_it_is_the_file_with_the_highest_number() -> None:
    scripts = ScriptDirectory(str(migrate.location()))
    assert scripts.get_heads() == [migrate.head()]
    assert sorted(s.revision for s in scripts.walk_revisions()) == migrate.revisions()


def test_an_empty_database_is_migrated_at_first_use(every_blank_database: Database) -> None:
    assert migrate.current(every_blank_database) is None
    migrate.require_head(every_blank_database)
    assert migrate.current(every_blank_database) == migrate.head()
    assert {"jobs", "executions", "sync_runs", "coverage"} <= tables_of(every_blank_database)


def test_the_tables_are_those_that_the_code_declares(every_database: Database) -> None:
    migrate.check(every_database)


@pytest.mark.parametrize(
    "statement",
    ["DROP INDEX ix_status_changes_observed_at", "ALTER TABLE jobs ADD COLUMN surplus integer"],
)
def test_check_notices_what_differs(database: Database, statement: str) -> None:
    if database.dialect in ("mysql", "mariadb"):
        statement = statement.replace("observed_at", "observed_at ON status_changes")
    run(database, statement)
    try:
        with pytest.raises(Usage, match=r"observed_at|surplus"):
            migrate.check(database)
    finally:
        if "surplus" in statement:
            run(database, "ALTER TABLE jobs DROP COLUMN surplus")
        else:
            run(
                database,
                "CREATE INDEX ix_status_changes_observed_at ON status_changes (observed_at)",
            )


def test_down_to_nothing_and_up_again(every_blank_database: Database) -> None:
    migrate.upgrade(every_blank_database)
    migrate.downgrade(every_blank_database, "base")
    assert tables_of(every_blank_database) == {migrate.VERSION_TABLE}
    migrate.require_head(every_blank_database)
    migrate.check(every_blank_database)


def test_each_migration_goes_down_alone(every_blank_database: Database) -> None:
    migrate.upgrade(every_blank_database)
    for revision in reversed(migrate.revisions()[:-1]):
        migrate.downgrade(every_blank_database, revision)
        assert migrate.current(every_blank_database) == revision
        migrate.upgrade(every_blank_database)


def migrate_in_process(url: str, start: object) -> None:
    start.wait()  # type: ignore[attr-defined]  # a multiprocessing.Barrier, which has no public type
    database = open_database(url)
    migrate.require_head(database)
    database.close()


def test_two_processes_at_once_migrate_once(every_blank_database_url: str) -> None:
    spawn = multiprocessing.get_context("spawn")
    start = spawn.Barrier(2)
    processes = [
        spawn.Process(target=migrate_in_process, args=(every_blank_database_url, start))
        for _ in range(2)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    database = open_database(every_blank_database_url)
    migrate.check(database)
    database.close()


def test_a_database_that_is_behind_is_refused_with_the_command(
    every_blank_database: Database,
) -> None:
    migrate.upgrade(every_blank_database, "0001")
    with pytest.raises(Usage, match=r"at revision 0001, .* needs \d{4}; run: etl db upgrade"):
        migrate.require_head(every_blank_database)
    migrate.upgrade(every_blank_database)
    migrate.require_head(every_blank_database)


def test_a_database_of_a_newer_release_is_refused(every_blank_database: Database) -> None:
    migrate.upgrade(every_blank_database)
    run(every_blank_database, f"UPDATE {migrate.VERSION_TABLE} SET version_num = '9999'")
    for use in (migrate.require_head, migrate.upgrade, migrate.check):
        with pytest.raises(Usage, match=r"revision 9999, .* install the newer release"):
            use(every_blank_database)
    with pytest.raises(Usage, match="revision 9999"):
        migrate.downgrade(every_blank_database, "base")


@pytest.mark.parametrize("foreign", ["TABLE jobs (a integer)", "VIEW failures AS SELECT 1 AS a"])
def test_somebody_elses_table_is_named_and_left_alone(
    every_blank_database: Database, foreign: str
) -> None:
    run(every_blank_database, f"CREATE {foreign}")
    before = tables_of(every_blank_database)
    with pytest.raises(Usage, match=r"not of etl but have its names: (jobs|failures);"):
        migrate.require_head(every_blank_database)
    assert tables_of(every_blank_database) == before


def test_other_tables_beside_ours_do_no_harm(every_blank_database: Database) -> None:
    run(every_blank_database, "CREATE TABLE their_orders (a integer)")
    migrate.require_head(every_blank_database)
    migrate.check(every_blank_database)
    migrate.downgrade(every_blank_database, "base")
    assert "their_orders" in tables_of(every_blank_database)


def test_an_unknown_revision_is_refused_with_those_that_exist(database: Database) -> None:
    with pytest.raises(Usage, match=r"'7777' is unknown; known: base, 0001, 0002"):
        migrate.downgrade(database, "7777")


def test_an_interrupted_upgrade_goes_on(every_blank_database: Database, further: Path) -> None:
    (further / "9001_stops.py").write_text(STOPS)
    with pytest.raises(RuntimeError, match="interrupted"):
        migrate.upgrade(every_blank_database)
    transactional = every_blank_database.dialect in ("sqlite", "postgresql")
    assert ("half_done" in tables_of(every_blank_database)) is not transactional
    (further / "9001_stops.py").write_text(STOPS.replace("raise", "#"))
    migrate.upgrade(every_blank_database)
    assert migrate.current(every_blank_database) == "9001"
    assert "half_done" in tables_of(every_blank_database)


def test_a_platform_of_its_own_brings_tables_and_executions(
    every_blank_database: Database, further: Path
) -> None:
    (further / "9001_fourth.py").write_text(FOURTH)
    migrate.require_head(every_blank_database)
    run(
        every_blank_database,
        "INSERT INTO fourth_runs VALUES ('x', 7, 'failed', NULL, NULL)",
    )
    with every_blank_database.reading() as connection:
        row = connection.execute(
            text("SELECT api, id, is_failure FROM executions WHERE source = 'x'")
        ).one()
    assert tuple(row) == ("fourth", "7", True)
    migrate.downgrade(every_blank_database, "base")
    assert tables_of(every_blank_database) == {migrate.VERSION_TABLE}


def test_alembic_itself_works_in_a_checkout(tmp_path: Path) -> None:
    checkout = migrate.location().parent
    shutil.copy(checkout / "pyproject.toml", tmp_path)
    shutil.copytree(migrate.location(), tmp_path / "migrations")
    environment = {**os.environ, "ETL_DATABASE_URL": f"sqlite:///{tmp_path / 'x.db'}"}
    for command in ("upgrade head", "check", "revision -m jobs_queue"):
        done = subprocess.run(
            [sys.executable, "-m", "alembic", *command.split()],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    number = f"{int(migrate.head()) + 1:04}"
    made = (tmp_path / "migrations" / "versions" / f"{number}_jobs_queue.py").read_text()
    assert "Deploy: say which order is safe." in made
    assert f"down_revision = '{migrate.head()}'" in made


def test_commands_start_without_alembic() -> None:
    script = (
        "import sys, etl.migrate; etl.migrate.head();"
        "sys.exit('alembic' in sys.modules or 'mako' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


@pytest.mark.shows_secrets("the wheel holds the simulators and what they accept")
def test_migrations_are_found_in_an_installed_wheel(tmp_path: Path) -> None:
    package = migrate.location().parent / "etl"
    shutil.copytree(package, tmp_path / "etl", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(migrate.location(), tmp_path / "etl" / "_migrations")
    script = "import etl.migrate; print(etl.migrate.location(), etl.migrate.head())"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [str(tmp_path / "etl" / "_migrations"), migrate.head()]


@pytest.fixture
def further(tmp_path: Path) -> Iterator[Path]:
    """A directory with further migrations."""
    place = tmp_path / "further"
    place.mkdir()
    migrate.extra_locations.append(place)
    yield place
    migrate.extra_locations.remove(place)


HEAD = f"""
from sqlalchemy import PrimaryKeyConstraint

from etl.migrate import steps
from etl.migrate.words import words

revision = "9001"
down_revision = "{migrate.head()}"
"""

STOPS = f"""{HEAD}
CREATES = ("half_done", "other_half")

def upgrade():
    steps.create_table("half_done", "", steps.must("source", steps.text(64), ""))
    steps.create_index("half_done", "source")
    raise RuntimeError("interrupted")
    steps.create_table("other_half", "", steps.must("source", steps.text(64), ""))

def downgrade():
    steps.drop_table("other_half")
    steps.drop_table("half_done")
"""

FOURTH = (
    HEAD
    + """
CREATES = ("fourth_runs",)

def upgrade():
    steps.create_table(
        "fourth_runs", "Fourth's runs.",
        steps.must("source", steps.text(64), "Source."),
        steps.must("number", steps.BIG, "Number."),
        steps.must("status", steps.text(16), "Status."),
        steps.may("started_at", steps.TIME, "Start."),
        steps.may("finished_at", steps.TIME, "End."),
        PrimaryKeyConstraint("source", "number", name="pk_fourth_runs"),
    )
    write(MINE.format(id=words().text("f.number")))

def downgrade():
    write()
    steps.drop_table("fourth_runs")

def write(*further):
    views = steps.earlier("0003")
    branches = [*views.executions(words()), *further]
    steps.create_view(
        "executions", views.EXECUTIONS_COMMENT, views.EXECUTIONS, steps.union(branches)
    )

MINE = '''
    SELECT f.source, 'fourth' AS api, 'run' AS kind, {id} AS id,
        NULL AS name, NULL AS definition_id, NULL AS definition_name, f.status,
        f.status AS upstream_status, (1 = 1) AS is_final, (f.status = 'failed') AS is_failure,
        f.started_at AS created_at, f.started_at, f.finished_at,
        NULL AS duration_s, NULL AS waited_s,
        f.started_at AS changed_at, NULL AS upstream_gone_at
    FROM fourth_runs f'''
"""
)
