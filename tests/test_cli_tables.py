"""`etl tables`: the data dictionary, of views too, on every database."""

from __future__ import annotations

import json
from pathlib import Path

from command_line import run
from sqlalchemy import inspect

from etl.cli.query import _all, _one
from etl.db import Database


def test_every_table_and_view_is_told_with_its_meaning(every_database: Database) -> None:
    with every_database.reading() as connection:
        rows = {name: (kind, meaning) for name, kind, meaning in _all(connection)}
        inspector = inspect(connection)
        tables, views = set(inspector.get_table_names()), set(inspector.get_view_names())
    assert {name for name, (kind, _) in rows.items() if kind == "table"} == tables - {"etl_version"}
    assert {name for name, (kind, _) in rows.items() if kind == "view"} == views
    assert all(meaning for _, meaning in rows.values())


def test_every_column_is_told_with_its_meaning(every_database: Database) -> None:
    with every_database.reading() as connection:
        for name, *_ in _all(connection):
            columns = _one(connection, name)
            assert [column[0] for column in columns] == [
                column["name"] for column in inspect(connection).get_columns(name)
            ]
            assert all(column[3] for column in columns), name
        tasks = {column[0]: column[1:3] for column in _one(connection, "tasks")}
    assert tasks["job_id"] == ("BIGINT", "primary → jobs")
    assert tasks["task_id"] == ("VARCHAR(255)", "primary")
    assert tasks["name"][1] == ""


def test_the_command_prints_it(database_url: str, tmp_path: Path) -> None:
    words = ("--database", database_url, "tables", "jobs", "--format", "json")
    rows = json.loads(run(*words, cwd=tmp_path).out)
    assert rows[1] == {
        "column": "job_id",
        "type": "BIGINT",
        "key": "primary",
        "meaning": "Explorer's number of the job.",
    }
    done = run("--database", database_url, "tables", "host_result", cwd=tmp_path)
    assert (done.code, done.out) == (2, "")
    assert "did you mean 'host_results'?" in done.err
