"""A process with a seat, told line by line what to do.

It answers each line with one line of JSON: a value, or {"error": the error's class}.
`Worker` is its other end; a process that was not killed serves the next test.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar

from sqlalchemy import insert

from etl.clock import Clock
from etl.db import Database, open_database
from etl.errors import EtlError
from etl.ledger import names, runs, seats
from etl.ledger.tables import status_changes

SOURCE = "s"
START = datetime(2026, 1, 1, 12, tzinfo=UTC)


class StandingClock(Clock):
    """Stands still until it is moved."""

    def __init__(self, at: datetime = START) -> None:
        self.at = at

    def now(self) -> datetime:
        return self.at


def register(database: Database) -> None:
    """Writes the source down, as every pass does first."""
    with database.writing() as connection:
        names.register(
            connection,
            SOURCE,
            api="explorer",
            identity={"url": "http://x"},
            account="a",
            since=None,
            expected_every_s=None,
            stale_after_s=None,
            now=START,
        )


def note(writing: seats.Writing, kind: str) -> str:
    """Writes a row that names its writer and the transaction's stamp."""
    writing.changed = True
    writing.connection.execute(
        insert(status_changes).values(
            source=SOURCE, kind=kind, id="1", new_status="running", observed_at=writing.stamp
        )
    )
    return writing.stamp.isoformat()


class Desk:
    """What the process holds between two lines."""

    database: Database
    seat: seats.Seat

    def __init__(self) -> None:
        self.clock = StandingClock()
        self.lease_s = 30.0
        self.open = contextlib.ExitStack()

    def connect(self, url: str, lease_s: str) -> str:
        self.lease_s = float(lease_s)
        self.database = open_database(url, lease_s=self.lease_s)
        return "connected"

    def register(self) -> str:
        register(self.database)
        return "registered"

    def take(self, name: str = "live", lease_s: str = "") -> int:
        lease = float(lease_s or self.lease_s)
        self.seat = seats.take(self.database, SOURCE, name, lease_s=lease, clock=self.clock)
        return self.seat.token

    def set_clock(self, minutes: str) -> str:
        self.clock.at = START + timedelta(minutes=float(minutes))
        return self.clock.at.isoformat()

    def write(self, times: str = "1") -> list[str]:
        stamps = []
        for _ in range(int(times)):
            with self.seat.transaction() as writing:
                stamps.append(note(writing, self.seat.name))
        return stamps

    def begin(self) -> str:
        """Stays inside a transaction that has written something."""
        return note(self.open.enter_context(self.seat.transaction()), self.seat.name)

    def commit(self) -> str:
        with self.open.pop_all():
            return "committed"

    def run(self) -> int:
        with self.seat.transaction() as writing:
            mode = "sync" if self.seat.name == "live" else "backfill"
            return runs.open_run(
                writing.connection, SOURCE, mode, triggered_by="command", now=START
            ).run_id

    def release(self) -> str:
        self.seat.release()
        return "released"

    def leave(self) -> str:
        """Ready for another test."""
        if hasattr(self, "seat"):
            self.release()
            del self.seat
        self.database.close()
        return "left"


class Worker:
    """The other end of a process; a context manager that keeps it for the next test."""

    _idle: ClassVar[list[Worker]] = []

    @classmethod
    def at(cls, url: str, lease_s: float) -> Worker:
        """A process that has opened the database."""
        worker = cls._idle.pop() if cls._idle else cls()
        assert worker.ask(f"connect {url} {lease_s}") == "connected"
        return worker

    @classmethod
    def end_all(cls) -> None:
        while cls._idle:
            cls._idle.pop().kill()

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parent,
        )
        self._answers: queue.Queue[str] = queue.Queue()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def tell(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def answer(self, timeout_s: float = 30) -> Any:
        return json.loads(self._answers.get(timeout=timeout_s))

    def ask(self, line: str) -> Any:
        self.tell(line)
        return self.answer()

    def stop(self) -> None:
        os.kill(self.process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        os.kill(self.process.pid, signal.SIGCONT)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self._listener.join()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._answers.put(line)

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None and self.process.poll() is None:
            assert self.ask("leave") == "left"
            self._idle.append(self)
        elif self.process.poll() is None:
            self.kill()


def main() -> None:
    desk = Desk()
    for line in sys.stdin:
        command, *arguments = line.split()
        try:
            answer = getattr(desk, command)(*arguments)
        except EtlError as error:
            answer = {"error": type(error).__name__}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
