"""Explorer's JSON as rows: jobs as the list and the detail give them, tasks, sample rows."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import chain, count, repeat
from typing import Any

import msgspec
from msgspec import Struct

from etl.source import Reject
from etl.sources.explorer.tables import Job, SampleRow, Task
from etl.values import FINAL, BadKey, Fields, Json, canonical, repaired

STATUSES: Mapping[int | None, str] = {
    0: "pending",
    1: "running",
    2: "succeeded",
    3: "failed",
    4: "cancelled",
    5: "stopping",
}
"""Another number is `unknown`, and kept beside."""

_NAMES = {
    "name": "name",
    "workflow_id": "workflowId",
    "workflow_name": "workflowName",
    "status_code": "status",
    "created_at": "createTime",
    "started_at": "runBeginTime",
    "finished_at": "runEndTime",
}
"""Columns of a job that a list may give, by the platform's names."""

REMEMBERED = tuple(_NAMES)
"""What shows in the list when a job has changed."""


class Entry(Struct, frozen=True):
    """One item of the list: a job, or why it cannot be one. `key` tells items apart."""

    key: str
    asked_at: datetime
    item: Mapping[str, Json]
    job: Job | None = None
    reject: Reject | None = None

    @property
    def owns(self) -> tuple[str, ...]:
        """The columns that the item gave."""
        given = tuple(column for column, name in _NAMES.items() if name in self.item)
        return ("job_id", "status", "text_repaired", *given)


def listed(item: Json, asked_at: datetime) -> Entry:
    """Reads one item of the list."""
    if not isinstance(item, dict):
        return _unusable(item, asked_at, "an item of the list is no object")
    try:
        row = job(item)
    except BadKey as error:
        return _unusable(item, asked_at, str(error))
    return Entry(str(row.job_id), asked_at, item, row)


def _unusable(item: Json, asked_at: datetime, reason: str) -> Entry:
    digest = hashlib.sha256(canonical(item).encode()).hexdigest()
    return Entry(f"no id, {digest}", asked_at, {}, None, Reject(None, reason, item))


def job(item: Mapping[str, Json], task_count: int | None = None) -> Job:
    """A job from the fields of the list, of the detail, or of both. Raises BadKey."""
    fields = Fields(item)
    fields.ignore("tasks")
    code = fields.whole("status")
    status = STATUSES.get(code, "unknown")
    finished_at = fields.instant("runEndTime")
    return Job(
        job_id=fields.key_whole("id"),
        name=fields.text("name"),
        workflow_id=fields.text("workflowId", limit=255),
        workflow_name=fields.text("workflowName"),
        status=status,
        status_code=code,
        created_at=fields.instant("createTime"),
        started_at=fields.instant("runBeginTime"),
        finished_at=finished_at if _may_have_ended(status) else None,
        task_count=task_count,
        extra=fields.extra(),
        text_repaired=fields.repaired,
    )


def task(job_id: int, item: Json) -> Task:
    """A task of a detail, without its sample. Raises BadKey."""
    if not isinstance(item, dict):
        raise BadKey(f"a task is no object: {repr(item)[:80]}")
    fields = Fields(item)
    code = fields.whole("status")
    status = STATUSES.get(code, "unknown")
    finished_at = fields.instant("runEndTime")
    return Task(
        job_id=job_id,
        task_id=fields.key_text("id"),
        name=fields.text("name"),
        status=status,
        status_code=code,
        started_at=fields.instant("runBeginTime"),
        finished_at=finished_at if _may_have_ended(status) else None,
        sample_row_count=None,
        sample_error=None,
        sample_digest=None,
        extra=fields.extra(),
        text_repaired=fields.repaired,
    )


def _may_have_ended(status: str) -> bool:
    """What runs has no end; an end that it shows is of an earlier run."""
    return status in FINAL or status == "unknown"


class Sample(Struct, frozen=True):
    """The sample of one task: rows, what describes the set, and rows that are none."""

    rows: Sequence[tuple[Any, ...]]
    """As `SampleRow`."""
    digest: str
    repaired: bool
    rejects: Sequence[Reject]
    size: int
    """Characters of the set as JSON, about."""


def sample(task: Task, items: Sequence[Json]) -> Sample:
    """Reads sample rows; a row keeps its place even where another cannot be read."""
    return _plain_sample(task, items) or _any_sample(task, items)


_PLAIN_WIDTHS = ({2}, {3})


def _plain_sample(task: Task, items: Sequence[Json]) -> Sample | None:
    """The sample if all of it is texts that are stored as they came, in 2 or 3 columns."""
    if set(map(type, items)) != {list} or set(map(len, items)) not in _PLAIN_WIDTHS:
        return None
    try:
        text = "".join(chain.from_iterable(items))
    except TypeError:  # something that is no text
        return None
    if repaired(text)[1]:
        return None
    columns = [*zip(*items, strict=True), repeat(None)][:3]
    rows = list(zip(repeat(task.job_id), repeat(task.task_id), count(1), *columns, repeat(None)))
    plain = msgspec.json.encode(items)  # of texts it makes what `canonical` makes
    return Sample(rows, hashlib.sha256(plain).hexdigest(), False, (), len(plain))


def _any_sample(task: Task, items: Sequence[Json]) -> Sample:
    rows, rejects, any_repaired = [], [], False
    for place, item in enumerate(items, 1):
        if not isinstance(item, list):
            reason = f"row {place} of the sample of task {task.task_id} is no array"
            rejects.append(Reject(str(task.job_id), reason, item, part=True))
            continue
        first, second, third = ([_cell(value) for value in item[:3]] + [None] * 3)[:3]
        any_repaired = any_repaired or any(
            isinstance(value, str) and repaired(value)[1] for value in item
        )
        more = canonical(item[3:]) if len(item) > 3 else None
        rows.append(SampleRow(task.job_id, task.task_id, place, first, second, third, more))
    text = canonical(list(items))
    digest = hashlib.sha256(text.encode()).hexdigest()
    return Sample(rows, digest, any_repaired, rejects, len(text))


def _cell(value: Json) -> str | None:
    """Text as it came; what is no text as its JSON."""
    if value is None:
        return None
    return repaired(value)[0] if isinstance(value, str) else canonical(value)
