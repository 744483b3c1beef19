"""Readers that read for one source, many at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from functools import partial
from typing import Generic, TypeVar

from etl.context import carried
from etl.errors import Stopped
from etl.http.halt import Halt
from etl.http.hub import Hub, hub

T = TypeVar("T")
R = TypeVar("R")

_A_CALL = 2
"""Readers for each call in flight: while one works with its answer, another has a question ready
for the place that is free."""


class Pool:
    """Readers for so many calls in flight. What one of them gives is done by it, at once."""

    def __init__(self, calls: int, halt: Halt) -> None:
        self._size = calls * _A_CALL if calls > 1 else 1  # one at a time is meant as it is said
        self._halt = halt
        self._lock = threading.Lock()
        self._hub: Hub | None = None
        self._closed = False

    def map(self, function: Callable[[T], R], items: Iterable[T]) -> list[Future[R]]:
        """One future for each item, in order. Once it is time to end they raise Stopped."""
        tasks = [_Task(partial(self._run, function, item)) for item in items]
        if self._hub is not None and hub() is self._hub:
            for task in tasks:
                task()
        else:
            self._submit(tasks)
        return [task.future for task in tasks]

    def close(self) -> None:
        """Cancels what has not begun; waits for nobody."""
        with self._lock:
            self._closed = True
            left = self._hub.close() if self._hub is not None else []
        for task in left:
            task.cancel()

    def _submit(self, tasks: Iterable[_Task[R]]) -> None:
        with self._lock:
            if self._closed:
                self._halt.check()
                raise RuntimeError("the pool is closed")
            if self._hub is None:
                self._hub = Hub("etl-http", self._size)
            self._hub.submit(tasks)

    def _run(self, function: Callable[[T], R], item: T) -> R:
        if self._halt.is_set():
            raise Stopped("told to stop")
        return function(item)


class _Task(Generic[R]):
    """A piece of work, and the future that tells what came of it."""

    __slots__ = ("_work", "future")

    def __init__(self, work: Callable[[], R]) -> None:
        self._work = carried(work)
        self.future: Future[R] = Future()

    def __call__(self) -> None:
        if not self.future.set_running_or_notify_cancel():
            return
        try:
            result = self._work()
        except BaseException as error:  # noqa: BLE001 - as an executor does: the future carries it
            self.future.set_exception(error)
        else:
            self.future.set_result(result)

    def cancel(self) -> None:
        self.future.cancel()
        self.future.set_running_or_notify_cancel()
