"""What the tests of `etl.http` share: a clock without waits, credentials, a platform."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from datetime import UTC, datetime, timedelta
from typing import Any

import requests
from hostile_server import Call, answer

from etl import values
from etl.clock import Clock
from etl.http import Api, Credentials, Login, Platform, Registry, Reply, judge_status, open_api
from etl.source import Settings
from etl.units import Duration, Rate, Size
from etl.values import Json

START = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


class FakeClock(Clock):
    """Time stands still except while somebody waits; then it jumps, and the wait is kept."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._at = 1000.0
        self.waits: list[float] = []
        self.on_wait: Callable[[float], None] = lambda _: None

    def now(self) -> datetime:
        return START + timedelta(seconds=self._at - 1000)

    def monotonic(self) -> float:
        return self._at

    def wait(self, event: threading.Event, seconds: float) -> bool:
        with self._lock:
            until = self._at + seconds
            self.waits.append(seconds)
        self.on_wait(seconds)
        with self._lock:
            self._at = max(self._at, until)
        return event.is_set()

    def advance(self, seconds: float) -> None:
        with self._lock:
            self._at += seconds


class Open:
    """Credentials that nobody asks for."""

    max_in_flight: int | None = None

    def apply(self, request: requests.PreparedRequest) -> None:
        request.headers["X-Open"] = "yes"

    def renew(self, login: Login) -> bool:
        return False


class Token:
    """A token that a login renews: each of `tokens` in turn."""

    def __init__(self, *tokens: str, max_in_flight: int | None = None) -> None:
        self.max_in_flight = max_in_flight
        self.tokens = list(tokens)
        self.renewals = 0

    def apply(self, request: requests.PreparedRequest) -> None:
        request.headers["X-Auth-Token"] = self.tokens[0]
        request.headers["Cookie"] = f"session={self.tokens[0]}"
        request.headers["Authorization"] = f"Bearer {self.tokens[0]}"

    def renew(self, login: Login) -> bool:
        self.renewals += 1
        if len(self.tokens) == 1:
            return False
        self.tokens.pop(0)
        return True


def judge(reply: Reply) -> Json:
    """Plain HTTP and JSON."""
    judge_status(reply)
    return values.parse(reply.body)


def platform(
    url: str,
    credentials: Credentials | None = None,
    *,
    account: str = "account",
    rate_limit: Rate | None = None,
) -> Platform:
    return Platform(url, account, credentials or Open(), judge, rate_limit=rate_limit)


def settings(**changes: Any) -> Settings:
    """Settings of a source with short timeouts."""
    given: dict[str, Any] = {"api": "test", "timeout": Duration(5), **changes}
    if "max_body" in given:
        given["max_body"] = Size(given["max_body"])
    return Settings(**given)


def opened(
    url: str,
    credentials: Credentials | None = None,
    *,
    clock: Clock | None = None,
    stop: threading.Event | None = None,
    accounts: Registry | None = None,
    rate_limit: Rate | None = None,
    **changes: Any,
) -> Api:
    """An open `Api` with a clock and accounts of its own."""
    return open_api(
        platform(url, credentials, rate_limit=rate_limit),
        settings(**changes),
        stop=stop or threading.Event(),
        clock=clock or FakeClock(),
        accounts=accounts or Registry(),
    )


REFUSED = answer("", 401)


def accepting(*tokens: str) -> Callable[[Call], None]:
    """A play that knows good tokens."""
    return lambda call: call.send(
        answer() if call.seen.headers.get("x-auth-token") in tokens else REFUSED
    )


def all_at_once(api: Api, calls: int) -> list[type[BaseException] | None]:
    """What each of `calls` concurrent calls came to: None, or its error."""
    futures = api.map(lambda number: api.get(f"/{number}"), range(calls))
    wait(futures, 10)
    return [kind_of(future) for future in futures]


def kind_of(future: Future[Any]) -> type[BaseException] | None:
    error = future.exception(0)
    return None if error is None else type(error)
