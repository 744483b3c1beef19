"""Judges one answer of Explorer: by the `code` in its envelope first, then by the HTTP status.

A failure may come with HTTP 200. The first three digits of a code are its class.
"""

from __future__ import annotations

from etl.errors import (
    BadRequest,
    Gone,
    Malformed,
    Refused,
    SourceFailed,
    Transient,
    Unauthorized,
)
from etl.http import Reply, judge_status
from etl.http.judging import retry_wish
from etl.sources.explorer.settings import PREFIX
from etl.values import Json, Unreadable, parse, whole

_LICENSE = 50004003
_NOT_EXPLORER = f"is url: the Explorer's? (its API answers below {PREFIX})"


def judge(reply: Reply) -> Json:
    """The `data` of a good answer. Raises the error that says what to do about a bad one."""
    try:
        envelope = parse(reply.body)
    except Malformed as error:
        _judge_foreign(reply)
        raise Malformed(f"{reply.url}: {error}; {_NOT_EXPLORER}") from None
    code = _code(envelope)
    if code is None:
        _judge_foreign(reply)
        raise Malformed(f"{reply.url}: an answer without `code`; {_NOT_EXPLORER}")
    if code != 0:
        raise _failure(reply, code, envelope.get("message"))
    return envelope.get("data")


def _code(envelope: Json) -> int | None:
    if not isinstance(envelope, dict):
        return None
    try:
        return whole(envelope.get("code"))
    except Unreadable:
        return None


def _judge_foreign(reply: Reply) -> None:
    """Something else than Explorer's API answered: a proxy, or what lives at a wrong url."""
    if reply.status == 404:
        raise Refused(f"{reply.url}: HTTP 404; {_NOT_EXPLORER}")
    judge_status(reply)


def _failure(reply: Reply, code: int, message: Json) -> SourceFailed:
    text = f"{reply.url}: Explorer's code {code}: {message}"
    if code == _LICENSE:
        return Refused(f"{text}; its licence does not allow this")
    kind = code // 100_000 if 10_000_000 <= code < 100_000_000 else reply.status
    if kind == 401:
        return Unauthorized(text)
    if kind == 403:
        return Refused(f"{text}; ask for the right to read this")
    if kind == 404:
        return Gone(text)
    if 400 <= kind < 500 and kind not in (408, 425, 429):
        return BadRequest(text)
    return Transient(text, retry_after_s=retry_wish(reply))
