"""Which stretches of time have been copied, and so can be verified: as calendar months in UTC."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, func, select

from etl.errors import Usage
from etl.ledger import names
from etl.ledger.tables import backfills, sources, sync_cursors, sync_runs
from etl.schema import DataTable

Range = tuple[datetime | None, datetime]
"""[since, until); None: from the beginning."""

_BEGINNING = datetime.min.replace(tzinfo=UTC)


def months(  # noqa: PLR0913 - whose, and between what
    connection: Connection,
    name: str,
    table: DataTable,
    *,
    since: datetime | None,
    until: datetime | None,
    now: datetime,
) -> list[Range]:
    """The windows of a verify, oldest first.

    Bounds that are not given are those of what sync and finished backfills have covered. What was
    pruned is left out. Empty when nothing has been copied. Raises Usage for bounds the wrong way
    round.
    """
    if since is not None and until is not None and since >= until:
        raise Usage(
            f"--since {since:%Y-%m-%d %H:%M} UTC is not before --until {until:%Y-%m-%d %H:%M} UTC"
        )
    pruned = names.pruned_before(connection, name)
    made: list[Range] = []
    for begin, end in _bounded(_covered(connection, name), since, until, now):
        first = max(filter(None, (begin, pruned)), default=None)
        if first is None or first < end:
            made += _by_month(first, end, _oldest(connection, name, table, end))
    return made


def nothing(connection: Connection, name: str, until: datetime) -> str:
    """Why no window of a verify lies before `until`, and what is to be done."""
    pruned = names.pruned_before(connection, name)
    if pruned is not None and until <= pruned:
        return f"what is older than {pruned:%Y-%m-%d %H:%M} UTC was pruned and is not verified"
    return f"nothing of it has been copied in that time; run: etl sync {name}"


def _covered(connection: Connection, name: str) -> list[Range]:
    """What sync and finished backfills have read whole, joined where they touch."""
    found: list[Range] = []
    synced = _synced_until(connection, name)
    if synced is not None:
        begin = _scalar(connection, select(sources.c.since).where(sources.c.source == name))
        found.append((begin, synced))
    c = backfills.c
    done = select(c.since, c.until).where(c.source == name, c.status == "done")
    found += [(begin, end) for begin, end in connection.execute(done)]
    return list(_joined(found))


def _synced_until(connection: Connection, name: str) -> datetime | None:
    """When the last sync that succeeded began; the ledger forgets runs, but not the cursor."""
    c = sync_runs.c
    runs = select(func.max(c.started_at)).where(
        c.source == name, c.mode == "sync", c.status == "succeeded"
    )
    moved = select(func.max(sync_cursors.c.updated_at)).where(sync_cursors.c.source == name)
    return _scalar(connection, runs) or _scalar(connection, moved)


def _bounded(
    covered: list[Range], since: datetime | None, until: datetime | None, now: datetime
) -> Iterator[Range]:
    """The covered ranges within the bounds; a bound that is given counts even beyond them."""
    if not covered and (since is None or until is None):
        return
    last = max((end for _, end in covered), default=now)
    if since is not None:
        yield since, min(until or last, now)
        return
    for begin, end in covered:
        over = end if until is None else min(end, until)
        if until is not None and end == last:
            over = min(until, now)
        if begin is None or begin < over:
            yield begin, over


def _joined(ranges: Iterable[Range]) -> Iterator[Range]:
    held: Range | None = None
    for begin, end in sorted(ranges, key=lambda each: each[0] or _BEGINNING):
        if held is None:
            held = begin, end
        elif begin is None or begin <= held[1]:
            held = held[0], max(held[1], end)
        else:
            yield held
            held = begin, end
    if held is not None:
        yield held


def _by_month(begin: datetime | None, end: datetime, oldest: datetime | None) -> Iterator[Range]:
    """Cut at each first of a month; an open beginning ends where the database begins."""
    at = begin
    if at is None:
        at = min(end, end if oldest is None else _month_of(oldest))
        yield None, at
    while at < end:
        after = min(end, _month_of(_month_of(at) + timedelta(days=32)))
        yield at, after
        at = after


def _month_of(at: datetime) -> datetime:
    return at.replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def _oldest(connection: Connection, name: str, table: DataTable, end: datetime) -> datetime | None:
    columns = table.table.c
    at = columns[table.listed_by]
    return _scalar(connection, select(func.min(at)).where(columns.source == name, at < end))


def _scalar(connection: Connection, statement: object) -> datetime | None:
    found: datetime | None = connection.execute(statement).scalar_one_or_none()  # type: ignore[call-overload]
    return found
