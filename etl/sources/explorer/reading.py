"""Reads one job whole: its detail, and a sample of each task that succeeded.

What cannot be had costs no more than itself: without a detail the job is what the list told of it,
without a sample the task says why; either is owed, and asked for again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

from msgspec import Struct, field

from etl.errors import (
    BadRequest,
    Gone,
    Malformed,
    SourceFailed,
    Transient,
    Unauthorized,
)
from etl.http import Api
from etl.redact import masked
from etl.source import Debt, Part, Record, Reject
from etl.sources.explorer import items
from etl.sources.explorer.items import Entry
from etl.sources.explorer.settings import PREFIX, ExplorerSettings
from etl.sources.explorer.tables import JOBS, SAMPLE_ROWS, TASKS, Job, Task
from etl.values import FINAL, BadKey, Json, instant

NO_DETAIL = "no detail"
"""How the reason of a debt begins whose detail failed."""
DETAIL_ATTEMPTS = 5
SAMPLE_ATTEMPTS = 2
SAMPLE_LIMITS = (100, 10)
"""What is tried when the platform refuses `limit`."""
SAMPLE_TRIES = 4
"""So often a sample that answers with an error is asked for, in as many passes."""
_HOPELESS = 8
"""After so many failing details, and none that worked, each gets one attempt."""
DEAD = 3
"""So many failing details without one that worked are no bad records: nothing works."""

_SAMPLE_COLUMNS = ("sample_row_count", "sample_error", "sample_digest")
_UNSAMPLED = tuple(name for name in Task._fields if name not in _SAMPLE_COLUMNS)
_FAILED_SAMPLE = (*_UNSAMPLED, "sample_error")


class Wanted(Struct, frozen=True):
    """A job to read. `listed` is what the list told, None when it is asked for by its id alone.

    `hint` is what an earlier reading left in its debt: `listed` (fields that only the list has),
    `samples` ({task: [mark, failures]}), `final_since`. `failing`: its detail failed before, so
    that it says nothing of the platform if it does again, and is worth one attempt a pass.
    """

    id: str
    listed: Entry | None = None
    known: bool = False
    hint: Mapping[str, Json] = field(default_factory=dict)
    failing: bool = False


class Unread(Struct, frozen=True):
    """A job that was asked for by its id and brought nothing; `why` None: it is gone."""

    why: str | None
    reject: Reject | None = None


class Neighbours:
    """How the details of one pass fared: one that fails among others is the one's own trouble."""

    def __init__(self) -> None:
        self._worked = False
        self._failures: list[SourceFailed] = []

    def worked(self) -> None:
        self._worked = True
        self._failures.clear()

    def failed(self, error: SourceFailed) -> None:
        if not self._worked:
            self._failures.append(error)

    @property
    def attempts(self) -> int:
        return 1 if len(self._failures) >= _HOPELESS else DETAIL_ATTEMPTS

    def check(self) -> None:
        """Raises Transient when nothing worked."""
        if not self._worked and len(self._failures) >= DEAD:
            number, last = len(self._failures), self._failures[-1]
            raise Transient(f"none of {number} job details can be read: {last}")


