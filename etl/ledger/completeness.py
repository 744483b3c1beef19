"""`completeness`: what was proven of a stretch of time, and what could not be."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from msgspec import Struct
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


class Walked(Struct, frozen=True):
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
    quarantine. Digests, and what is no longer listed, are for `verify` to tell.

    A window of several months is noted month by month, so that a later verify of each has the
    last word; its figures are those of no month and stay NULL.
    """
    verdict, reason = _judged(walked)
    months = list(_months(walked.since, walked.until))
    figures = {
        "upstream_ids": walked.listed,
        "database_unfinished": walked.unfinished,
        "rejected": walked.rejected,
        "unlisted": walked.unlisted,
    }
    said = {"verdict": verdict, "reason": reason, "checked_at": now, "run_id": run_id}
    row = {"source": source, "stream": stream, **said, **(figures if len(months) == 1 else {})}
    rows = [{**row, "since": since, "until": until} for since, until in months]
    connection.execute(insert(completeness), rows)


def _judged(walked: Walked) -> tuple[str, str | None]:
    """(verdict, reason)."""
    if walked.doubt is not None:
        return "unproven", walked.doubt
    if walked.unlisted:
        count = walked.unlisted
        executions = "1 execution is" if count == 1 else f"{count} executions are"
        return "unproven", f"{executions} counted but listed nowhere"
    if walked.rejected:
        return "incomplete", f"{walked.rejected} records went to quarantine"
    return "complete", None


def _months(since: datetime | None, until: datetime) -> Iterator[tuple[datetime | None, datetime]]:
    """[since, until) cut at each first of a month in UTC; whole without a beginning."""
    while since is not None:
        first = since.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        after = (first + timedelta(days=32)).replace(day=1)
        if after >= until:
            break
        yield since, after
        since = after
    yield since, until
