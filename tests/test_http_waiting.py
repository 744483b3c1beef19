"""How long a call is repeated: backoff with a ceiling, Retry-After, and an end to patience."""

from __future__ import annotations

import logging
from datetime import timedelta
from email.utils import format_datetime

import pytest
from hostile_server import HostileServer, answer, dripping, hanging
from http_kit import START, FakeClock, opened
from tenacity import RetryCallState

from etl.errors import Malformed, Transient
from etl.http import retrying
from etl.units import Rate

pytestmark = pytest.mark.usefixtures("either_way")

DATE = {"Date": format_datetime(START, usegmt=True)}


def http_date(seconds: float) -> str:
    return format_datetime(START + timedelta(seconds=seconds), usegmt=True)


def no_backoff(state: RetryCallState) -> float:
    return 0.0


@pytest.mark.parametrize(
    ("text", "headers", "wait"),
    [
        ("7", {}, 7),
        (" 7 ", {}, 7),
        ("1.5", {}, 1.5),
        ("300", {}, 300),
        (http_date(20), DATE, 20),
        (http_date(3620), {"Date": http_date(3600)}, 20),
        (http_date(20), {}, 20),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_waited(
    status: int, text: str, headers: dict[str, str], wait: float
) -> None:
    clock = FakeClock()
    busy = answer("", status, {"Retry-After": text, **headers})
    with HostileServer(busy, answer()) as server, opened(server.url, clock=clock) as api:
        assert api.get("/jobs").content == {"ok": True}
    assert clock.waits == [wait]


@pytest.mark.parametrize(
    "text",
    ["", "0", "-5", "soon", "nan", "inf", "1e999", http_date(-60), "Sat, 99 Nov 2026", "1" * 400],
)
def test_a_retry_after_that_says_nothing_leaves_the_usual_backoff(text: str) -> None:
    clock = FakeClock()
    busy = answer("", 429, {"Retry-After": text, **DATE})
    with HostileServer(busy, answer()) as server, opened(server.url, clock=clock) as api:
        assert api.get("/jobs").content == {"ok": True}
    (wait,) = clock.waits
    assert 0.25 <= wait <= 1


@pytest.mark.parametrize("text", ["301", "86400", "9" * 30, http_date(301)])
def test_a_retry_after_beyond_five_minutes_ends_the_run_and_is_kept(text: str) -> None:
    clock = FakeClock()
    busy = answer("", 503, {"Retry-After": text, **DATE})
    with HostileServer(busy) as server, opened(server.url, clock=clock) as api:
        with pytest.raises(Transient) as raised:
            api.get("/jobs")
        assert raised.value.retry_after_s is not None
        assert raised.value.retry_after_s > 300
        with pytest.raises(Transient, match="asked everybody to wait"):
            api.get("/other")
        assert len(server.seen) == 1
    assert clock.waits == []


def test_waits_that_the_platform_asked_for_do_not_use_up_the_patience() -> None:
    clock = FakeClock()
    busy = answer("", 429, {"Retry-After": "200"})
    plays = (busy, busy, busy, busy, answer())
    with HostileServer(*plays) as server, opened(server.url, clock=clock) as api:
        assert api.get("/jobs").content == {"ok": True}
    assert clock.waits == [200, 200, 200, 200]


def test_after_such_a_wait_the_patience_is_whole() -> None:
    clock = FakeClock()
    plays = (answer("", 429, {"Retry-After": "200"}), answer("", 500), answer())
    with HostileServer(*plays) as server, opened(server.url, clock=clock) as api:
        assert api.get("/jobs").content == {"ok": True}
    assert clock.waits[0] == 200
    assert len(clock.waits) == 2


def test_backoff_grows_is_jittered_and_has_a_ceiling() -> None:
    seen: list[list[float]] = []
    for _ in range(30):
        clock = FakeClock()
        with HostileServer(answer("", 500)) as server, opened(server.url, clock=clock) as api:
            with pytest.raises(Transient):
                api.get("/jobs")
            seen.append(clock.waits)
    for number, ceiling in enumerate([1, 3, 9, 20]):
        waits = [w[number] for w in seen]
        assert all(0.25 <= wait <= ceiling for wait in waits)
        assert max(waits) > ceiling / 3
        assert len(set(waits)) == len(waits)


def test_no_attempt_begins_later_than_the_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrying, "PATIENCE_S", 0.35)
    monkeypatch.setattr(retrying, "_BACKOFF", no_backoff)
    with HostileServer(hanging()) as server, opened(server.url, timeout=0.15) as api:
        with pytest.raises(Transient, match=r"silent for 0\.15 s \(attempt 3 of 5"):
            api.get("/jobs")
        assert len(server.seen) == 3


def test_backoff_uses_up_the_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrying, "_BACKOFF", lambda state: 20.0)
    clock = FakeClock()
    with HostileServer(answer("", 500)) as server, opened(server.url, clock=clock) as api:
        with pytest.raises(Transient, match="attempt 3 of 5"):
            api.get("/jobs")
        assert clock.waits == [20, 20]


