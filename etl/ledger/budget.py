"""One `rate_limit` for all processes of an account: they draw slots from one row of the database.

Strict: in no window does the platform receive more calls than the rate says, from all of them
together; a process that is stopped or killed costs the others its slots for a while, never more.
A thread speaks with the database, so that nobody who sends waits for it under a lock.
"""

from __future__ import annotations

import math
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from math import ceil
from typing import NamedTuple

from sqlalchemy import Connection, select, update

from etl.clock import Clock
from etl.db import Database, retriable
from etl.errors import DatabaseTrouble
from etl.http import Registry, Slots
from etl.http.address import Origin
from etl.http.budget import SlidingWindow, Slowed
from etl.http.hub import whose
from etl.ledger.insertion import insert_once
from etl.ledger.process import this_process
from etl.ledger.seats import server_now
from etl.ledger.tables import request_budgets
from etl.ledger.window import SECOND, SILENT_S, Holder, Window
from etl.units import Rate

_T = request_budgets.c
_EPOCH = datetime.fromtimestamp(0, UTC)
_TICK = timedelta(microseconds=1)
_STALE_S = 5.0
"""A slot that was not used by then is not used: others may think that its holder has died."""
_REST_S = 5.0
_AGAIN_S = 0.2
_REMEMBERED = 4096


def accounts(database: Database, seat: str = "live", slower: Rate | None = None) -> Registry:
    """The accounts of this process whose budgets are shared through `database`.

    What is asked from the seat `live` comes before what is asked from another. `slower` holds
    for these accounts alone, within what is shared.
    """
    with _making:
        return _accounts(database, seat, slower)


@lru_cache(maxsize=8)
def _accounts(database: Database, seat: str, slower: Rate | None) -> Registry:
    def slots(origin: Origin, account: str, clock: Clock) -> Slots:
        shared = SharedSlots(database, origin, account, clock, live=seat == "live")
        return shared if slower is None else Slowed(shared, slower, clock)

    return Registry(slots)


_making = threading.Lock()


