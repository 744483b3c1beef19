"""Whether credentials may be used: alone until accepted, renewed once, then shut.

A revoked key that eight threads try at once is eight bad attempts, and a platform locks it after
five; a login for each refused call is "too many sessions". So refusals and logins are counted here.
"""

from __future__ import annotations

import copy
import math
from collections import deque

from msgspec import Struct, field

from etl.errors import SourceFailed, Transient, Unauthorized
from etl.http.platform import Credentials

LOGINS_WITHIN_S = 600.0
LOGINS = 2
SHUT_FOR_S = 300.0


class Gate(Struct, eq=False):
    """The state of one set of credentials; its account's lock guards it."""

    credentials: Credentials
    proven: bool = False
    """A call was accepted since the last renewal and since the pass began."""
    busy: bool = False
    """A first call or a renewal is on its way; nobody else may send."""
    generation: int = 0
    """Grows with every renewal, so that late refusals of old credentials are told apart."""
    members: int = 0
    known_generation: int = -1
    """The generation whose headers `redact` knows."""
    _refusals: int = 0
    _failure: SourceFailed | None = None
    _failed_at: float = -math.inf
    _logins: deque[float] = field(default_factory=lambda: deque(maxlen=LOGINS))

    def join(self, now: float) -> None:
        """A pass begins. What shut the gate stays for five minutes, a mere outage does not."""
        if self.members == 0:
            self.proven = False
        self.members += 1
        if isinstance(self._failure, Transient) or now >= self._failed_at + SHUT_FOR_S:
            self._failure = None
            self._refusals = 0

    def check(self) -> None:
        """Raises what shut the gate."""
        if self._failure is not None:
            raise copy.copy(self._failure).with_traceback(None)

    @property
    def is_shut(self) -> bool:
        return self._failure is not None

    @property
    def passable(self) -> bool:
        return self.proven or not self.busy

    def accepted(self, generation: int) -> None:
        if generation == self.generation:
            self.proven = True
            self._refusals = 0

    def begin_renewal(self, refused: bool, now: float, reason: str) -> None:
        """Nothing is sent from now on. Raises Unauthorized when renewing again would be wrong."""
        self.generation += 1
        self.proven = False
        self._refusals += refused
        if self._refusals > 1:
            self.shut(Unauthorized(f"{reason} (refused again after new credentials)"), now)
        elif len(self._logins) == LOGINS and now - self._logins[0] < LOGINS_WITHIN_S:
            self.shut(Unauthorized(f"{reason} (a third login within ten minutes)"), now)
        self.check()
        self._logins.append(now)
        self.busy = True

    def end_renewal(self, failure: SourceFailed | None, now: float) -> None:
        self.busy = False
        if failure is not None:
            self.shut(failure, now)

    def shut(self, failure: SourceFailed, now: float) -> None:
        self._failure = failure
        self._failed_at = now
