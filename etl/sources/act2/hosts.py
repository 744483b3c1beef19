"""Turns the host rows of one record into rows: numbered, and cut where output is too long."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import tzinfo
from typing import Any

from etl.source import Reject
from etl.sources.act2 import privacy
from etl.sources.act2.executions import Execution
from etl.sources.act2.shapes import END, ROW_ID, START, Item, first, moment
from etl.sources.act2.statuses import host_status
from etl.sources.act2.tables import HostResult
from etl.spool import SpooledText
from etl.values import BadKey, Fields, Json

_HOST_ID = ("hostId", "host_id")
_KNOWN = frozenset(
    {
        *(*ROW_ID, *START, *END, *_HOST_ID),
        *("hostIp", "entityId", "osType", "idcName", "status", "stdout", "stderr", "message"),
    }
)
"""Names that hold nothing that must be taken out."""


def host_results(
    rows: Iterable[Item], done: Execution, zone: tzinfo, max_output: int
) -> tuple[list[HostResult], list[Reject]]:
    """The rows of one record's hosts, and what of them cannot be stored."""
    groups: dict[str, list[HostResult]] = defaultdict(list)
    rejects: list[Reject] = []
    for item in rows:
        try:
            made = _host_result(item, done, zone, max_output)
        except BadKey as error:
            rejects.append(Reject(done.row.record_id, str(error), privacy.payload(item), part=True))
        except RecursionError:
            note = privacy.payload(item)
            reason = "a host's row is nested too deeply"
            rejects.append(Reject(done.row.record_id, reason, note, part=True))
        else:
            groups[made.host_id].append(made)
    return [row for group in groups.values() for row in _numbered(group)], rejects


def _host_result(item: Item, done: Execution, zone: tzinfo, max_output: int) -> HostResult:
    fields = Fields(item if item.keys() <= _KNOWN else privacy.cleaned(item), zone)
    record_id, came = done.row.record_id, fields.raw(*ROW_ID)
    if came is not None and str(came) != record_id:
        raise BadKey(f"a row of record {str(came)[:80]!r} among those of {record_id}")
    word = fields.text("status")
    out, err = _output(fields, item, "stdout"), _output(fields, item, "stderr")
    stdout, stderr = _kept(out, max_output), _kept(err, max_output)
    ended = fields.instant(*END)
    return HostResult(
        record_id=record_id,
        host_id=_host_id(fields),
        ordinal=1,
        host_ip=fields.text("hostIp", "host_ip"),
        entity_id=fields.text("entityId", "entity_id"),
        idc_name=fields.text("idcName", "idc_name"),
        os_type=fields.text("osType", "os_type"),
        status=host_status(word, running=not done.over),
        status_text=word,
        started_at=fields.instant(*START),
        finished_at=ended if done.over else None,
        stdout=stdout,
        stderr=stderr,
        message=fields.text("message"),
        stdout_bytes=_length(item.get("stdout"), out),
        stderr_bytes=_length(item.get("stderr"), err),
        output_cut=stdout is not out or stderr is not err,
        extra=fields.extra(),
        text_repaired=fields.repaired,
    )


def _output(fields: Fields, item: Item, name: str) -> str | SpooledText | None:
    came = item.get(name)
    if not isinstance(came, SpooledText):
        return fields.text(name)
    fields.ignore(name)
    fields.repaired = fields.repaired or came.repaired
    return came


def _host_id(fields: Fields) -> str:
    """May be empty; absent and null are empty too."""
    if fields.raw(*_HOST_ID) is None:
        return ""
    return fields.key_text(*_HOST_ID, empty=True)


def _numbered(group: list[HostResult]) -> list[HostResult]:
    """Rows of one host in an order of their content, so that a reshuffle changes nothing."""
    if len(group) > 1:
        group.sort(key=_content)
    return [row._replace(ordinal=place) for place, row in enumerate(group, 1)]


def _content(row: HostResult) -> tuple[Any, ...]:
    return tuple(
        (value is not None, value if isinstance(value, SpooledText) else str(value))
        for value in row
    )


def _kept(text: str | SpooledText | None, limit: int) -> str | SpooledText | None:
    return text.kept(limit) if isinstance(text, SpooledText) else kept(text, limit)


def kept(text: str | None, limit: int) -> str | None:
    """`text` itself, or the first and the last half of `limit` bytes of UTF-8 of it.

    No character is split.
    """
    if text is None or len(text) * 4 <= limit:
        return text
    data = text.encode()
    if len(data) <= limit:
        return text
    half = limit // 2
    head, tail = data[:half], data[len(data) - half :]
    return head.decode("utf-8", "ignore") + tail.decode("utf-8", "ignore")


def _length(came: Json, text: str | SpooledText | None) -> int | None:
    """The true length in bytes of UTF-8: of what came, before anything in it was repaired."""
    if isinstance(text, SpooledText):
        return text.came_bytes
    if text is None:
        return None
    raw = came if isinstance(came, str) else text
    return len(raw) if raw.isascii() else len(raw.encode("utf-8", "surrogatepass"))


def same_moment(item: Item, done: Execution, zone: tzinfo) -> bool:
    """Whether a row was read in the same state as its record: their times agree.

    A row whose times are not told agrees with anything.
    """
    start, end = first(item, START), first(item, END)
    if start is None or end is None:
        return True
    return moment(start, zone) == done.row.started_at and moment(end, zone) == done.ended
