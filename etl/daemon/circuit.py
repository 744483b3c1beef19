"""How long a task that failed is left alone: longer each time, until it succeeds once."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime, timedelta

from msgspec import Struct, field

from etl.errors import EtlError, Transient, Unauthorized

FIRST_S = 15.0
LONGEST_S = 600.0
UNAUTHORIZED_S = 300.0
_LONGEST_WISH_S = 3600.0
_JITTER = 0.25


def _dice() -> float:
    return random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 - spreads tries, keeps no secret


class Circuit(Struct):
    """Closed (`open_until` None) while all is well. Used by one thread at a time."""

    failures: int = 0
    open_until: datetime | None = None
    dice: Callable[[], float] = field(default=_dice)

    def succeeded(self) -> None:
        """Closes it."""
        self.failures, self.open_until = 0, None

    def failed(self, error: EtlError | None, now: datetime) -> datetime:
        """Opens it for 15 s, then twice as long each time up to ten minutes, give or take a
        quarter; at least as long as the platform asked for, and five minutes when it refused the
        credentials. Returns when the next try is."""
        pause_s = min(FIRST_S * 2 ** min(self.failures, 30), LONGEST_S) * self.dice()
        if isinstance(error, Transient) and error.retry_after_s is not None:
            pause_s = max(pause_s, min(error.retry_after_s, _LONGEST_WISH_S))
        if isinstance(error, Unauthorized):
            pause_s = max(pause_s, UNAUTHORIZED_S)
        self.failures += 1
        self.open_until = now + timedelta(seconds=pause_s)
        return self.open_until

    def waits(self, now: datetime) -> datetime | None:
        """Until when nothing is to be tried; None: go on. A clock set back opens no circuit for
        longer than the longest pause."""
        until = self.open_until
        if until is None or until <= now:
            return None
        return min(until, now + timedelta(seconds=_LONGEST_WISH_S))
