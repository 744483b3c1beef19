"""The tables of the hand-written contestants, with primary keys, and their bulk upserts."""

from __future__ import annotations

import sqlite3
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

COLUMNS: dict[str, tuple[str, str]] = {
    "jobs": (
        "job_id bigint, name text, workflow_id text, status_code bigint, created_at bigint, "
        "started_at bigint, finished_at bigint",
        "job_id",
    ),
    "tasks": (
        "job_id bigint, task_id text, name text, status_code bigint, started_at text, "
        "finished_at text",
        "job_id, task_id",
    ),
    "sample_rows": (
        "job_id bigint, task_id text, row_no bigint, column_1 text, column_2 text",
        "job_id, task_id, row_no",
    ),
    "job_records": (
        "record_id text, script text, execute_status text, result_status text, started_at text, "
        "finished_at text, hosts text",
        "record_id",
    ),
    "host_results": (
        "record_id text, host_id text, host_ip text, status text, stdout text, stderr text, "
        "message text",
        "record_id, host_id",
    ),
    "quality_instances": (
        "instance_id bigint, name text, task_id bigint, run_status text, notify_status text, "
        "started_at bigint, finished_at bigint",
        "instance_id",
    ),
}


def create(database: str) -> None:
    """Empty tables: every contestant's database is ready before it starts."""
    statements = [
        f"CREATE TABLE {table} ({columns}, PRIMARY KEY ({key}))"
        for table, (columns, key) in COLUMNS.items()
    ]
    if database.startswith("sqlite"):
        with sqlite3.connect(database.removeprefix("sqlite:///")) as file:
            file.execute("PRAGMA journal_mode = WAL")
            for statement in statements:
                file.execute(statement)
        return
    import psycopg  # noqa: PLC0415 - only for PostgreSQL

    with psycopg.connect(database) as server:
        for statement in statements:
            server.execute(statement)


def write(database: str, rows: Mapping[str, Sequence[tuple[Any, ...]]]) -> float:
    """Merges everything on its keys in one transaction; answers when it was committed."""
    (_sqlite if database.startswith("sqlite") else _postgresql)(database, rows)
    return time.monotonic()


def _names(table: str) -> list[str]:
    return [column.split()[0] for column in COLUMNS[table][0].split(", ")]


def _merge(table: str) -> str:
    key = COLUMNS[table][1]
    names = [name for name in _names(table) if name not in key.split(", ")]
    sets = ", ".join(f"{name} = excluded.{name}" for name in names)
    return f"ON CONFLICT ({key}) DO UPDATE SET {sets}"


def _sqlite(database: str, rows: Mapping[str, Sequence[tuple[Any, ...]]]) -> None:
    file = sqlite3.connect(database.removeprefix("sqlite:///"))
    file.execute("PRAGMA synchronous = NORMAL")
    for table, some in rows.items():
        marks = ", ".join("?" * len(_names(table)))
        file.executemany(f"INSERT INTO {table} VALUES ({marks}) {_merge(table)}", some)
    file.commit()


def _postgresql(database: str, rows: Mapping[str, Sequence[tuple[Any, ...]]]) -> None:
    import psycopg  # noqa: PLC0415 - only for PostgreSQL

    with psycopg.connect(database) as server, server.cursor() as cursor:
        for table, some in rows.items():
            cursor.execute(f"CREATE TEMP TABLE new_{table} (LIKE {table}) ON COMMIT DROP")
            with cursor.copy(f"COPY new_{table} FROM STDIN") as copy:
                for row in some:
                    copy.write_row(row)
            cursor.execute(f"INSERT INTO {table} SELECT * FROM new_{table} {_merge(table)}")


def done(at: float) -> None:
    """The last line of a contestant: when it committed last."""
    sys.stdout.write(f"\n{at}\n")
