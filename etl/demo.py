"""The main job in one minute: simulated platforms, a new SQLite file, two passes, real queries."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from msgspec import Struct
from sqlalchemy import func, inspect, select, text

from etl.clock import Clock
from etl.config import Config, load
from etl.db import Database, open_database
from etl.engine import Observer
from etl.errors import Usage
from etl.examples import EXAMPLES
from etl.ledger.tables import sources
from etl.migrate import require_head
from etl.passes import Outcome, Surroundings
from etl.simulator import Simulator, World, environment
from etl.sync import sync_all

FIRST_PASS_AGO = timedelta(hours=3)
_SHOWN = ("failed", "hosts", "changes", "usual", "stderr")

_SCHEDULES = """\
sources:
  graph: {api: explorer, url: "${EXPLORER_URL}", token: "${EXPLORER_TOKEN}"}
  scripts: {api: act2, url: "${ACT2_URL}", time_zone: Asia/Shanghai}
  quality:
    api: dataarts
    url: ${DATAARTS_URL}
    project_id: ${HUAWEI_PROJECT_ID}
    workspace: ${DATAARTS_WORKSPACE}
    rate_limit: none
    iam:
      url: ${IAM_URL}
      domain: ${HUAWEI_DOMAIN}
      username: ${HUAWEI_USER}
      password: ${HUAWEI_PASSWORD}
schedules:
  - {sync: all, every: 5m}
"""


class DemoClock(Clock):
    """Stands at the world's time, so that the ledger tells the story the platforms tell."""

    def __init__(self, now: datetime) -> None:
        self.at = now

    def now(self) -> datetime:
        return self.at


class Pass(Struct, frozen=True):
    """One of the two passes."""

    title: str
    outcomes: Sequence[Outcome]


class Answer(Struct, frozen=True):
    """A query of the examples with its answer."""

    question: str
    sql: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]


@contextmanager
def filled(
    url: str, *, now: datetime, seed: int, stop: threading.Event, observer: Observer
) -> Iterator[tuple[Database, list[Pass]]]:
    """A database synced twice from the simulators: three hours before `now`, and at `now`."""
    clock = DemoClock(now - FIRST_PASS_AGO)
    world = World.believable(seed, clock.at, lively=True)
    world.clock = clock.now
    database = open_database(url, stop=stop)
    try:
        require_head(database)
        with Simulator(world) as simulator:
            config = _config(_environment(simulator))
            around = Surroundings(database, stop, observer, clock)
            passes = [Pass("first pass", sync_all(config.select(()), around))]
            if not stop.is_set():
                clock.at = now
                passes.append(
                    Pass("second pass, three hours later", sync_all(config.select(()), around))
                )
        yield database, passes
    finally:
        database.close()


def _environment(simulator: Simulator) -> Mapping[str, str]:
    return {
        **environment(simulator),
        "HUAWEI_PASSWORD": simulator.credentials.huawei_password,
    }


def _config(env: Mapping[str, str]) -> Config:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "schedules.yaml"
        path.write_text(_SCHEDULES, encoding="utf-8")
        return load(path, env)


def counted(database: Database, tables: Sequence[str]) -> dict[str, int]:
    """Rows in each of `tables`."""
    with database.reading() as connection:
        return {
            name: int(connection.execute(text(f"SELECT COUNT(*) FROM {name}")).scalar_one())  # noqa: S608 - our own names
            for name in tables
        }


def answers(database: Database, now: datetime, names: Sequence[str] = _SHOWN) -> Iterator[Answer]:
    """The chosen examples, asked."""
    with database.reading() as connection:
        for example in EXAMPLES:
            if example.name in names:
                sql = example.at(now)
                result = connection.exec_driver_sql(
                    sql.replace("%", "%%") if _formats(database) else sql
                )
                yield Answer(example.question, sql, list(result.keys()), [tuple(r) for r in result])


def _formats(database: Database) -> bool:
    """Whether the driver reads % in a query."""
    return database.dialect != "sqlite"


def make_room(path: Path) -> None:
    """Removes the file of an earlier demo; anything else at `path` is left alone (Usage)."""
    if not path.exists():
        return
    if not _is_demo(path):
        raise Usage(f"{path} exists and is no demo's database; name another file: --file NAME")
    for suffix in ("", "-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)


def _is_demo(path: Path) -> bool:
    database = open_database(f"sqlite:///{path}")
    try:
        with database.reading() as connection:
            if not inspect(connection).has_table(sources.name):
                return False
            foreign = select(func.count()).where(sources.c.address.not_like("%//127.0.0.1:%"))
            return connection.execute(foreign).scalar_one() == 0
    finally:
        database.close()


def default_now() -> datetime:
    """This minute."""
    return datetime.now(UTC).replace(second=0, microsecond=0)
