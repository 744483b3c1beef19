"""The three ways to authenticate: a ready token, a token from IAM, an access key that signs.

A token of IAM is kept in the process for all sources of the same user, password and project;
it is renewed before it ends, and once when it is refused earlier.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Protocol
from urllib.parse import parse_qsl, urlsplit

import requests
from msgspec import Struct, field

from etl import redact
from etl.clock import Clock
from etl.errors import Malformed, Refused, Unauthorized, Usage
from etl.http import Credentials, Login, Reply
from etl.redact import Secret
from etl.sources.dataarts.settings import DataArtsSettings, Iam
from etl.values import Unreadable, instant, parse

MARGIN = timedelta(minutes=10)
"""A token of IAM is renewed so long before its end (a tenth of its life if that is shorter)."""
LIFE = timedelta(hours=24)
"""The life of a token whose end IAM did not say."""
SIGNED_IN_FLIGHT = 2
"""More than five bad attempts lock an access key: one that is revoked while it is used is tried as
often as it is in flight."""


def credentials(settings: DataArtsSettings, clock: Clock | None = None) -> Credentials:
    """The credentials that the settings name. Raises Usage when the signer is not installed."""
    if settings.token is not None:
        return ReadyToken(settings.token)
    if settings.iam is not None:
        return IamToken(settings.iam, settings.project_id, clock or Clock())
    if settings.access_key is None or settings.secret_key is None:
        raise AssertionError("the settings were checked when they were made")
    return SignedKey(
        settings.access_key, settings.secret_key, settings.project_id, clock or Clock()
    )


class ReadyToken:
    """A token from somebody else; a refused one is read again at its origin."""

    max_in_flight: int | None = None

    def __init__(self, token: Secret) -> None:
        self._token = token

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ReadyToken) and other._token == self._token

    def __hash__(self) -> int:
        return hash(ReadyToken)

    def apply(self, request: requests.PreparedRequest) -> None:
        request.headers["X-Auth-Token"] = self._token.reveal()

    def renew(self, login: Login) -> bool:  # noqa: ARG002 - a token cannot be fetched
        return self._token.reload()


class _Held(Struct):
    """The token of one user, shared; `lock` lets one login happen at a time."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    token: str | None = None
    renew_at: datetime | None = None


_held: dict[str, _Held] = {}
_held_lock = threading.Lock()


class IamToken:
    """A token that IAM gives for a user's password, scoped to the project."""

    max_in_flight: int | None = None

    def __init__(self, iam: Iam, project_id: str, clock: Clock) -> None:
        self._iam = iam
        self._project_id = project_id
        self._clock = clock
        self._refused: str | None = None
        self._name = _name(iam, project_id)
        with _held_lock:
            self._shared = _held.setdefault(self._name, _Held())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, IamToken) and other._name == self._name

    def __hash__(self) -> int:
        return hash(self._name)

    def apply(self, request: requests.PreparedRequest) -> None:
        """Raises Unauthorized before the first login and when the token is about to end."""
        token = self._token()
        if token is None:
            raise Unauthorized("no token of IAM yet")
        self._refused = token
        request.headers["X-Auth-Token"] = token

    def renew(self, login: Login) -> bool:
        """Logs in, unless another source has done so since the token in hand was refused."""
        with self._shared.lock:
            token = self._token()
            if token is not None and token != self._refused:
                return True
            self._take(self._ask(login))
            return True

    def _token(self) -> str | None:
        held = self._shared
        if held.renew_at is None or self._clock.now() >= held.renew_at:
            return None
        return held.token

    def _ask(self, login: Login) -> Reply:
        reply = self._log_in(login)
        if reply.status == 401 and self._iam.password.reload():
            reply = self._log_in(login)
        if reply.status == 401:
            raise Unauthorized(
                f"IAM refuses user {self._iam.username!r} of domain {self._iam.domain!r} "
                f"for project {self._project_id!r}: {_said(reply)}"
            )
        if reply.status not in (200, 201):
            raise Refused(
                f"IAM at {self._iam.url} gives no token: {_said(reply)}; is iam.url right?"
            )
        return reply

    def _log_in(self, login: Login) -> Reply:
        user = {
            "name": self._iam.username,
            "password": self._iam.password.reveal(),
            "domain": {"name": self._iam.domain},
        }
        identity = {"methods": ["password"], "password": {"user": user}}
        scope = {"project": {"id": self._project_id}}
        return login(
            "POST",
            f"{self._iam.url.rstrip('/')}/v3/auth/tokens",
            headers={"Content-Type": "application/json"},
            json={"auth": {"identity": identity, "scope": scope}},
            judge=self._has_token,
        )

    def _has_token(self, reply: Reply) -> str | None:
        """The token that a good answer must carry; a proxy's page with 200 carries none."""
        token = reply.headers.get("X-Subject-Token")
        if not token and reply.status in (200, 201):
            raise Malformed(f"IAM at {self._iam.url} answered without X-Subject-Token")
        return token

    def _take(self, reply: Reply) -> None:
        token = reply.headers["X-Subject-Token"]
        redact.known(token)
        now = self._clock.now()
        life = (_expiry(reply) or now + LIFE) - now
        if life <= timedelta(0):  # nobody gives a token that has ended: this clock is fast
            life = LIFE
        self._shared.token = token
        self._shared.renew_at = now + life - min(MARGIN, life / 10)


