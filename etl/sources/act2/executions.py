"""Turns what Act2 tells of a job record into its row.

Each column reads the live name or the documented one, whichever came; absent is NULL.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime, tzinfo

from msgspec import Struct

from etl.sources.act2 import privacy
from etl.sources.act2.shapes import END, EXECUTE, ID, RESULT, START, Item
from etl.sources.act2.statuses import is_over, record_status
from etl.sources.act2.tables import JobRecord
from etl.values import Fields, Json, canonical

_PARAMETERS = "parameters"
_HOSTS = "hosts"
_NAMES: Mapping[str, tuple[str, ...]] = {
    "execute_status": EXECUTE,
    "result_status": RESULT,
    "pattern": ("pattern", "module_name", "moduleName"),
    "script": ("script",),
    "script_type": ("scriptType", "script_type"),
    "provider": ("provider",),
    "user_name": ("user", "user_name", "userName"),
    "execute_id": ("executeId", "execute_id"),
    "master_id": ("masterId", "master_id"),
    "callback": ("callback",),
    "timeout_s": ("timeout",),
    "started_at": START,
    "finished_at": END,
}
"""Which names tell a column: the live one, then the documented one."""
_DERIVED: Mapping[str, tuple[str, ...]] = {
    "status": EXECUTE + RESULT,
    "script_hash": ("script",),
    "parameters": (_PARAMETERS,),
    "host_ids": (_HOSTS,),
    "host_expected_count": (_HOSTS,),
}


class Execution(Struct, frozen=True):
    """A record's row, and what decides about its hosts and about asking again."""

    row: JobRecord
    over: bool
    """It runs no more; the answers of its hosts may still come."""
    ended: datetime | None
    """The end as it came: that of a running record is its start."""


def execution(item: Item, zone: tzinfo) -> Execution:
    """The record of `item`. Raises BadKey without a usable id, RecursionError for deep nesting.

    `host_result_count` is the writer's, who knows what is stored.
    """
    parameters, note = _parameters(item.get(_PARAMETERS))
    rest = privacy.cleaned({n: v for n, v in item.items() if n != _PARAMETERS})
    fields = Fields(rest if note is None else {**rest, _PARAMETERS: note}, zone)
    record_id = fields.key_text(*ID)
    hosts = _host_ids(item.get(_HOSTS))
    if hosts is not None or _says_nothing(item.get(_HOSTS)):
        fields.ignore(_HOSTS)
    texts = {c: fields.text(*names) for c, names in _NAMES.items() if c not in _NO_TEXT}
    execute, result, script = texts["execute_status"], texts["result_status"], texts["script"]
    over, ended = is_over(execute, result), fields.instant(*END)
    urls = _urls(texts["pattern"], texts["script_type"], script)
    row = JobRecord(
        record_id=record_id,
        status=record_status(execute, result),
        **texts,
        script_hash=None if script is None else _digest(script),
        timeout_s=fields.whole(*_NAMES["timeout_s"]),
        parameters=parameters,
        host_ids=None if hosts is None else canonical(hosts),
        started_at=fields.instant(*START),
        finished_at=ended if over else None,
        host_expected_count=None if hosts is None else len(hosts) * urls,
        host_result_count=None,
        extra=fields.extra(),
        text_repaired=fields.repaired,
    )
    return Execution(row, over, ended)


_NO_TEXT = frozenset({"timeout_s", "started_at", "finished_at"})


def told(item: Item) -> tuple[str, ...]:
    """The columns that an `item` smaller than a detail tells of."""
    names = {**_NAMES, **_DERIVED}
    return tuple(c for c in JobRecord._fields if any(n in item for n in names.get(c, ())))


def _parameters(raw: Json) -> tuple[str | None, str | None]:
    """The column, or a note for `extra` in its place."""
    try:
        value = privacy.parameters(raw)
    except privacy.NotJson as error:
        return None, str(error)
    return None if value is None else canonical(value), None


def _host_ids(hosts: Json) -> list[Json] | None:
    """The hosts as a list: they come as JSON text or as a list; None for `null` and no list."""
    if isinstance(hosts, str):
        try:
            hosts = json.loads(hosts)
        except (ValueError, RecursionError):
            return None
    return hosts if isinstance(hosts, list) else None


def _says_nothing(hosts: Json) -> bool:
    return hosts is None or (isinstance(hosts, str) and hosts.strip() in ("", "null"))


def _urls(pattern: str | None, script_type: str | None, script: str | None) -> int:
    """Rows that each host leaves: one for each url of a file job, otherwise one."""
    if (pattern or "").lower() != "file" or (script_type or "").lower() != "url":
        return 1
    try:
        urls = json.loads(script or "")
    except (ValueError, RecursionError):
        urls = (script or "").split()
    return max(1, len(urls)) if isinstance(urls, list) else 1


def _digest(script: str) -> str:
    return hashlib.sha256(script.encode()).hexdigest()
