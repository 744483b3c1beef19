"""What the ledger forgets, so that it does not grow for ever.

Runs that found nothing after a week, others after `keep_runs`, with resolved rejects, old status
changes and verdicts that a later one covers. Never: the last run and the last success of a source,
runs that `completeness` names, what is still open.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import Select, Table, and_, delete, or_, select

from etl.db import Database
from etl.ledger.tables import completeness, rejected_records, status_changes, sync_runs

NOTHING_FOUND = timedelta(days=7)
_CHUNK = 500
"""Rows of one transaction: others wait for milliseconds."""

Once = Callable[[Callable[[], int]], int]
"""Does one transaction, again where that helps."""


def forget(database: Database, now: datetime, keep: timedelta, once: Once) -> Mapping[str, int]:
    """Deletes what is older than `keep`, in transactions of at most 500 rows that `once` makes.

    Returns how many rows of each table went. Raises what `once` raises; what is gone is gone.
    """
    gone: Counter[str] = Counter()
    before = now - keep
    idle_before = now - min(keep, NOTHING_FOUND)
    for table, old in (
        (sync_runs, _old_runs(before, idle_before)),
        (rejected_records, _resolved_rejects(before)),
        (status_changes, _old_changes(before)),
        (completeness, _superseded(before)),
    ):
        while went := once(partial(_delete_some, database, table, old)):
            gone[table.name] += went
    return gone


def _delete_some(database: Database, table: Table, old: Select[Any]) -> int:
    """Keys are read first: MySQL deletes from no table that the same statement reads."""
    [key] = table.primary_key
    with database.writing() as connection:
        keys = connection.execute(old.limit(_CHUNK)).scalars().all()
        if keys:
            connection.execute(delete(table).where(key.in_(keys)))
    return len(keys)


def _old_runs(before: datetime, idle_before: datetime) -> Select[Any]:
    runs = sync_runs.c
    found_nothing = and_(
        runs.status == "succeeded", runs.rows_written == 0, runs.rows_rejected == 0
    )
    named = select(completeness.c.run_id).where(completeness.c.run_id == runs.run_id)
    return select(runs.run_id).where(
        or_(runs.finished_at < before, and_(runs.finished_at < idle_before, found_nothing)),
        ~named.exists(),
        _has_later(("source", "mode")),
        or_(runs.status != "succeeded", _has_later(("source", "mode", "status"))),
    )


def _has_later(alike: Sequence[str]) -> Any:
    """Whether a later run is the same in those columns."""
    later = sync_runs.alias()
    same = [later.c[name] == sync_runs.c[name] for name in alike]
    return select(later.c.run_id).where(*same, later.c.run_id > sync_runs.c.run_id).exists()


def _resolved_rejects(before: datetime) -> Select[Any]:
    """A dismissed one that still comes is kept: without it, it would be open again."""
    rejects = rejected_records.c
    return select(rejects.reject_id).where(
        rejects.resolved_at < before, rejects.last_seen_at < before
    )


def _old_changes(before: datetime) -> Select[Any]:
    return select(status_changes.c.change_id).where(status_changes.c.observed_at < before)


def _superseded(before: datetime) -> Select[Any]:
    """As the view `coverage` sees it: a later check of the same range or of one around it."""
    old, later = completeness.c, completeness.alias()
    covers = and_(
        or_(later.c.since <= old.since, and_(later.c.since.is_(None), old.since.is_(None))),
        or_(later.c.until >= old.until, and_(later.c.until.is_(None), old.until.is_(None))),
    )
    return select(old.check_id).where(
        old.checked_at < before,
        select(later.c.check_id)
        .where(
            later.c.source == old.source,
            later.c.stream == old.stream,
            later.c.check_id > old.check_id,
            covers,
        )
        .exists(),
    )
