"""What the tests of hostile platforms share: a small world, its endpoints, a line into SQLite."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from act2_kit import served
from dataarts_kit import add
from http_kit import START, FakeClock
from sqlalchemy import select
from sync_kit import DATA, Named

from etl.db import Database, open_database
from etl.ledger.tables import rejected_records, sync_runs, unfinished
from etl.passes import Outcome, Surroundings
from etl.redact import Secret
from etl.schema import metadata
from etl.simulator import Credentials, Quirks, Script, Simulator, World
from etl.simulator.wire import Request
from etl.source import Source
from etl.sources import act2, dataarts, explorer
from etl.sources.dataarts.settings import Iam
from etl.sources.explorer.settings import Login
from etl.sync import sync
from etl.units import Duration, Rate, Size

OWN = Credentials()
PARAMETERS_PASSWORD = "password-of-the-parameters"
DOC: Mapping[str, Any] = {"act2_shape": "doc", "act2_time_format": "plain"}
_TABLES = {
    "explorer": ("jobs", "tasks", "sample_rows"),
    "act2": ("job_records", "host_results"),
    "dataarts": ("quality_instances",),
}
_OWN_TIMES = frozenset({"first_synced_at", "changed_at"})


def small_world() -> World:
    """Of each platform a few finished executions and one that runs, all of them hours old."""
    world = World.empty(START)
    for n in range(6):
        at = START - timedelta(hours=5, minutes=-n)
        job = world.explorer.create("flow", ("PageRank", "BFS"), at)
        world.explorer.start(job.id, at)
        if n:
            rows = {name: [[f"v{n}", str(row)] for row in range(3)] for name in ("PageRank", "BFS")}
            world.explorer.finish(job.id, at=at + timedelta(seconds=9), samples=rows)
        parameters = Script(password=PARAMETERS_PASSWORD).parameters()
        running: dict[str, Any] = (
            {} if n else {"end": None, "execute_status": "doing", "result_status": ""}
        )
        served(world, f"r{n}", at, parameters=parameters, **running)
        add(world, n, at, "SUCCESS" if n else "RUNNING")
    return world


@dataclass(frozen=True)
class Endpoint:
    """One kind of request. `one`: a record that succeeded and is asked for by it, if any is."""

    api: str
    matches: Callable[[Request], bool]
    one: int | str | None = None
    quirks: Mapping[str, Any] = field(default_factory=dict)

    def of_one(self, request: Request) -> bool:
        """Whether the request is for `one`."""
        asked = [*request.path.split("/"), request.params.get("id")]
        return self.matches(request) and str(self.one) in asked


JOB, RECORD = 4, list(small_world().act2.records)[2].id


def _ends(tail: str, method: str = "GET") -> Callable[[Request], bool]:
    return lambda request: request.path.endswith(tail) and request.method == method


def _act2(tail: str, quirks: Mapping[str, Any]) -> Endpoint:
    one = None if tail == "/page" else RECORD
    return Endpoint("act2", _ends(f"/api/v1/job/record{tail}"), one, quirks)


def _is_detail(request: Request) -> bool:
    return "/jobs/" in request.path and "/tasks/" not in request.path


ENDPOINTS = {
    "explorer login": Endpoint("explorer", _ends("/connect", "POST")),
    "explorer list": Endpoint("explorer", _ends("/jobs")),
    "explorer detail": Endpoint("explorer", _is_detail, JOB),
    "explorer sample": Endpoint("explorer", _ends("/sample_result"), JOB),
    "act2 page": _act2("/page", {}),
    "act2 record": _act2("", {}),
    "act2 result": _act2("/result", {}),
    "act2 doc page": _act2("/page", DOC),
    "act2 doc record": _act2("", DOC),
    "act2 doc result": _act2("/result", DOC),
    "iam token": Endpoint("dataarts", _ends("/v3/auth/tokens", "POST")),
    "dataarts instances": Endpoint("dataarts", lambda request: request.path.startswith("/v2/")),
}
FRONT = frozenset(name for name, endpoint in ENDPOINTS.items() if endpoint.one is None)
"""Without these nothing can be read."""
LISTS = ("explorer list", "act2 page", "act2 doc page", "dataarts instances")


def source_of(sim: Simulator, api: str, **changes: Any) -> Named:
    """The source of a simulator's platform, with credentials that have to be fetched or kept."""
    common = {"timeout": Duration(5), "page_size": 3, "max_body": Size(2**20), **changes}
    made: dict[str, tuple[Source, dict[str, Any]]] = {
        "explorer": (
            explorer.SOURCE,
            {
                "url": sim.explorer_url,
                "login": Login(
                    username=OWN.explorer_user,
                    password=Secret(OWN.explorer_password),
                    address=OWN.explorer_address,
                    port=OWN.explorer_port,
                ),
            },
        ),
        "act2": (
            act2.SOURCE,
            {
                "url": sim.act2_url,
                "username": OWN.act2_user,
                "password": Secret(OWN.act2_password),
                "time_zone": "Asia/Shanghai",
            },
        ),
        "dataarts": (
            dataarts.SOURCE,
            {
                "url": sim.dataarts_url,
                "project_id": OWN.project_id,
                "workspace": OWN.workspace,
                "rate_limit": Rate.parse("none"),
                "iam": Iam(
                    url=sim.iam_url,
                    domain=OWN.huawei_domain,
                    username=OWN.huawei_user,
                    password=Secret(OWN.huawei_password),
                ),
            },
        ),
    }
    source, own = made[api]
    if "access_key" in common:
        del own["iam"]
    return Named(api, source, source.settings(api=api, **{**own, **common}))


