"""A login: when it happens, how it is made, and what its failure means for everybody."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import requests
from hostile_server import Call, HostileServer, Play, answer
from http_kit import FakeClock, Token, accepting, all_at_once, judge, opened

from etl.errors import EtlError, Refused, Transient, Unauthorized
from etl.http import Login, Registry

pytestmark = pytest.mark.usefixtures("either_way")


class NotYet(Token):
    """Has nothing to show before its first login."""

    def apply(self, request: requests.PreparedRequest) -> None:
        if self.tokens[0] == "none":
            raise Unauthorized("not logged in yet")
        super().apply(request)


def test_credentials_with_nothing_to_show_log_in_before_anything_is_sent() -> None:
    token = NotYet("none", "good")
    with HostileServer(accepting("good")) as server, opened(server.url, token) as api:
        assert all_at_once(api, 8) == [None] * 8
        assert (len(server.seen), api.requests, api.retries) == (8, 8, 0)


class LoggingIn(NotYet):
    """Fetches its token with a call."""

    def __init__(self, url: str) -> None:
        super().__init__("none")
        self.url = url

    def renew(self, login: Login) -> bool:
        self.renewals += 1
        reply = login("POST", self.url, headers={"X-Asked": "yes"}, json={"user": "ü"})
        if reply.status != 201:
            raise Unauthorized(f"the login was refused: {reply.status}")
        self.tokens = [reply.headers["x-subject-token"]]
        return True


def served(*logins: Play) -> Callable[[Call], None]:
    """Plays `logins` for each POST in turn; accepts the token `t`."""
    plays = list(logins)

    def play(call: Call) -> None:
        if call.seen.method == "GET":
            return accepting("t")(call)
        now = plays.pop(0) if len(plays) > 1 else plays[0]
        return call.send(now) if isinstance(now, bytes) else now(call)

    return play


TOKEN = answer("{}", 201, {"X-Subject-Token": "t"})


def test_a_login_is_a_call_without_credentials_repeated_and_counted() -> None:
    with HostileServer(served(answer("", 503), TOKEN)) as server:
        with opened(server.url, LoggingIn(f"{server.url}/login")) as api:
            assert api.get("/jobs").content == {"ok": True}
            assert (api.requests, api.retries) == (3, 1)
        login = server.seen[0]
    assert login.method == "POST"
    assert login.body == b'{"user": "\\u00fc"}'
    assert login.headers["content-type"] == "application/json"
    assert login.headers["x-asked"] == "yes"
    assert "x-auth-token" not in login.headers


@pytest.mark.parametrize(
    ("play", "error", "logins"),
    [
        (answer("", 401), Unauthorized, 1),
        (answer("", 500), Transient, 5),
        (answer("", 302, {"Location": "http://127.0.0.1:1/"}), Refused, 1),
        (answer("", 302, {"Location": "/other"}), Refused, 1),
    ],
)
def test_a_login_that_fails_fails_the_pass_once_for_everybody(
    play: Play, error: type[EtlError], logins: int
) -> None:
    with HostileServer(served(play)) as server:
        credentials = LoggingIn(f"{server.url}/login")
        clock = FakeClock()
        with opened(server.url, credentials, clock=clock) as api:
            assert all_at_once(api, 16) == [error] * 16
        assert len(clock.waits) == logins - 1
        assert [seen.method for seen in server.seen] == ["POST"] * logins
        assert credentials.renewals == 1


def test_an_outage_of_the_login_is_forgotten_by_the_next_pass() -> None:
    accounts = Registry()
    with HostileServer(served(*[answer("", 500)] * 5, TOKEN)) as server:
        credentials = LoggingIn(f"{server.url}/login")
        with (
            opened(server.url, credentials, accounts=accounts) as api,
            pytest.raises(Transient),
        ):
            api.get("/jobs")
        with opened(server.url, credentials, accounts=accounts) as api:
            assert api.get("/jobs").content == {"ok": True}


def test_an_answer_to_a_login_that_cannot_be_read_is_asked_for_again() -> None:
    class Judging(NotYet):
        def renew(self, login: Login) -> bool:
            reply = login("POST", f"{server.url}/login", json={}, judge=judge)
            self.tokens = [reply.headers["x-subject-token"]]
            return True

    page = answer("<html>Sign in</html>")
    with HostileServer(served(answer(""), page, TOKEN)) as server:
        with opened(server.url, Judging("none")) as api:
            assert api.get("/jobs").content == {"ok": True}
        assert [seen.method for seen in server.seen] == ["POST"] * 3 + ["GET"]
