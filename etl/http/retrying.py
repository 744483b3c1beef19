"""When a call is made again: tenacity, told how patient this project is."""

from __future__ import annotations

import logging
from collections.abc import Callable

from tenacity import RetryCallState, Retrying, retry_if_exception, wait_random_exponential

from etl.errors import Malformed, SourceFailed, Transient
from etl.http.account import LONGEST_WISH_S
from etl.http.halt import Halt
from etl.http.wire import Silence

log = logging.getLogger("etl.http")

PATIENCE_S = 45.0
_BACKOFF = wait_random_exponential(multiplier=1, exp_base=3, min=0.25, max=20)


class Patience:
    """How long one call has been tried in vain, and what that means for the next attempt.

    Waits that the platform asked for, queueing and bodies that flow do not count.
    """

    def __init__(self, attempts: int, halt: Halt) -> None:
        self.silence = Silence()
        self._attempts = attempts
        self._halt = halt

    def wait(self, state: RetryCallState) -> float:
        wish = _wish(state)
        return _BACKOFF(state) if wish is None else wish

    def over(self, state: RetryCallState) -> bool:
        if state.attempt_number >= self._attempts:
            return True
        if (wish := _wish(state)) is not None:
            return wish > LONGEST_WISH_S
        return self.silence.seconds + state.upcoming_sleep > PATIENCE_S

    def before_sleep(self, state: RetryCallState) -> None:
        if _wish(state) is None:
            self.silence.seconds += state.upcoming_sleep
        log.info(
            "attempt %d of %d failed, again in %.1f s: %s",
            state.attempt_number,
            self._attempts,
            state.upcoming_sleep,
            _error(state),
            extra={"attempt": state.attempt_number},
        )

    def give_up(self, state: RetryCallState) -> None:
        """Raises the last error, which then says how often it was tried."""
        error = _error(state)
        if state.attempt_number > 1:
            error.args = (f"{error} (attempt {state.attempt_number} of {self._attempts})",)
        log.warning("%s", error, extra={"attempt": state.attempt_number})
        raise error

    def retrying(self, again: Callable[[], bool]) -> Retrying:
        """`again` False: whatever happened, no further attempt can help."""

        def worth_it(error: BaseException) -> bool:
            return isinstance(error, Transient | Malformed) and again()

        return Retrying(
            retry=retry_if_exception(worth_it),
            wait=self.wait,
            stop=self.over,
            sleep=self._halt.wait,
            before_sleep=self.before_sleep,
            retry_error_callback=self.give_up,
        )


def _error(state: RetryCallState) -> SourceFailed:
    error = state.outcome.exception() if state.outcome is not None else None
    assert isinstance(error, SourceFailed)  # noqa: S101 - only those are retried
    return error


def _wish(state: RetryCallState) -> float | None:
    error = _error(state)
    return error.retry_after_s if isinstance(error, Transient) else None
