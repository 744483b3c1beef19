"""Turns listed instances into rows.

What the typed parser took whole becomes a row on a short path; everything else (a dict, an
unusual word, a time that cannot be read) goes through `values.Fields`, with the same result.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache

import msgspec

from etl.source import Debt, Part, Record, Reject
from etl.sources.dataarts.answers import Item
from etl.sources.dataarts.tables import QUALITY_INSTANCES, QualityInstance
from etl.values import FINAL, BadKey, Fields, Json, Unreadable, canonical, instant, repaired

KIND = "quality_instance"

STATUS_OF = {
    "SUCCESS": "succeeded",
    "FAILED": "failed",
    "ALARMING": "alarmed",
    "RUNNING": "running",
    "SUSPENDING": "paused",
    "UNKNOWN": "unknown",
    # Not documented for instances; words of the sibling services.
    "WAITING": "pending",
    "SUSPENDED": "paused",
    "STOPPING": "stopping",
    "STOPPED": "cancelled",
    "CANCELLED": "cancelled",
    "CANCELED": "cancelled",
    "TIMEOUT": "timed_out",
}
_TASK_TYPES = frozenset({"QUALITY_TASK", "CONSISTENCY_TASK", None})
_NOTIFY_STATUSES = frozenset({"NOT_TRIGGERED", "SUCCESS", "FAILED", None})
_UNFINISHED = frozenset({"pending", "running", "paused", "stopping"})
"""Such an instance has no `finished_at`, whatever `end_time` says."""

_name = lru_cache(1024)(repaired)
"""Instances bear the names of their tasks, over and over."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)
_FIRST_MS, _LAST_MS = 10**11, 253_402_300_799_999
"""Numbers that are plainly milliseconds, up to the year 9999."""


def ms(at: datetime) -> int:
    """Epoch milliseconds, rounded down."""
    return (at - _EPOCH) // _MS


def at_ms(number: int) -> datetime:
    """The moment of so many epoch milliseconds."""
    return _EPOCH + timedelta(0, 0, 0, number)


Entry = QualityInstance | Reject


def entry(item: Item | Json) -> Entry:
    """The item's row, or a reject if it has no usable key."""
    try:
        return (_plain(item) if type(item) is Item else None) or _row(item)
    except BadKey as error:
        return Reject(None, str(error), item)


def key(entry: Entry) -> str:
    """What tells an item from others in the list: its id, or a reject's whole payload."""
    if isinstance(entry, Reject):
        return f"reject {canonical(entry.payload)}"
    return str(entry.instance_id)


def record(row: QualityInstance, asked_at: datetime) -> Record:
    """The record of one row; it owes another look until its status is final."""
    name = str(row.instance_id)
    debts = () if row.status in FINAL else (_debt(name, row),)
    return Record(name, asked_at, [Part(QUALITY_INSTANCES, (row,))], debts)


def _debt(name: str, row: QualityInstance) -> Debt:
    hint: dict[str, Json] = {}
    if row.started_at is not None:
        hint["started_at"] = ms(row.started_at)
    return Debt(KIND, name, f"run_status is {row.run_status}", hint)


def _plain(item: Item) -> QualityInstance | None:
    """The row of an item that holds nothing unusual; None sends it the long way."""
    word, started, ended = item.run_status, item.start_time, item.end_time
    status = STATUS_OF.get(word or "")
    if (
        status is None
        or started is None
        or not _FIRST_MS <= started <= _LAST_MS
        or item.task_type not in _TASK_TYPES
        or item.notify_status not in _NOTIFY_STATUSES
    ):
        return None
    if status in _UNFINISHED:
        if ended:
            return None
        finished = None
    elif ended is not None and _FIRST_MS <= ended <= _LAST_MS:
        finished = _EPOCH + timedelta(0, 0, 0, ended)
    else:
        return None
    name, changed = _name(item.name) if item.name else (item.name, False)
    return QualityInstance(
        item.id,
        name,
        item.task_id,
        item.task_type,
        status,
        word,
        item.notify_status,
        _EPOCH + timedelta(0, 0, 0, started),
        finished,
        None,
        changed,
    )


def _row(item: Item | Json) -> QualityInstance:
    """Any item's row. Raises BadKey."""
    if isinstance(item, Item):
        item = msgspec.structs.asdict(item)
    if not isinstance(item, dict):
        raise BadKey(f"an instance is an object, not {str(item)[:80]!r}")
    fields = Fields(item)
    instance_id = fields.key_whole("id")
    word = fields.text("run_status")
    status = STATUS_OF.get((word or "").upper(), "unknown")
    started = fields.instant("start_time")
    if status in _UNFINISHED and _no_end(item.get("end_time"), started):
        fields.ignore("end_time")
    finished = None if status in _UNFINISHED else fields.instant("end_time")
    return QualityInstance(
        instance_id,
        fields.text("name"),
        fields.whole("task_id"),
        fields.text("task_type"),
        status,
        word,
        fields.text("notify_status"),
        started,
        finished,
        fields.extra(),
        fields.repaired,
    )


def _no_end(value: Json, started: datetime | None) -> bool:
    """Whether an `end_time` says nothing: null, 0, "", or the start once more."""
    try:
        return instant(value) in (None, started)
    except Unreadable:
        return False
