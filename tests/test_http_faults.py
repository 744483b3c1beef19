"""Whatever a server does on the wire: what may pass is asked again, what stays has its name."""

from __future__ import annotations

import gzip
import json

import pytest
from hostile_server import (
    HostileServer,
    Play,
    answer,
    chunked,
    cut_short,
    dripping,
    hanging,
    packed,
    slow_body,
    starting,
)
from http_kit import FakeClock, opened

from etl.errors import (
    BadRequest,
    Gone,
    Malformed,
    Refused,
    SourceFailed,
    TooLarge,
    Transient,
    Unauthorized,
)

pytestmark = pytest.mark.usefixtures("either_way")

LOGIN_PAGE = "<!doctype html><html><title>Sign in</title></html>"
NESTED = "[" * 20_000 + "]" * 20_000
GZIP = {"Content-Encoding": "gzip"}
WHOLE = json.dumps({"text": "x" * 5000}).encode()

PASSING: dict[str, tuple[Play, type[SourceFailed]]] = {
    "429": (answer("slow down", 429), Transient),
    "408": (answer("", 408), Transient),
    "500": (answer("oops", 500), Transient),
    "502": (answer(LOGIN_PAGE, 502), Transient),
    "503": (answer("", 503), Transient),
    "504": (answer("", 504), Transient),
    "no answer": (cut_short(b""), Transient),
    "reset before the answer": (cut_short(b"", reset=True), Transient),
    "reset in the head": (cut_short(b"HTTP/1.1 200 OK\r\nContent-", reset=True), Transient),
    "reset in the body": (cut_short(answer(WHOLE)[:900], reset=True), Transient),
    "body cut short": (cut_short(answer(WHOLE)[:900]), Transient),
    "chunks without an end": (cut_short(chunked(b'{"a": 1}', end=False)), Transient),
    "a chunk cut short": (cut_short(chunked(WHOLE)[:900]), Transient),
    "gzip cut short": (answer(gzip.compress(WHOLE)[:-12], headers=GZIP), Transient),
    "gzip that is none": (answer(WHOLE, headers=GZIP), Malformed),
    "a packing not asked for": (answer(WHOLE, headers={"Content-Encoding": "br"}), Malformed),
    "two lengths": (answer(b"{}", headers={"Content-Length": "2, 3"}), Transient),
    "no HTTP": (cut_short(b"220 mail.example.org ESMTP\r\n\r\n"), Transient),
    "empty 200": (answer(b""), Malformed),
    "204": (answer(b"", 204), Malformed),
    "a login page": (answer(LOGIN_PAGE), Malformed),
    "broken JSON": (answer('{"a": [1, 2'), Malformed),
    "20,000 levels": (answer(NESTED), Malformed),
}

PERMANENT: dict[str, tuple[Play, type[SourceFailed]]] = {
    "400": (answer('{"message": "no"}', 400), BadRequest),
    "401": (answer("", 401), Unauthorized),
    "403": (answer("Forbidden", 403), Refused),
    "404": (answer("", 404), Gone),
    "415": (answer("", 415), BadRequest),
    "304": (answer("", 304), Refused),
    "a redirect to nowhere": (answer("", 302), Refused),
    "a redirect to no address": (answer("", 302, {"Location": "http://[::1"}), Refused),
    "a redirect to another scheme": (answer("", 302, {"Location": "file:///etc/passwd"}), Refused),
    "a redirect for ever": (answer("", 302, {"Location": "/again"}), Refused),
    "too large by its own word": (answer(b"{}", length=10**12), TooLarge),
}


@pytest.mark.parametrize("name", PASSING)
def test_what_passes_is_asked_again(name: str) -> None:
    with HostileServer(PASSING[name][0], answer()) as server, opened(server.url) as api:
        assert api.get("/jobs").content == {"ok": True}
        assert (api.requests, api.retries, len(server.seen)) == (2, 1, 2)


