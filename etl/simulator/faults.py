"""What goes wrong on the way: faults that a test orders for the next requests it names.

A fault replaces the answer, changes it, or delivers it badly. `Simulator.fault` takes it; of
several that match a request the first one ordered is played.
"""

import gzip
import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from etl.simulator import gojson
from etl.simulator.setting import Name, platform_of
from etl.simulator.wire import Request, Response

Kind = Literal[
    "status",
    "error",
    "throttle",
    "body",
    "empty",
    "html",
    "broken_json",
    "invalid_utf8",
    "nested",
    "redirect",
    "gzip",
    "bomb",
    "total",
    "empty_page",
    "repeat_page",
    "page_size",
    "expire",
    "delay",
    "reset",
    "reset_mid",
    "truncate",
    "drip",
    "hang",
]
Mode = Literal["whole", "reset", "reset_mid", "truncate", "drip", "hang"]
Answer = Callable[[Request], Response]

LOGIN_PAGE = b"<!DOCTYPE html><html><head><title>Sign in</title></head><body>login</body></html>"


@dataclass(slots=True)
class Fault:
    """One order: what, for whom, how often.

    `path` is a prefix of the request's path, `platform` its platform, `when` any test of the
    request; all that are given must hold. The first `after` matching requests pass unharmed,
    then `times` are hit (None: all). `hits` counts them.
    """

    kind: Kind
    path: str = ""
    platform: Name | None = None
    when: Callable[[Request], bool] | None = None
    times: int | None = 1
    after: int = 0
    status: int = 503
    """Of status; of error where the platform has codes apart from it; of redirect (3xx)."""
    body: bytes | str | None = None
    """Of status, throttle, body, broken_json, html; of error: the message."""
    code: int | str | None = None
    """Of error: the platform's own code (Explorer, DataArts)."""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    """Added to the answer, whatever the kind."""
    retry_after: str | None = None
    """Of throttle and status: the text of Retry-After, any text."""
    location: str = ""
    """Of redirect: where to."""
    seconds: float = 0.05
    """Of delay: how long; of drip: between two bytes."""
    size: int = 1
    """Of total: what is added; of page_size: the clamp; of bomb: MiB; of nested: levels."""
    hits: int = 0
    seen: int = 0

    def matches(self, request: Request) -> bool:
        """Whether the request is one that this fault names."""
        if not request.path.startswith(self.path):
            return False
        if self.platform is not None and platform_of(request) != self.platform:
            return False
        return self.when is None or self.when(request)

    def take(self, request: Request) -> bool:
        """Counts a matching request; True if it is to be hit."""
        if (self.times is not None and self.hits >= self.times) or not self.matches(request):
            return False
        self.seen += 1
        if self.seen <= self.after:
            return False
        self.hits += 1
        return True


@dataclass(slots=True)
class Delivery:
    """An answer and the way it is sent."""

    response: Response
    mode: Mode = "whole"
    seconds: float = 0.0
    """Before the answer; of drip, between two bytes."""


@dataclass(slots=True)
class Stage:
    """What a fault may reach: the true answer, an error's envelope, the sessions, old pages."""

    answer: Answer
    error: Callable[["Fault", Request], Response]
    expire: Callable[[Request], None]
    last_pages: dict[str, Response]


def play(fault: Fault, request: Request, stage: Stage) -> Delivery:
    """The delivery that the fault makes of this request."""
    if fault.kind in _DELIVERED:
        mode: Mode = "whole" if fault.kind == "delay" else _DELIVERED[fault.kind]
        delivery = Delivery(stage.answer(request), mode, fault.seconds)
    elif fault.kind in _CHANGED:
        delivery = Delivery(_CHANGED[fault.kind](fault, stage.answer(request)))
    elif fault.kind in _STAGED:
        delivery = Delivery(_STAGED[fault.kind](fault, request, stage))
    else:
        delivery = Delivery(_INSTEAD[fault.kind](fault))
    delivery.response.headers.extend(fault.headers.items())
    return delivery


# instead of the answer


def _bytes(body: bytes | str | None, default: bytes) -> bytes:
    if body is None:
        return default
    return body if isinstance(body, bytes) else body.encode()


def _retry_after(fault: Fault) -> list[tuple[str, str]]:
    return [] if fault.retry_after is None else [("Retry-After", fault.retry_after)]


def _status(fault: Fault) -> Response:
    body = _bytes(fault.body, b"upstream connect error")
    return Response(fault.status, body, fault.content_type, _retry_after(fault))


