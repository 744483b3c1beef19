"""Secrets stay inside: no other host sees one, no message and no log line shows one."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest
from hostile_server import HostileServer, Play, answer, cut_short, hanging
from http_kit import Token, opened

from etl.errors import EtlError, Refused, Usage
from etl.http.address import shown

pytestmark = pytest.mark.usefixtures("either_way")

SECRET = "hunter2-and-a-very-long-tail-7d1f"
QUERY: dict[str, str | int] = {"access_token": SECRET, "page": 1}


@pytest.fixture(autouse=True)
def everything_logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Whatever any library logs during a test shows no secret."""
    caplog.set_level(logging.DEBUG)
    yield
    for record in caplog.get_records("call"):
        assert SECRET not in record.getMessage() + str(record.__dict__)


def everything(error: BaseException) -> str:
    """All texts of an error and of whatever it was made from."""
    texts = ["".join(traceback.format_exception(error))]
    todo: list[BaseException | None] = [error]
    while todo:
        current = todo.pop()
        if current is not None:
            texts.append(repr(current) + str(current.__dict__))
            todo += [current.__cause__, current.__context__]
            todo += [each for each in current.args if isinstance(each, BaseException)]
    return "\n".join(texts)


ECHO = f'{{"message": "bad token {SECRET}, Bearer {SECRET}"}}'
FAULTS: dict[str, Play] = {
    "echoed by a 401": answer(ECHO, 401),
    "echoed by a 403": answer(ECHO, 403),
    "echoed by a 400": answer(ECHO, 400),
    "echoed by a 500": answer(ECHO, 500),
    "echoed by a 429": answer(ECHO, 429),
    "echoed in what is no JSON": answer(f"<html>{SECRET}"),
    "echoed in a redirect": answer("", 302, {"Location": f"http://other.example/{SECRET}"}),
    "a reset": cut_short(b"", reset=True),
    "half a body": cut_short(answer(ECHO)[:90]),
    "a hang": hanging(),
    "no HTTP": cut_short(f"{SECRET}\r\n\r\n".encode()),
    "two lengths": answer(b"{}", headers={"Content-Length": "2, 3"}),
    "an unknown packing": answer(b"{}", headers={"Content-Encoding": SECRET}),
}


@pytest.mark.parametrize("name", FAULTS)
def test_no_failure_shows_a_secret(name: str) -> None:
    token = Token(SECRET)
    with HostileServer(FAULTS[name]) as server:
        with opened(server.url, token, timeout=0.2) as api, pytest.raises(EtlError) as raised:
            api.get("/jobs", QUERY, attempts=2)
        assert SECRET in server.seen[0].target
        assert server.seen[0].headers["x-auth-token"] == SECRET
    assert SECRET not in everything(raised.value)


def test_a_secret_longer_than_an_excerpt_is_not_shown_in_part() -> None:
    token = SECRET.upper() * 100
    echo = answer(f'{{"message": "bad token {token}"}}', 500)
    with HostileServer(echo) as server:
        with opened(server.url, Token(token)) as api, pytest.raises(EtlError) as raised:
            api.get("/jobs", attempts=1)
        assert server.seen
    assert SECRET.upper() not in everything(raised.value)
    assert "bad token [secret]" in str(raised.value)


def test_a_dead_host_shows_no_secret() -> None:
    with HostileServer(answer()) as server:
        url = server.url
    with opened(url, Token(SECRET)) as api, pytest.raises(EtlError) as raised:
        api.get("/jobs", QUERY)
    assert SECRET not in everything(raised.value)
    assert "nothing listens there" in str(raised.value)


@pytest.mark.parametrize("tail", ["\nX-More: yes", "\r\n", "\u4f60"])
def test_a_secret_that_is_no_header_is_refused_without_showing_it(tail: str) -> None:
    with HostileServer(answer()) as server:
        with opened(server.url, Token(SECRET + tail)) as api, pytest.raises(Refused) as raised:
            api.get("/jobs")
        assert not server.seen
    assert SECRET not in everything(raised.value)
    assert "line break" in str(raised.value)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("where", ["another port", "another host", "another scheme"])
def test_credentials_never_follow_a_redirect_to_another_origin(status: int, where: str) -> None:
    with HostileServer(answer()) as other:
        there = {
            "another port": other.url,
            "another host": other.url.replace("127.0.0.1", "localhost"),
            "another scheme": other.url.replace("http:", "https:"),
        }[where]
        moved = answer("", status, {"Location": f"{there}/jobs"})
        with (
            HostileServer(moved) as server,
            opened(server.url, Token(SECRET)) as api,
            pytest.raises(Refused) as raised,
        ):
            api.get("/jobs")
        assert not other.seen
    message = str(raised.value)
    assert f"redirects from {server.url} to another origin, {there}," in message
    assert f"set url: to {there}" in message


def test_cookies_of_the_platform_are_not_sent_back() -> None:
    """A session is what the credentials say, not what some answer left behind."""
    leaving = answer(headers={"Set-Cookie": "session=other; Path=/"})
    with HostileServer(leaving) as server, opened(server.url) as api:
        api.get("/a")
        api.get("/b")
        assert "cookie" not in server.seen[1].headers


def test_a_netrc_file_and_a_proxy_of_the_environment_stay_out_of_loopback(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    with HostileServer(answer(b"{}")) as proxy, HostileServer(answer()) as server:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.delenv("no_proxy", raising=False)
        with opened(server.url, Token(SECRET)) as api:
            assert api.get("/jobs").content == {"ok": True}
        assert not proxy.seen
        assert server.seen[0].headers["authorization"] == f"Bearer {SECRET}"


def test_another_host_is_asked_through_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    with HostileServer(answer()) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        with opened("http://platform.example.org:7002/base") as api:
            assert api.get("/jobs").content == {"ok": True}
        assert proxy.seen[0].target == "http://platform.example.org:7002/base/jobs"


def test_a_url_with_a_user_is_refused_without_showing_the_password() -> None:
    with pytest.raises(Usage) as raised:
        opened(f"http://me:{SECRET}@127.0.0.1:1")
    assert SECRET not in everything(raised.value)
    assert "set username: and password:" in str(raised.value)


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("http://h/a?page=1&X-Token=abc&b=2", "http://h/a?page=1&X-Token=[secret]&b=2"),
        ("http://h/a?PASSWORD=abc", "http://h/a?PASSWORD=[secret]"),
        ("http://h/a?Signature=abc%3D&AccessKeyId=x", "http://h/a?Signature=[secret]&AccessKeyId"),
        ("https://u:p@h:1/a", "https://[secret]@h:1/a"),
    ],
)
def test_urls_are_shown_without_what_their_names_call_secret(url: str, text: str) -> None:
    assert shown(url).startswith(text)
    assert "abc" not in shown(url)