@pytest.mark.parametrize("name", PASSING)
def test_what_stays_is_asked_five_times_and_named(name: str) -> None:
    play, error = PASSING[name]
    clock = FakeClock()
    with HostileServer(play) as server, opened(server.url, clock=clock) as api:
        with pytest.raises(SourceFailed) as raised:
            api.get("/jobs")
        assert type(raised.value) is error
        assert len(server.seen) == api.requests == 5
        assert f"GET {server.url}/jobs: " in str(raised.value)
        assert "attempt 5 of 5" in str(raised.value)
    assert len(clock.waits) >= 4, "between two tries; after a 429 everybody pauses as well"


@pytest.mark.parametrize("name", PERMANENT)
def test_what_is_permanent_is_asked_once(name: str) -> None:
    play, error = PERMANENT[name]
    with HostileServer(play) as server, opened(server.url) as api:
        with pytest.raises(SourceFailed) as raised:
            api.get("/jobs")
        assert type(raised.value) is error
        assert f"GET {server.url}/" in str(raised.value)
        assert len(server.seen) == (6 if "for ever" in name else 1)
        assert api.retries == 0


@pytest.mark.parametrize(
    "silence",
    [
        hanging(),
        hanging(b"HTTP/1.1 200 OK\r\nContent-"),
        hanging(answer(WHOLE)[:900]),
        hanging(chunked(WHOLE)[:900]),
        hanging(chunked(WHOLE)[:48]),
        hanging(b"HTTP/1.1 200 OK\r\n\r\n" + WHOLE[:500]),
    ],
    ids=[
        "no answer",
        "in the head",
        "in the body",
        "in a chunk",
        "in its head",
        "without a length",
    ],
)
def test_silence_ends_after_the_timeout(silence: Play) -> None:
    server = HostileServer(silence, silence, answer())
    with server, opened(server.url, timeout=0.2) as api:
        with pytest.raises(
            Transient, match=r"silent for 0\.2 s|too slowly"
        ):  # whoever sees it first
            api.get("/jobs", attempts=1)
        assert api.get("/jobs").content == {"ok": True}
        assert api.retries == 1


@pytest.mark.parametrize(
    "slow",
    [
        starting(b"HTTP/1.1 200 OK\r\n", dripping(b"X-Long: " + b"x" * 5000, 0.05)),
        slow_body(answer(WHOLE), 0.05),
        slow_body(chunked(b"x")[:-5] + b"1;" + b"e" * 500, 0.05),
        slow_body(packed(WHOLE * 50), 0.05),
    ],
    ids=["in the head", "a plain one", "in a chunk's head", "a packed one"],
)
def test_what_comes_below_1_kib_a_timeout_is_cut_off(slow: Play) -> None:
    with HostileServer(slow) as server, opened(server.url, timeout=0.2) as api:
        with pytest.raises(Transient, match="too slowly"):
            api.get("/jobs", attempts=1)
        assert server.seen


def test_a_body_that_flows_may_take_many_timeouts() -> None:
    slow = dripping(answer(WHOLE * 4), 0.05, size=1500)
    with HostileServer(slow) as server, opened(server.url, timeout=0.2) as api:
        with pytest.raises(Malformed, match="Extra data"):
            api.get("/jobs", attempts=1)
        assert api.bytes_read == len(WHOLE * 4)


def test_bytes_that_are_not_utf8_are_replaced() -> None:
    with HostileServer(answer(b'{"a": "\xff\xfe"}')) as server, opened(server.url) as api:
        assert api.get("/jobs").content == {"a": "\ufffd\ufffd"}


@pytest.mark.parametrize(
    "play",
    [
        chunked(b'{"a"', b": 1}"),
        packed(b'{"a": 1}'),
        answer(gzip.compress(b'{"a"') + gzip.compress(b": 1}"), headers=GZIP),
        cut_short(b'HTTP/1.0 200 OK\r\n\r\n{"a": 1}'),
        dripping(answer('{"a": 1}'), 0.001),
    ],
    ids=["chunked", "packed", "packed in two members", "without a length", "byte by byte"],
)
def test_every_way_to_send_a_body_is_read(play: Play) -> None:
    with HostileServer(play) as server, opened(server.url) as api:
        got = api.get("/jobs")
        assert (got.content, got.size, api.bytes_read) == ({"a": 1}, 8, 8)