def _name(iam: Iam, project_id: str) -> str:
    who = (iam.url.rstrip("/"), iam.domain, iam.username, iam.password.reveal(), project_id)
    return hashlib.sha256(repr(who).encode("utf-8", "surrogatepass")).hexdigest()


def _expiry(reply: Reply) -> datetime | None:
    """`token.expires_at` of IAM's answer; None when it cannot be read."""
    try:
        content = parse(reply.body)
        return instant(content["token"]["expires_at"])
    except (Malformed, Unreadable, KeyError, TypeError):
        return None


def _said(reply: Reply) -> str:
    text = " ".join(reply.body[:200].decode("utf-8", "replace").split())
    return f"HTTP {reply.status} {text}"


class _Signer(Protocol):
    """What is used of the vendor's package, which carries no types."""

    def sign(self, request: Any) -> Any: ...


class SignedKey:
    """An access key: each attempt is signed anew by the vendor's signer."""

    max_in_flight: int | None = SIGNED_IN_FLIGHT

    def __init__(self, access_key: str, secret_key: Secret, project_id: str, clock: Clock) -> None:
        """Raises Usage when the vendor's package is missing."""
        self._access_key = access_key
        self._secret_key = secret_key
        self._project_id = project_id
        self._clock = clock
        self._signer, self._request = _vendor()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SignedKey) and other._who() == self._who()

    def __hash__(self) -> int:
        return hash(self._access_key)

    def _who(self) -> tuple[str, Secret, str]:
        return self._access_key, self._secret_key, self._project_id

    def apply(self, request: requests.PreparedRequest) -> None:
        address = urlsplit(request.url or "")
        signed = self._request(
            method=request.method,
            schema=address.scheme,
            host=_host(address.hostname or "", address.port, address.scheme),
            resource_path=address.path,
            query_params=parse_qsl(address.query, keep_blank_values=True),
            header_params={
                "X-Sdk-Date": self._clock.now().strftime("%Y%m%dT%H%M%SZ"),
                "X-Project-Id": self._project_id,
            },
            body=request.body or "",
        )
        self._signer(self._access_key, self._secret_key.reveal()).sign(signed)
        for name in ("X-Sdk-Date", "X-Project-Id", "Authorization"):
            request.headers[name] = signed.header_params[name]

    def renew(self, login: Login) -> bool:  # noqa: ARG002 - a key cannot be fetched
        return self._secret_key.reload()


def _host(name: str, port: int | None, scheme: str) -> str:
    """The Host header as it will be sent: the port only when it is not the scheme's own."""
    name = f"[{name}]" if ":" in name else name
    return name if port in (None, {"http": 80, "https": 443}.get(scheme)) else f"{name}:{port}"


def _vendor() -> tuple[Callable[[str, str], _Signer], Callable[..., Any]]:
    try:
        from huaweicloudsdkcore.auth.credentials import (  # noqa: PLC0415 - an extra of few
            BasicCredentials,
        )
        from huaweicloudsdkcore.sdk_request import SdkRequest  # noqa: PLC0415
        from huaweicloudsdkcore.signer.signer import Signer  # noqa: PLC0415
    except ImportError:
        raise Usage(
            "signing with access_key needs the vendor's package; run: pip install 'etl[huawei]'"
        ) from None
    return lambda access, secret: Signer(BasicCredentials(access, secret)), SdkRequest
