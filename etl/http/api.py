"""What a reader gets: calls that are paced, signed, repeated, judged and counted."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from types import TracebackType
from typing import TypeVar

from etl.clock import Clock
from etl.http.account import ACCOUNTS, Member, Registry
from etl.http.address import base_of, origin_of, target
from etl.http.calling import ATTEMPTS, COMMON_HEADERS, Caller, Question
from etl.http.halt import Halt
from etl.http.platform import Answer, HttpSettings, Platform
from etl.http.pool import Pool
from etl.http.wire import Headers, Wire
from etl.units import Rate

T = TypeVar("T")
R = TypeVar("R")


class Api:
    """One platform, open for one pass. Safe from any thread; close it when the pass is over."""

    def __init__(  # noqa: PLR0913 - what a pass is made from
        self,
        platform: Platform,
        settings: HttpSettings,
        stop: threading.Event,
        clock: Clock,
        accounts: Registry,
        attempts: int,
    ) -> None:
        self._attempts = attempts
        self._base = base_of(platform.url)
        self._headers = Headers({**COMMON_HEADERS, **platform.headers})
        self._halt = Halt(stop, clock)
        self._wire = Wire(self._base, settings, self._halt, clock, platform.long_texts)
        self._pool = Pool(settings.concurrency, self._halt)
        self._account = accounts.account(origin_of(platform.url), platform.account, clock)
        self._member = Member(settings.concurrency, settings.rate_limit or platform.rate_limit)
        self._gate = self._account.join(self._member, platform.credentials)
        self._caller = Caller(
            self._wire, self._account, self._gate, self._halt, clock, platform.judge
        )
        self._closing = threading.Lock()
        self._closed = False

    @property
    def requests(self) -> int:
        """Every HTTP call so far: retries, redirects and logins included."""
        return self._caller.counters.requests

    @property
    def retries(self) -> int:
        """Calls that were made again, after a failure or with new credentials."""
        return self._caller.counters.retries

    @property
    def bytes_read(self) -> int:
        """Bytes of all bodies that came whole, unpacked."""
        return self._caller.counters.bytes_read

    @property
    def in_flight(self) -> int:
        """Calls of the account that are on their way, from all that this process reads with it."""
        return self._account.in_flight

    @property
    def rates(self) -> tuple[Rate, ...]:
        """The limits that hold for the account now; unlimited ones are left out."""
        return self._account.rates

    def get(
        self,
        path: str,
        params: Mapping[str, str | int] | None = None,
        *,
        attempts: int | None = None,
    ) -> Answer:
        """Asks for `path` below the platform's url, again where that may help.

        Raises what the platform's judge says, TooLarge, Refused (another origin, a certificate),
        Unauthorized, Transient or Malformed when `attempts` are used up, and Stopped.
        """
        question = Question("GET", self._base + target(path, params), self._headers)
        return self._caller.get(question, min(attempts or self._attempts, self._attempts))

    def map(self, function: Callable[[T], R], items: Iterable[T]) -> list[Future[R]]:
        """`function` of each item, by readers that take turns in one thread, in order.

        Others go on while one waits in `get` or `pause`, not while it does anything else. Called
        by one of them it is done there, at once. When it is time to end the futures raise
        Stopped; `close` cancels those that have not begun.
        """
        return self._pool.map(function, items)

    def pause(self, seconds: float) -> None:
        """Waits. Raises Stopped as soon as it is time to end."""
        self._halt.wait(seconds)

    def close(self) -> None:
        """Ends whatever is still on its way with Stopped; waits for nobody."""
        with self._closing:
            if self._closed:
                return
            self._closed = True
        self._halt.set()
        self._pool.close()
        self._wire.close()
        self._account.leave(self._member, self._gate)

    def __enter__(self) -> Api:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


SYSTEM_CLOCK = Clock()


def open_api(  # noqa: PLR0913 - what a pass is made from
    platform: Platform,
    settings: HttpSettings,
    *,
    stop: threading.Event,
    clock: Clock = SYSTEM_CLOCK,
    accounts: Registry = ACCOUNTS,
    attempts: int = ATTEMPTS,
) -> Api:
    """An `Api` for one pass; use it as a context manager. Nothing is sent yet.

    `stop` ends every wait and every call. `accounts` remembers budgets and logins between
    passes; only a test has one of its own. No call is made more than `attempts` times.
    Raises Usage for a url that is none.
    """
    return Api(platform, settings, stop, clock, accounts, attempts)
