"""What the ledger forgets after a while, and what it never does."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from http_kit import FakeClock
from sqlalchemy import Table, insert, select

from etl.db import Database, Persistence
from etl.ledger import keeping
from etl.ledger.tables import completeness, rejected_records, status_changes, sync_runs

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
KEEP = timedelta(days=90)
_ROWS = ("rows_read", "rows_written", "rows_unchanged", "rows_rejected")
_NONE = dict.fromkeys(("requests", "retries", "bytes_read", *_ROWS), 0)


def _ago(days: float) -> datetime:
    return NOW - timedelta(days=days)


def _run(days: float, source: str = "graph", **more: Any) -> dict[str, Any]:
    return {
        "source": source,
        "mode": "sync",
        "triggered_by": "schedule",
        "status": "succeeded",
        "started_at": _ago(days),
        "finished_at": _ago(days),
        "version": "1",
        "host": "here",
        "pid": 1,
        **_NONE,
        **more,
    }


def _put(database: Database, table: Table, *rows: dict[str, Any]) -> None:
    """Numbered on from what is there; MariaDB itself would go on from what has been deleted."""
    [key] = table.primary_key
    first = max(_kept(database, table), default=0) + 1
    with database.writing() as connection:
        for number, row in enumerate(rows, first):
            connection.execute(insert(table).values({key.name: number, **row}))


def _kept(database: Database, table: Table) -> list[int]:
    [key] = table.primary_key
    with database.reading() as connection:
        return list(connection.execute(select(key).order_by(key)).scalars())


def _forget(database: Database, keep: timedelta = KEEP) -> dict[str, int]:
    once = Persistence(5, FakeClock(), threading.Event())
    return dict(keeping.forget(database, NOW, keep, once))


def test_runs_that_found_nothing_go_after_a_week_and_others_later(every_database: Database) -> None:
    _put(
        every_database,
        sync_runs,
        _run(91, rows_written=1),  # 1 goes
        _run(89, rows_written=1),
        _run(8),  # 3 goes
        _run(8, rows_rejected=1),
        _run(8, status="failed"),
        _run(91, status="crashed"),  # 6 goes
        _run(6),
        _run(0),
    )
    assert _forget(every_database) == {"sync_runs": 3}
    assert _kept(every_database, sync_runs) == [2, 4, 5, 7, 8]
    assert _forget(every_database) == {}


def test_the_last_run_and_the_last_success_of_a_source_stay(database: Database) -> None:
    _put(
        database,
        sync_runs,
        _run(400, "rests"),
        _run(400, "fails"),
        _run(300, "fails", status="failed"),
        _run(200, "fails", status="failed"),
    )
    _forget(database)
    assert _kept(database, sync_runs) == [1, 2, 4]


def test_runs_that_completeness_names_stay(database: Database) -> None:
    _put(database, sync_runs, _run(400), _run(300), _run(0))
    _put(database, completeness, _check(400, 1))
    _forget(database)
    assert _kept(database, sync_runs) == [1, 3]


def test_a_shorter_keep_runs_holds_for_all(database: Database) -> None:
    _put(database, sync_runs, _run(4, rows_written=1), _run(4), _run(2), _run(0))
    _forget(database, timedelta(days=3))
    assert _kept(database, sync_runs) == [3, 4]


def test_resolved_rejects_and_old_status_changes_go(every_database: Database) -> None:
    def reject(number: int, **more: Any) -> dict[str, Any]:
        common = {"source": "graph", "stream": "jobs", "reason": "why", "payload": "{}"}
        seen = {"first_seen_at": _ago(200), "last_seen_at": _ago(100), "seen_count": 1}
        return {**common, **seen, "fingerprint": str(number), **more}

    _put(
        every_database,
        rejected_records,
        reject(1),  # open
        reject(2, resolved_at=_ago(95), resolution="written"),  # goes
        reject(3, resolved_at=_ago(85), resolution="written"),
        reject(
            4, resolved_at=_ago(95), resolution="dismissed", last_seen_at=_ago(1)
        ),  # still comes
    )
    change = {"source": "graph", "kind": "job", "id": "1", "new_status": "running"}
    _put(
        every_database,
        status_changes,
        {**change, "observed_at": _ago(91)},
        {**change, "observed_at": _ago(89)},
    )
    assert _forget(every_database) == {"rejected_records": 1, "status_changes": 1}
    assert _kept(every_database, rejected_records) == [1, 3, 4]
    assert _kept(every_database, status_changes) == [2]


def _check(days: float, run_id: int = 99, **more: Any) -> dict[str, Any]:
    month = {"since": datetime(2025, 1, 1, tzinfo=UTC), "until": datetime(2025, 2, 1, tzinfo=UTC)}
    return {
        "source": "graph",
        "stream": "jobs",
        "verdict": "complete",
        "checked_at": _ago(days),
        "run_id": run_id,
        **month,
        **more,
    }


def test_a_verdict_goes_only_when_a_later_one_covers_it(every_database: Database) -> None:
    year: dict[str, Any] = {"until": datetime(2026, 1, 1, tzinfo=UTC)}
    open_end: dict[str, Any] = {"until": None}
    _put(
        every_database,
        completeness,
        _check(300),  # 1 goes: covered by 3
        _check(290, **year),  # nothing covers it
        _check(280),  # 3 goes: covered by 5
        _check(270, **open_end),  # 4 goes: the same again
        _check(200, verdict="incomplete"),
        _check(200, **open_end),
        _check(300, source="scripts"),  # nothing later
        _check(1, source="quality"),
        _check(0, source="quality"),
    )
    assert _forget(every_database) == {"completeness": 3}
    assert _kept(every_database, completeness) == [2, 5, 6, 7, 8, 9]


def test_it_goes_in_small_transactions(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "_CHUNK", 10)
    _put(database, sync_runs, *(_run(50) for _ in range(35)))
    batches: list[int] = []

    def once(work: Any) -> int:
        batches.append(work())
        return batches[-1]

    assert keeping.forget(database, NOW, KEEP, once) == {"sync_runs": 34}
    assert batches[:5] == [10, 10, 10, 4, 0]
