"""The calls of one account that still count, whoever made them: arithmetic on one row's JSON.

A slot that a process holds counts until the process says when the call arrived (or gives the slot
back), and from then on for one window. Times are the database's, in whole microseconds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from math import ceil

import msgspec

from etl.errors import DatabaseTrouble
from etl.ledger.process import Process, is_dead
from etl.units import Rate

SECOND = 1_000_000
SILENT_S = 60.0
"""A process that said nothing for so long holds nothing any more."""

_DRIFT = 1.001
"""Clocks of two machines differ in speed, by at most 0.05 % each while they are being set."""
_GRAINS = 200
"""Arrivals are rounded up to this part of a window, so that the row stays short."""
_BLOCK, _SHARE = 20, 7
"""A draw may take more than is waited for: at most so many, and so small a part of what is free."""
_ROOM = 20
"""A backfill leaves this part of the rate to whoever comes."""
_GRACE_S = 0.25

_encoder = msgspec.json.Encoder(order="sorted", enc_hook=float)  # a Duration is a float


class Holder(msgspec.Struct):
    """A process that calls in the account's name."""

    process: Process
    rates: list[Rate]
    slots: int
    """Drawn, and not known to have arrived."""
    seen_at: int


class Window(msgspec.Struct):
    """What `request_budgets.sent_at` holds."""

    sent: list[tuple[int, int]] = msgspec.field(default_factory=list)
    """(arrived at the latest, how many), oldest first."""
    holders: dict[str, Holder] = msgspec.field(default_factory=dict)
    longest: int = 0
    """The longest window that anybody asked for while these calls count."""
    live_until: int = 0
    """A live process waits in vain: until then no backfill draws."""

    @classmethod
    def parse(cls, text: str) -> Window:
        """Raises DatabaseTrouble for what this release cannot read."""
        try:
            return msgspec.json.decode(text, type=cls)
        except msgspec.MsgspecError as error:
            raise DatabaseTrouble(
                f"request_budgets.sent_at cannot be read ({error}); delete its row"
            ) from None

    def text(self) -> str:
        return _encoder.encode(self).decode()

    def tidy(self, now: int, me: str) -> None:
        """Forgets what no longer counts; what dead or silent processes hold counts as sent now."""
        for name, holder in list(self.holders.items()):
            holder.seen_at = min(holder.seen_at, now)
            silent = now - holder.seen_at > SILENT_S * SECOND
            if name != me and (silent or is_dead(holder.process)):
                del self.holders[name]
                self.add([now] * holder.slots, holder.rates, now)
        wishes = [_length(rate) for holder in self.holders.values() for rate in holder.rates]
        self.longest = max([self.longest if self.sent else 0, *wishes])
        self.sent = [(at, n) for at, n in self.sent if at + self.longest > now]
        self.live_until = min(self.live_until, now + self.longest + int(_GRACE_S * SECOND))

    def add(self, moments: Iterable[int], rates: Iterable[Rate], now: int) -> None:
        """Calls that arrived at `moments`; none is later than `now`, whatever a clock did."""
        grain = min((_length(rate) for rate in rates), default=_GRAINS) // _GRAINS or 1
        sent: Counter[int] = Counter()
        for at, n in self.sent:
            sent[min(at, now + grain)] += n
        for moment in moments:
            sent[ceil(min(moment, now) / grain) * grain] += 1
        self.sent = sorted(sent.items())

    def draw(self, wanted: int, now: int, *, live: bool) -> tuple[int, int]:
        """(how many may be sent now, when to look again for what is missing).

        The strictest wish of all holders counts; the caller is one of them.
        """
        if wanted == 0:
            return 0, now
        if not live and now < self.live_until:
            return 0, self.live_until
        rates = {rate for holder in self.holders.values() for rate in holder.rates}
        room = 0 if live else int(min(rate.count for rate in rates)) // _ROOM
        free = min(int(rate.count) - self._counting(rate, now) for rate in rates) - room
        granted = max(0, min(free, max(wanted, min(_BLOCK, free // _SHARE))))
        if granted >= wanted:
            return granted, now
        look_at = max(self._free_at(rate, granted + room, now) for rate in rates)
        if live:
            self.live_until = max(self.live_until, look_at + int(_GRACE_S * SECOND))
        return granted, look_at

    def _counting(self, rate: Rate, now: int) -> int:
        length = _length(rate)
        held = sum(holder.slots for holder in self.holders.values())
        return held + sum(n for at, n in self.sent if at + length > now)

    def _free_at(self, rate: Rate, taken: int, now: int) -> int:
        """When one more than `taken` may be free: neither at once nor much later than now."""
        length = _length(rate)
        soonest = now + min(length // _GRAINS, SECOND // 20)
        latest = now + min(length // 20, SECOND)
        missing = self._counting(rate, now) + taken + 1 - int(rate.count)
        for at, n in self.sent:
            if missing <= 0:
                break
            if at + length > now:
                missing -= n
                if missing <= 0:
                    return min(latest, max(soonest, at + length))
        return soonest if missing <= 0 else latest


def _length(rate: Rate) -> int:
    return int(rate.window_s * SECOND * _DRIFT)
