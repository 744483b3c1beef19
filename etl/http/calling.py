"""One question to its answer: admitted, signed, sent, followed, judged, and asked again."""

from __future__ import annotations

import json as json_
import logging
import re
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from http import HTTPStatus
from typing import Any, TypeVar
from urllib.parse import urljoin

import requests
from msgspec import Struct
from msgspec.structs import replace

from etl.clock import Clock
from etl.errors import (
    EtlError,
    Malformed,
    Refused,
    SourceFailed,
    Transient,
    Unauthorized,
    Usage,
)
from etl.http.account import Account, Outcome, Ticket
from etl.http.address import Origin, origin_of, shown
from etl.http.exchange import Prepared
from etl.http.gate import Gate
from etl.http.halt import Halt
from etl.http.hub import aside, give_way
from etl.http.judging import describe, excerpt, is_overload, judge_status, named_limit, retry_wish
from etl.http.platform import Answer, Judge, Reply
from etl.http.retrying import Patience
from etl.http.wire import Headers, Silence, Wire
from etl.redact import known, masked

log = logging.getLogger("etl.http")

V = TypeVar("V")

ATTEMPTS = 5
COMMON_HEADERS = {"User-Agent": "etl", "Accept": "application/json", "Accept-Encoding": "gzip"}
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_KEEP_THE_METHOD = frozenset({307, 308})
_HOPS = 5
_SECRET_HEADER = re.compile("auth|cookie|token|key|secret|signature", re.IGNORECASE)
_SECRET_LENGTH = 16


class Question(Struct, frozen=True):
    """What is asked, apart from who asks. `hops`: how many redirects led here."""

    method: str
    url: str
    headers: Headers
    body: bytes | None = None
    hops: int = 0

    @property
    def where(self) -> str:
        return f"{self.method} {shown(self.url)}"

    def prepared(self) -> Prepared:
        """As it goes on the wire, but for what the credentials add."""
        headers = self.headers.copy()
        if self.body is not None:
            headers["Content-Length"] = str(len(self.body))
        return Prepared(self.method, self.url, headers, self.body)