@dataclass
class Line:
    """One platform, copied into a database of its own; what left the process is kept."""

    sim: Simulator
    api: str
    database: Database
    path: Path
    clock: FakeClock = field(default_factory=FakeClock)
    said: list[str] = field(default_factory=list)
    """Every error, as a command would print it."""

    def sync(self, **changes: Any) -> Outcome:
        """One pass, two hours after the one before."""
        self.clock.advance(7200)
        before = self.rows()
        outcome = sync(source_of(self.sim, self.api, **changes), self.around())
        self.said.append(str(outcome.error or ""))
        self._add_up(outcome, before)
        return outcome

    def around(self) -> Surroundings:
        return Surroundings(self.database, threading.Event(), lambda *_: None, self.clock)

    def _add_up(self, outcome: Outcome, before: int) -> None:
        """read = written + unchanged + rejected, in the outcome, the ledger and the tables."""
        tally, run = outcome.tally, self.run()
        assert tally.unchanged >= 0
        assert all(number >= 0 for number in tally.by_table.values())
        assert (run["rows_read"], run["rows_written"], run["rows_unchanged"]) == (
            tally.read,
            tally.written,
            tally.unchanged,
        )
        assert run["rows_rejected"] == tally.rejected
        assert tally.written >= self.rows() - before >= 0

    def rows(self) -> int:
        return sum(len(rows) for rows in self.data().values())

    def run(self) -> dict[str, Any]:
        """The last run in the ledger."""
        statement = select(sync_runs).order_by(sync_runs.c.run_id.desc()).limit(1)
        with self.database.reading() as connection:
            return dict(connection.execute(statement).mappings().one())

    def data(self) -> dict[str, dict[tuple[Any, ...], dict[str, Any]]]:
        """The data tables, row by key, without when they were written here."""
        return {name: self._table(name) for name in DATA if name in _TABLES[self.api]}

    def _table(self, name: str) -> dict[tuple[Any, ...], dict[str, Any]]:
        table = metadata.tables[name]
        keys = [column.name for column in table.primary_key]
        with self.database.reading() as connection:
            found = [dict(row) for row in connection.execute(select(table)).mappings()]
        return {
            tuple(row[key] for key in keys): {n: v for n, v in row.items() if n not in _OWN_TIMES}
            for row in found
        }

    def owed(self) -> set[tuple[str, str]]:
        """(kind, id) of what is unfinished."""
        with self.database.reading() as connection:
            found = connection.execute(select(unfinished.c.kind, unfinished.c.id))
            return {(kind, id_) for kind, id_ in found}

    def rejected(self) -> int:
        """Open rejects."""
        statement = select(rejected_records).where(rejected_records.c.resolved_at.is_(None))
        with self.database.reading() as connection:
            return len(connection.execute(statement).all())

    def state(self) -> tuple[Any, ...]:
        """What a mended database has in common with one that was never disturbed."""
        return self.data(), self.owed(), self.rejected()

    def secrets(self) -> set[str]:
        """What is configured, and whatever travelled as a credential."""
        own = (OWN.explorer_password, OWN.act2_password, OWN.huawei_password, OWN.secret_key)
        found = {PARAMETERS_PASSWORD, *own}
        for logged in self.sim.requests:
            for name in ("authorization", "cookie", "x-auth-token"):
                value = logged.headers.get(name, "")
                found |= {value, value.partition(" ")[2], value.partition("=")[2]}
        return {secret for secret in found if len(secret) >= 8}

    def assert_silent(self, caplog: pytest.LogCaptureFixture) -> None:
        """No secret in the database's files, the log or the errors; no traceback in the log."""
        files = [self.path, Path(f"{self.path}-wal")]
        data = b"".join(file.read_bytes() for file in files if file.exists())
        text = "\n".join([caplog.text, *self.said])
        assert "Traceback" not in text
        for secret in self.secrets():
            assert secret not in text
            assert secret.encode() not in data


def opened_line(url: str, name: str) -> Line:
    """A line whose simulator is not started yet; the caller closes its database."""
    endpoint, world = ENDPOINTS[name], small_world()
    if name == "act2 result":  # asked for where a page tells of too few hosts
        for record in list(world.act2.records)[1:3]:
            world.act2.shorten(record.id, reads=1, keep=1)
    sim = Simulator(world, Quirks(act2_auth="basic", **endpoint.quirks))
    path = Path(url.removeprefix("sqlite:///"))
    return Line(sim, endpoint.api, open_database(url), path)


def undisturbed(url: str, name: str) -> tuple[Any, ...]:
    """What a line holds to which nothing happens."""
    line = opened_line(url, name)
    with line.sim:
        assert line.sync().error is None
    line.database.close()
    return line.state()
