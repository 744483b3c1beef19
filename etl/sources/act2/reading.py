"""Reads one record whole: its detail, its host rows, and what is still owed of it.

A page carries the host rows of its records already, so `/result` is asked only where they are
too few or from another moment. A short answer is read once more after a second, and never taken
for a deletion.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future, wait
from datetime import datetime, timedelta

from msgspec import Struct, field
from msgspec.structs import replace

from etl.errors import BadRequest, Gone, Malformed, SourceFailed, TooLarge, Transient
from etl.http import Api
from etl.source import Debt, Known, Part, Record, Reject, Span
from etl.sources.act2 import privacy, shapes
from etl.sources.act2.executions import Execution, execution, told
from etl.sources.act2.hosts import host_results, same_moment
from etl.sources.act2.settings import Act2Settings
from etl.sources.act2.shapes import END, EXECUTE, START, Entry, Item, first
from etl.sources.act2.shapes import RESULT as RESULT_STATUS
from etl.sources.act2.tables import HOST_RESULTS, JOB_RECORDS, JobRecord
from etl.values import FINAL, BadKey, Json

DETAIL = "/api/v1/job/record"
RESULT = DETAIL + "/result"
OF_ONE = (Transient, Malformed, Gone, TooLarge, BadRequest)
"""What may befall one record while its neighbours work."""

RECORD, SETTLE, FAILING = "job_record", "settle", "detail"
"""Kinds of debts of a record: it runs, its hosts' answers may still come, it cannot be read."""

DONE_SEEN_AT = "done_seen_at"
"""In the hint of a record without an end: when it was first seen to be done."""

_AGAIN_AFTER_S = 1.0
_IN_A_ROW = 8
"""So many records in a row that cannot be read are no longer the fault of one."""


class Status(Struct, frozen=True):
    """What is said of a record. `failed`: not by the platform, whose detail failed."""

    word: str
    started: datetime | None = None
    failed: bool = False


class Unusable(Malformed):
    """A detail came that is no detail of the record; `payload` is what came, cleaned."""

    def __init__(self, message: str, payload: Json) -> None:
        super().__init__(message)
        self.payload = payload


class Hosts(Struct):
    """Host rows as read; `trouble` says why there may be more."""

    rows: Sequence[Item]
    asked_at: datetime
    rejects: list[Reject] = field(default_factory=list)
    single: bool = False
    trouble: str | None = None


