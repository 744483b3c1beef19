"""Runs real `etl` processes that are killed at a chosen instant, again and again.

Started as a program this module is a nursery: it imports everything once and forks a process for
each order it reads, so that a run costs no start. In that process an instant is counted in events
(statements, commits, calls); at the chosen one it sends itself the signal, at once or a moment
later, in the middle of whatever comes then.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

from sqlalchemy import Engine, create_engine, event, pool, text
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.exc import SQLAlchemyError

from etl.db.address import address
from etl.http import sockets

KINDS = ("statement", "executed", "commit", "committed", "call")
"""Before and after a statement, before and after a commit, before something is sent.

A statement also counts under its first three words: "INSERT INTO tasks".
"""


@dataclass(frozen=True)
class Instant:
    """The `number`th event of a kind (from 1), and so many seconds later."""

    kind: str
    number: int
    later_s: float = 0.0
    signal: int = signal.SIGKILL
    cut: str = ""
    """Instead of the signal: the URL of a database whose connections are cut, all of them."""


@dataclass(frozen=True)
class Order:
    """One run of `etl`. Batches are small, so that a small world has many transactions."""

    arguments: list[str]
    output: str
    environment: dict[str, str] = field(default_factory=dict)
    batch_rows: int = 25
    instant: Instant | None = None
    max_pages: int = 0
    """So many pages may a SQLite file have (0: any number)."""
    max_bytes: int = 0
    """So long may a file become (0: any length)."""


@dataclass(frozen=True)
class Ended:
    """How a run ended: its exit code (or minus the signal), what it printed, its events."""

    code: int
    output: str
    events: dict[str, int]


class Nursery:
    """The program below, started once; a context manager."""

    def __enter__(self) -> Nursery:
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.communicate()

    def run(self, order: Order) -> Ended:
        """Runs `etl` to its end, whatever that is."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asdict(order)) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        text = Path(order.output).read_text(encoding="utf-8")
        return Ended(answer["code"], text, answer["events"])


class _Countdown:
    """Counts events; at the chosen one the process gets its signal."""

    def __init__(self, instant: Instant | None) -> None:
        self.events: Counter[str] = Counter()
        self._instant = instant
        self._lock = threading.Lock()

    def count(self, kind: str) -> None:
        with self._lock:
            self.events[kind] += 1
            instant = self._instant
            if instant is None or (kind, self.events[kind]) != (instant.kind, instant.number):
                return
        if instant.cut:
            cut_connections(instant.cut)
        elif instant.later_s:
            threading.Thread(target=_later, args=(instant,), daemon=True).start()
        else:
            os.kill(os.getpid(), instant.signal)

    def _before_execute(self, _: Any, __: Any, statement: str, *___: Any) -> None:
        self.count("statement")
        self.count(" ".join(statement.split()[:3]))

    def install(self) -> None:

        event.listen(Engine, "before_cursor_execute", self._before_execute)
        event.listen(Engine, "after_cursor_execute", lambda *_: self.count("executed"))
        plain = DefaultDialect.do_commit

        def do_commit(dialect: DefaultDialect, connection: Any) -> None:
            self.count("commit")
            plain(dialect, connection)  # type: ignore[no-untyped-call]  # SQLAlchemy's
            self.count("committed")

        DefaultDialect.do_commit = do_commit  # type: ignore[method-assign]  # there is no event after it
        calls = vars(sockets)
        told = calls["head_of"]

        def head_of(*request: Any) -> Any:
            self.count("call")
            return told(*request)

        calls["head_of"] = head_of


def cut_connections(url: str) -> None:
    """Ends every other connection of a server's database, whatever it is doing."""

    engine = create_engine(address(url), poolclass=pool.NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(
                text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            )
            return
        others = (
            "SELECT id FROM information_schema.processlist"
            " WHERE db = DATABASE() AND id <> CONNECTION_ID()"
        )
        for number in connection.execute(text(others)).scalars().all():
            with contextlib.suppress(SQLAlchemyError):  # it has gone by itself
                connection.execute(text(f"KILL {number}"))


def _later(instant: Instant) -> None:
    time.sleep(instant.later_s)
    os.kill(os.getpid(), instant.signal)


def _serve() -> None:
    """Reads orders, forks, waits, answers."""
    for line in sys.stdin:
        order = json.loads(line)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            _run(order, writing)
        os.close(writing)
        with open(reading, "rb") as pipe:
            events = pipe.read()
        _, status = os.waitpid(child, 0)
        answer = {
            "code": os.waitstatus_to_exitcode(status),
            "events": json.loads(events or b"{}"),
        }
        print(json.dumps(answer), flush=True)  # noqa: T201 - this program's answer


def _run(order: dict[str, Any], writing: int) -> NoReturn:
    """Becomes the process that was ordered."""
    import etl.cli  # noqa: PLC0415 - imported already, before the fork
    import etl.engine  # noqa: PLC0415

    output = os.open(order["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.environ.update(order["environment"])
    etl.engine.BATCH_ROWS = order["batch_rows"]
    etl.engine.BATCH_S = 3600.0  # a batch is what the rows make it, however slow the machine
    _limit(order["max_pages"], order["max_bytes"])
    countdown = _Countdown(Instant(**order["instant"]) if order["instant"] else None)
    countdown.install()
    sys.argv = ["etl", *order["arguments"]]
    try:
        etl.cli.main()
    finally:
        os.write(writing, json.dumps(countdown.events).encode())
        os.close(writing)
    raise SystemExit


def _limit(max_pages: int, max_bytes: int) -> None:

    if max_pages:

        def full(connection: Any, _: Any) -> None:
            connection.execute(f"PRAGMA max_page_count = {max_pages}")

        event.listen(Engine, "connect", full)
    if max_bytes:
        resource.setrlimit(resource.RLIMIT_FSIZE, (max_bytes, max_bytes))


def _import_everything() -> None:
    import http.client  # noqa: F401, PLC0415

    import psycopg  # noqa: F401, PLC0415
    import pymysql  # noqa: F401, PLC0415

    import etl.cli.progress  # noqa: PLC0415
    import etl.cli.sync  # noqa: PLC0415
    import etl.config  # noqa: PLC0415
    import etl.migrate  # noqa: PLC0415
    import etl.sources.act2  # noqa: PLC0415
    import etl.sources.dataarts  # noqa: PLC0415
    import etl.sources.explorer  # noqa: PLC0415
    import etl.sync  # noqa: F401, PLC0415


if __name__ == "__main__":
    _import_everything()
    _serve()
