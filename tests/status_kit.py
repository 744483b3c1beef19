"""A ledger with a history, as months of a daemon leave it: for the tests of what is shown."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import insert

from etl import config
from etl.config import Config
from etl.db import Database
from etl.ledger import tables

NOW = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)

SCHEDULES = """\
sources:
  graph:
    api: explorer
    url: ${NOT_SET_EXPLORER_URL}
    token: ${NOT_SET_EXPLORER_TOKEN}
  scripts:
    api: act2
    url: ${NOT_SET_ACT2_URL}
  quality:
    api: dataarts
    url: ${NOT_SET_DATAARTS_URL}
    project_id: ${NOT_SET_PROJECT}
    workspace: ${NOT_SET_WORKSPACE}
    token: ${NOT_SET_DATAARTS_TOKEN}
schedules:
  - sync: all
    every: 5m
"""
APIS = {"graph": "explorer", "scripts": "act2", "quality": "dataarts"}


def configured(directory: Path, text: str = SCHEDULES) -> Config:
    """The outline of `text` as schedules.yaml of `directory`; no variable is set."""
    path = directory / "schedules.yaml"
    path.write_text(text, encoding="utf-8")
    return config.load(path, {}, outline=True)


def add_source(database: Database, name: str, api: str = "explorer", **more: Any) -> None:
    """A name that was used."""
    values: dict[str, Any] = {
        "api": api,
        "address": "{}",
        "expected_every_s": 300.0,
        "stale_after_s": 600.0,
        "first_used_at": NOW - 90 * DAY,
        "last_used_at": NOW,
    }
    add(database, tables.sources, source=name, **{**values, **more})


def add_run(database: Database, source: str, began: datetime = NOW, **more: Any) -> int:
    """A run that took a second and succeeded, but for what `more` says; its number."""
    return add(database, tables.sync_runs, **run_row(source, began, **more))


def run_row(source: str, began: datetime = NOW, **more: Any) -> dict[str, Any]:
    """A row of `sync_runs`."""
    values: dict[str, Any] = {
        "source": source,
        "mode": "sync",
        "triggered_by": "schedule",
        "status": "succeeded",
        "started_at": began,
        "finished_at": began + timedelta(seconds=1),
        "requests": 4,
        "retries": 0,
        "bytes_read": 4096,
        "rows_read": 10,
        "rows_written": 2,
        "rows_unchanged": 8,
        "rows_rejected": 0,
        "version": "0.1.0",
        "host": "here",
        "pid": 1,
    }
    return {**values, **more}


def add(database: Database, table: Any, **values: Any) -> int:
    """One row; its number where the database gives one."""
    with database.writing() as connection:
        key = connection.execute(insert(table).values(**values)).inserted_primary_key
    return int(key[0]) if key and isinstance(key[0], int) else 0


def add_reject(database: Database, source: str, number: int, reason: str, **more: Any) -> int:
    """An open reject."""
    values: dict[str, Any] = {
        "stream": "jobs",
        "upstream_id": str(number),
        "fingerprint": f"{number:064d}",
        "payload": "{}",
        "first_seen_at": NOW - DAY,
        "last_seen_at": NOW - MINUTE,
        "seen_count": 3,
    }
    return add(
        database, tables.rejected_records, source=source, reason=reason, **{**values, **more}
    )


def add_debt(database: Database, source: str, kind: str, id_: str, **more: Any) -> None:
    """Something owed."""
    values: dict[str, Any] = {
        "first_seen_at": NOW - DAY,
        "changed_at": NOW - DAY,
        "next_due_at": NOW + MINUTE,
        "attempts": 1,
        "reason": "running",
    }
    add(database, tables.unfinished, source=source, kind=kind, id=id_, **{**values, **more})


def add_check(
    database: Database, source: str, since: datetime | None, until: datetime | None, **more: Any
) -> int:
    """A comparison with the platform's listing."""
    values = {"stream": "jobs", "verdict": "complete", "checked_at": NOW - DAY}
    return add(
        database, tables.completeness, source=source, since=since, until=until, **{**values, **more}
    )


def add_backfill(database: Database, source: str, windows: list[str], **more: Any) -> int:
    """A backfill whose windows have the statuses `windows`."""
    values: dict[str, Any] = {
        "arguments": f"{source} --since 2026-01-01",
        "since": datetime(2026, 1, 1, tzinfo=UTC),
        "until": NOW,
        "status": "running",
        "created_at": NOW - DAY,
    }
    number = add(database, tables.backfills, source=source, **{**values, **more})
    for place, status in enumerate(windows):
        add(
            database,
            tables.backfill_windows,
            backfill_id=number,
            window_number=place + 1,
            since=datetime(2026, 1, 1, tzinfo=UTC) + place * DAY,
            until=datetime(2026, 1, 2, tzinfo=UTC) + place * DAY,
            status=status,
            rows_written=100 if status == "done" else 0,
            error="HTTP 500" if status == "failed" else None,
            updated_at=NOW,
        )
    return number
