"""Reads what Act2 answers into one form, whichever of its shapes came.

Nothing is assumed: a page may have live or documented keys, and each of its items may be a host's
row (it names a record) or a record (it has an id). This is the only place that knows whole
bodies, so that a parser which streams may take its place.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, tzinfo

from msgspec import Struct, field

from etl.errors import Malformed
from etl.source import Reject
from etl.sources.act2.privacy import payload
from etl.values import BadKey, Fields, Json, Unreadable, instant, whole

ID = ("id",)
ROW_ID = ("recordId", "record_id")
START = ("startTime", "start_time")
END = ("endTime", "end_time")
EXECUTE = ("executeStatus", "execute_status")
RESULT = ("resultStatus", "result_status")

_LIST = ("List", "list")
_NUMBER = ("PageNo", "pageNo", "page_no")
_SIZE = ("PageSize", "pageSize", "page_size")
_COUNT = ("PageCount", "pageCount", "page_count")
_TOTAL = ("TotalCount", "totalCount", "total_count")

Item = Mapping[str, Json]


class Entry(Struct):
    """What a page tells of one record: its rows, or the record itself (`item`), or both."""

    id: str
    item: Item | None = None
    rows: list[Item] = field(default_factory=list)
    started: datetime | None = None
    ended: datetime | None = None

    @property
    def execute_status(self) -> Json:
        """The platform's word, None when the page does not tell."""
        return first(self.item or {}, EXECUTE)

    @property
    def result_status(self) -> Json:
        """The platform's word, None when the page does not tell."""
        return first(self.item or {}, RESULT)


class Listing(Struct):
    """One page. `placed`: how many of the records it counts it shows, readable or not."""

    entries: dict[str, Entry]
    rejects: list[Reject]
    placed: int
    of_records: bool
    number: int | None
    size: int | None
    count: int | None
    total: int | None


class HostRows(Struct):
    """The rows of one record. `single`: the answer was one object, as documented: no list."""

    rows: list[Item]
    rejects: list[Reject]
    single: bool = False


def first(item: Item, names: tuple[str, ...]) -> Json:
    """The first of `names` that is there; None when none is."""
    return next((item[name] for name in names if name in item), None)


def tells_a_page(content: Json) -> bool:
    """Whether it is a page at all, if only an empty one."""
    names = (*_LIST, *_NUMBER, *_SIZE, *_COUNT, *_TOTAL)
    return isinstance(content, list) or any(name in content for name in names)


def listing(content: Json, zone: tzinfo) -> Listing:
    """A page. Raises Malformed when it holds no list."""
    if isinstance(content, list):
        content = {"list": content}
    if not isinstance(content, Mapping | None):
        raise Malformed(f"a page is an object, not {type(content).__name__}")
    page = content or {}
    items = first(page, _LIST) or []
    if not isinstance(items, list):
        raise Malformed(f"the list of a page is {type(items).__name__}")
    made = Listing({}, [], 0, False, *(_count(page, n) for n in (_NUMBER, _SIZE, _COUNT, _TOTAL)))
    unusable = 0
    for item in items:
        unusable += _sort_in(made, item)
    made.of_records = unusable > 0 or any(entry.item is not None for entry in made.entries.values())
    made.placed = len(made.entries) + unusable
    _read_times(made, zone)
    return made


def _sort_in(made: Listing, item: Json) -> int:
    """Puts one item where it belongs; 1 for a record without a usable id, which takes a place."""
    names: tuple[str, ...] = ID
    try:
        if not isinstance(item, Mapping):
            raise BadKey(f"an item of a page is an object, not {type(item).__name__}")
        names = ROW_ID if any(name in item for name in ROW_ID) else ID
        entry_id = Fields(item).key_text(*names)
    except BadKey as error:
        made.rejects.append(Reject(None, str(error), payload(item)))
        return int(names == ID and isinstance(item, Mapping))
    entry = made.entries.setdefault(entry_id, Entry(entry_id))
    if names == ROW_ID:
        entry.rows.append(item)
    else:
        entry.item = item
    return 0


def _read_times(made: Listing, zone: tzinfo) -> None:
    for entry in made.entries.values():
        source = entry.item or entry.rows[0]
        entry.started = moment(first(source, START), zone)
        entry.ended = moment(first(source, END), zone)


def host_rows(content: Json) -> HostRows:
    """The rows of one record. Raises Malformed for what is neither object nor list nor null."""
    if content is None:
        return HostRows([], [])
    if isinstance(content, Mapping):
        inner = first(content, _LIST)
        if inner is None and content and not any(name in content for name in _LIST):
            return HostRows([content], [], single=True)
        content = [] if inner is None else inner
    if not isinstance(content, list):
        raise Malformed(f"a result is an object or a list, not {type(content).__name__}")
    made = HostRows([], [])
    for item in content:
        if isinstance(item, Mapping):
            made.rows.append(item)
        else:
            reason = f"a host's row is an object, not {type(item).__name__}"
            made.rejects.append(Reject(None, reason, payload(item)))
    return made


def record(content: Json, record_id: str) -> dict[str, Json]:
    """The detail of `record_id`. Raises Malformed for another record's, or for none."""
    if not isinstance(content, Mapping) or not content:
        raise Malformed(f"the detail of {record_id} is an object, not {type(content).__name__}")
    came = first(content, ID + ROW_ID)
    if came is not None and str(came) != record_id:
        raise Malformed(f"the detail of {record_id} was asked for, that of {str(came)[:80]!r} came")
    return {**content, "id": record_id}


def moment(value: Json, zone: tzinfo) -> datetime | None:
    """A time, or None when there is none or it cannot be read."""
    try:
        return instant(value, zone)
    except Unreadable:
        return None


def _count(page: Item, names: tuple[str, ...]) -> int | None:
    try:
        number = whole(first(page, names))
    except Unreadable:
        return None
    return None if number is None or number < 0 else number
