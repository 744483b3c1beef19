"""What a source is: functions that read, and the values they hand over.

A source yields pages of records (with what it rejects and, where it can honestly say so, a cursor).
It never sees a session, a retry, a thread or a clock. A fourth platform is one module in
`etl/sources/` that holds a `SOURCE`, one migration and its simulator.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
from msgspec import Struct, field

from etl.ledger.entries import Debt, Doubt, Reject
from etl.schema import DataTable
from etl.units import Duration, Rate, Share, Since, Size
from etl.values import Json

if TYPE_CHECKING:
    from etl.http import Api, Platform

__all__ = [
    "Debt",
    "Doubt",
    "Inventory",
    "Known",
    "Listed",
    "Memory",
    "Outlook",
    "Page",
    "Part",
    "Pending",
    "Record",
    "Refresh",
    "Reject",
    "Scan",
    "Settings",
    "Source",
    "Span",
]


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What may be set for every source; a platform's own settings extend it."""

    api: str
    since: Since | None = None
    stale_after: Duration | None = None
    concurrency: int = 8
    rate_limit: Rate | None = None
    timeout: Duration = Duration(30)
    overlap: Duration = Duration(3600)
    settle: Duration = Duration(600)
    give_up_after: Duration = Duration(7 * 86400)
    refresh_limit: int = 500
    page_size: int | None = None
    max_output: Size = Size(64 * 2**20)
    max_body: Size = Size(2**30)
    max_gone_share: Share = Share(0.05)
    lease: Duration = Duration(30)
    verify_tls: bool = True
    ca_bundle: str | None = None


class Part(Struct):
    """Rows of one table that belong to one record.

    `owns`: the fields that this kind of answer knows; None means all. A column that an answer
    does not own is left alone, and is NULL only in a row that is new.
    `complete`: the answer names all rows of the record (or of each of its groups) there are.
    """

    table: DataTable
    rows: Sequence[tuple[Any, ...]]
    owns: tuple[str, ...] | None = None
    complete: bool = True


class Record(Struct):
    """One execution with all that belongs to it; written in one transaction, always.

    `parts` come parents first; the first part's first row is the execution itself.
    `asked_at` is when the answer it was made from was asked for: what was learnt later stays.
    `debts` replaces all debts of `id` of the kinds this source uses for a record: an empty
    tuple says that nothing about it is open any more.
    `size` is about how many bytes of text it holds, where that may be many.
    """

    id: str
    asked_at: datetime
    parts: list[Part]
    debts: tuple[Debt, ...] = ()
    rejects: tuple[Reject, ...] = ()
    size: int = 0


class Pending(Protocol):
    """A record that is being read (a future); `result()` waits for it."""

    def result(self) -> Record: ...


class Page(Struct):
    """A step of a walk. `cursor` says: once this page and all before it are written, everything
    up to here is complete. None: this page moves nothing.

    `settled` are debts (kind, id) that are no more (a hole that closed);
    `debts` are those that belong to no record of the page (a hole).
    """

    records: Sequence[Record | Pending] = ()
    rejects: tuple[Reject, ...] = ()
    debts: tuple[Debt, ...] = ()
    settled: tuple[tuple[str, str], ...] = ()
    cursor: dict[str, Json] | None = None
    doubt: Doubt | None = None
    progress: float | None = None
    """Share of the walk that is done, 0 to 1, if the reader can tell."""


class Known(Struct, frozen=True):
    """What the database holds of an execution: enough to spare a request.

    `values` are the columns of the execution's own row by name (see `Source.remembers`);
    `open` says that it stands in `unfinished`.
    """

    status: str
    values: Mapping[str, Any]
    open: bool


class Memory(Protocol):
    """What a reader may ask of the database while it walks; read-only, safe from any thread."""

    def known(self, ids: Sequence[str]) -> Mapping[str, Known]:
        """The executions of `ids` that the database holds, by id as text."""

    def open_debts(self, kind: str) -> Sequence[Debt]:
        """The debts of one kind that stand in `unfinished` (e.g. the known holes)."""


class Span(Struct, frozen=True):
    """What to read: executions whose listing time is in [since, until), either side open.

    `position` is the cursor as this source wrote it last (None at first): a sync goes on from it
    less `overlap_s`; a backfill window has a position of its own. `now` is the time at the start.
    `fresh` asks for everything anew, whatever the memory knows (backfill, repair).
    """

    since: datetime | None
    until: datetime | None
    position: dict[str, Json] | None
    now: datetime
    memory: Memory
    fresh: bool = False


class Outlook(Struct, frozen=True):
    """What reading a span would take, as far as a few calls can tell.

    `requests`: calls of one walk over all of it; `each_window`: calls that every further part
    costs on top when the span is cut. `by_time`: a part of the time can be had without reading
    the rest. `oldest`: nothing in the span is listed before it, as the platform was asked; None:
    unknown.
    """

    executions: int | None
    requests: float
    each_window: float
    by_time: bool = True
    oldest: datetime | None = None


class Listed(Struct, frozen=True):
    """One line of an inventory: an execution as the platform lists it.

    `hint` is what a debt of it would carry: what `refresh` needs to ask for it.
    """

    id: str
    status: str
    hint: Mapping[str, Any] = field(default_factory=dict)


class Scan(Protocol):
    def __call__(self, api: Api, settings: Any, span: Span) -> Iterator[Page]: ...


class Refresh(Protocol):
    def __call__(
        self, api: Api, settings: Any, debts: Iterable[Debt], span: Span
    ) -> Iterator[Page]: ...


class Inventory(Protocol):
    """Lists what belongs to the span, by the time that the platform lists by; a line may come
    twice, then the later one counts. A Doubt among the lines says that the listing is not proven:
    nothing is gone for it."""

    def __call__(
        self, api: Api, settings: Any, span: Span
    ) -> Iterator[Sequence[Listed] | Doubt]: ...


def _a_page_each_hundred(_: Any, executions: int) -> int:
    return executions // 100 + 1


class Source(Struct, frozen=True):
    """A platform that can be copied. `tables` come parents first; the first holds executions."""

    api: str
    """The word of `api:` in schedules.yaml; the module `etl.sources.<api>` holds it."""
    stream: str
    """The name of its cursor."""
    settings: type[Settings]
    """Its keys in schedules.yaml."""
    tables: tuple[DataTable, ...]
    platform: Callable[[Any], Platform]
    """How to speak with it: origin, credentials, how to judge an answer."""
    identity: Callable[[Any], Mapping[str, str]]
    """What a source's name stands for, e.g. {"url": …, "workspace": …}: it must not change."""
    scan: Scan
    refresh: Refresh
    inventory: Inventory
    inventory_cost: Callable[[Any, int], int] = _a_page_each_hundred
    """About how many requests an inventory of so many executions takes (settings, number)."""
    remembers: tuple[str, ...] = ()
    """Columns of the execution's row that `Known.values` carries."""
    ping: Callable[[Api, Any], str] | None = None
    """`check`: one cheap call that proves reachability and credentials; says what a first sync
    would cost."""
    outlook: Callable[[Api, Any, Span], Outlook] | None = None
    """`backfill`: what a span would cost, and how it may be cut. Without it a span is read as one
    window, which is right for every platform."""
