"""What a sync, a backfill and a verify ask of Explorer: a scan, jobs by id, an inventory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from datetime import datetime, timedelta
from itertools import groupby
from weakref import ReferenceType, ref

from msgspec.structs import replace

from etl.http import Api
from etl.source import Debt, Doubt, Known, Listed, Page, Record, Span
from etl.sources.explorer.items import Entry
from etl.sources.explorer.listing import Interval, JobList
from etl.sources.explorer.reading import NO_DETAIL, Reader, Unread, Wanted
from etl.sources.explorer.settings import ExplorerSettings
from etl.sources.explorer.walks import walk
from etl.values import FINAL

POSITION = "created_at"
"""The cursor: everything that was created up to there has been written."""
_AT_ONCE = 50


def scan(api: Api, settings: ExplorerSettings, span: Span) -> Iterator[Page]:
    """Every job created in the span that the database does not hold as it is listed.

    A sync begins at the cursor less the overlap; what is read anew begins at its own position.
    """
    reader = Reader(api, settings, span.now)
    at = _position(span)
    read: list[ReferenceType[Future[Record]]] = []
    for batch in walk(JobList(api, settings.jobs_a_page), _interval(settings, span, at)):
        moved = batch.complete_to and min(batch.complete_to, span.now)
        if moved and (at is None or moved > at):
            at = moved
        else:
            moved = None
        page = Page(
            records=api.map(reader.read_listed, _wanted(batch.jobs, span)),
            rejects=batch.rejects,
            cursor={POSITION: moved.isoformat()} if moved else None,
            doubt=batch.doubt,
            progress=batch.progress,
        )
        read = [one for one in read if _is_waited_for(one)]
        read += [ref(future) for future in page.records if isinstance(future, Future)]
        yield page
    for one in read:
        if (future := one()) is not None:
            future.result()
    reader.neighbours.check()


def _is_waited_for(one: ReferenceType[Future[Record]]) -> bool:
    """Whether the record is not read yet; one that was taken and is no more has been."""
    future = one()
    return future is not None and not future.done()


def refresh(
    api: Api, settings: ExplorerSettings, debts: Iterable[Debt], span: Span
) -> Iterator[Page]:
    """The jobs of `debts` by their ids. One that is gone owes nothing more; its rows stay."""
    reader = Reader(api, settings, span.now)
    owed = [(id_, list(some)) for id_, some in groupby(sorted(debts, key=_id), key=_id)]
    for start in range(0, len(owed), _AT_ONCE):
        some = owed[start : start + _AT_ONCE]
        known = span.memory.known([id_ for id_, _ in some])
        wanted = [_owed(id_, its, id_ in known) for id_, its in some]
        answers = [future.result() for future in api.map(reader.read, wanted)]
        yield _page([its for _, its in some], answers)
    reader.neighbours.check()


def inventory(
    api: Api, settings: ExplorerSettings, span: Span
) -> Iterator[Sequence[Listed] | Doubt]:
    """Ids and statuses of what was created in the span, as listed now."""
    interval = Interval(span.since, span.until)
    for batch in walk(JobList(api, settings.jobs_a_page), interval):
        yield [
            Listed(entry.key, entry.job.status, {"listed": entry.item})
            for entry in batch.jobs
            if entry.job
        ]
        if batch.doubt is not None:
            yield batch.doubt


def inventory_cost(settings: ExplorerSettings, executions: int) -> int:
    """A page, and one that says that there are no more."""
    return executions // settings.jobs_a_page + 1


def ping(api: Api, settings: ExplorerSettings) -> str:
    """One call (two if the first sync does not go back to the beginning)."""
    jobs = JobList(api, 1)
    told = _jobs(jobs.ask(1, 1, {}).total)
    if settings.since is not None and jobs.asked_at is not None:
        since = settings.since.resolve(jobs.asked_at)
        listing = jobs.ask(1, 1, Interval(since, None).filter())
        told = f"{told}, {_jobs(listing.total)} since {since:%Y-%m-%d}"
    return f"{told}; a first sync asks for each job and for a sample of each of its tasks"


def _jobs(total: int | None) -> str:
    return "an untold number of jobs" if total is None else f"{total:,} jobs"


def _position(span: Span) -> datetime | None:
    return None if span.position is None else datetime.fromisoformat(span.position[POSITION])


def _interval(settings: ExplorerSettings, span: Span, at: datetime | None) -> Interval:
    since = span.since
    if at is not None:
        at = at if span.fresh else at - timedelta(seconds=settings.overlap)
        since = at if since is None else max(since, at)
    return Interval(since, span.until)


def _wanted(entries: Sequence[Entry], span: Span) -> list[Wanted]:
    """What is to be read of a page of the list."""
    jobs = [entry for entry in entries if entry.job is not None]
    known = span.memory.known([entry.key for entry in jobs]) if jobs else {}
    return [
        Wanted(entry.key, entry, entry.key in known)
        for entry in jobs
        if span.fresh or not _is_known(entry, known.get(entry.key))
    ]


def _is_known(entry: Entry, known: Known | None) -> bool:
    """Whether the database holds the job as it is listed: what is open stands in `unfinished`
    and is asked again from there.
    """
    if known is None or not (known.open or known.status in FINAL):
        return False
    return all(
        getattr(entry.job, name) == known.values[name]
        for name in entry.owns
        if name in known.values
    )


def _owed(id_: str, debts: Sequence[Debt], known: bool) -> Wanted:
    hint = {name: value for debt in debts for name, value in debt.hint.items()}
    failing = any(debt.reason.startswith(NO_DETAIL) for debt in debts)
    return Wanted(id_, None, known, hint, failing)


def _page(owed: Sequence[Sequence[Debt]], answers: Sequence[Record | Unread]) -> Page:
    page = Page(records=[one for one in answers if isinstance(one, Record)])
    for debts, answer in zip(owed, answers, strict=True):
        if isinstance(answer, Record):
            continue
        if answer.why is None:
            page.settled += tuple((debt.kind, debt.id) for debt in debts)
        else:
            page.debts += tuple(replace(debt, reason=answer.why) for debt in debts)
        page.rejects += (answer.reject,) if answer.reject else ()
    return page


def _id(debt: Debt) -> str:
    return debt.id
