"""`completeness`: what was proven of a stretch of time, and what could not be."""

from __future__ import annotations

from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Walked:
    """A walk that read all of [since, until), and wrote what it read.

    `listed`: executions that it brought (None: it was read in parts, nobody counted).
    `doubt`: why it is not proven to have seen everything.
    """

    since: datetime | None
    until: datetime
    listed: int | None
    unfinished: int
    rejected: int
    unlisted: int
    """Executions that the platform counts and shows nowhere."""
    doubt: str | None


def note_window(  # noqa: PLR0913 - one row of the table needs all of this
    connection: Connection,
    source: str,
    stream: str,
    walked: Walked,
    *,
    run_id: int,
    now: datetime,
) -> None:
    """What reading a whole window proves: nothing that was listed is missing, unless in
    quarantine. Digests, and what is no longer listed, are for `verify` to tell."""
    verdict, reason = "complete", None
    if walked.doubt is not None:
        verdict, reason = "unproven", walked.doubt
    elif walked.unlisted:
        verdict = "unproven"
        count = walked.unlisted
        executions = "1 execution is" if count == 1 else f"{count} executions are"
        reason = f"{executions} counted but listed nowhere"
    elif walked.rejected:
        verdict, reason = "incomplete", f"{walked.rejected} records went to quarantine"
    connection.execute(
        insert(completeness).values(
            source=source,
            stream=stream,
            since=walked.since,
            until=walked.until,
            upstream_ids=walked.listed,
            database_unfinished=walked.unfinished,
            rejected=walked.rejected,
            unlisted=walked.unlisted,
            verdict=verdict,
            reason=reason,
            checked_at=now,
            run_id=run_id,
        )
    )