class Reader:
    """Reads jobs for one pass; safe from any thread."""

    def __init__(self, api: Api, settings: ExplorerSettings, now: datetime) -> None:
        self._api = api
        self._now = now
        self._settle = timedelta(seconds=settings.settle)
        limits = [limit for limit in SAMPLE_LIMITS if limit < settings.sample_limit]
        self._limits = [settings.sample_limit, *limits]
        self.neighbours = Neighbours()

    def read_listed(self, wanted: Wanted) -> Record:
        """A job that the list told of: at least that becomes a record."""
        record = self.read(wanted)
        assert isinstance(record, Record)  # noqa: S101 - Unread is only what no list told of
        return record

    def read(self, wanted: Wanted) -> Record | Unread:
        """A job; Unread only if no list told of it."""
        attempts = 1 if wanted.failing else self.neighbours.attempts
        try:
            answer = self._api.get(f"{PREFIX}/jobs/{wanted.id}", attempts=attempts)
            detail = _detail(answer.content, wanted.id)
        except Gone:
            self.neighbours.worked()
            return _as_listed(wanted.listed, wanted.known) if wanted.listed else Unread(None)
        except Unauthorized:
            raise
        except SourceFailed as error:
            if not wanted.failing:
                self.neighbours.failed(error)
            return _without_detail(wanted, error)
        self.neighbours.worked()
        return self._record(wanted, detail, answer.asked_at)

    def _record(self, wanted: Wanted, detail: Mapping[str, Json], asked_at: datetime) -> Record:
        listed = wanted.listed.item if wanted.listed else wanted.hint.get("listed", {})
        told = detail.get("tasks")
        named = told if isinstance(told, list) else []
        row = items.job({**listed, **detail})
        tasks = _Tasks(wanted.id, row.job_id, named)
        row = row._replace(task_count=len(tasks.rows) + len(tasks.rejects))
        samples = _Samples(wanted.hint.get("samples") or {})
        for task in tasks.rows:
            samples.take(task, self._sample)
        # `tasks: null` beside tasks that are known is a poorer answer, not an empty one.
        poorer = wanted.known and not isinstance(told, list)
        owns = tuple(name for name in Job._fields if name != "task_count") if poorer else None
        complete = isinstance(told, list) and not tasks.rejects
        hint = {
            "listed": {name: value for name, value in listed.items() if name not in detail},
            "samples": samples.marks,
        }
        return Record(
            id=wanted.id,
            asked_at=asked_at,
            parts=[Part(JOBS, [row], owns), *samples.parts(complete)],
            debts=tuple(self._owed(wanted, row, tasks.rows, samples, hint)),
            rejects=(*tasks.rejects, *samples.rejects),
            size=samples.size,
        )

    def _owed(
        self,
        wanted: Wanted,
        job: Job,
        tasks: Sequence[Task],
        samples: _Samples,
        hint: dict[str, Json],
    ) -> Iterator[Debt]:
        """At most one debt: whatever is open, asking again reads all of the job."""
        hint = {name: value for name, value in hint.items() if value}
        if job.status not in FINAL:
            yield Debt("job", wanted.id, f"the job is {job.status}", hint)
            return
        open_tasks = sum(task.status not in FINAL for task in tasks)
        ended = job.finished_at or instant(wanted.hint.get("final_since")) or self._now
        if open_tasks and self._now < ended + self._settle:
            reason = f"the job has ended, {open_tasks} of its tasks not yet"
            yield Debt("settle", wanted.id, reason, {**hint, "final_since": ended.isoformat()})
        elif samples.owed:
            yield Debt("sample", wanted.id, f"no sample of {', '.join(samples.owed)}", hint)

    def _sample(self, task: Task) -> Sequence[Json]:
        """The items of a sample. Raises SourceFailed with why there are none."""
        path = f"{PREFIX}/jobs/{task.job_id}/tasks/{quote(task.task_id, safe='')}/sample_result"
        refused: BadRequest | None = None
        for limit in list(self._limits):
            try:
                content = self._api.get(path, {"limit": limit}, attempts=SAMPLE_ATTEMPTS).content
            except BadRequest as error:
                refused = refused or error
                continue
            self._limits = [limit]
            found = content.get("items") if isinstance(content, dict) else content
            if not isinstance(found, list | None):
                raise Malformed(f"{path}: items are no array: {repr(found)[:80]}")
            return found or ()
        assert refused is not None  # noqa: S101 - there is at least one limit
        raise refused


class _Tasks:
    """The tasks that a detail names: as rows, one for each component."""

    def __init__(self, id_: str, job_id: int, named: Sequence[Json]) -> None:
        rows: dict[str, Task] = {}
        self.rejects: list[Reject] = []
        for item in named:
            try:
                task = items.task(job_id, item)
            except BadKey as error:
                self.rejects.append(Reject(id_, f"a task: {error}", item, part=True))
            else:
                rows[task.task_id] = task
        self.rows = list(rows.values())


