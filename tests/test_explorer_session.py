"""Logging in at Explorer, and what its answers mean, over real HTTP."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from explorer_kit import NOW, Memory, ids, opened, settings_for, span, sync, world_of

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
from etl.http.account import Registry
from etl.redact import MASK, Secret, masked
from etl.simulator import Fault, Simulator
from etl.simulator.wire import Request
from etl.sources.explorer import SOURCE
from etl.sources.explorer.answers import judge
from etl.sources.explorer.settings import Login

CONNECT = "/api-open/v1/connect"
CODES = (50004000, 90004000, 40304000)


@pytest.fixture
def sim() -> Iterator[Simulator]:
    with Simulator(world_of(3)) as simulator:
        yield simulator


def login_for(sim: Simulator, **changes: Any) -> dict[str, Any]:
    own = sim.credentials
    given = {
        "username": own.explorer_user,
        "password": Secret(own.explorer_password),
        "address": own.explorer_address,
        "port": own.explorer_port,
    }
    return {"login": Login(**{**given, **changes})}


def logins(sim: Simulator) -> list[str]:
    """What was sent as credentials, decoded."""
    sent = [one.headers["authorization"] for one in sim.requests if one.path == CONNECT]
    return [base64.b64decode(one.removeprefix("Bearer ")).decode() for one in sent]


@pytest.mark.parametrize("cookie", ["plain", "stray", "secure"])
def test_one_login_serves_a_pass(sim: Simulator, cookie: Any) -> None:
    sim.quirks.explorer_cookie = cookie
    memory = sync(sim, Memory(), more=login_for(sim))
    assert ids(memory) == {1, 2, 3}
    own = sim.credentials
    assert logins(sim) == [json.dumps([own.explorer_user, own.explorer_password])]
    assert sim.requests[0].path == CONNECT, "nothing is asked before the login"


def test_the_older_form_of_login_follows_the_refused_newer_one(sim: Simulator) -> None:
    sim.quirks.explorer_version = "3.2"
    assert ids(sync(sim, Memory(), more=login_for(sim))) == {1, 2, 3}
    own = sim.credentials
    assert logins(sim)[1:] == [f"{own.explorer_user}:{own.explorer_password}"]


def test_a_refused_login_is_tried_in_both_forms_once_and_ends_the_pass(sim: Simulator) -> None:
    wrong = login_for(sim, password=Secret("wrong-password"))
    with pytest.raises(Unauthorized, match="check username, password, address and port") as told:
        sync(sim, Memory(), more=wrong)
    assert len(sim.requests) == 2
    assert "wrong-password" not in str(told.value)


def _is_newer(request: Request) -> bool:
    sent = request.headers.get("authorization", "").removeprefix("Bearer ")
    return request.path == CONNECT and base64.b64decode(sent).startswith(b"[")


@pytest.mark.parametrize(
    "fault", [Fault("status", status=502)] + [Fault("error", code=code) for code in CODES]
)
def test_an_old_server_may_call_the_newer_form_anything(sim: Simulator, fault: Fault) -> None:
    sim.quirks.explorer_version = "3.2"
    sim.fault(replace(fault, when=_is_newer, times=None))
    assert ids(sync(sim, Memory(), more=login_for(sim))) == {1, 2, 3}
    assert len(logins(sim)) == 2


def test_a_server_in_trouble_is_asked_in_the_newer_form_again(sim: Simulator) -> None:
    sim.fault(Fault("status", path=CONNECT, status=503))
    assert ids(sync(sim, Memory(), more=login_for(sim))) == {1, 2, 3}
    newer, older, again = logins(sim)
    assert (newer, older != newer) == (again, True)


def test_a_server_that_names_a_time_is_asked_nothing_else_before(sim: Simulator) -> None:
    sim.fault(Fault("status", path=CONNECT, status=503, retry_after="1"))
    assert ids(sync(sim, Memory(), more=login_for(sim))) == {1, 2, 3}
    one, other = logins(sim)
    assert one == other


def test_who_may_not_log_in_is_told_so(sim: Simulator) -> None:
    sim.fault(Fault("error", path=CONNECT, status=403, code=40304000, times=None))
    with pytest.raises(Refused, match="40304000"):
        sync(sim, Memory(), more=login_for(sim))
    assert len(logins(sim)) == 2


def test_a_session_that_is_lost_is_replaced_by_one_login(sim: Simulator) -> None:
    settings = settings_for(sim, **login_for(sim))
    with opened(settings) as api:
        SOURCE.ping and SOURCE.ping(api, settings)
        sim.restart_explorer_sessions()
        memory = Memory().take(SOURCE.scan(api, settings, span(Memory())))
    assert ids(memory) == {1, 2, 3}
    assert len(logins(sim)) == 2


def test_passes_of_one_process_share_the_session(sim: Simulator) -> None:
    accounts = Registry()
    for _ in range(3):
        settings = settings_for(sim, **login_for(sim))
        with opened(settings, accounts) as api:
            list(SOURCE.inventory(api, settings, span(Memory())))
    assert len(logins(sim)) == 1


def test_a_login_without_a_cookie_says_so(sim: Simulator) -> None:
    sim.fault(Fault("body", CONNECT, body=b'{"code":0,"data":{}}', times=None))
    with pytest.raises(Malformed, match="set no cookie explorer_token"):
        sync(sim, Memory(), more=login_for(sim))


def test_a_token_that_was_rotated_in_its_file_is_read_again(sim: Simulator) -> None:
    token = Secret("an old token", reread=lambda: sim.credentials.explorer_token)
    assert ids(sync(sim, Memory(), more={"token": token})) == {1, 2, 3}


def test_a_token_may_be_pasted_with_the_name_of_its_cookie(sim: Simulator) -> None:
    token = Secret(f"explorer_token={sim.credentials.explorer_token}\n")
    assert ids(sync(sim, Memory(), more={"token": token})) == {1, 2, 3}


def test_password_and_token_never_show(sim: Simulator) -> None:
    sync(sim, Memory(), more=login_for(sim))
    token = next(
        one.headers["cookie"].removeprefix("explorer_token=")
        for one in sim.requests
        if "cookie" in one.headers
    )
    bearer = next(one.headers["authorization"] for one in sim.requests if one.path == CONNECT)
    assert masked(token) == MASK
    assert masked(bearer) == f"Bearer {MASK}"


def test_errors_are_judged_by_code_even_with_http_200(sim: Simulator) -> None:
    sim.quirks.explorer_errors_as_200 = True
    settings = settings_for(sim)
    with opened(settings) as api, pytest.raises(Gone, match="40404000"):
        api.get("/api-open/v1/jobs/999")
    with pytest.raises(Unauthorized):
        sync(sim, Memory(), more={"token": Secret("a wrong token")})


def test_a_url_that_is_not_the_explorers_is_named(sim: Simulator) -> None:
    settings = settings_for(sim, url=f"{sim.url}/elsewhere")
    with opened(settings) as api, pytest.raises(Refused, match="is url: the Explorer's"):
        list(SOURCE.scan(api, settings, span(Memory())))


def test_an_answer_for_a_moment_broken_is_asked_again(sim: Simulator) -> None:
    for kind in ("html", "empty", "broken_json"):
        sim.fault(Fault(kind, "/api-open/v1/jobs"))
    assert ids(sync(sim, Memory())) == {1, 2, 3}


def judged(status: int, body: object) -> Any:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return judge(Reply(status, {}, text, "http://explorer/jobs", NOW))


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (40004000, BadRequest),
        (40004001, BadRequest),
        (40104000, Unauthorized),
        (40104001, Unauthorized),
        (40304000, Refused),
        (40404000, Gone),
        (50004000, Transient),
        (50004001, Transient),
        (50004002, Transient),
        (50004003, Refused),
        (90004000, Transient),
        (40904000, BadRequest),
        (42904000, Transient),
        (50304123, Transient),
        (7, Transient),
    ],
)
@pytest.mark.parametrize("status", [200, 500])
def test_each_code_says_what_to_do(code: int, kind: type[SourceFailed], status: int) -> None:
    with pytest.raises(SourceFailed, match=f"code {code}: what") as told:
        judged(status, {"code": code, "message": "what"})
    assert type(told.value) is kind


def test_an_unknown_code_falls_back_on_the_status() -> None:
    with pytest.raises(Gone):
        judged(404, {"code": 7, "message": "?"})


def test_a_good_answer_is_its_data() -> None:
    assert judged(200, {"code": 0, "data": {"total": 1}}) == {"total": 1}
    assert judged(200, {"code": "0", "data": None}) is None


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (404, b"404 page not found", Refused),
        (404, {"detail": "Not Found"}, Refused),
        (502, b"<html>bad gateway</html>", Transient),
        (401, b"", Unauthorized),
        (200, b"", Malformed),
        (200, b"<html>sign in</html>", Malformed),
        (200, {"items": []}, Malformed),
        (200, [1], Malformed),
        (200, {"code": "odd"}, Malformed),
    ],
)
def test_what_is_no_answer_of_explorer_is_told_apart(
    status: int, body: object, kind: type[SourceFailed]
) -> None:
    with pytest.raises(SourceFailed) as told:
        judged(status, body)
    assert type(told.value) is kind


def test_what_a_fast_parser_refuses_is_read_exactly() -> None:
    body = b'{"code":0,"data":["\\ud800",123456789012345678901234567890,NaN,"\xff"]}'
    lone, big, nan, broken = judged(200, body)
    assert (lone, big, broken) == ("\ud800", 123456789012345678901234567890, "\ufffd")
    assert nan != nan  # noqa: PLR0124 - only NaN differs from itself


@pytest.mark.parametrize("kind", ["empty", "html", "broken_json", "nested"])
def test_a_login_that_is_answered_with_nothing_readable_is_tried_again(
    sim: Simulator, kind: Any
) -> None:
    fault = sim.fault(Fault(kind, path=CONNECT))
    assert ids(sync(sim, Memory(), more=login_for(sim))) == {1, 2, 3}
    assert (fault.hits, len(logins(sim))) == (1, 2)
