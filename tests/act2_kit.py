"""What the tests of `etl.sources.act2` share: records that are served, and a small database."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from http_kit import FakeClock

from etl.http import Api, Registry, open_api
from etl.simulator import Fault, HostRow, Quirks, Simulator, World
from etl.simulator.faults import Kind
from etl.simulator.scripts import Record as Served
from etl.simulator.scripts import uuid_like
from etl.simulator.wire import Request
from etl.source import Debt, Doubt, Known, Page, Record, Reject, Span
from etl.sources.act2 import SOURCE, Act2Settings
from etl.sources.act2.tables import HOST_RESULTS, HostResult, JobRecord
from etl.units import Duration
from etl.values import Json

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
HOUR_AGO = NOW - timedelta(hours=1)
IDLE = 10
"""Requests that a pass with nothing new may cost, by the contract."""
SHAPES: list[dict[str, Any]] = [
    {"act2_shape": shape, "act2_order": order, "act2_time_format": form}
    for shape, form in (("live", "rfc3339"), ("doc", "plain"))
    for order in ("asc", "desc")
]
PAGE, DETAIL, RESULT = (
    "/api/v1/job/record/page",
    "/api/v1/job/record",
    "/api/v1/job/record/result",
)


@dataclass
class Held:
    """What a database would hold, written by the rules of the writer; a reader's memory."""

    rows: dict[str, JobRecord] = field(default_factory=dict)
    hosts: dict[str, dict[tuple[str, int], HostResult]] = field(default_factory=dict)
    debts: dict[tuple[str, str], Debt] = field(default_factory=dict)
    rejects: list[Reject] = field(default_factory=list)
    doubts: list[Doubt] = field(default_factory=list)
    cursor: dict[str, Json] | None = None
    cursors: list[dict[str, Json]] = field(default_factory=list)
    taken: list[Record] = field(default_factory=list)

    def known(self, ids: Sequence[str]) -> Mapping[str, Known]:
        owed = {id_ for _, id_ in self.debts}
        return {
            i: Known(row.status, {n: getattr(row, n) for n in SOURCE.remembers}, i in owed)
            for i in ids
            if (row := self.rows.get(i)) is not None
        }

    def open_debts(self, kind: str) -> Sequence[Debt]:
        return [debt for debt in self.debts.values() if debt.kind == kind]

    def take(self, page: Page) -> None:
        for pending in page.records:
            self._write(pending if isinstance(pending, Record) else pending.result())
        self.rejects += page.rejects
        self.debts.update({(debt.kind, debt.id): debt for debt in page.debts})
        for key in page.settled:
            self.debts.pop(key, None)
        self.doubts += [page.doubt] if page.doubt else []
        if page.cursor is not None:
            self.cursor = page.cursor
            self.cursors.append(page.cursor)

    def _write(self, record: Record) -> None:
        self.taken.append(record)
        row = record.parts[0].rows[0]
        assert isinstance(row, JobRecord)
        owns, held = record.parts[0].owns, self.rows.get(record.id)
        if owns is not None:
            before = held._asdict() if held else {"text_repaired": False}
            told = {name: getattr(row, name) for name in (*owns, "record_id")}
            row = JobRecord(**{**dict.fromkeys(row._fields), **before, **told})
        hosts = self.hosts.setdefault(record.id, {})
        for part in record.parts[1:]:
            assert part.table is HOST_RESULTS
            hosts.update(
                {(h.host_id, h.ordinal): h for h in part.rows if isinstance(h, HostResult)}
            )
        self.rows[record.id] = row._replace(host_result_count=len(hosts))
        self.debts = {key: debt for key, debt in self.debts.items() if key[1] != record.id}
        self.debts.update({(debt.kind, debt.id): debt for debt in record.debts})
        self.rejects += record.rejects

    def kinds(self) -> list[str]:
        return sorted(kind for kind, _ in self.debts)


def settings(url: str = "http://127.0.0.1:1", **changes: Any) -> Act2Settings:
    return Act2Settings(**{"api": "act2", "url": url, "timeout": Duration(5), **changes})


