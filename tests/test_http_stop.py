"""Stop means stop: every wait and every call ends at once, and closing waits for nobody."""

from __future__ import annotations

import gc
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future, wait
from pathlib import Path

import pytest
from hostile_server import Call, HostileServer, Play, answer, dripping, hanging
from hostile_tls import server_context
from http_kit import FakeClock, Token, opened

from etl.clock import Clock
from etl.errors import Stopped
from etl.http import Api, Login
from etl.units import Rate

pytestmark = pytest.mark.usefixtures("either_way")

SOON_S = 3.0


@pytest.fixture(autouse=True)
def soon() -> Iterator[None]:
    """Whatever is waited for here would take far longer if nothing ended it."""
    began = time.monotonic()
    yield
    assert time.monotonic() - began < SOON_S


@pytest.fixture
def stop() -> threading.Event:
    return threading.Event()


def asked(api: Api, path: str = "/jobs") -> Future[object]:
    (future,) = api.map(lambda _: api.get(path).content, [0])
    return future


@pytest.mark.parametrize(
    "silence",
    [
        hanging(),
        hanging(b"HTTP/1.1 200 OK\r\nContent-Le"),
        hanging(answer("x" * 5000)[:2000]),
        dripping(answer("x" * 500_000), 0.01, size=2000),
    ],
    ids=["no answer", "in the head", "in the body", "in a body that flows"],
)
def test_a_call_on_its_way_ends(silence: Play, stop: threading.Event) -> None:
    with HostileServer(silence) as server, opened(server.url, stop=stop, timeout=30) as api:
        future = asked(api)
        while not server.seen:
            assert not wait([future], 0.01).done
        stop.set()
        with pytest.raises(Stopped):
            future.result(10)


def test_a_handshake_ends(stop: threading.Event) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        with opened(url, stop=stop, timeout=30) as api:
            future = asked(api)
            connection, _ = listener.accept()
            with connection:
                connection.recv(1)  # the client has begun to shake hands
                stop.set()
                with pytest.raises(Stopped):
                    future.result(10)


def test_a_call_over_tls_ends(stop: threading.Event, tmp_path: Path) -> None:
    tls = server_context(tmp_path)
    with (
        HostileServer(hanging(), tls=tls) as server,
        opened(server.url, stop=stop, timeout=30, ca_bundle=str(tmp_path / "ca.pem")) as api,
    ):
        future = asked(api)
        assert server.asked_to_hang.wait(10)
        stop.set()
        with pytest.raises(Stopped):
            future.result(10)


