"""The three readings of Act2: everything of a span, what is owed, and the inventory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from functools import partial

from msgspec.structs import replace

from etl.errors import SourceFailed
from etl.http import Api
from etl.source import Debt, Doubt, Listed, Page, Record, Reject, Span
from etl.sources.act2.book import Book, View
from etl.sources.act2.holes import HOLE, Holes, hole, reopened
from etl.sources.act2.reading import (
    DONE_SEEN_AT,
    FAILING,
    OF_ONE,
    RECORD,
    SETTLE,
    Reader,
    Status,
    Unusable,
    spared,
)
from etl.sources.act2.settings import Act2Settings
from etl.sources.act2.shapes import Entry
from etl.sources.act2.statuses import record_status
from etl.sources.act2.walk import Walk


def scan(api: Api, settings: Act2Settings, span: Span) -> Iterator[Page]:
    """Everything in the span, oldest first, whichever way the platform lists it."""
    book = _book(api, settings)
    walk = Walk(book, span)
    desk = _Desk(api, Reader(api, settings, span), span)
    holes = Holes(span.memory.open_debts(HOLE), anew=span.fresh)
    told = span.position
    for seen in walk.views():
        page = desk.page(seen.view)
        page.debts, page.settled = holes.changes(seen.view, book.order)
        page.progress = seen.progress
        cursor = seen.position.to_json() if seen.position else None
        if cursor is not None and cursor != told:
            page.cursor = told = cursor
        yield page
    if walk.doubt is not None:
        yield Page(doubt=walk.doubt)
    desk.reader.patience.verdict()


def refresh(api: Api, settings: Act2Settings, debts: Iterable[Debt], span: Span) -> Iterator[Page]:
    """What is owed: records by their ids, holes by their pages."""
    reader = Reader(api, settings, span)
    owed = list(debts)
    records = {debt.id: debt for debt in owed if debt.kind in (RECORD, SETTLE, FAILING)}
    at_once = max(1, settings.concurrency * 2)
    todo = list(records.values())
    for start in range(0, len(todo), at_once):
        yield _again(api, reader, todo[start : start + at_once])
        reader.patience.check()
    desk = _Desk(api, reader, span)
    for debt in owed:
        if debt.kind == HOLE:
            yield from _look_into(debt, _book(api, settings), desk)


def inventory(api: Api, settings: Act2Settings, span: Span) -> Iterator[Sequence[Listed] | Doubt]:
    """Ids and statuses. There is no cheap list of statuses: a page, then a detail a record.

    A record may come twice when the list moved meanwhile. What is counted but listed nowhere is a
    doubt, as are details that cannot be read and a list that cannot be proven.
    """
    walk, reader = Walk(_book(api, settings), span), Reader(api, settings, span)
    listed, missing, failed = 0, {}, 0
    for seen in walk.views():
        entries = _placed(seen.view.entries.values(), span)
        futures = api.map(partial(_status, reader), entries)
        statuses = [future.result() for future in futures]
        told = [(e.id, s) for e, s in zip(entries, statuses, strict=True)]
        lines = [Listed(id_, s.word) for id_, s in told if _within(s.started, span)]
        yield lines
        listed, failed = listed + len(lines), failed + sum(s.failed for s in statuses)
        missing[seen.view.lo] = seen.view.missing
    if walk.doubt is not None:
        yield walk.doubt
    if failed:
        yield Doubt(f"the details of {failed} records cannot be read", span.since, span.until)
    unlisted = sum(missing.values())
    if unlisted:
        records = "1 record is" if unlisted == 1 else f"{unlisted} records are"
        reason = f"{records} counted but listed nowhere"
        total = listed + unlisted
        yield Doubt(reason, span.since, span.until, total, listed, unlisted)


def inventory_cost(settings: Act2Settings, executions: int) -> int:
    """A detail a record, its pages, and a few to find the first one."""
    pages = executions // settings.records_a_page + 1
    return executions + pages + 2 + pages.bit_length()


def ping(api: Api, settings: Act2Settings) -> str:
    """One small page; says what a first sync would cost."""
    book = _book(api, settings)
    if book.ask(1, 1).entries and not book.total:
        return "it answers, but does not say how many records it has"
    pages = -(-book.total // settings.records_a_page)
    return (
        f"{book.total} records; a first sync of all would take about {book.total + pages} requests"
    )


def _book(api: Api, settings: Act2Settings) -> Book:
    return Book(api, settings.zone, settings.records_a_page)


class _Desk:
    """Turns listed pages into pages of records."""

    def __init__(self, api: Api, reader: Reader, span: Span) -> None:
        self._api = api
        self._span = span
        self.reader = reader

    def page(self, view: View) -> Page:
        """The records of a view that the database does not hold as they are listed."""
        wanted = [e for e in view.entries.values() if _within(e.started, self._span)]
        known = self._span.memory.known([entry.id for entry in wanted])

        def read(entry: Entry) -> Record:
            assert view.asked_at is not None  # noqa: S101 - a page that was not read lists nothing
            return self.reader.listed(entry, view.asked_at, known.get(entry.id))

        if not self._span.fresh:
            wanted = [entry for entry in wanted if not spared(entry, known.get(entry.id))]
        futures = self._api.map(read, wanted)
        self.reader.patience.watch(futures)
        return Page(records=futures, rejects=tuple(view.rejects))


def _within(started: datetime | None, span: Span) -> bool:
    """Whether a record belongs to the span; one without a start belongs to every span."""
    if started is None:
        return True
    return (span.since is None or started >= span.since) and (
        span.until is None or started < span.until
    )


def _again(api: Api, reader: Reader, debts: Sequence[Debt]) -> Page:
    """Records that are owed, read anew; those that fail stay owed, with the reason."""
    records: list[Record] = []
    failed: list[Debt] = []
    rejects: list[Reject] = []
    futures = api.map(lambda debt: reader.whole(debt.id, None, _done_seen_at(debt)), debts)
    for debt, future in zip(debts, futures, strict=True):
        try:
            records.append(future.result())
        except OF_ONE as error:
            reader.patience.failed(error)
            seen = {n: v for n, v in debt.hint.items() if n == DONE_SEEN_AT}
            failed.append(Debt(debt.kind, debt.id, str(error), seen))
            if isinstance(error, Unusable):
                rejects.append(Reject(debt.id, str(error), error.payload))
    return Page(records=records, rejects=tuple(rejects), debts=tuple(failed))


def _done_seen_at(debt: Debt) -> datetime | None:
    text = debt.hint.get(DONE_SEEN_AT)
    return datetime.fromisoformat(text) if isinstance(text, str) else None


def _look_into(debt: Debt, book: Book, desk: _Desk) -> Iterator[Page]:
    """The pages of a hole; it closes when they list all that they count."""
    missing, last = 0, None
    try:
        for view in reopened(book, debt):
            missing, last = missing + view.missing, view
            yield desk.page(view)
    except (KeyError, TypeError):
        yield Page(settled=((HOLE, debt.id),))
        return
    except SourceFailed as error:
        if not isinstance(error, OF_ONE):
            raise
        yield Page(debts=(Debt(HOLE, debt.id, f"{debt.reason}; {error}", debt.hint),))
        return
    if last is None or not missing:
        yield Page(settled=((HOLE, debt.id),))
    elif hole(last, book.order).id == debt.id:
        yield Page(debts=(hole(last, book.order),))
    else:
        yield Page(debts=(debt,))


def _placed(listed: Iterable[Entry], span: Span) -> list[Entry]:
    """What may belong to the span; starts that the list does not tell are the database's."""
    entries = list(listed)
    vague = [entry.id for entry in entries if entry.started is None]
    known = span.memory.known(vague) if vague else {}
    for entry in entries:
        if entry.id in known:
            entry.started = known[entry.id].values["started_at"]
    return [entry for entry in entries if _within(entry.started, span)]


def _status(reader: Reader, entry: Entry) -> Status:
    """The status that a page tells, or the detail's, or what the database holds."""
    if isinstance(entry.execute_status, str) and entry.started is not None:
        result = entry.result_status if isinstance(entry.result_status, str) else None
        return Status(record_status(entry.execute_status, result), entry.started)
    status = reader.status(entry.id)
    return status if status.started else replace(status, started=entry.started)
