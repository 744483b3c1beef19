"""The pages as they are served, asked over real HTTP."""

from __future__ import annotations

import http.client
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import secrecy
import status_kit as kit

from etl import web
from etl.config import Config
from etl.daemon.state import DaemonState
from etl.db import Database
from etl.ledger import tables
from etl.metrics import Metrics


@dataclass(frozen=True)
class Came:
    """An answer."""

    status: int
    headers: dict[str, str]
    body: str


@dataclass(frozen=True)
class Served:
    """Pages that are served at `address`."""

    address: tuple[str, int]
    state: DaemonState

    def ask(self, path: str, method: str = "GET", **headers: str) -> Came:
        """One request; `_` in a header's name stands for `-`."""
        connection = http.client.HTTPConnection(*self.address, timeout=30)
        try:
            connection.putrequest(method, path, skip_host=True)
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            for name, value in {"Host": "localhost", **named}.items():
                connection.putheader(name, value)
            connection.endheaders()
            answer = connection.getresponse()
            body = answer.read().decode()
            secrecy.saw(f"the page {path}", body)
            return Came(answer.status, {k.lower(): v for k, v in answer.getheaders()}, body)
        finally:
            connection.close()


@contextmanager
def served(
    database: Database,
    directory: Path,
    config_of: Callable[[], Config] | None = None,
    host: str = "127.0.0.1",
) -> Iterator[Served]:
    """The pages over `database`, with a scheduler that runs."""
    config = kit.configured(directory)
    state = DaemonState()
    state.running = True
    with web.serve((host, 0), database, config_of or (lambda: config), state, Metrics()) as address:
        yield Served(address, state)


def fill(database: Database) -> int:
    """Something of everything that a page can show; the number of a run that failed."""
    now = datetime.now(UTC)
    for name, api in kit.APIS.items():
        kit.add_source(database, name, api)
    kit.add_source(database, "aged")
    for number in range(12):
        kit.add_run(database, "graph", now - timedelta(minutes=60 - 5 * number))
        kit.add_run(database, "scripts", now - timedelta(minutes=60 - 5 * number))
    failed = kit.add_run(
        database, "quality", now - kit.MINUTE, status="failed", error="HTTP 401: the token is old",
        error_kind="unauthorized", rows_written=0,
    )  # fmt: skip
    kit.add_run(database, "graph", now, status="running", finished_at=None)
    kit.add_debt(database, "graph", "job", "1", first_seen_at=now - kit.DAY)
    kit.add_debt(database, "scripts", "hole", "page 3", given_up_at=now)
    kit.add_reject(database, "quality", 1, "torn", run_id=failed)
    for number, verdict in enumerate(("complete", "incomplete", "unproven")):
        since = now - (90 - 30 * number) * kit.DAY
        kit.add_check(
            database, "graph", since, since + 30 * kit.DAY, verdict=verdict, run_id=failed
        )
    kit.add_backfill(
        database, "graph", ["done", "running", "pending", "failed"], created_at=now - kit.DAY
    )
    kit.add_backfill(
        database, "graph", ["done"], status="done", created_at=now - kit.DAY, finished_at=now
    )
    kit.add(
        database, tables.status_changes, source="quality", kind="quality_instance", id="1",
        new_status="failed", observed_at=now - kit.MINUTE, run_id=failed,
    )  # fmt: skip
    return failed