class SharedSlots(Slots):
    """Slots of one account. Without a limit it leaves the database alone.

    `reserve` raises DatabaseTrouble once the database has been away for its `lease_s`.
    """

    def __init__(
        self,
        database: Database,
        origin: Origin,
        account: str,
        clock: Clock,
        *,
        live: bool = True,
    ) -> None:
        self._row = _Row(database, origin, account, live=live)
        self._patience_s = database.lease_s
        self._own = SlidingWindow(clock)
        self._wake: Callable[[], None] = lambda: None
        self._changed = threading.Condition()
        self._rates: tuple[Rate, ...] = ()
        self._askers: set[int] = set()
        """Who asked in vain since the last draw."""
        self._stock = 0
        self._on_the_way = 0
        self._arrived: deque[float] = deque(maxlen=_REMEMBERED)
        """When calls arrived that the database does not know of yet."""
        self._drawn_at = self._look_at = self._not_before = -math.inf
        self._trouble: Exception | None = None
        self._trouble_since = 0.0
        self._thread: threading.Thread | None = None
        self._resting = False

    def attach(self, wake: Callable[[], None]) -> None:
        self._wake = wake

    def reserve(self, rates: Iterable[Rate]) -> float:
        limits = tuple(sorted({r for r in rates if not r.unlimited}, key=lambda r: r.window_s))
        with self._changed:
            if limits and not self._in_stock(limits):
                return math.inf
            delay = self._own.reserve(limits)  # holds, whatever the database's clock does
            if delay <= 0:
                self._stock -= bool(limits)
                self._on_the_way += 1
            return delay

    def arrived(self) -> None:
        with self._changed:
            self._own.arrived()
            self._on_the_way -= 1
            self._arrived.append(time.monotonic())
            if len(self._arrived) == 1:
                self._changed.notify()

    def rest(self) -> None:
        """Tells the database what was used, and leaves it alone from then on."""
        with self._changed:
            self._askers.clear()
            thread = self._thread
            self._resting = thread is not None
            self._changed.notify()
        if thread is not None:
            thread.join(_REST_S)

    def _in_stock(self, limits: tuple[Rate, ...]) -> bool:
        now = time.monotonic()
        if limits != self._rates or now - self._drawn_at > _STALE_S:
            self._stock = 0
        self._rates = limits
        if self._stock > 0:
            return True
        self._askers.add(whose())
        self._changed.notify()
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="budget", daemon=True)
            self._thread.start()
        if self._trouble is not None and (
            now - self._trouble_since > self._patience_s or not retriable(self._trouble)
        ):
            raise DatabaseTrouble(f"no request budget: {self._trouble}") from self._trouble
        return False

    def _work(self) -> None:
        while True:
            leaving = self._wait_for_work()
            self._speak(leaving)
            if leaving and self._ended():
                return
            self._wake()

    def _wait_for_work(self) -> bool:
        """Returns when the database is to be spoken to; True: for the last time."""
        with self._changed:
            while not self._resting:
                wait_s = self._due() - time.monotonic()
                if wait_s <= 0:
                    return False
                self._changed.wait(None if math.isinf(wait_s) else wait_s)
            return True

    def _due(self) -> float:
        lag_s = min(1.0, min(rate.window_s for rate in self._rates) / 10)
        due = [math.inf]
        if self._askers and not self._stock:
            due.append(self._look_at)
        if self._arrived:
            due.append(self._arrived[0] + lag_s)
        if self._stock:
            due.append(self._drawn_at + lag_s)
        if self._on_the_way:
            due.append(self._drawn_at + SILENT_S / 3)
        return max(min(due), self._not_before)

    def _ended(self) -> bool:
        """True unless a new pass has come meanwhile."""
        with self._changed:
            self._resting = False
            if self._askers:
                return False
            self._thread = None
            self._trouble = None
            return True

    def _speak(self, leaving: bool) -> None:
        """Tells what arrived, gives back what was not used, draws what is waited for."""
        with self._changed:
            told, self._arrived = self._arrived, deque[float](maxlen=_REMEMBERED)
            rates, wanted, held = self._rates, len(self._askers), self._on_the_way
            self._askers.clear()
            self._stock = 0
        arrived = list(told)
        if leaving:  # what is still on its way has been cut off, or arrives about now
            arrived += [math.inf] * held
            wanted = held = 0
        try:
            drawn = self._row.exchange(arrived, held, wanted, rates)
        except Exception as error:  # noqa: BLE001 - raised again by whoever asks
            self._keep_trouble(error, told)
            return
        with self._changed:
            self._trouble = None
            self._drawn_at = drawn.at
            self._stock = drawn.slots if rates == self._rates else 0
            if wanted:
                self._look_at = drawn.look_at

    def _keep_trouble(self, error: Exception, told: deque[float]) -> None:
        with self._changed:
            now = time.monotonic()
            self._arrived.extendleft(reversed(told))
            if self._trouble is None:
                self._trouble_since = now
            self._trouble = error
            self._not_before = now + _AGAIN_S


class _Drawn(NamedTuple):
    """`at` and `look_at` are of this machine's monotonic clock."""

    slots: int
    at: float
    look_at: float


class _Row:
    """The account's row of `request_budgets`."""

    def __init__(self, database: Database, origin: Origin, account: str, *, live: bool) -> None:
        self._database = database
        self._origin = str(origin)
        self._account = account
        self._live = live
        self._me = uuid.uuid4().hex[:12]
        self._process = this_process()

    def exchange(
        self, arrived: Iterable[float], held: int, wanted: int, rates: tuple[Rate, ...]
    ) -> _Drawn:
        """One short transaction: what `arrived` (monotonic; not later than now), what is `held`
        beside, how many are `wanted`."""
        with self._database.writing() as connection:
            window = self._locked(connection)
            at = time.monotonic()
            now_ = server_now(connection)
            now = (now_ - _EPOCH) // _TICK
            holder = Holder(self._process, list(rates), held, now)
            window.holders[self._me] = holder
            window.tidy(now, self._me)
            window.add((now - ceil(max(0, at - moment) * SECOND) for moment in arrived), rates, now)
            slots, look_at = window.draw(wanted, now, live=self._live)
            holder.slots += slots
            if not holder.slots and not wanted:
                del window.holders[self._me]
            connection.execute(
                update(request_budgets)
                .where(_T.account == self._account)
                .values(sent_at=window.text(), origin=self._origin, updated_at=now_)
            )
        return _Drawn(slots, at, time.monotonic() + (look_at - now) / SECOND)

    def _locked(self, connection: Connection) -> Window:
        statement = select(_T.sent_at).where(_T.account == self._account).with_for_update()
        text = connection.execute(statement).scalar_one_or_none()
        if text is None:
            insert_once(
                connection,
                request_budgets,
                account=self._account,
                origin=self._origin,
                sent_at="{}",
                updated_at=server_now(connection),
            )
            text = connection.execute(statement).scalar_one()
        return Window.parse(text)
