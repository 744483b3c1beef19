"""The two ways into Explorer: a ready token, or a login that gives one.

The token travels as a cookie that is set by hand on every attempt. It contains the password, so it
is treated as one. A session that was lost is told by its error code; a login follows only then.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable

import requests

from etl import redact
from etl.errors import BadRequest, Malformed, Refused, SourceFailed, Transient, Unauthorized
from etl.http import Credentials, Reply
from etl.http import Login as Call
from etl.http.judging import retry_wish
from etl.redact import Secret
from etl.sources.explorer.answers import judge
from etl.sources.explorer.settings import PREFIX, ExplorerSettings, Login
from etl.values import Json

COOKIE = "explorer_token"
_LATER = (408, 425, 429)
"""HTTP's own words for: again, as it was."""
_SET_COOKIE = re.compile(rf'(?:^|[,;\s]){COOKIE}="?([^;,\s"#]+)')


def credentials(settings: ExplorerSettings) -> Credentials:
    """The way that the settings name."""
    if settings.token is not None:
        return ReadyToken(settings.token)
    if settings.login is not None:
        return Session(settings.login, settings.base_url)
    raise AssertionError("the settings were checked when they were made")


class ReadyToken:
    """A token from somebody else; a refused one is read again where it was written."""

    max_in_flight: int | None = None

    def __init__(self, token: Secret) -> None:
        self._token = token

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ReadyToken) and other._token == self._token

    def __hash__(self) -> int:
        return hash(ReadyToken)

    def apply(self, request: requests.PreparedRequest) -> None:
        token = self._token.reveal().strip().removeprefix(f"{COOKIE}=")
        request.headers["Cookie"] = f"{COOKIE}={token}"

    def renew(self, login: Call) -> bool:  # noqa: ARG002 - a ready token cannot be fetched
        if self._token.reload():
            return True
        raise Unauthorized(
            "Explorer refuses the token (it lives three days, and not over a restart of the "
            "server); set a new one in token:, or set login: to have it fetched"
        )


class Session:
    """A session of one user; sources of the same user share it."""

    max_in_flight: int | None = None

    def __init__(self, login: Login, base_url: str) -> None:
        self._login = login
        self._url = f"{base_url}{PREFIX}/connect"
        self._token: str | None = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Session) and (other._login, other._url) == (self._login, self._url)

    def __hash__(self) -> int:
        return hash((self._url, self._login.username))

    def apply(self, request: requests.PreparedRequest) -> None:
        """Raises Unauthorized before the first login."""
        if self._token is None:
            raise Unauthorized("not logged in yet")
        request.headers["Cookie"] = f"{COOKIE}={self._token}"

    def renew(self, login: Call) -> bool:
        """Logs in. The form changed with Explorer 3.3: the newer one first, each once.

        A server that does not know the newer form may call it an error of its own (5xx); where it
        refuses the older one then, the newer was right and the server is in trouble.
        Raises Unauthorized when both are refused, saying how; Refused when it is not for who asks.
        """
        self._token = None
        pair = [self._login.username, self._login.password.reveal()]
        newer = json.dumps(pair)
        refusals: list[SourceFailed] = []
        for text, judged in ((newer, _entered_or_else), (":".join(pair), _entered)):
            try:
                self._token = self._enter(login, text, judged)
            except (Refused, Unauthorized) as error:
                refusals.append(error)
            else:
                return True
        if isinstance(refusals[0], _InTrouble):
            self._token = self._enter(login, newer, _entered)
            return True
        for refusal in refusals:
            if not isinstance(refusal, BadRequest | Unauthorized):
                raise refusal
        raise Unauthorized(
            f"Explorer refuses the login of {self._login.username!r}: "
            f"{'; '.join(dict.fromkeys(map(str, refusals)))}; "
            "check username, password, address and port"
        )

    def _enter(self, login: Call, text: str, judged: Callable[[Reply], Json]) -> str:
        bearer = base64.b64encode(text.encode("utf-8", "surrogatepass")).decode()
        redact.known(bearer)
        graph = {"address": self._login.address, "port": self._login.port}
        headers = {"Authorization": f"Bearer {bearer}", "Content-Type": "application/json"}
        return _token_of(login("POST", self._url, headers=headers, json=graph, judge=judged))


def _entered(reply: Reply) -> Json:
    """Judges the answer to a login, which must bring a token."""
    judge(reply)
    return _token_of(reply)


class _InTrouble(BadRequest):
    """The server calls a login an error of its own: another form may do."""


def _entered_or_else(reply: Reply) -> Json:
    """As `_entered`, but an error of the server is not asked about again in the same form."""
    try:
        return _entered(reply)
    except Transient as error:
        if reply.status in _LATER or retry_wish(reply) is not None:
            raise
        raise _InTrouble(str(error)) from None


def _token_of(reply: Reply) -> str:
    """The token in Set-Cookie, whatever stands around it (a published sample has a stray `#`)."""
    found = _SET_COOKIE.search(reply.headers.get("Set-Cookie", ""))
    if found is None:
        raise Malformed(f"{reply.url}: the login was accepted but set no cookie {COOKIE}")
    redact.known(found[1])
    return found[1]