def _throttle(fault: Fault) -> Response:
    body = gojson.plain(
        {
            "error_code": "APIGW.0308",
            "error_msg": "The throttling threshold has been reached: "
            "policy user over ratelimit,limit:40,time:10 second",
            "request_id": "0" * 32,
        }
    )
    body = _bytes(fault.body, body)
    return Response(429, body, fault.content_type, _retry_after(fault))


def _given(fault: Fault) -> Response:
    return Response(200, _bytes(fault.body, b""), fault.content_type)


def _html(fault: Fault) -> Response:
    return Response(200, _bytes(fault.body, LOGIN_PAGE), "text/html; charset=utf-8")


def _broken_json(fault: Fault) -> Response:
    return Response(200, _bytes(fault.body, b'{"code":0,"data":{"items":[{"id":1,'))


def _nested(fault: Fault) -> Response:
    levels = fault.size if fault.size > 1 else 20_000
    return Response(200, b"[" * levels + b"]" * levels)


def _redirect(fault: Fault) -> Response:
    status = fault.status if 300 <= fault.status < 400 else 302
    return Response(status, b"", "", [("Location", fault.location)])


def _bomb(fault: Fault) -> Response:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    mebibyte = b" " * (1 << 20)
    parts = [packer.compress(mebibyte) for _ in range(fault.size)]
    body = b"".join([*parts, packer.compress(b"{}"), packer.flush()])
    return Response(200, body, headers=[("Content-Encoding", "gzip")])


# a change to the answer


def _gzip(_: Fault, response: Response) -> Response:
    response.body = gzip.compress(response.body, mtime=0)
    response.headers.append(("Content-Encoding", "gzip"))
    return response


def _invalid_utf8(_: Fault, response: Response) -> Response:
    """A byte that is not UTF-8 within the last text of the answer."""
    place = response.body.rfind(b'"')
    response.body = response.body[:place] + b"\xff\xfe" + response.body[place:]
    return response


def _total(fault: Fault, response: Response) -> Response:
    def wrong(page: dict[str, Any], name: str) -> None:
        page[name] = max(0, page[name] + fault.size)

    return _rewritten(response, ("total", "count", "TotalCount", "totalCount"), wrong)


def _empty_page(_: Fault, response: Response) -> Response:
    def emptied(page: dict[str, Any], name: str) -> None:
        page[name] = []

    return _rewritten(response, ("items", "resources", "List", "list"), emptied)


def _rewritten(
    response: Response, names: tuple[str, ...], change: Callable[[dict[str, Any], str], None]
) -> Response:
    body = json.loads(response.body) if response.status == 200 else None
    if not isinstance(body, dict):
        return response
    inner = body.get("data") or body.get("content") or body
    for name in names:
        if isinstance(inner, dict) and name in inner:
            change(inner, name)
    response.body = gojson.dumps(body)
    return response


# with a hand on the request or on what is behind the answer


def _repeat_page(_: Fault, request: Request, stage: Stage) -> Response:
    last = stage.last_pages.get(request.path)
    return stage.answer(request) if last is None else replace(last, headers=[*last.headers])


def _error(fault: Fault, request: Request, stage: Stage) -> Response:
    return stage.error(fault, request)


def _page_size(fault: Fault, request: Request, stage: Stage) -> Response:
    sizes = ("pageSize", "limit")
    request.query = [
        (name, str(min(int(value), fault.size)) if name in sizes and value.isdigit() else value)
        for name, value in request.query
    ]
    return stage.answer(request)


def _expire(_: Fault, request: Request, stage: Stage) -> Response:
    stage.expire(request)
    return stage.answer(request)


_DELIVERED: dict[str, Mode] = {
    "delay": "whole",
    "reset": "reset",
    "reset_mid": "reset_mid",
    "truncate": "truncate",
    "drip": "drip",
    "hang": "hang",
}
_INSTEAD: dict[str, Callable[[Fault], Response]] = {
    "status": _status,
    "throttle": _throttle,
    "body": _given,
    "empty": _given,
    "html": _html,
    "broken_json": _broken_json,
    "nested": _nested,
    "redirect": _redirect,
    "bomb": _bomb,
}
_CHANGED: dict[str, Callable[[Fault, Response], Response]] = {
    "gzip": _gzip,
    "invalid_utf8": _invalid_utf8,
    "total": _total,
    "empty_page": _empty_page,
}
_STAGED: dict[str, Callable[[Fault, Request, Stage], Response]] = {
    "repeat_page": _repeat_page,
    "error": _error,
    "page_size": _page_size,
    "expire": _expire,
}
