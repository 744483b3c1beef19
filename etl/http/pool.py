"""Threads that read for one source."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from etl.context import carried
from etl.errors import Stopped
from etl.http.halt import Halt

T = TypeVar("T")
R = TypeVar("R")


class Pool:
    """At most `size` threads. Work given by one of them runs in that thread at once."""

    def __init__(self, size: int, halt: Halt) -> None:
        self._halt = halt
        self._inside = threading.local()
        self._threads = ThreadPoolExecutor(size, "etl-http", self._enter)

    def map(self, function: Callable[[T], R], items: Iterable[T]) -> list[Future[R]]:
        """One future for each item, in order. Once it is time to end they raise Stopped."""
        if getattr(self._inside, "yes", False):
            return [_done(self._run, function, item) for item in items]
        try:
            return [self._threads.submit(carried(self._run), function, item) for item in items]
        except RuntimeError:  # the pool is shut
            self._halt.check()
            raise

    def close(self) -> None:
        """Cancels what has not begun; waits for nobody."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _enter(self) -> None:
        self._inside.yes = True

    def _run(self, function: Callable[[T], R], item: T) -> R:
        if self._halt.is_set():
            raise Stopped("told to stop")
        return function(item)


def _done(
    run: Callable[[Callable[[T], R], T], R], function: Callable[[T], R], item: T
) -> Future[R]:
    future: Future[R] = Future()
    try:
        future.set_result(run(function, item))
    except BaseException as error:  # noqa: BLE001 - as an executor does: the future carries it
        future.set_exception(error)
    return future
