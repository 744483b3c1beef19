"""What a long command shows: a live display on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from etl.http import Api
    from etl.store import Tally

_EVERY_S = 5.0


class Display(Protocol):
    """An `etl.engine.Observer` that is opened and closed."""

    def __enter__(self) -> Display: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def __call__(self, source: str, tally: Tally, api: Api, share: float | None) -> None: ...


def display(log_format: str) -> Display:
    """The live display on a terminal, silence beside JSON logs, plain lines otherwise."""
    if log_format == "json":
        return Silent()
    return Live() if sys.stderr.isatty() else Lines()


class Silent:
    """Says nothing: the log lines speak."""

    def __enter__(self) -> Silent:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def __call__(self, source: str, tally: Tally, api: Api, share: float | None) -> None:
        del source, tally, api, share  # nothing is shown


class Lines(Silent):
    """A line per source, at most every few seconds."""

    def __init__(self) -> None:
        self._told: dict[str, float] = {}
        self._lock = threading.Lock()

    def __call__(self, source: str, tally: Tally, api: Api, share: float | None) -> None:
        with self._lock:
            now = time.monotonic()
            if now - self._told.setdefault(source, now) < _EVERY_S:
                return
            self._told[source] = now
        done = "" if share is None else f"{share:.0%}, "
        sys.stderr.write(
            f"{source}: {done}{tally.read:,} rows read, {tally.written:,} written, "
            f"{api.requests:,} requests\n"
        )


class Live(Silent):
    """One row a source, from the beginning of its pass: rows, requests, rejects, time."""

    def __init__(self) -> None:
        from rich.console import Console  # noqa: PLC0415 - only for a terminal
        from rich.progress import (  # noqa: PLC0415
            BarColumn,
            Progress,
            SpinnerColumn,
            TextColumn,
            TimeElapsedColumn,
        )

        self._progress: Progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=16),
            TextColumn(
                "{task.fields[tally].read:>10,} rows {task.fields[api].requests:>7,} requests"
            ),
            TextColumn("{task.fields[rejects]}"),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._tasks: dict[str, TaskID] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> Live:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def __call__(self, source: str, tally: Tally, api: Api, share: float | None) -> None:
        with self._lock:
            if source not in self._tasks:
                self._tasks[source] = self._progress.add_task(
                    source, total=None, tally=tally, api=api, rejects=""
                )
        self._progress.update(
            self._tasks[source],
            total=None if share is None else 1.0,
            completed=0 if share is None else share,
            tally=tally,
            api=api,
            rejects=f"{tally.rejected:,} rejected" if tally.rejected else "",
        )
