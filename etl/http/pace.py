"""The rate that a platform bears which names no limit: found from its 429s.

A 429 shuts the account for a moment; then one call tries alone (half-open), again and again until
it is accepted. What had been accepted within a second when the last one was refused is more than
the platform bears, or just what it bears: a little less is sent from then on, evenly, and slowly
more once all has been well for a while.
"""

from __future__ import annotations

import math
from collections import deque

_SECOND = 1.0
_SHUT_S, _SHUT_LONGEST_S = 0.05, 2.0
_SHUT_SHARE = 0.1
"""A try comes no sooner after the last than a tenth of the time since the first 429: whatever the
window is, little of it is lost, and few tries are in vain."""
_BELOW = 0.97
_WELL_S = 4.0
_MORE_A_SECOND, _MORE_AT_MOST_S = 0.02, 60.0
_EVIDENCE = 20
"""So many calls within a second tell something of what is borne; fewer do not."""
_BURST_S = 0.02
_TRY_AGAIN_S = 0.02


class Pace:
    """The state of one account; its lock guards it. Times are of one monotonic clock, in s."""

    def __init__(self) -> None:
        self._rate = math.inf
        self._accepted: deque[float] = deque(maxlen=4096)
        self._tokens = 0.0
        self._at = -math.inf
        self._throttled_at = -math.inf
        self._opened_at = -math.inf
        self._before = 0
        """What was accepted within a second when one more was refused."""
        self._shut_until: float | None = None
        self._shut_s, self._shut_since = _SHUT_S, 0.0
        self._probes = False

    @property
    def rate(self) -> float:
        """Calls a second; inf while the platform has refused none."""
        return self._rate

    def delay(self, now: float) -> float:
        """Seconds until a call may be sent, 0: now."""
        if self._shut_until is not None:
            if now < self._shut_until:
                return self._shut_until - now
            return _TRY_AGAIN_S if self._probes else 0.0
        if math.isinf(self._rate):
            return 0.0
        self._refill(now)
        return 0.0 if self._tokens >= 1 else max((1 - self._tokens) / self._rate, 0.001)

    def sent(self) -> None:
        """A call goes out that `delay` had nothing against."""
        if self._shut_until is not None:
            self._probes = True
        elif not math.isinf(self._rate):
            self._tokens -= 1

    def accepted(self, sent_at: float, now: float) -> None:
        self._accepted.append(now)
        if self._shut_until is not None and self._probes and sent_at >= self._shut_until:
            self._open(now)

    def failed(self, sent_at: float) -> None:
        """A call ended otherwise: another one may try."""
        if self._shut_until is not None and sent_at >= self._shut_until:
            self._probes = False

    def throttled(self, sent_at: float, now: float, wish_s: float | None) -> None:
        """A 429 came; `wish_s` is what it asks everybody to wait, if it does."""
        if self._shut_until is None:
            if sent_at < self._opened_at:
                return  # it belongs to the trouble before
            self._shut_s, self._shut_since = _SHUT_S, now
        elif sent_at < self._shut_until:
            return
        else:
            grown = max(2 * _SHUT_S, _SHUT_SHARE * (now - self._shut_since))
            self._shut_s = min(grown, _SHUT_LONGEST_S)
        self._before = self._lately(now)
        self._shut_until = now + (self._shut_s if wish_s is None else wish_s)
        self._throttled_at = now
        self._probes = False

    def _lately(self, now: float) -> int:
        return sum(at > now - _SECOND for at in self._accepted)

    def _open(self, now: float) -> None:
        self._shut_until, self._probes = None, False
        if self._before >= _EVIDENCE:
            self._rate = _BELOW * min(float(self._before), self._rate)
        self._opened_at = self._at = now
        self._tokens = 0.0

    def _refill(self, now: float) -> None:
        passed = now - self._at
        self._at = now
        if now - self._throttled_at > _WELL_S:
            self._rate *= (1 + _MORE_A_SECOND) ** min(passed, _MORE_AT_MOST_S)
        most = max(1.0, _BURST_S * self._rate)
        self._tokens = min(most, self._tokens + passed * self._rate)
