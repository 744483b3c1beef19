"""Plain HTTP, judged: what a status means to the caller, and how long the platform asks to wait."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus

from etl.errors import BadRequest, Gone, Refused, SourceFailed, Transient, Unauthorized
from etl.http.platform import Reply
from etl.redact import masked
from etl.units import Rate

_TRANSIENT = frozenset({408, 425, 429})
_NAMED_LIMIT = re.compile(rb"limit:\s*(\d{1,9})\s*,\s*time:\s*(\d{1,6})\s*(second|minute|hour)")
_UNIT_S = {b"second": 1.0, b"minute": 60.0, b"hour": 3600.0}
_EXCERPT = 200
_READ = 1 << 16


def judge_status(reply: Reply) -> None:
    """Raises what the status says, nothing for 2xx.

    401 Unauthorized; 403 Refused; 404 Gone; 408, 425, 429 and 5xx Transient with the wait that
    the platform asks for; other 4xx BadRequest; whatever is left Refused.
    """
    if not 200 <= reply.status < 300:
        raise _by_status(reply)


def _by_status(reply: Reply) -> SourceFailed:
    status = reply.status
    text = f"{reply.url}: {describe(reply)}"
    if status == 401:
        return Unauthorized(f"{text}; check the token, or username and password")
    if status == 403:
        return Refused(f"{text}; ask the platform's operator for the right to read this")
    if status == 404:
        return Gone(f"{text}; if nothing works, check url:")
    if is_overload(status):
        return Transient(text, retry_after_s=retry_wish(reply))
    if 400 <= status < 500:
        return BadRequest(text)
    return Refused(f"{text}; check url:")


def is_overload(status: int) -> bool:
    """Whether the status says "not now" rather than "no"."""
    return status in _TRANSIENT or status >= 500


def describe(reply: Reply) -> str:
    """Status and the beginning of the body, on one line, without secrets."""
    try:
        phrase = f" {HTTPStatus(reply.status).phrase}"
    except ValueError:
        phrase = ""
    body = excerpt(reply.body)
    return f"HTTP {reply.status}{phrase}" + (f": {body}" if body else "")


def excerpt(body: bytes) -> str:
    """The beginning of a body as one line of printable text, without secrets."""
    text = body[:_READ].decode("utf-8", "replace")  # enough that a long token is masked whole
    line = "".join(c if c.isprintable() else " " for c in masked(text))
    line = " ".join(line.split())
    return line if len(line) <= _EXCERPT else f"{line[:_EXCERPT]}…"


def retry_wish(reply: Reply) -> float | None:
    """Seconds that the platform asks to wait: Retry-After (seconds or an HTTP date), else the
    window that the message of a 429 names. None when it says nothing usable.
    """
    wish = _retry_after(reply)
    if wish is None and (limit := named_limit(reply)) is not None:
        wish = limit.window_s
    return wish


def named_limit(reply: Reply) -> Rate | None:
    """The limit in Huawei's 429: `policy user over ratelimit,limit:40,time:10 second`."""
    found = _NAMED_LIMIT.search(reply.body[:4096]) if reply.status == 429 else None
    if not found or int(found[1]) < 1 or int(found[2]) < 1:
        return None
    return Rate(int(found[1]), int(found[2]) * _UNIT_S[found[3]])


def _retry_after(reply: Reply) -> float | None:
    text = reply.headers.get("Retry-After", "").strip()
    if not text:
        return None
    try:
        wish = float(text)
    except ValueError:
        at = _http_date(text)
        if at is None:
            return None
        sent = _http_date(reply.headers.get("Date", "")) or reply.received_at
        wish = (at - sent).total_seconds()
    return wish if math.isfinite(wish) and wish > 0 else None


def _http_date(text: str) -> datetime | None:
    try:
        at = parsedate_to_datetime(text)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at
