"""Reads one answer of DataArts: instances, or an error named by what to do next.

The HTTP status is judged first: the code DQC.0000 means success. Ids are int64 and stay exact.
Two parsers with one result: msgspec takes a page whose items have exactly the documented fields;
what it refuses (a new field, a poisoned text, a number beyond 64 bits) goes to `values.parse`.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from etl import values
from etl.errors import (
    BadRequest,
    Gone,
    Malformed,
    Refused,
    SourceFailed,
    Transient,
    Unauthorized,
)
from etl.http import Reply
from etl.values import Json

_Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]


class Item(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """One instance as documented; anything else is a dict."""

    id: _Int64
    name: str | None = None
    task_id: _Int64 | None = None
    task_type: str | None = None
    run_status: str | None = None
    notify_status: str | None = None
    start_time: _Int64 | None = None
    end_time: _Int64 | None = None


class Listing(msgspec.Struct):
    """`count`: all that match, None if the server does not say; `resources`: this page."""

    count: int | None
    resources: list[Item] | list[Json]


class _Exact(msgspec.Struct):
    count: int
    resources: list[Item]


_decoder = msgspec.json.Decoder(_Exact)


def judge(reply: Reply) -> Listing:
    """The page of a good reply. Raises the error that says what to do about a bad one."""
    if 200 <= reply.status < 300:
        return read(reply.body)
    raise _failure(reply)


def read(body: bytes) -> Listing:
    """Parses a page. Raises Malformed when it holds no list of instances."""
    try:
        page = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _read_exactly(body)
    return Listing(page.count, page.resources)


def _read_exactly(body: bytes) -> Listing:
    content = values.parse(body)
    if not isinstance(content, dict):
        raise Malformed(f"no 'resources' in the answer: {str(content)[:200]}")
    try:
        count = values.whole(content.get("count"))
    except values.Unreadable:
        count = None
    if "resources" not in content and count != 0:  # an empty list may be left out
        raise Malformed(f"no 'resources' in the answer: {str(content)[:200]}")
    resources = content.get("resources")
    if resources is None:
        resources = []
    if not isinstance(resources, list):
        raise Malformed(f"'resources' is no list: {str(resources)[:200]}")
    return Listing(None if count is None or count < 0 else count, resources)


def _failure(reply: Reply) -> SourceFailed:
    """The error of a reply that is not 2xx."""
    code, said = _told(reply)
    number = code.rpartition(".")[2]
    if reply.status == 401:
        hint = "; is url the project's own region?" if number in ("0301", "0307") else ""
        return Unauthorized(f"{said}{hint}")
    if reply.status == 403:
        return Refused(f"{said}; this user may not read quality instances of the workspace")
    if reply.status == 404:
        return Gone(f"{said}; is url right, and is project_id?")
    if code == "DLM.4001":
        return Refused(f"{said}; the setting `workspace` names no workspace of this project")
    if reply.status in (408, 425, 429) or reply.status >= 500:
        return Transient(said)  # `http` reads Retry-After, or the window that the message names
    return BadRequest(said)


def _told(reply: Reply) -> tuple[str, str]:
    """The error code ("" without one) and what the platform said, on one line."""
    try:
        content = values.parse(reply.body)
    except Malformed:
        content = None
    if not isinstance(content, dict):
        text = " ".join(reply.body[:200].decode("utf-8", "replace").split())
        return "", f"HTTP {reply.status}: {text or 'no content'}"
    code, message = str(content.get("error_code") or ""), content.get("error_msg")
    request = content.get("request_id")
    said = f"HTTP {reply.status} {code}: {message or str(content)[:200]}"
    return code, f"{said} (request {request})" if request else said