def test_a_body_that_flows_does_not_use_up_the_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrying, "PATIENCE_S", 0.2)
    monkeypatch.setattr(retrying, "_BACKOFF", no_backoff)
    broken = dripping(answer("[" * 3000), 0.05, size=1100)
    with HostileServer(broken) as server, opened(server.url, timeout=5) as api:
        with pytest.raises(Malformed, match="attempt 5 of 5"):
            api.get("/jobs")
        assert len(server.seen) == 5


def test_a_reader_may_ask_for_fewer_attempts() -> None:
    with HostileServer(answer("", 500)) as server, opened(server.url) as api:
        with pytest.raises(Transient, match="attempt 2 of 2"):
            api.get("/jobs", attempts=2)
        with pytest.raises(Transient):
            api.get("/jobs", attempts=1)
        assert (len(server.seen), api.requests, api.retries) == (3, 3, 1)


THROTTLED = {
    "error_code": "APIGW.0308",
    "error_msg": "The throttling threshold has been reached: policy user over "
    "ratelimit,limit:3,time:10 second",
}


def test_the_limit_that_a_429_names_is_waited_for_and_becomes_the_rate(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = FakeClock()
    plays = (answer(THROTTLED, 429), answer())
    with HostileServer(*plays) as server, opened(server.url, clock=clock) as api:
        for _ in range(4):
            api.get("/instances")
        assert clock.waits == [10, 10]  # the window that it names; then three calls a window
        assert len(server.seen) == 5
    (line,) = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert line.endswith("names its limit, 3/10s; kept from now on")


def test_retry_after_wins_over_the_window_that_the_message_names() -> None:
    clock = FakeClock()
    plays = (answer(THROTTLED, 429, {"Retry-After": "4"}), answer())
    with HostileServer(*plays) as server, opened(server.url, clock=clock) as api:
        api.get("/instances")
    assert clock.waits == [4]


@pytest.mark.parametrize(
    "message", ["limit:0,time:10 second", "limit:3,time:0 second", "limit:x,time:y", "limit:3"]
)
def test_a_limit_that_cannot_be_is_not_believed(message: str) -> None:
    clock = FakeClock()
    plays = (answer({"error_msg": message}, 429), answer())
    with HostileServer(*plays) as server, opened(server.url, clock=clock) as api:
        for _ in range(5):
            api.get("/instances")
    assert len(clock.waits) == 1
    assert clock.waits[0] <= 1


def test_one_retry_after_holds_everybody_of_the_account_back() -> None:
    clock = FakeClock()
    asked_at: list[float] = []
    plays = (answer(), answer("", 429, {"Retry-After": "60"}), answer())
    with HostileServer(*plays) as server, opened(server.url, clock=clock) as api:
        api.get("/first")
        began = clock.monotonic()

        def ask(number: int) -> None:
            api.get(f"/{number}")
            asked_at.append(clock.monotonic())

        with pytest.raises(Transient):
            api.get("/refused", attempts=1)
        for future in api.map(ask, range(8)):
            future.result(10)
    assert min(asked_at) >= began + 60


def test_a_rate_is_kept_by_retries_too() -> None:
    clock = FakeClock()
    rate = Rate(2, 1000)
    with HostileServer(answer("", 500)) as server:
        with opened(server.url, clock=clock, rate_limit=rate) as api, pytest.raises(Transient):
            api.get("/jobs")
        assert len(server.seen) == 5
    assert clock.monotonic() >= 1000 + 2 * 1000
