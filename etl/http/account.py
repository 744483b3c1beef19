"""One account at one origin: everything in this process that asks in its name waits here.

A call is admitted when its credentials may be used (`gate`), a place is free (`budget.InFlight`),
the platform has not asked everybody to wait, and the rate allows it (`budget.Slots`).
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from enum import Enum, auto

from msgspec import Struct

from etl.clock import Clock
from etl.errors import SourceFailed, Transient
from etl.http.address import Origin
from etl.http.budget import InFlight, SlidingWindow, Slots
from etl.http.gate import Gate
from etl.http.halt import Halt
from etl.http.hub import Changes
from etl.http.pace import Pace
from etl.http.platform import Credentials
from etl.units import Rate

LONGEST_WISH_S = 300.0
_LONGEST_HOLD_S = 3600.0  # a Retry-After of years is a mistake; later runs find out
_RECHECK_S = 0.1  # real time: how soon a waiting thread sees that it was told to stop


class Outcome(Enum):
    """What a call says about its account."""

    ACCEPTED = auto()
    REFUSED = auto()
    UNSIGNED = auto()
    """The credentials had nothing to show yet; nothing was sent."""
    TROUBLE = auto()
    OTHER = auto()


class Member(Struct, frozen=True, eq=False):
    """What one open `Api` asks of the account; the strictest wish of all members counts."""

    concurrency: int
    rate: Rate | None


class Ticket:
    """The right to send one call."""

    def __init__(self, gate: Gate | None, alone: bool, sent_at: float) -> None:
        self.gate = gate
        self.generation = gate.generation if gate is not None else 0
        self.alone = alone
        self.sent_at = sent_at
        self.began = time.perf_counter()
        self.took_s = 0.0
        self.arrived = False
        self.sent = False


class Account:
    """Shared by every `Api` of the same origin and account; safe from any thread."""

    def __init__(self, clock: Clock, slots: Slots) -> None:
        self._clock = clock
        self._slots = slots
        self._changed = Changes()
        self._members: list[Member] = []
        self._gates: list[Gate] = []
        self._in_flight = 0
        self._adaptive = InFlight()
        self._pace = Pace()
        self._ceiling = 1
        self._rates: tuple[Rate, ...] = ()
        self._named: Rate | None = None
        self._held_until = -math.inf
        slots.attach(self._wake)

    @property
    def in_flight(self) -> int:
        """Calls that are on their way."""
        return self._in_flight

    @property
    def rates(self) -> tuple[Rate, ...]:
        """The limits that hold now."""
        return self._rates

    def join(self, member: Member, credentials: Credentials) -> Gate:
        """A pass begins; credentials that compare equal get the same gate, and so one login."""
        with self._changed:
            self._members.append(member)
            gate = next((g for g in self._gates if g.credentials == credentials), None)
            if gate is None:
                gate = Gate(credentials)
                self._gates.append(gate)
            gate.join(self._clock.monotonic())
            self._settle()
            return gate

    def leave(self, member: Member, gate: Gate) -> None:
        with self._changed:
            self._members.remove(member)
            gate.members -= 1
            self._settle()
            last = not self._members
        if last:
            self._slots.rest()

    def admit(self, gate: Gate | None, halt: Halt) -> Ticket:
        """Waits until one call may be sent. `gate` None: a login, which needs no credentials.

        Raises Stopped, what shut the gate, or Transient when everybody is to wait too long.
        """
        while True:
            with self._changed:
                halt.check()
                delay = self._delay(gate)
                if delay <= 0:
                    return self._send(gate)
                if math.isinf(delay):
                    self._changed.wait(_RECHECK_S)
                    continue
            halt.wait(delay)

    def arrived(self, ticket: Ticket) -> None:
        """The head of the answer is here, or the call has failed."""
        if not ticket.arrived:
            ticket.arrived = True
            ticket.took_s = time.perf_counter() - ticket.began
            with self._changed:
                self._slots.arrived()
                if self._rates:
                    self._changed.notify()

    def done(self, ticket: Ticket, outcome: Outcome, reason: str = "") -> bool:
        """Gives the place back and learns from the outcome.

        After a refusal: True when the caller is to renew the credentials (and then to call
        `renewed`), False when others do so already. Raises Unauthorized when renewing is over.
        """
        self.arrived(ticket)
        now = self._clock.monotonic()
        with self._changed:
            self._in_flight -= 1
            if outcome is Outcome.TROUBLE:
                self._adaptive.trouble(ticket.sent_at, now)
            elif outcome is Outcome.ACCEPTED:
                self._adaptive.well(ticket.sent_at, now, ticket.took_s)
                self._pace.accepted(ticket.sent_at, now)
            if outcome is not Outcome.ACCEPTED:
                self._pace.failed(ticket.sent_at)
            try:
                return ticket.gate is not None and self._pass(ticket.gate, ticket, outcome, reason)
            finally:
                self._changed.notify_all() if ticket.alone else self._changed.notify()

    def renewed(self, gate: Gate, failure: SourceFailed | None) -> None:
        """The renewal is over: the others go on, or all of them get `failure`."""
        with self._changed:
            gate.end_renewal(failure, self._clock.monotonic())
            self._changed.notify_all()

    def throttled(self, ticket: Ticket, wish_s: float | None) -> None:
        """The platform answered 429: it bears less than was sent."""
        with self._changed:
            self._pace.throttled(ticket.sent_at, self._clock.monotonic(), wish_s)

    def hold(self, seconds: float) -> None:
        """The platform asks for a pause: nobody sends anything before it is over."""
        with self._changed:
            until = self._clock.monotonic() + min(seconds, _LONGEST_HOLD_S)
            self._held_until = max(self._held_until, until)

    def learn(self, rate: Rate) -> bool:
        """The platform named its limit, which becomes the rate at once; False if it was known."""
        with self._changed:
            known = self._named == rate
            self._named = rate
            self._settle()
            return not known

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _pass(self, gate: Gate, ticket: Ticket, outcome: Outcome, reason: str) -> bool:
        if ticket.alone:
            gate.busy = False
        if outcome is Outcome.ACCEPTED:
            gate.accepted(ticket.generation)
        if outcome not in (Outcome.REFUSED, Outcome.UNSIGNED):
            return False
        if ticket.generation != gate.generation:
            return False  # refused in the name of credentials that are already replaced
        gate.begin_renewal(outcome is Outcome.REFUSED, self._clock.monotonic(), reason)
        return True

    def _delay(self, gate: Gate | None) -> float:
        """Seconds until it is worth asking again; 0: a call is reserved; inf: until a change."""
        if gate is not None:
            gate.check()
            if not gate.passable:
                return math.inf
        if self._in_flight >= self._adaptive.limit(self._ceiling):
            return math.inf
        held = self._held_until - self._clock.monotonic()
        if held > LONGEST_WISH_S:
            raise Transient(
                f"the platform asked everybody to wait, {held:.0f} s more; come back then",
                retry_after_s=held,
            )
        if held <= 0:
            held = self._pace.delay(self._clock.monotonic())
        return held if held > 0 else self._slots.reserve(self._rates)

    def _send(self, gate: Gate | None) -> Ticket:
        self._in_flight += 1
        self._pace.sent()
        alone = gate is not None and not gate.proven
        if gate is not None and alone:
            gate.busy = True
        return Ticket(gate, alone, self._clock.monotonic())

    def _settle(self) -> None:
        """The strictest of what the members want, and of what the platform named."""
        caps = [g.credentials.max_in_flight for g in self._gates if g.members]
        self._ceiling = min(
            [m.concurrency for m in self._members] + [c for c in caps if c is not None],
            default=1,
        )
        rates = {m.rate for m in self._members} | {self._named}
        self._rates = tuple(rate for rate in rates if rate is not None and not rate.unlimited)


class Registry:
    """The accounts of this process. A test takes one of its own."""

    def __init__(self, slots: Callable[[Origin, str, Clock], Slots] | None = None) -> None:
        """`slots` makes the source of slots for an origin and account; default: this process."""
        self._make_slots = slots or (lambda _origin, _account, clock: SlidingWindow(clock))
        self._lock = threading.Lock()
        self._accounts: dict[tuple[Origin, str], Account] = {}

    def account(self, origin: Origin, account: str, clock: Clock) -> Account:
        """The one account of this name; `clock` is used when it is the first to ask."""
        with self._lock:
            found = self._accounts.get((origin, account))
            if found is None:
                found = Account(clock, self._make_slots(origin, account, clock))
                self._accounts[origin, account] = found
            return found


ACCOUNTS = Registry()
"""The registry of a process; what it learnt of an account outlives the passes."""
