"""Outlasts a database that is away for a moment: a restart, a lost connection, a lock."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TypeVar

from msgspec import Struct
from tenacity import RetryCallState, Retrying, retry_if_exception, wait_random_exponential

from etl.clock import Clock
from etl.db.trouble import retriable
from etl.errors import DatabaseTrouble, Stopped

_log = logging.getLogger(__name__)
_BACKOFF = wait_random_exponential(multiplier=0.5, min=0.1, max=5)

T = TypeVar("T")


class Persistence(Struct, frozen=True):
    """How long one transaction is tried, and what ends the waits between two tries."""

    patience_s: float
    clock: Clock
    stop: threading.Event

    def __call__(self, work: Callable[[], T]) -> T:
        """`work()`, again while its error is `retriable` and `patience_s` are not over.

        `work` is one whole transaction that may as well be done twice: a connection that is lost
        in a commit does not tell whether it was committed. Raises what `work` raised last, or
        Stopped instead of waiting once the process was told to stop.
        """
        give_up_at = self.clock.monotonic() + self.patience_s

        def over(state: RetryCallState) -> bool:
            return self.clock.monotonic() + state.upcoming_sleep > give_up_at

        return Retrying(
            retry=retry_if_exception(_may_pass),
            wait=_BACKOFF,
            stop=over,
            sleep=self._pause,
            before_sleep=_tell,
            reraise=True,
        )(work)

    def _pause(self, seconds: float) -> None:
        if self.clock.wait(self.stop, seconds):
            raise Stopped("stopped while the database was away")


def _may_pass(error: BaseException) -> bool:
    return isinstance(error, DatabaseTrouble) and retriable(error)


def _tell(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    level = logging.WARNING if state.attempt_number == 1 else logging.INFO
    _log.log(level, "%s; again in %.1f s", error, state.upcoming_sleep)
