"""Ends a statement that the database is still working on, once the process was told to stop."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine

from etl.errors import EtlError, Stopped

_POLL_S = 0.1
_CANCEL_S = 5.0
_SQLITE_STEPS = 100_000
"""Instructions of SQLite's machine between two looks at `stop`: about a millisecond."""


@contextmanager
def told_to_stop(stop: threading.Event) -> Iterator[None]:
    """Once `stop` is set, whatever fails in the block failed because of it (Stopped)."""
    try:
        yield
    except EtlError:
        if stop.is_set():
            raise Stopped("stopped") from None
        raise


@contextmanager
def interruptible(connection: Connection, stop: threading.Event) -> Iterator[Callable[[], None]]:
    """While the block runs, `stop` cancels what `connection` executes: the driver then raises.

    Yields a function that cancels, for whoever leaves a result half read.
    """
    raw: Any = connection.connection.driver_connection
    if connection.dialect.name == "sqlite":
        # SQLite keeps the main thread in C, where no signal handler runs, unless it calls back.
        raw.set_progress_handler(stop.is_set, _SQLITE_STEPS)
        try:
            yield raw.interrupt
        finally:
            raw.set_progress_handler(None, 0)
        return
    with _watched(lambda: cancel(connection.engine, raw), stop) as end:
        yield end


@contextmanager
def _watched(cancel: Callable[[], None], stop: threading.Event) -> Iterator[Callable[[], None]]:
    over = threading.Event()

    def watch() -> None:
        while not over.wait(_POLL_S):
            if stop.is_set():
                cancel()

    watcher = threading.Thread(target=watch, name="interrupt", daemon=True)
    watcher.start()
    try:
        yield cancel
    finally:
        over.set()
        watcher.join()


def cancel(engine: Engine, raw: Any) -> None:
    """Ends the statement that a server's driver connection `raw` waits for, if there is one."""
    with contextlib.suppress(Exception):  # nothing runs any more, or the connection is gone
        if engine.dialect.name == "postgresql":
            raw.cancel_safe(timeout=_CANCEL_S)
        else:
            with engine.connect() as other:
                other.exec_driver_sql(f"KILL QUERY {raw.thread_id()}")
