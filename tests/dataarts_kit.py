"""What the tests of `etl.sources.dataarts` share: a workspace that is served, and a reader."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from http_kit import FakeClock
from msgspec.structs import replace

from etl.http import Api, Registry, open_api
from etl.redact import Secret
from etl.simulator import Credentials, Instance, Quirks, Simulator, World
from etl.simulator.quality import FIRST_ID
from etl.source import Debt, Doubt, Known, Page, Record, Span
from etl.sources.dataarts import SOURCE
from etl.sources.dataarts.auth import credentials
from etl.sources.dataarts.settings import DataArtsSettings, Iam
from etl.sources.dataarts.tables import QualityInstance
from etl.units import Duration, Rate
from etl.values import Json

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
OWN = Credentials()


class NoMemory:
    """An empty database."""

    def known(self, ids: Sequence[str]) -> Mapping[str, Known]:
        return {}

    def open_debts(self, kind: str) -> Sequence[Debt]:
        return ()


def ms(at: datetime) -> int:
    return (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


def filled(count: int, every: timedelta = timedelta(minutes=1)) -> World:
    """So many finished instances, the newest a minute before NOW."""
    world = World.empty(NOW)
    for place in range(count):
        add(world, place, NOW - timedelta(minutes=1) - every * (count - 1 - place))
    return world


def add(world: World, number: int, at: datetime, run_status: str = "SUCCESS") -> Instance:
    """The instance of that number, which ends after five seconds unless it runs."""
    end = None if run_status == "RUNNING" else ms(at) + 5000
    return world.dataarts.add(
        Instance(FIRST_ID + number, f"检查 {number % 7}", 7, ms(at), run_status=run_status, end=end)
    )


def settings(sim: Simulator, **changes: Any) -> DataArtsSettings:
    """Settings with the ready token and no rate limit."""
    given: dict[str, Any] = {
        "api": "dataarts",
        "url": sim.dataarts_url,
        "project_id": OWN.project_id,
        "workspace": OWN.workspace,
        "rate_limit": Rate.parse("none"),
        "timeout": Duration(5),
        **changes,
    }
    if not {"token", "iam", "access_key"} & given.keys():
        given["token"] = Secret(OWN.dataarts_token)
    return DataArtsSettings(**given)


def iam(sim: Simulator, password: str = OWN.huawei_password) -> Iam:
    return Iam(
        url=sim.iam_url,
        domain=OWN.huawei_domain,
        username=OWN.huawei_user,
        password=Secret(password),
    )


@contextmanager
def opened(
    sim: Simulator, clock: FakeClock | None = None, *, dated: bool = False, **changes: Any
) -> Iterator[tuple[Api, DataArtsSettings]]:
    """An open `Api`; `dated`: the credentials go by `clock` too, not by the real time."""
    made = settings(sim, **changes)
    platform = SOURCE.platform(made)
    if dated:
        platform = replace(platform, credentials=credentials(made, clock))
    with open_api(
        platform,
        made,
        stop=threading.Event(),
        clock=clock or FakeClock(),
        accounts=Registry(),
    ) as api:
        yield api, made


def span(
    position: dict[str, Json] | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    *,
    fresh: bool = False,
) -> Span:
    return Span(since, until, position, NOW, NoMemory(), fresh)


@dataclass
class Read:
    """What a pass handed out, as a database would hold it."""

    rows: dict[int, QualityInstance] = field(default_factory=dict)
    debts: dict[str, Debt] = field(default_factory=dict)
    rejects: list[Any] = field(default_factory=list)
    doubts: list[Doubt] = field(default_factory=list)
    cursors: list[int] = field(default_factory=list)
    handed_out: int = 0

    def take(self, page: Page) -> None:
        for record in page.records:
            assert isinstance(record, Record)
            [row] = record.parts[0].rows
            assert isinstance(row, QualityInstance)
            self.handed_out += 1
            self.rows[row.instance_id] = row
            self.debts.pop(record.id, None)
            self.debts.update({debt.id: debt for debt in record.debts})
        self.rejects += page.rejects
        self.doubts += [page.doubt] if page.doubt else []
        self.cursors += [page.cursor["started_at"]] if page.cursor else []


def scanned(sim: Simulator, of: Span | None = None, **changes: Any) -> Read:
    """One scan, read to its end."""
    read = Read()
    with opened(sim, **changes) as (api, made):
        for page in SOURCE.scan(api, made, of or span()):
            read.take(page)
    return read


def listed(world: World) -> set[int]:
    return {instance.id for instance in world.dataarts.instances()}


def simulator(world: World, **quirks: Any) -> Simulator:
    return Simulator(world, Quirks(**quirks))


def calls(sim: Simulator) -> int:
    """Requests for instances so far."""
    return sum(logged.platform == "dataarts" for logged in sim.requests)
