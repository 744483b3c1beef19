"""What the pages show, read with patience: a database that does not answer holds nobody up."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Generic, NamedTuple, TypeVar

from etl import migrate
from etl.config import Config
from etl.db import Database
from etl.errors import EtlError
from etl.redact import masked
from etl.status import Status, expected, read

_log = logging.getLogger(__name__)

RUNS = 48
"""The latest runs of each source that the page draws."""
_PATIENCE_S = 3.0
_YOUNG_S = 1.0
"""Many askers at once cost one reading."""

T = TypeVar("T")


class Facts(NamedTuple):
    """What is known now; `problem` says in one line why there is no `status`."""

    now: datetime
    status: Status | None
    problem: str | None = None


class Patient(Generic[T]):
    """Asks in a thread of its own, one at a time. Who asks meanwhile gets the same answer."""

    def __init__(self, ask: Callable[[], T], otherwise: T, young_s: float = 0.0) -> None:
        self._ask = ask
        self._otherwise = otherwise
        self._young_s = young_s
        self._lock = threading.Lock()
        self._pending: _Answer[T] | None = None
        self._last: _Answer[T] | None = None

    def get(self, patience_s: float = _PATIENCE_S) -> T:
        """The answer; `otherwise` when it takes longer than `patience_s`, or fails."""
        with self._lock:
            last = self._last
            if last is not None and time.monotonic() - last.at < self._young_s:
                return last.value
            pending = self._pending
            if pending is None:
                pending = self._pending = _Answer(self._otherwise)
                threading.Thread(
                    target=self._run, args=(pending,), name="web-facts", daemon=True
                ).start()
        return pending.value if pending.there.wait(patience_s) else self._otherwise

    def _run(self, answer: _Answer[T]) -> None:
        try:
            answer.value = self._ask()
        except Exception:  # noqa: BLE001 - a thread's last words would go to nobody
            _log.exception("the status cannot be read")
        finally:
            with self._lock:
                answer.at = time.monotonic()
                self._last, self._pending = answer, None
            answer.there.set()


class _Answer(Generic[T]):
    def __init__(self, otherwise: T) -> None:
        self.value = otherwise
        self.at = 0.0
        self.there = threading.Event()


def reader(database: Database, config_of: Callable[[], Config]) -> Callable[[], Facts]:
    """What reads the facts; errors on purpose become its `problem`."""

    def ask() -> Facts:
        now = datetime.now(UTC)
        try:
            found, head = migrate.current(database), migrate.head()
            if found != head:
                return Facts(now, None, _unmigrated(database, found, head))
            due = expected(config_of(), now)
            with database.reading() as connection:
                return Facts(now, read(connection, due, now, runs=RUNS))
        except EtlError as error:
            return Facts(now, None, masked(str(error)))

    return ask


def patient(database: Database, config_of: Callable[[], Config]) -> Patient[Facts]:
    """The facts, at most a second old."""
    silent = Facts(datetime.now(UTC), None, f"database {database.name}: it does not answer")
    return Patient(reader(database, config_of), silent, _YOUNG_S)


def _unmigrated(database: Database, found: str | None, head: str) -> str:
    return (
        f"database {database.name} is at revision {found or 'none'}, this release needs {head}; "
        "see etl db current"
    )
