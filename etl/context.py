"""What a log line is about: the source, the run, the attempt, in every thread of a pass."""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

_facts: contextvars.ContextVar[Mapping[str, object]] = contextvars.ContextVar("facts", default={})  # noqa: B039 - never written to


def facts() -> Mapping[str, object]:
    """What this thread is at work on, such as `{"source": "graph", "run": 12}`."""
    return _facts.get()


@contextmanager
def about(**more: object) -> Iterator[None]:
    """Every log line of the block carries `more`."""
    token = _facts.set({**_facts.get(), **more})
    try:
        yield
    finally:
        _facts.reset(token)


def carried(function: Callable[P, R]) -> Callable[P, R]:
    """`function`, for another thread, with the facts of this one."""
    context = contextvars.copy_context()

    def run(*args: P.args, **more: P.kwargs) -> R:
        return context.run(function, *args, **more)

    return run
