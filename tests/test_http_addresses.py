"""Where a call goes, and the one clear line when it gets nowhere."""

from __future__ import annotations

import socket
import threading
from datetime import timedelta
from pathlib import Path

import pytest
from hostile_server import HostileServer, answer
from hostile_tls import server_context
from http_kit import START, FakeClock, opened

from etl.errors import Gone, Malformed, Refused, Transient, Usage

pytestmark = pytest.mark.usefixtures("either_way")


def test_paths_are_appended_and_parameters_quoted() -> None:
    with HostileServer(answer()) as server, opened(f"{server.url}/base/") as api:
        api.get("/jobs", {"filter": '{"name": "a&b +ü"}', "page": 1})
        api.get("/tasks/a b?c#d\r\n/x%2Fy")
        api.get("/jobs", {})
        targets = [seen.target for seen in server.seen]
    assert targets == [
        "/base/jobs?filter=%7B%22name%22%3A%20%22a%26b%20%2B%C3%BC%22%7D&page=1",
        "/base/tasks/a%20b%3Fc%23d%0D%0A/x%2Fy",
        "/base/jobs",
    ]


def test_an_answer_says_when_it_was_asked_for() -> None:
    """The start of the attempt that succeeded: what was learnt later is newer."""
    clock = FakeClock()
    busy = answer("", 429, {"Retry-After": "30"})
    with HostileServer(busy, answer()) as server, opened(server.url, clock=clock) as api:
        assert api.get("/jobs").asked_at == START + timedelta(seconds=30)


@pytest.mark.parametrize(
    "url",
    ["", "127.0.0.1:80", "ftp://h", "http://", "http://h:99999", "http://h:x", "http://a b/", "h"],
)
def test_what_is_no_address_is_refused_at_once(url: str) -> None:
    with pytest.raises(Usage, match="write it as https://host:port"):
        opened(url)


@pytest.mark.parametrize("tail", ["/?a=1", "/#x"])
def test_a_url_with_a_query_is_refused_at_once(tail: str) -> None:
    with pytest.raises(Usage, match="holds a query"):
        opened(f"http://127.0.0.1:1{tail}")


def test_a_port_where_nothing_listens() -> None:
    with HostileServer(answer()) as server:
        url = server.url
    with opened(url) as api, pytest.raises(Transient) as raised:
        api.get("/jobs")
    assert str(raised.value) == (
        f"GET {url}/jobs: nothing listens there; check url: (attempt 5 of 5)"
    )


def test_a_host_that_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with opened("http://platform.example") as api, pytest.raises(Transient) as raised:
        api.get("/jobs", attempts=1)
    assert str(raised.value) == (
        "GET http://platform.example/jobs: no host 'platform.example'; check url:"
    )


def test_a_host_that_swallows_packets() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        port = listener.getsockname()[1]
        full = [socket.socket() for _ in range(4)]
        for sock in full:  # a full queue answers no further handshake
            sock.setblocking(False)
            sock.connect_ex(("127.0.0.1", port))
        with (
            opened(f"http://127.0.0.1:{port}", timeout=0.2) as api,
            pytest.raises(Transient, match=r"no connection in 0\.2 s"),
        ):
            api.get("/jobs", attempts=1)
        for sock in full:
            sock.close()


def test_a_wrong_path_and_a_page_that_is_no_api() -> None:
    plays = (answer("404 page not found", 404), answer("<!doctype html><p>Welcome</p>"))
    with HostileServer(*plays) as server, opened(server.url) as api:
        with pytest.raises(Gone) as gone:
            api.get("/wrong", attempts=1)
        with pytest.raises(Malformed) as malformed:
            api.get("/welcome", attempts=1)
    assert str(gone.value) == (
        f"GET {server.url}/wrong: HTTP 404 Not Found: 404 page not found; "
        "if nothing works, check url:"
    )
    assert str(malformed.value) == (
        f"GET {server.url}/welcome: HTTP 200, the body is not JSON: Expecting value: line 1 "
        "column 1 (char 0); it begins '<!doctype html><p>Welcome</p>'"
    )


def test_a_certificate_that_nobody_vouches_for(tmp_path: Path) -> None:
    with (
        HostileServer(answer(), tls=server_context(tmp_path)) as server,
        opened(server.url) as api,
        pytest.raises(Refused) as raised,
    ):
        api.get("/jobs")
    assert str(raised.value) == (
        f"GET {server.url}/jobs: the server's certificate is refused (self-signed certificate); "
        "set ca_bundle: to the file of its authority, or verify_tls: false"
    )
    assert not server.seen


def test_a_certificate_for_another_host(tmp_path: Path) -> None:
    tls = server_context(tmp_path)
    with HostileServer(answer(), tls=tls) as server:
        url = server.url.replace("localhost", "127.0.0.1")
        authority = str(tmp_path / "ca.pem")
        with opened(url, ca_bundle=authority) as api, pytest.raises(Refused, match="mismatch"):
            api.get("/jobs")


def test_a_certificate_that_is_not_verified(tmp_path: Path) -> None:
    tls = server_context(tmp_path)
    with HostileServer(answer(), tls=tls) as server, opened(server.url, verify_tls=False) as api:
        assert [api.get("/jobs").size for _ in range(3)] == [12, 12, 12]


def test_a_certificate_of_an_authority_that_is_named(tmp_path: Path) -> None:
    tls = server_context(tmp_path)
    authority = str(tmp_path / "ca.pem")
    with HostileServer(answer(), tls=tls) as server, opened(server.url, ca_bundle=authority) as api:
        assert [api.get("/jobs").size for _ in range(3)] == [12, 12, 12]


def test_the_environments_authorities_are_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tls = server_context(tmp_path)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    with HostileServer(answer(), tls=tls) as server, opened(server.url) as api:
        assert api.get("/jobs").content == {"ok": True}


@pytest.mark.parametrize("text", [None, "", "no certificate"])
def test_a_ca_bundle_that_is_none(text: str | None, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle.pem"
    if text is not None:
        bundle.write_text(text)
    with pytest.raises(Usage) as raised:
        opened("https://127.0.0.1:1", ca_bundle=str(bundle))
    assert str(raised.value) == f"ca_bundle: no certificates can be read from {bundle}"


def test_https_where_http_is_spoken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def speak_http() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1)
                connection.sendall(answer("no TLS here", 400))

        threading.Thread(target=speak_http, daemon=True).start()
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        with opened(url) as api, pytest.raises(Refused, match="does not speak TLS there"):
            api.get("/jobs")
