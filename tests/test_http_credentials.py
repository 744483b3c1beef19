"""Credentials: alone until accepted, renewed once, never tried again and again."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import Future, wait
from typing import Any

import pytest
from hostile_server import Call, HostileServer, answer
from http_kit import REFUSED, START, FakeClock, Token, accepting, all_at_once, kind_of, opened

from etl.errors import Unauthorized
from etl.http import Login, Registry

pytestmark = pytest.mark.usefixtures("either_way")


def test_a_refused_token_is_renewed_once_and_the_call_repeated() -> None:
    token = Token("old", "new")
    with HostileServer(accepting("new")) as server, opened(server.url, token) as api:
        got = api.get("/jobs")
        assert (got.content, got.asked_at) == ({"ok": True}, START)
        assert (token.renewals, api.requests, api.retries) == (1, 2, 1)


def test_a_token_without_a_successor_is_tried_once() -> None:
    token = Token("bad")
    with HostileServer(accepting("good")) as server, opened(server.url, token) as api:
        assert all_at_once(api, 8) == [Unauthorized] * 8
        assert len(server.seen) == 1
        assert token.renewals == 1


def test_eight_workers_with_bad_credentials_make_two_attempts_and_two_logins_at_most() -> None:
    token = Token("bad", "worse", "worst", "hopeless")
    with HostileServer(accepting("good")) as server, opened(server.url, token) as api:
        assert all_at_once(api, 40) == [Unauthorized] * 40
        with pytest.raises(Unauthorized, match="refused again after new credentials"):
            api.get("/later")
        assert len(server.seen) == 2
        assert token.renewals <= 2


def test_the_first_call_of_a_pass_goes_alone() -> None:
    may_answer = threading.Event()
    first_is_here = threading.Event()

    def slow_first(call: Call) -> None:
        first_is_here.set()
        may_answer.wait(10)
        call.send(answer())

    with HostileServer(slow_first, answer()) as server, opened(server.url, Token("t")) as api:
        futures = api.map(lambda number: api.get(f"/{number}"), range(8))
        assert first_is_here.wait(10)
        assert not wait(futures, 0.2).done
        assert len(server.seen) == 1
        may_answer.set()
        assert len(wait(futures, 10).done) == 8


def test_a_failing_first_call_is_followed_by_one_other_not_by_seven() -> None:
    """Until a call is accepted they go one by one, whatever else they come to."""
    flying = 0
    most = 0
    lock = threading.Lock()

    def count(call: Call) -> None:
        nonlocal flying, most
        with lock:
            flying += 1
            most = max(most, flying)
        call.server.over.wait(0.01)
        with lock:
            flying -= 1
        call.send(answer("", 404))

    with HostileServer(count) as server, opened(server.url, Token("t")) as api:
        assert None not in all_at_once(api, 8)
    assert most == 1


def test_nothing_is_sent_while_credentials_are_renewed() -> None:
    renewing = threading.Event()
    may_go_on = threading.Event()

    class Slow(Token):
        def renew(self, login: Login) -> bool:
            renewing.set()
            may_go_on.wait(10)
            return super().renew(login)

    token = Slow("old", "new")
    revoked = threading.Event()

    def platform(call: Call) -> None:
        good = "new" if revoked.is_set() else "old"
        accepting(good)(call)

    with HostileServer(platform) as server, opened(server.url, token) as api:
        api.get("/first")
        revoked.set()
        futures = api.map(lambda number: api.get(f"/{number}"), range(30))
        assert renewing.wait(10)
        wait(futures, 0.1)
        sent = len(server.seen)
        wait(futures, 0.1)
        assert len(server.seen) == sent <= 1 + 8
        may_go_on.set()
        wait(futures, 10)
        assert [kind_of(future) for future in futures] == [None] * 30
        assert token.renewals == 1


def test_a_late_acceptance_of_old_credentials_opens_nothing() -> None:
    renewing = threading.Event()
    late_was_read = threading.Event()
    may_go_on = threading.Event()

    class Slow(Token):
        def renew(self, login: Login) -> bool:
            renewing.set()
            may_go_on.wait(10)
            return super().renew(login)

    def platform(call: Call) -> None:
        if call.seen.target == "/late":
            renewing.wait(10)
            call.send(answer())
        else:
            refused = call.seen.target == "/refused" and call.seen.headers["x-auth-token"] == "old"
            call.send(REFUSED if refused else answer())

    with HostileServer(platform) as server, opened(server.url, Slow("old", "new")) as api:
        api.get("/first")

        def late(path: str) -> None:
            api.get(path)
            late_was_read.set()

        futures: list[Future[Any]] = [*api.map(late, ["/late"]), *api.map(api.get, ["/refused"])]
        assert late_was_read.wait(10)
        futures += api.map(api.get, ["/after"])
        wait(futures, 0.1)
        assert "/after" not in [seen.target for seen in server.seen]
        may_go_on.set()
        assert not wait(futures, 10).not_done
        assert [kind_of(future) for future in futures] == [None] * 3


def test_refusals_of_replaced_credentials_count_for_nothing() -> None:
    """Eight calls are refused together; one renews, and all of them succeed."""
    gathered = threading.Barrier(8)

    def platform(call: Call) -> None:
        token = call.seen.headers["x-auth-token"]
        if token == "old" and call.seen.target != "/first":
            gathered.wait(10)
            call.send(REFUSED)
        else:
            call.send(answer())

    token = Token("old", "new", "newer")
    with HostileServer(platform) as server, opened(server.url, token) as api:
        api.get("/first")
        assert all_at_once(api, 8) == [None] * 8
        assert token.renewals == 1
        assert len(server.seen) == 1 + 8 + 8


def test_a_third_login_within_ten_minutes_ends_the_run() -> None:
    """Accepted in between each time: it is the number of logins that a platform counts."""
    clock = FakeClock()
    token = Token("1", "2", "3", "4", "5")
    good = ["2"]

    def platform(call: Call) -> None:
        accepting(*good)(call)

    with HostileServer(platform) as server, opened(server.url, token, clock=clock) as api:
        api.get("/a")
        good[:] = ["3"]
        api.get("/b")
        good[:] = ["4"]
        with pytest.raises(Unauthorized, match="a third login within ten minutes"):
            api.get("/c")
        assert token.renewals == 2


def test_a_login_ten_minutes_later_is_fine() -> None:
    clock = FakeClock()
    token = Token("1", "2", "3", "4", "5")
    good = ["2"]

    def platform(call: Call) -> None:
        accepting(*good)(call)

    with HostileServer(platform) as server, opened(server.url, token, clock=clock) as api:
        for good[0] in ("2", "3", "4"):
            api.get("/a")
            clock.advance(301)
    assert token.renewals == 3


def test_what_shut_the_gate_stays_five_minutes_for_every_pass() -> None:
    """Ten workspaces with one revoked key must not be ten bad attempts."""
    clock = FakeClock()
    accounts = Registry()
    token = Token("bad")
    with HostileServer(accepting("good")) as server:
        for _ in range(10):
            with (
                opened(server.url, token, clock=clock, accounts=accounts) as api,
                pytest.raises(Unauthorized),
            ):
                api.get("/jobs")
        assert len(server.seen) == 1
        clock.advance(300)
        token.tokens = ["good"]
        with opened(server.url, token, clock=clock, accounts=accounts) as api:
            assert api.get("/jobs").content == {"ok": True}


class Shared(Token):
    """Equal when it is for the same user, as a class that wants to be shared says."""

    def __init__(self, user: str, *tokens: str) -> None:
        super().__init__(*tokens)
        self.user = user

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Shared) and other.user == self.user

    def __hash__(self) -> int:
        return hash(self.user)


def test_credentials_that_compare_equal_share_one_login() -> None:
    accounts = Registry()
    mine = [Shared("u", "none", "t") for _ in range(3)]
    with HostileServer(accepting("t")) as server:
        for credentials in mine:
            with opened(server.url, credentials, accounts=accounts) as api:
                api.get("/jobs")
        assert len(server.seen) == 1 + 3
    assert [credentials.renewals for credentials in mine] == [1, 0, 0]


def test_no_more_calls_are_in_flight_than_the_credentials_allow() -> None:
    """AK/SK: four, so that a key revoked meanwhile is tried at most four times."""
    accepted = threading.Event()
    four = threading.Barrier(4)

    def platform(call: Call) -> None:
        if not accepted.is_set():
            accepted.set()
            call.send(answer())
        else:
            four.wait(10)  # breaks when fewer than four ever come together
            call.send(REFUSED)

    token = Token("key", max_in_flight=4)
    with HostileServer(platform) as server, opened(server.url, token, concurrency=8) as api:
        api.get("/first")
        assert all_at_once(api, 8) == [Unauthorized] * 8
        assert len(server.seen) == 1 + 4


def test_a_broken_renewal_does_not_lock_the_others_out() -> None:
    class Broken(Token):
        def renew(self, login: Login) -> bool:
            self.renewals += 1
            raise KeyError("a mistake in the code of a source")

    token = Broken("bad")
    with HostileServer(accepting("good")) as server, opened(server.url, token) as api:
        kinds = all_at_once(api, 3)
    assert set(kinds) == {KeyError, Unauthorized}


def test_redirects_on_the_same_origin_are_signed_anew() -> None:
    moved: Mapping[str, str] = {"Location": "/new?page=2"}

    def platform(call: Call) -> None:
        if call.seen.target == "/new?page=2":
            return accepting("t")(call)
        return call.send(answer("", 307, moved))

    with HostileServer(platform) as server, opened(server.url, Token("t")) as api:
        assert api.get("/old").content == {"ok": True}
        assert (api.requests, api.retries) == (2, 0)
        assert all(seen.headers["authorization"] == "Bearer t" for seen in server.seen)
