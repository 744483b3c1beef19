"""`completeness`: what was proven of a stretch of time, and what could not be."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, insert

from etl.ledger.entries import Doubt
from etl.ledger.tables import completeness


def note_doubt(  # noqa: PLR0913 - one row of the table needs all of this
    connection: Connection,
    source: str,
    stream: str,
    doubt: Doubt,
    *,
    run_id: int,
    now: datetime,
) -> None:
    """A walk could not prove itself: an `unproven` row with the reason."""
    connection.execute(
        insert(completeness).values(
            source=source,
            stream=stream,
            since=doubt.since,
            until=doubt.until,
            upstream_total=doubt.upstream_total,
            upstream_ids=doubt.upstream_ids,
            verdict="unproven",
            reason=doubt.reason,
            checked_at=now,
            run_id=run_id,
        )
    )