class _Samples:
    """What became of the samples of one job's tasks."""

    def __init__(self, marks: Mapping[str, Json]) -> None:
        self._before = marks
        self.marks: dict[str, Json] = {}
        """For the next reading: {task: [mark of this run, failures]}; 0 failures: sampled."""
        self.owed: list[str] = []
        """Names of tasks whose sample is to be asked for again."""
        self.rejects: list[Reject] = []
        self.size = 0
        """Characters of all samples."""
        self._tasks: dict[tuple[str, ...] | None, list[Task]] = {}
        self._rows: list[tuple[Any, ...]] = []

    def take(self, task: Task, ask: Callable[[Task], Sequence[Json]]) -> None:
        """Samples a task that succeeded, unless this run of it is sampled or has failed enough."""
        if task.status != "succeeded":
            self._add(task, _UNSAMPLED)
            return
        mark = f"{task.started_at} {task.finished_at}"
        before, failures = self._before.get(task.task_id) or (mark, -1)
        if before == mark and (failures == 0 or failures >= SAMPLE_TRIES):
            self.marks[task.task_id] = [mark, failures]
            self._add(task, _UNSAMPLED)
            return
        try:
            found = items.sample(task, ask(task))
        except Unauthorized:
            raise
        except SourceFailed as error:
            failures = max(failures, 0) + 1 if before == mark else 1
            self.marks[task.task_id] = [mark, failures]
            if failures < SAMPLE_TRIES:
                self.owed.append(task.name or task.task_id)
            self._add(task._replace(sample_error=masked(str(error))), _FAILED_SAMPLE)
        else:
            self.marks[task.task_id] = [mark, 0]
            self._sampled(task, found)

    def parts(self, complete: bool) -> list[Part]:
        """Tasks by what their answers own, then the rows of all samples."""
        parts = [Part(TASKS, rows, owns, complete) for owns, rows in self._tasks.items()]
        return [*(parts or [Part(TASKS, [], None, complete)]), Part(SAMPLE_ROWS, self._rows)]

    def _sampled(self, task: Task, found: items.Sample) -> None:
        self.rejects += found.rejects
        self.size += found.size
        self._rows += found.rows
        described = task._replace(
            sample_row_count=len(found.rows),
            sample_digest=found.digest,
            text_repaired=task.text_repaired or found.repaired,
        )
        self._add(described, None)

    def _add(self, task: Task, owns: tuple[str, ...] | None) -> None:
        self._tasks.setdefault(owns, []).append(task)


def _detail(content: Json, id_: str) -> Mapping[str, Json]:
    """The detail, of the job that was asked for. Raises Malformed."""
    if not isinstance(content, dict):
        raise Malformed(f"job {id_}: the detail is no object: {repr(content)[:80]}")
    detail = {"id": int(id_), **content}
    try:
        told = items.job(detail).job_id
    except BadKey as error:
        raise Malformed(f"job {id_}: the detail has {error}") from None
    if str(told) != id_:
        raise Malformed(f"job {id_}: the detail is of job {told}")
    return detail


def _as_listed(listed: Entry, known: bool, *debts: Debt) -> Record:
    """The job as the list told of it; what only a detail knows is left alone."""
    assert listed.job is not None  # noqa: S101 - only jobs are read
    owns = listed.owns if known else (*listed.owns, "extra")
    return Record(listed.key, listed.asked_at, [Part(JOBS, [listed.job], owns)], debts)


def _without_detail(wanted: Wanted, error: SourceFailed) -> Record | Unread:
    """What is left of a job whose detail cannot be had: the detail is owed."""
    why = masked(f"{NO_DETAIL}: {error}")
    entry = wanted.listed
    payload = dict(entry.item) if entry else {"id": wanted.id}
    reject = Reject(wanted.id, why, payload) if isinstance(error, Malformed) else None
    if entry is None:
        return Unread(why, reject)
    record = _as_listed(entry, wanted.known, Debt("detail", wanted.id, why, {"listed": payload}))
    record.rejects = (reject,) if reject else ()
    return record