class Counters:
    """What one `Api` has cost so far."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.requests = self.retries = self.bytes_read = 0

    def add(self, *, requests: int = 0, retries: int = 0, bytes_read: int = 0) -> None:
        with self._lock:
            self.requests += requests
            self.retries += retries
            self.bytes_read += bytes_read


class Caller:
    """Asks one platform in the name of one set of credentials."""

    def __init__(  # noqa: PLR0913 - it is where everything else of `http` meets
        self, wire: Wire, account: Account, gate: Gate, halt: Halt, clock: Clock, judge: Judge
    ) -> None:
        self._wire = wire
        self._account = account
        self._gate = gate
        self._halt = halt
        self._clock = clock
        self._judge = judge
        self.counters = Counters()

    def get(self, question: Question, attempts: int) -> Answer:
        """The judged answer, asked for `attempts` times at most."""
        return self._repeated(question, attempts, self._answer, self._gate_is_open)

    def login(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        json: Any = None,
        judge: Judge | None = None,
    ) -> Reply:
        """See `platform.Login`."""
        body = None if json is None else json_.dumps(json).encode()
        content = {"Content-Type": "application/json"} if body is not None else {}
        sent = Headers({**COMMON_HEADERS, **content, **(headers or {})})
        question = Question(method, url, sent, body)
        origin_of(url)
        return self._repeated(question, ATTEMPTS, partial(self._reply, judge), lambda: True)

    def _repeated(
        self,
        question: Question,
        attempts: int,
        once: Callable[[Question, Silence], V],
        again: Callable[[], bool],
    ) -> V:
        patience = Patience(attempts, self._halt)
        try:
            return once(question, patience.silence)
        except (Transient, Malformed) as error:
            failed: SourceFailed | None = error

        def attempt() -> V:
            nonlocal failed
            if failed is not None:  # the first attempt, which tenacity is only told of
                first, failed = failed, None
                raise first
            self.counters.add(retries=1)
            return once(question, patience.silence)

        return patience.retrying(again)(attempt)

    def _gate_is_open(self) -> bool:
        return not self._gate.is_shut

    def _answer(self, question: Question, silence: Silence) -> Answer:
        """One attempt: redirects are followed, and refused credentials renewed."""
        again = False
        while True:
            request = question.prepared()
            ticket = self._account.admit(self._gate, self._halt)
            asked_at = self._clock.now()
            if again:
                self.counters.add(retries=1)
            try:
                reply = self._send(question, request, ticket, silence)
                moved = _moved(question, reply)
                content = None if moved is not None else self._judged(question, reply, ticket)
            except Unauthorized as error:
                refusal = str(error)
            except BaseException as error:
                self._account.done(ticket, _outcome(error))
                raise
            else:
                self._account.done(ticket, Outcome.ACCEPTED if moved is None else Outcome.OTHER)
                if moved is None:
                    give_way()
                    return Answer(content, asked_at, reply.size)
                question, again = moved, False
                continue
            self._after_refusal(ticket, refusal)
            again = ticket.sent

    def _after_refusal(self, ticket: Ticket, refusal: str) -> None:
        """Returns when the question may be asked again."""
        outcome = Outcome.REFUSED if ticket.sent else Outcome.UNSIGNED
        refusal = masked(refusal)
        if not self._account.done(ticket, outcome, refusal):
            return
        log.info("the credentials are renewed: %s", refusal)
        failure: SourceFailed | None = None
        try:
            if not aside(partial(self._gate.credentials.renew, self.login)):
                failure = Unauthorized(refusal)
        except SourceFailed as error:
            failure = _clean(error)
        finally:
            self._account.renewed(self._gate, failure)

    def _reply(self, judge: Judge | None, question: Question, silence: Silence) -> Reply:
        """One attempt of a login."""
        while True:
            request = question.prepared()
            ticket = self._account.admit(None, self._halt)
            try:
                reply = self._send(question, request, ticket, silence)
                moved = _moved(question, reply)
                if moved is None and judge is not None:
                    self._judged(question, reply, ticket, judge)
                if is_overload(reply.status):
                    self._judged(question, reply, ticket, judge_status)
            except BaseException as error:
                self._account.done(ticket, _outcome(error))
                raise
            self._account.done(ticket, Outcome.OTHER)
            if moved is None:
                return reply
            question = moved

    def _send(
        self, question: Question, request: Prepared, ticket: Ticket, silence: Silence
    ) -> Reply:
        if ticket.gate is not None:
            ticket.gate.credentials.apply(request)
            _remember(question, request, ticket)
        ticket.sent = True
        self.counters.add(requests=1)
        try:
            reply = self._wire.exchange(request, silence, lambda: self._account.arrived(ticket))
        except SourceFailed as error:
            failure = _placed(question, error)
        else:
            self.counters.add(bytes_read=reply.size)
            if log.isEnabledFor(logging.DEBUG):
                took_ms = (time.perf_counter() - ticket.began) * 1000
                size = reply.size
                log.debug("%s: %d, %d bytes, %.0f ms", question.where, reply.status, size, took_ms)
            return reply
        raise failure

    def _judged(
        self, question: Question, reply: Reply, ticket: Ticket, judge: Judge | None = None
    ) -> Any:
        try:
            return (judge or self._judge)(reply)
        except SourceFailed as error:
            failure = _placed(question, error, reply)
        if isinstance(failure, Transient):
            self._heed(failure, reply, ticket)
        raise failure  # outside the handler: its context may hold the whole body

    def _heed(self, failure: Transient, reply: Reply, ticket: Ticket) -> None:
        """What the platform asks of everybody: a pause, a rate."""
        if failure.retry_after_s is None:
            failure.retry_after_s = retry_wish(reply)
        if reply.status == HTTPStatus.TOO_MANY_REQUESTS:
            self._account.throttled(ticket, failure.retry_after_s)
        if failure.retry_after_s is not None:
            self._account.hold(failure.retry_after_s)
        limit = named_limit(reply)
        if limit is not None and self._account.learn(limit):
            log.warning("%s: the platform names its limit, %s; kept from now on", reply.url, limit)


def _outcome(error: BaseException) -> Outcome:
    return Outcome.TROUBLE if isinstance(error, Transient | Malformed) else Outcome.OTHER


def _moved(question: Question, reply: Reply) -> Question | None:
    """The question that a redirect leads to; None if it is none.

    Raises Refused for another origin: credentials never leave theirs.
    """
    if reply.status not in _REDIRECTS or not (location := reply.headers.get("Location")):
        return None
    where = f"{question.where}: HTTP {reply.status}"
    here = origin_of(question.url)
    url, there = _target(question.url, location)
    if there is None:
        raise Refused(f"{where} redirects to what is no address; check url:")
    if there != here:
        raise Refused(
            f"{where} redirects from {here} to another origin, {there}, where credentials are "
            f"never sent; if it is the right one, set url: to {there}"
        )
    if question.hops == _HOPS:
        raise Refused(f"{where} redirects for ever; check url:")
    if question.body is not None and reply.status not in _KEEP_THE_METHOD:
        raise Refused(f"{where} redirects a login; check url:")
    return replace(question, url=url, hops=question.hops + 1)


def _target(url: str, location: str) -> tuple[str, Origin | None]:
    try:
        joined = urljoin(url, location)
        return joined, origin_of(joined)
    except (ValueError, Usage):
        return "", None


def _placed(question: Question, error: SourceFailed, reply: Reply | None = None) -> SourceFailed:
    """The same error, saying where, what came, and no secret."""
    message, url = str(error), shown(question.url)
    if isinstance(error, Malformed) and reply is not None:
        began = excerpt(reply.body)
        came = f"begins {began!r}" if began else "is empty"
        message = f"HTTP {reply.status}, {message}; it {came}"
    elif not message and reply is not None:
        message = describe(reply)
    if message.startswith(url):
        message = f"{question.method} {message}"
    elif url not in message:
        message = f"{question.where}: {message}"
    error.args = (message,)
    return _clean(error)


E = TypeVar("E", bound=EtlError)


def _clean(error: E) -> E:
    """Masked, and cut off from whatever it was made from."""
    error.args = (masked(str(error)),)
    error.__cause__ = error.__context__ = None
    return error


def _remember(question: Question, request: requests.PreparedRequest, ticket: Ticket) -> None:
    """Registers what the credentials put into the headers: a platform may echo it."""
    gate = ticket.gate
    if gate is None or gate.known_generation == ticket.generation:
        return
    gate.known_generation = ticket.generation
    for name, value in request.headers.items():
        if _SECRET_HEADER.search(name) and question.headers.get(name) != value:
            for piece in re.split(r"[\s;,=]+", str(value)):
                if len(piece) >= _SECRET_LENGTH:
                    known(piece)
