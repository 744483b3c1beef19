"""Reads ahead and writes behind: many requests in flight, one writer, bounded between them.

A thread walks the source's pages; what it yields waits in a short queue, its records being read by
the pool meanwhile. The caller's thread writes them in order, in batches of bounded size: rows,
debts, rejects, cursor and the run's figures in one transaction each (guarantee 1).
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as NotYet
from contextlib import closing, contextmanager
from typing import Protocol, TypeVar

from msgspec import Struct, field
from msgspec.structs import replace

from etl.context import carried
from etl.db import Persistence
from etl.errors import DatabaseTrouble, EtlError, LostSeat, Stopped
from etl.http import Api
from etl.ledger import completeness, cursors, debts, rejects
from etl.ledger.debts import Terms, Words
from etl.ledger.runs import Run
from etl.ledger.seats import Seat, Writing
from etl.source import Doubt, Page, Pending, Record, Reject, Source
from etl.store import Store, Tally, last_changes, latest
from etl.values import Json

BATCH_ROWS = 10_000
BATCH_SIZE = 2 * 2**20
"""Rows, and characters of long texts, after which a batch is written."""
BATCH_S = 0.2
_PAGES_AHEAD = 1  # beside the one that waits to be put there
_MANY = 50
"""Records of a page that are enough to read ahead: the next one is asked for when they are begun
to be taken."""
_POLL_S = 0.2

T = TypeVar("T")


class Observer(Protocol):
    """Is told when a pass begins, and of each committed batch: what came so far, and the share
    that is done."""

    def __call__(self, source: str, tally: Tally, api: Api, share: float | None) -> None: ...


class Moved(Struct, frozen=True):
    """What one batch brought beside its rows. `rows` is what was written of it."""

    cursor: dict[str, Json] | None
    records: int
    unfinished: int
    """Records that owe something."""
    rejected: int
    unlisted: int
    """Executions that the platform counts and shows nowhere."""
    doubts: Sequence[Doubt]
    rows: Tally


class Keeper(Protocol):
    """Keeps how far a walk has come, where it is not the live cursor that tells."""

    def keep(self, writing: Writing, moved: Moved) -> None:
        """Inside the transaction that writes the batch; again when that is tried again."""

    def kept(self, moved: Moved) -> None:
        """Once, when it is committed."""


class Figures:
    """What all threads of one pass have written; they take turns at writing."""

    def __init__(self) -> None:
        self.tally = Tally()
        self._turn = threading.Lock()

    @contextmanager
    def turn(self, stop: threading.Event) -> Iterator[None]:
        """Raises Stopped rather than wait on once the process was told to stop."""
        while not self._turn.acquire(timeout=_POLL_S):
            if stop.is_set():
                raise Stopped("told to stop")
        try:
            yield
        finally:
            self._turn.release()


class Pass(Struct):
    """One pass over a source: the seat it writes in, the run it counts in, what it copies."""

    source: Source
    seat: Seat
    run: Run
    api: Api
    terms: Terms
    stop: threading.Event
    observer: Observer
    persistence: Persistence
    keeps_cursor: bool = True
    notes_answers: bool = False
    keeper: Keeper | None = None
    figures: Figures = field(default_factory=Figures)
    answered: set[str] = field(default_factory=set)
    """Ids of records and debts that the last pages spoke of; cleared by who asks."""
    _batch: _Batch = field(default_factory=lambda: _Batch(0.0))

    @property
    def tally(self) -> Tally:
        """What the pass has written so far."""
        return self.figures.tally

    def beside(self, keeper: Keeper, observer: Observer) -> Pass:
        """The same pass for another thread, which reads a part with a position of its own."""
        return replace(self, keeper=keeper, observer=observer, keeps_cursor=False)

    def copy(self, pages: Iterable[Page]) -> None:
        """Writes `pages` as they come. What came before an error is written, then it is raised.

        Raises whatever the reader raised; Stopped leaves the batch in hand unwritten.
        """
        self._begin_batch()
        try:
            with closing(_read_ahead(pages, self.stop)) as ahead:
                for page in ahead:
                    self._take(page)
        except (Stopped, LostSeat, DatabaseTrouble):
            raise
        except EtlError:
            self._write(None)
            raise
        self._write(None)

    def write(self, work: Callable[[Writing], T]) -> T:
        """`work` in a transaction of the seat; again while the database is away for a moment."""

        def once() -> T:
            with self.seat.transaction() as writing:
                return work(writing)

        return self.persistence(once)

    def _begin_batch(self) -> None:
        self._batch = _Batch(self.seat.clock.monotonic())

    def _take(self, page: Page) -> None:
        """Lets go of each record as it is taken: what is written needs no memory any more."""
        waiting, page.records = deque(page.records), ()
        while waiting:
            coming = waiting.popleft()
            record = coming if isinstance(coming, Record) else _result(coming, self.stop)
            self._batch.add(record)
            if self.notes_answers:
                self.answered.add(record.id)
            if record is not coming or self._batch.is_full:  # who waited looks at the clock too
                self._write_if_due(page.progress)
        self._batch.finish(page)
        if self.notes_answers:
            self.answered.update(debt.id for debt in page.debts)
            self.answered.update(id_ for _, id_ in page.settled)
        self._write_if_due(page.progress)

    def _write_if_due(self, share: float | None) -> None:
        if self._batch.is_full or self.seat.clock.monotonic() - self._batch.began >= BATCH_S:
            self._write(share)

    def _write(self, share: float | None) -> None:
        """Writes the batch in hand and begins another."""
        if not self._batch.empty:
            with self.figures.turn(self.stop):
                moved, self.figures.tally = self.write(self._write_batch)
            if self.keeper is not None:
                self.keeper.kept(moved)
            self.observer(self.seat.source, self.tally, self.api, share)
        self._begin_batch()

    def _write_batch(self, writing: Writing) -> tuple[Moved, Tally]:
        """All of the batch in one transaction; returns the pass's figures with it."""
        batch, tally = self._batch, Tally()
        tally.merge(self.tally)
        rows = self._write_rows(writing, batch)
        tally.merge(rows)
        self._write_debts(writing, batch, rows.left_out)
        moved = batch.moved(rows)
        self._write_position(writing, batch, moved)
        self.run.save(writing.connection, self.api, tally)
        return moved, tally

    def _write_rows(self, writing: Writing, batch: _Batch) -> Tally:
        store = Store(self.source.tables, self.seat.source)
        run_id = self.run.run_id
        tally = store.write(writing.connection, batch.records, stamp=writing.stamp, run_id=run_id)
        writing.changed = writing.changed or tally.changed
        tally.rejected = rejects.keep(
            writing.connection,
            self.seat.source,
            self.source.stream,
            [*batch.rejects, *(r for record in batch.records for r in record.rejects)],
            run_id=run_id,
            now=writing.stamp,
        )
        tally.read += tally.rejected
        return tally

    def _write_debts(self, writing: Writing, batch: _Batch, left_out: set[str]) -> None:
        """What a record owes goes with its rows: one that was left out settles nothing."""
        connection, name, now = writing.connection, self.seat.source, writing.stamp
        records = [one for one in latest(batch.records) if one.id not in left_out]
        owed = [debt for record in records for debt in record.debts]
        ids = [record.id for record in records]
        changed = last_changes(connection, self.source.tables[0], name, {d.id for d in owed})
        debts.replace(connection, name, ids, owed, changed, terms=self.terms, now=now)
        debts.add(connection, name, batch.words.owed, terms=self.terms, now=now)
        debts.settle(connection, name, batch.words.settled)
        if rejects.any_open(connection, name):
            read = {record.id: {r.name or "" for r in record.rejects} for record in records}
            rejects.resolve(connection, name, self.source.stream, read, now=now)

    def _write_position(self, writing: Writing, batch: _Batch, moved: Moved) -> None:
        connection, name, stream = writing.connection, self.seat.source, self.source.stream
        for doubt in batch.doubts if self.keeper is None else ():  # a keeper tells its own
            completeness.note_doubt(
                connection, name, stream, doubt, run_id=self.run.run_id, now=writing.stamp
            )
        if batch.cursor is not None and self.keeps_cursor:
            cursors.advance(connection, name, stream, batch.cursor, writing.stamp)
        if self.keeper is not None:
            self.keeper.keep(writing, moved)


