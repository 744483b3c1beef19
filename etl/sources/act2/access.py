"""How to speak with an Act2 master: its mandatory header, HTTP Basic, and what an answer means.

Two shapes are judged alike: the live server's envelope (errors come with HTTP 200), and the
documented one (the content itself; errors are HTTP 400 or 500 with a message).
"""

from __future__ import annotations

import base64
from http import HTTPStatus

import requests

from etl import redact
from etl.errors import (
    BadRequest,
    Gone,
    Malformed,
    Refused,
    SourceFailed,
    Transient,
    Unauthorized,
)
from etl.http import Login, Platform, Reply, judge_status
from etl.redact import Secret
from etl.sources.act2 import shapes
from etl.sources.act2.book import PAGE
from etl.sources.act2.reading import DETAIL
from etl.sources.act2.settings import Act2Settings, account
from etl.values import Json, parse

OUTPUTS = frozenset({"stdout", "stderr"})
"""What a host printed: of any length."""

_JSON = "application/json"
_ENVELOPE_ALONE = frozenset({"status", "message", "code"})


def platform(settings: Act2Settings) -> Platform:
    """Origin, credentials and judge of one master."""
    return Platform(
        url=settings.base_url,
        account=account(settings),
        credentials=Basic(settings.username, settings.password),
        judge=judge,
        headers={"Content-Type": _JSON, "Accept": _JSON},
        long_texts=OUTPUTS,
    )


class Basic:
    """HTTP Basic, sent without being asked for: Act2 never challenges. None: no credentials."""

    max_in_flight: int | None = None

    def __init__(self, username: str | None, password: Secret | None) -> None:
        self._username = username
        self._password = password
        self._registered = ""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Basic) and other._who() == self._who()

    def __hash__(self) -> int:
        return hash(self._username)

    def _who(self) -> tuple[str | None, Secret | None]:
        return self._username, self._password

    def apply(self, request: requests.PreparedRequest) -> None:
        if self._username is None or self._password is None:
            return
        both = f"{self._username}:{self._password.reveal()}".encode()
        encoded = base64.b64encode(both).decode()
        if encoded != self._registered:
            redact.known(encoded)
            self._registered = encoded
        request.headers["Authorization"] = f"Basic {encoded}"

    def renew(self, login: Login) -> bool:  # noqa: ARG002 - Basic has no login
        return self._password is not None and self._password.reload()


def judge(reply: Reply) -> Json:
    """The content of a good reply, whatever its shape. Raises what a bad one means."""
    if not 200 <= reply.status < 300:
        raise _http_failure(reply)
    content = _content(reply)
    path = _path(reply)
    if not _may_answer(path, content):
        came = "an empty object" if content == {} else type(content).__name__
        raise Malformed(f"{reply.url}: nothing of what was asked for came, but {came}")
    return content


def _path(reply: Reply) -> str:
    return reply.address.partition("?")[0]


def _may_answer(path: str, content: Json) -> bool:
    """Whether it is of the kind that was asked for; of hosts' rows there may be none."""
    if path.endswith(PAGE):
        return isinstance(content, list | dict) and shapes.tells_a_page(content)
    if path.endswith(DETAIL):
        return isinstance(content, dict) and bool(content)
    return isinstance(content, list | dict | None)


def _content(reply: Reply) -> Json:
    """What the envelope holds, if there is one."""
    body = reply.content()
    if not isinstance(body, dict) or not _is_envelope(body):
        return body
    status, message = body.get("status"), body.get("message")
    failed = isinstance(status, str) and status.lower() == "error"
    if failed or (body.get("content") is None and status is None):
        raise _failure(_text(message), reply)
    return body.get("content")


def _is_envelope(body: dict[str, Json]) -> bool:
    """A host's row has a status and a message too, but other fields beside."""
    return "content" in body or ("message" in body and body.keys() <= _ENVELOPE_ALONE)


def _failure(message: str, reply: Reply) -> SourceFailed:
    """What an error message of Act2 means; only a few are permanent."""
    said = f"{reply.url}: Act2 says: {message or 'error, without a message'}"
    lower = message.lower()
    if "record not found" in lower:
        return Gone(said)
    if "is not int" in lower or "can not be null" in lower:
        return BadRequest(said)
    if "invalid user" in lower or "invalid authorization data" in lower:
        return Unauthorized(f"{said}; check username and password")
    return Transient(said)


def _http_failure(reply: Reply) -> SourceFailed:
    if reply.status == HTTPStatus.FORBIDDEN:
        return Refused(
            f"{reply.url}: HTTP 403 Forbidden; the operator's policy grants no GET on "
            "/api/v1/job/* (the shipped one grants none): ask for it"
        )
    if reply.status == HTTPStatus.UNSUPPORTED_MEDIA_TYPE:
        return Refused(
            f"{reply.url}: HTTP 415; Act2 saw no Content-Type: {_JSON}, though it was sent: "
            "a proxy on the way seems to drop it"
        )
    message = _message(reply)
    if message is not None:
        failure = _failure(message, reply)
        if not isinstance(failure, Transient):
            return failure
        if reply.status == HTTPStatus.BAD_REQUEST:
            return BadRequest(str(failure))
    if reply.status == HTTPStatus.NOT_FOUND:
        said = f"{reply.url}: HTTP 404; is url the Act2 master's?"
        is_list = _path(reply).endswith(PAGE)
        return Refused(said) if is_list else BadRequest(said)  # of one record: the others go on
    return _by_status(reply)


def _by_status(reply: Reply) -> SourceFailed:
    try:
        judge_status(reply)
    except SourceFailed as failure:
        return failure
    return Refused(f"{reply.url}: HTTP {reply.status}")


def _message(reply: Reply) -> str | None:
    """The message of a documented error; None when the body is something else."""
    try:
        body = parse(reply.body)
    except Malformed:
        return None
    message = body.get("message") if isinstance(body, dict) else None
    return _text(message) if message is not None else None


def _text(message: Json) -> str:
    """A message on one line, cut where it would fill a screen."""
    return " ".join(str(message or "").split())[:300]