@contextmanager
def opened(
    sim: Simulator, clock: FakeClock | None = None, **changes: Any
) -> Iterator[tuple[Api, Act2Settings]]:
    made = settings(sim.act2_url, **changes)
    with open_api(
        SOURCE.platform(made),
        made,
        stop=threading.Event(),
        clock=clock or FakeClock(),
        accounts=Registry(),
    ) as api:
        yield api, made


def span(held: Held, **changes: Any) -> Span:
    given: dict[str, Any] = {"since": None, "until": None, "position": held.cursor, "now": NOW}
    return Span(**{**given, "memory": held, **changes})


def scanned(
    sim: Simulator, held: Held | None = None, *, of: Span | None = None, **changes: Any
) -> Held:
    """One scan, read to its end, page by page as a writer would take them."""
    held = held or Held()
    with opened(sim, **changes) as (api, made):
        for page in SOURCE.scan(api, made, of or span(held)):
            held.take(page)
    return held


def walked(
    sim: Simulator, held: Held, after: Callable[[int], None] = lambda _: None, **changes: Any
) -> Held:
    """One scan; after page n has been read and written, `after(n)` changes the world."""
    changes = {"page_size": 5, "time_zone": "Asia/Shanghai", **changes}
    with opened(sim, **changes) as (api, made):
        for number, page in enumerate(SOURCE.scan(api, made, span(held)), 1):
            held.take(page)
            after(number)
    return held


def refreshed(
    sim: Simulator,
    held: Held,
    debts: Iterable[Debt] | None = None,
    *,
    now: datetime = NOW,
    **changes: Any,
) -> Held:
    """Everything that is owed, asked again."""
    owed = list(held.debts.values()) if debts is None else list(debts)
    with opened(sim, **changes) as (api, made):
        for page in SOURCE.refresh(api, made, owed, span(held, now=now)):
            held.take(page)
    return held


def served(world: World, name: str, start: datetime, hosts: int = 2, **changes: Any) -> Served:
    """A record that succeeded after five seconds, with a row for each host."""
    targets = world.act2.pool[:hosts]
    given: dict[str, Any] = {
        "end": start + timedelta(seconds=5),
        "execute_status": "done",
        "result_status": "success",
        "hosts": "[" + ",".join(f'"{host.id}"' for host in targets) + "]",
        "script": "uptime",
        "rows": [HostRow(host, "success", f"out of {host.id}") for host in targets],
    }
    return world.act2.add(Served(uuid_like(name), start, **{**given, **changes}))


def filled(count: int, every: timedelta = timedelta(minutes=1)) -> World:
    """So many finished records, the youngest an hour before NOW."""
    world = World.empty(NOW)
    first = NOW - timedelta(hours=1) - every * (count - 1)
    for place in range(count):
        served(world, f"r{place}", first + every * place)
    return world


def simulator(world: World, **quirks: Any) -> Simulator:
    return Simulator(world, Quirks(**quirks))


def ids(world: World) -> set[str]:
    return {record.id for record in world.act2.records}


def asked(sim: Simulator, path: str) -> list[dict[str, str]]:
    """The parameters of every request for `path` so far."""
    return [logged.params for logged in sim.requests if logged.path == path]


def record_ids(world: World) -> list[str]:
    return [record.id for record in world.act2.records]


def late(world: World, rank: int, name: str = "late") -> str:
    """A record that turns up between those that had the ranks before `rank` and `rank`."""
    records = list(world.act2.records)
    at = records[rank].start - timedelta(seconds=30)
    return served(world, name, at).id


def fault_of_details(kind: Kind, record_id: str | None = None, **order: Any) -> Fault:
    """Every detail, or every detail of one record, goes wrong."""

    def when(request: Request) -> bool:
        return request.path == DETAIL and record_id in (None, request.params.get("id"))

    return Fault(kind, when=when, **{"times": None, **order})


def one(**changes: Any) -> World:
    world = World.empty(NOW)
    served(world, "one", HOUR_AGO, **changes)
    return world


def the(held: Held) -> Any:
    [row] = held.rows.values()
    return row