class _Batch(Struct):
    """What the next transaction will write."""

    began: float
    records: list[Record] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    words: Words = field(default_factory=Words)
    """What the pages say of debts, but for those that are a record's own."""
    doubts: list[Doubt] = field(default_factory=list)
    cursor: dict[str, Json] | None = None
    rows: int = 0
    size: int = 0

    def add(self, record: Record) -> None:
        self.records.append(record)
        self.words.forget(record.id)
        self.size += record.size
        for part in record.parts:
            self.rows += len(part.rows)

    def finish(self, page: Page) -> None:
        """Takes what belongs to the page as a whole, once all its records are here."""
        self.rejects += page.rejects
        self.words.hear(page.debts, page.settled)
        self.rows += len(page.rejects) + len(page.debts)
        if page.cursor is not None:
            self.cursor = page.cursor
        if page.doubt is not None:
            self.doubts.append(page.doubt)

    def moved(self, rows: Tally) -> Moved:
        """What it brings beside its rows."""
        return Moved(
            cursor=self.cursor,
            records=len(self.records),
            unfinished=sum(1 for record in self.records if record.debts),
            rejected=rows.rejected,
            unlisted=sum(int(debt.hint.get("missing", 1)) for debt in self.words.owed),
            doubts=tuple(self.doubts),
            rows=rows,
        )

    @property
    def is_full(self) -> bool:
        return self.rows >= BATCH_ROWS or self.size >= BATCH_SIZE

    @property
    def empty(self) -> bool:
        return not (
            self.records or self.rejects or self.words or self.doubts or self.cursor is not None
        )