class Patience:
    """Tells one failing record among working neighbours from a platform that answers nothing."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._in_a_row = 0
        self._worked = False
        self._last: SourceFailed | None = None
        self._first: list[Future[Record]] = []

    def worked(self) -> None:
        with self._lock:
            self._in_a_row, self._worked = 0, True

    def failed(self, error: SourceFailed) -> None:
        """Counts a record that could not be read; an answer that refuses is an answer."""
        if isinstance(error, Transient | Malformed):
            with self._lock:
                self._in_a_row += 1
                self._last = error

    def check(self) -> None:
        """Raises the last error when too many records in a row could not be read."""
        if self._last is not None and self._in_a_row >= _IN_A_ROW:
            raise self._last

    def watch(self, futures: Sequence[Future[Record]]) -> None:
        """Remembers the first few, for `verdict`."""
        self._first.extend(futures[: _IN_A_ROW - len(self._first)])

    def verdict(self) -> None:
        """At the end: raises the last error when of several records none could be read."""
        if len(self._first) == _IN_A_ROW:
            return  # so many would have ended the pass themselves
        wait(self._first)
        if self._last is not None and not self._worked and self._in_a_row > 1:
            raise self._last


class Reader:
    """Reads records of one pass; safe from any thread."""

    def __init__(self, api: Api, settings: Act2Settings, span: Span) -> None:
        self._api = api
        self._settings = settings
        self._zone = settings.zone
        self._span = span
        self.patience = Patience()

    def listed(self, entry: Entry, asked_at: datetime, known: Known | None) -> Record:
        """A record that a page lists. One that cannot be read is told from the page, and owed."""
        seen = Hosts(entry.rows, asked_at) if entry.rows else None
        try:
            return self.whole(entry.id, seen, entry=entry)
        except OF_ONE as error:
            self.patience.failed(error)
            self.patience.check()
            return self._from_page(entry, asked_at, known, error)

    def whole(
        self,
        record_id: str,
        seen: Hosts | None = None,
        done_seen_at: datetime | None = None,
        entry: Entry | None = None,
    ) -> Record:
        """Detail and host rows of one record. Raises whatever its detail does.

        Times that the detail leaves out are those of the page (`entry`), else they stay.
        """
        detail = self._api.get(DETAIL, {"id": record_id})
        try:
            item = _with_listed(shapes.record(detail.content, record_id), entry)
            done = execution(item, self._zone)
        except (Malformed, BadKey, RecursionError) as error:
            raise Unusable(
                f"the detail of {record_id} cannot be read: {error}",
                privacy.payload(detail.content),
            ) from None
        self.patience.worked()
        hosts = self._hosts(done, seen)
        asked_at = min(detail.asked_at, hosts.asked_at)
        debts = self._debts(done, hosts, done_seen_at)
        return self._record(done, hosts, asked_at, debts, _owned(item, done))

    def status(self, record_id: str) -> Status:
        """The status that the detail tells; where there is no detail, what the database holds."""
        failed = True
        try:
            detail = self._api.get(DETAIL, {"id": record_id})
            row = execution(shapes.record(detail.content, record_id), self._zone).row
        except Gone:
            failed = False
        except (BadKey, RecursionError):
            pass
        except OF_ONE as error:
            self.patience.failed(error)
            self.patience.check()
        else:
            self.patience.worked()
            return Status(row.status, row.started_at)
        known = self._span.memory.known([record_id]).get(record_id)
        return Status("unknown" if known is None else known.status, None, failed)

    def _record(
        self,
        done: Execution,
        hosts: Hosts,
        asked_at: datetime,
        debts: tuple[Debt, ...],
        owns: tuple[str, ...] | None = None,
    ) -> Record:
        rows, rejects = host_results(hosts.rows, done, self._zone, self._settings.max_output)
        row = done.row._replace(host_result_count=len(rows))
        parts = [Part(JOB_RECORDS, (row,), owns)]
        if rows:
            parts.append(Part(HOST_RESULTS, rows, None, not _short(done, len(rows))))
        size = sum(len(host.stdout or "") + len(host.stderr or "") for host in rows)
        return Record(row.record_id, asked_at, parts, debts, (*hosts.rejects, *rejects), size)

    # host rows

    def _hosts(self, done: Execution, seen: Hosts | None) -> Hosts:
        """The most rows that one answer gives."""
        stale = seen is None or not all(same_moment(row, done, self._zone) for row in seen.rows)
        best = self._result(done, seen) if seen is None or stale else seen
        if best.single or best.trouble or not _short(done, len(best.rows)):
            return best
        if done.over:
            self._api.pause(_AGAIN_AFTER_S)
        elif stale:
            return best  # it runs, and is asked again anyway
        again = self._result(done, best)
        return again if len(again.rows) >= len(best.rows) else best

    def _result(self, done: Execution, held: Hosts | None) -> Hosts:
        """The rows of `/result`; when it fails, those that are `held`, and the trouble."""
        record_id = done.row.record_id
        try:
            answer = self._api.get(RESULT, {"id": record_id})
            found = shapes.host_rows(answer.content)
        except OF_ONE as error:
            self.patience.failed(error)
            self.patience.check()
            return self._without_result(record_id, held, error)
        rejects = [replace(reject, upstream_id=record_id, part=True) for reject in found.rejects]
        return Hosts(found.rows, answer.asked_at, rejects, found.single)

    def _without_result(self, record_id: str, held: Hosts | None, error: SourceFailed) -> Hosts:
        """A result beyond `max_body` stays so: it is rejected; anything else is owed."""
        hosts = held or Hosts((), self._span.now)
        if isinstance(error, TooLarge):
            hosts.rejects.append(Reject(record_id, f"host results: {error}", {"id": record_id}))
            hosts.single = True
        else:
            hosts.trouble = f"host results: {error}"
        return hosts

    # what is owed

    def _debts(
        self, done: Execution, hosts: Hosts, done_seen_at: datetime | None
    ) -> tuple[Debt, ...]:
        row = done.row
        if hosts.trouble:
            return (Debt(FAILING, row.record_id, hosts.trouble),)
        if not done.over:
            return (Debt(RECORD, row.record_id, f"execute_status is {row.execute_status!r}"),)
        seen_at = done_seen_at or self._span.now
        settled_at = (row.finished_at or seen_at) + timedelta(seconds=self._settings.settle)
        if self._span.now >= settled_at:
            return ()
        hint = {} if row.finished_at else {DONE_SEEN_AT: seen_at.isoformat()}
        return (Debt(SETTLE, row.record_id, _unsettled(done, hosts.rows), hint),)

    def _from_page(
        self, entry: Entry, asked_at: datetime, known: Known | None, error: SourceFailed
    ) -> Record:
        """What the page tells; a status that it does not tell stays what it was."""
        item = _listed_item(entry)
        done, owns = execution(item, self._zone), told(item)
        if "status" not in owns:
            done = _guessed(done, known)
            owns = owns if known else ("status", *owns)
        hosts = Hosts(entry.rows, asked_at)
        if isinstance(error, Unusable):
            hosts.rejects.append(Reject(entry.id, str(error), error.payload))
        debts = (Debt(FAILING, entry.id, str(error)),)
        return self._record(done, hosts, asked_at, debts, owns)


def spared(entry: Entry, known: Known | None) -> bool:
    """Whether the database holds all that the page tells of a record, so that asking is vain.

    What is unfinished is owed, and asked again when it is due.
    """
    if known is None or not (known.open or known.status in FINAL or known.status == "unknown"):
        return False
    held, told = known.values, entry.item or entry.rows[0]
    told_end = entry.ended
    if held["finished_at"] is None and told_end == entry.started:
        told_end = None
    return (
        (entry.started == held["started_at"] or first(told, START) is None)
        and (told_end == held["finished_at"] or first(told, END) is None)
        and entry.execute_status in (None, held["execute_status"])
        and entry.result_status in (None, held["result_status"])
        and len(entry.rows) <= (held["host_result_count"] or 0)
    )


def _listed_item(entry: Entry) -> Item:
    """An item with the times (and statuses) that the page tells of a record."""
    source = entry.item or entry.rows[0]
    names = (*START, *END) if entry.item is None else (*START, *END, *EXECUTE, *RESULT_STATUS)
    plain = {n: source[n] for n in names if isinstance(source.get(n), str | int)}
    return {**plain, "id": entry.id}


def _with_listed(detail: Item, entry: Entry | None) -> Item:
    """A detail with the times that it leaves out and its page tells."""
    if entry is None:
        return detail
    listed = _listed_item(entry)
    missing = [names for names in (START, END) if not any(name in detail for name in names)]
    return {**{n: listed[n] for names in missing for n in names if n in listed}, **detail}


def _owned(item: Item, done: Execution) -> tuple[str, ...] | None:
    """The columns of a detail: all but the times that nobody told. What runs has no end, told or
    not: one that is held is of an earlier run."""
    untold = {c for c, names in _TIMES.items() if not any(name in item for name in names)}
    untold -= set() if done.over else {"finished_at"}
    return tuple(c for c in JobRecord._fields if c not in untold) if untold else None


_TIMES = {"started_at": START, "finished_at": END}


def _guessed(done: Execution, known: Known | None) -> Execution:
    """A record of which only times are told: one whose end is not its start is over, unless it is
    known to run."""
    status = known.status if known else done.row.status
    ended = done.ended if done.ended != done.row.started_at else None
    over = ended is not None and status not in ("pending", "running")
    row = done.row._replace(status=status, finished_at=ended if over else None)
    return Execution(row, over, done.ended)


def _short(done: Execution, rows: int) -> bool:
    """Whether rows are missing. A record that names no hosts is expected to have one at least."""
    expected = done.row.host_expected_count
    return rows < (1 if expected is None else expected)


def _unsettled(done: Execution, rows: Sequence[Item]) -> str:
    answered = sum(1 for row in rows if row.get("status"))
    expected = done.row.host_expected_count
    if expected is None or answered >= expected:
        return "done; answers of hosts may still change"
    return f"done; {answered} of {expected} hosts have answered"