def test_a_name_that_takes_for_ever_to_resolve_ends(
    stop: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same for a host that swallows packets: both happen while a connection is made."""
    resolving = threading.Event()
    over = threading.Event()

    def resolve(*_: object, **__: object) -> list[object]:
        resolving.set()
        over.wait(10)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with opened("http://slow.example.org", stop=stop, timeout=30) as api:
        future = asked(api)
        assert resolving.wait(10)
        stop.set()
        with pytest.raises(Stopped):
            future.result(10)
    over.set()


@pytest.mark.parametrize("plays", [(answer("", 429, {"Retry-After": "250"}),), (answer("", 500),)])
def test_a_wait_between_attempts_ends(plays: tuple[Play, ...], stop: threading.Event) -> None:
    clock = FakeClock()
    clock.on_wait = lambda _: stop.set()
    with (
        HostileServer(*plays) as server,
        opened(server.url, stop=stop, clock=clock) as api,
        pytest.raises(Stopped),
    ):
        api.get("/jobs")
    assert len(server.seen) == 1


def test_real_waits_end_too(stop: threading.Event) -> None:
    busy = answer("", 429, {"Retry-After": "250"})
    with HostileServer(busy) as server, opened(server.url, stop=stop, clock=Clock()) as api:
        future = asked(api)
        while not server.seen:
            assert not wait([future], 0.01).done
        assert not wait([future], 0.05).done
        stop.set()
        with pytest.raises(Stopped):
            future.result(10)


def test_a_wait_for_the_rate_ends(stop: threading.Event) -> None:
    rate = Rate(1, 1000)
    with (
        HostileServer(answer()) as server,
        opened(server.url, stop=stop, clock=Clock(), rate_limit=rate) as api,
    ):
        api.get("/first")
        future = asked(api)
        assert not wait([future], 0.05).done
        stop.set()
        with pytest.raises(Stopped):
            future.result(10)


def test_a_wait_for_a_place_and_for_credentials_ends(stop: threading.Event) -> None:
    with (
        HostileServer(hanging()) as server,
        opened(server.url, stop=stop, concurrency=3, timeout=30) as api,
    ):
        futures = api.map(lambda number: api.get(f"/{number}"), range(20))
        assert server.asked_to_hang.wait(10)
        stop.set()
        assert len(wait(futures, 10).done) == 20
        assert {type(future.exception()) for future in futures} == {Stopped}
        assert len(server.seen) == 1


def test_a_pause_ends(stop: threading.Event) -> None:
    clock = FakeClock()
    with HostileServer(answer()) as server, opened(server.url, stop=stop, clock=clock) as api:
        api.pause(1)
        assert clock.waits == [1]
        clock.on_wait = lambda _: stop.set()
        with pytest.raises(Stopped):
            api.pause(1)


def test_after_the_stop_nothing_is_sent(stop: threading.Event) -> None:
    with HostileServer(answer()) as server, opened(server.url, stop=stop) as api:
        stop.set()
        with pytest.raises(Stopped):
            api.get("/jobs")
        with pytest.raises(Stopped):
            asked(api).result(10)
        ran: list[int] = []
        (future,) = api.map(ran.append, [1])
        with pytest.raises(Stopped):
            future.result(10)
        assert not ran
        assert not server.seen


def test_a_login_ends(stop: threading.Event) -> None:
    class LoggingIn(Token):
        def renew(self, login: Login) -> bool:
            return bool(login("POST", f"{server.url}/login", json={}))

    def platform(call: Call) -> None:
        call.send(answer("", 401)) if call.seen.method == "GET" else call.hang()

    with (
        HostileServer(platform) as server,
        opened(server.url, LoggingIn("t"), stop=stop, timeout=30) as api,
    ):
        futures = api.map(lambda number: api.get(f"/{number}"), range(8))
        assert server.asked_to_hang.wait(10)
        stop.set()
        assert len(wait(futures, 10).done) == 8
        assert {type(future.exception()) for future in futures} == {Stopped}


def test_closing_ends_what_is_on_its_way_and_cancels_what_has_not_begun() -> None:
    with HostileServer(hanging()) as server:
        api = opened(server.url, concurrency=2, timeout=30)
        futures = api.map(lambda number: api.get(f"/{number}"), range(20))
        assert server.asked_to_hang.wait(10)
        api.close()
        api.close()
        for future in futures:
            with pytest.raises((Stopped, CancelledError)):
                future.result(10)
        with pytest.raises(Stopped):
            api.map(print, [1])
        with pytest.raises(Stopped):
            api.get("/jobs")
        assert len(server.seen) == 1


def open_sockets() -> int:
    gc.collect()
    return sum(isinstance(o, socket.socket) and o.fileno() >= 0 for o in gc.get_objects())


def test_closing_leaves_no_thread_and_no_open_socket() -> None:
    threads = set(threading.enumerate())
    sockets = open_sockets()
    with HostileServer(answer()) as server, opened(server.url) as api:
        for future in api.map(lambda number: api.get(f"/{number}"), range(20)):
            future.result(10)
    assert open_sockets() == sockets
    for thread in set(threading.enumerate()) - threads:
        if thread.name.startswith("etl-http"):
            thread.join(2)
            assert not thread.is_alive()