def _result(pending: Pending, stop: threading.Event) -> Record:
    """Waits for a record, but not longer than until the process is told to stop."""
    if not isinstance(pending, Future):
        return pending.result()
    while True:
        try:
            record: Record = pending.result(timeout=_POLL_S)
        except NotYet:
            if pending.done():
                raise
            if stop.is_set():
                raise Stopped("told to stop") from None
        except CancelledError:
            raise Stopped("told to stop") from None
        else:
            return record


class _Ahead:
    """Walks pages in a thread of its own, a few ahead of whoever takes them."""

    def __init__(self, pages: Iterable[Page]) -> None:
        self._pages = pages
        self._shelf: queue.Queue[Page | BaseException | None] = queue.Queue(_PAGES_AHEAD)
        self._abandoned = threading.Event()
        self._taken = threading.Semaphore(0)
        self._untaken = 0
        self._thread = threading.Thread(target=carried(self._walk), name="reader", daemon=True)

    def _walk(self) -> None:
        last: BaseException | None = None
        try:
            for page in self._pages:
                many = len(page.records) >= _MANY
                self._put(page)
                self._untaken += 1
                self._await_room(many=many)
                if self._abandoned.is_set():
                    return
        except BaseException as error:  # noqa: BLE001 - raised again by whoever takes the pages
            last = error
        self._put(last)

    def _await_room(self, *, many: bool) -> None:
        """Returns at once after a page of few records, otherwise when it is taken off the shelf."""
        while self._untaken:
            if self._taken.acquire(timeout=_POLL_S if many else 0):
                self._untaken -= 1
            elif not many or self._abandoned.is_set():
                return

    def _put(self, thing: Page | BaseException | None) -> None:
        while not self._abandoned.is_set():
            try:
                self._shelf.put(thing, timeout=_POLL_S)
            except queue.Full:
                continue
            return

    def pages(self, stop: threading.Event) -> Generator[Page, None, None]:
        self._thread.start()
        try:
            while True:
                try:
                    thing = self._shelf.get(timeout=_POLL_S)
                except queue.Empty:
                    if stop.is_set():
                        raise Stopped("told to stop") from None
                    continue
                self._taken.release()
                if thing is None:
                    return
                if isinstance(thing, BaseException):
                    raise thing
                yield thing
        finally:
            self._abandoned.set()
            self._thread.join(timeout=5)


def _read_ahead(pages: Iterable[Page], stop: threading.Event) -> Generator[Page, None, None]:
    return _Ahead(pages).pages(stop)
