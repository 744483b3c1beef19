"""What a platform tells `http` about itself, and what it gets back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Protocol

import requests
from msgspec import Struct, field

from etl.http.address import shown
from etl.spool import Texts
from etl.units import Rate
from etl.values import Json, parse


def _now() -> datetime:
    return datetime.now(UTC)


class Reply(Struct, frozen=True):
    """One HTTP reply, read to its end and unpacked.

    `texts` are those that were taken out of a large `body`: `content` has them in their places.
    `headers` ignores case; `address` is what was asked for, and may hold secrets; `received_at` is
    what an HTTP date in Retry-After is measured against when the reply has no Date.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    address: str
    received_at: datetime = field(default_factory=_now)
    texts: Texts | None = None

    @property
    def size(self) -> int:
        """Unpacked bytes of the whole body."""
        return len(self.body) if self.texts is None else self.texts.size

    def content(self) -> Json:
        """The body parsed (see `etl.values.parse`); of a large one with `SpooledText`s where its
        platform's `long_texts` are. Raises Malformed."""
        content = parse(self.body)
        return content if self.texts is None else self.texts.put_back(content)

    @property
    def url(self) -> str:
        """The address without its secrets."""
        return shown(self.address)


class Answer(Struct, frozen=True):
    """What a call brought: the judged content, when it was asked for, the body's unpacked bytes."""

    content: Json
    asked_at: datetime
    size: int


class Login(Protocol):
    """One call through the same budget, retries and redaction, without credentials.

    Returns whatever reply is no overload (so 400 and 401 too); raises Transient or Refused.
    `judge` may raise before that: what it calls Transient or Malformed is asked for again.
    """

    def __call__(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        json: Any = None,
        judge: Judge | None = None,
    ) -> Reply: ...


class Credentials(Protocol):
    """Who asks. Platforms of one account whose credentials compare equal share one login.

    By default two objects are never equal; a class that wants to be shared (ten workspaces of
    one token) defines `__eq__` over what the login depends on.
    """

    @property
    def max_in_flight(self) -> int | None:
        """At most so many calls at once; None: as many as `concurrency` allows."""

    def apply(self, request: requests.PreparedRequest) -> None:
        """Signs one attempt, or sets its header or cookie.

        Raises Unauthorized when there is nothing to show yet: `renew` is then called before
        anything is sent, and no refusal is counted.
        """

    def renew(self, login: Login) -> bool:
        """Fetches new credentials; False when there are none to try.

        Never called twice at once. May raise Unauthorized, Refused or Transient.
        """


Judge = Callable[[Reply], Json]


class Platform(Struct, frozen=True):
    """How to speak with one platform.

    `account` is a hash of who asks at this origin: platforms with the same share one budget.
    `judge` returns the content of a reply or raises one of the errors of `etl.errors`.
    """

    url: str
    account: str
    credentials: Credentials
    judge: Judge
    headers: Mapping[str, str] = field(default_factory=dict)
    rate_limit: Rate | None = None
    long_texts: frozenset[str] = frozenset()
    """Names of members whose texts may be longer than memory; a `judge` that gets them uses
    `Reply.content`."""


class HttpSettings(Protocol):
    """What `http` reads of a source's settings (`etl.source.Settings`)."""

    @property
    def concurrency(self) -> int: ...
    @property
    def rate_limit(self) -> Rate | None: ...
    @property
    def timeout(self) -> float: ...
    @property
    def max_body(self) -> int: ...
    @property
    def verify_tls(self) -> bool: ...
    @property
    def ca_bundle(self) -> str | None: ...
