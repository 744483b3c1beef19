"""What an answer of Act2 means, whichever shape it has; and who asks."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest
import requests
from act2_kit import (
    DETAIL,
    NOW,
    PAGE,
    RESULT,
    asked,
    filled,
    ids,
    opened,
    scanned,
    settings,
    simulator,
)

from etl.errors import (
    BadRequest,
    EtlError,
    Gone,
    Malformed,
    Refused,
    Transient,
    Unauthorized,
)
from etl.http import Reply
from etl.redact import MASK, Secret, masked
from etl.simulator import Credentials, Fault, World
from etl.sources.act2 import SOURCE
from etl.sources.act2.access import judge, platform

OWN = Credentials()


def reply(status: int, body: str, path: str = DETAIL) -> Reply:
    return Reply(status, {}, body.encode(), f"http://act2/below{path}?id=1")


@pytest.mark.parametrize(
    ("status", "body", "error", "said"),
    [
        (200, '{"status":"error","message":"record not found","content":null}', Gone, "not found"),
        (200, '{"status":"error","message":"id can not be null","content":null}', BadRequest, "id"),
        (200, '{"status":"error","message":"pageNo is not int"}', BadRequest, "pageNo"),
        (200, '{"status":"ERROR","message":"invalid user","content":null}', Unauthorized, "user"),
        (
            200,
            '{"status":"error","message":"dial tcp 127.0.0.1:3306: connection refused"}',
            Transient,
            "dial tcp",
        ),
        (200, '{"status":"error","message":"","content":null}', Transient, "without a message"),
        (200, '{"message":"something else"}', Transient, "something else"),
        (400, '{"message":"record not found"}', Gone, "record not found"),
        (500, '{"message":"record not found"}', Gone, "record not found"),
        (400, '{"message":"bad range"}', BadRequest, "bad range"),
        (500, '{"message":"dial tcp: connection refused"}', Transient, "dial tcp"),
        (502, "<html>bad gateway</html>", Transient, "502"),
        (429, "", Transient, "429"),
        (401, "", Unauthorized, "401"),
        (403, "Forbidden\n", Refused, r"policy grants no GET on /api/v1/job/\*"),
        (404, "404 page not found\n", BadRequest, "is url the Act2 master's"),
        (415, "", Refused, "Content-Type: application/json"),
        (200, "", Malformed, "not JSON"),
        (200, "<html>login</html>", Malformed, "not JSON"),
    ],
)
def test_what_an_error_means(status: int, body: str, error: type[EtlError], said: str) -> None:
    with pytest.raises(error, match=said) as raised:
        judge(reply(status, body))
    assert type(raised.value) is error


@pytest.mark.parametrize(
    ("path", "body", "content"),
    [
        (RESULT, '{"status":"success","message":"","content":[1]}', [1]),
        (PAGE, '{"status":"success","content":{"list":[]}}', {"list": []}),
        (PAGE, '{"totalCount":0}', {"totalCount": 0}),
        (PAGE, '{"List":null,"TotalCount":0}', {"List": None, "TotalCount": 0}),
        (RESULT, '{"status":"success","message":"","content":null}', None),
        (PAGE, '{"list":[],"pageNo":1}', {"list": [], "pageNo": 1}),
        (PAGE, "[]", []),
        (RESULT, "[]", []),
        (RESULT, "null", None),
        (RESULT, "{}", {}),
        (DETAIL, '{"id":"1"}', {"id": "1"}),
        (
            RESULT,
            '{"status":"error","message":"exit 1","stdout":"","hostId":"h"}',
            {"status": "error", "message": "exit 1", "stdout": "", "hostId": "h"},
        ),
    ],
)
def test_the_content_of_either_shape(path: str, body: str, content: Any) -> None:
    assert judge(reply(200, body, path)) == content


@pytest.mark.parametrize(
    ("path", "contents"),
    [
        (PAGE, ["null", "7", '"ok"', "true", "{}", '{"records":[]}']),
        (DETAIL, ["null", "7", '"ok"', "true", "{}", "[]", '[{"id":"1"}]']),
        (RESULT, ["7", '"ok"', "true"]),
    ],
)
def test_what_holds_nothing_that_was_asked_for_is_malformed(path: str, contents: list[str]) -> None:
    for content in contents:
        for body in (content, f'{{"status":"success","message":"","content":{content}}}'):
            with pytest.raises(Malformed):
                judge(reply(200, body, path))


@pytest.mark.parametrize("path", [PAGE, DETAIL])
@pytest.mark.parametrize("body", ["null", "0", "{}"])
def test_an_answer_without_content_is_asked_for_again(path: str, body: str) -> None:
    world = filled(3)
    with simulator(world, act2_shape="doc") as sim:
        sim.fault(Fault("body", when=lambda one: one.path == path, body=body, times=2))
        held = scanned(sim)
    assert set(held.rows) == ids(world)
    assert (held.debts, held.rejects, held.doubts) == ({}, [], [])


def test_the_content_type_is_sent_on_every_get() -> None:
    with simulator(filled(3)) as sim, opened(sim) as (api, made):
        assert SOURCE.ping is not None
        assert SOURCE.ping(api, made) == (
            "3 records; a first sync of all would take about 4 requests"
        )
        assert all(logged.headers["content-type"] == "application/json" for logged in sim.requests)
        assert len(sim.requests) == 1


def test_basic_goes_with_the_first_request() -> None:
    with simulator(filled(1), act2_auth="basic") as sim:
        given: dict[str, Any] = {"username": OWN.act2_user, "password": Secret(OWN.act2_password)}
        with opened(sim, **given) as (api, _):
            [record] = sim.world.act2.records
            assert api.get(DETAIL, {"id": record.id}).content["id"] == record.id
        assert len(asked(sim, DETAIL)) == 1


@pytest.mark.parametrize("shape", ["live", "doc"])
def test_a_wrong_password_is_unauthorized(shape: str) -> None:
    with simulator(filled(1), act2_auth="basic", act2_shape=shape) as sim:
        given: dict[str, Any] = {"username": OWN.act2_user, "password": Secret("wrong-password")}
        with opened(sim, **given) as (api, _), pytest.raises(Unauthorized, match="invalid user"):
            api.get(DETAIL, {"id": "x"})


def test_a_forbidding_policy_is_explained() -> None:
    with simulator(World.empty(NOW), act2_auth="forbidden") as sim, opened(sim) as (api, _):
        with pytest.raises(Refused, match="policy grants no GET"):
            api.get(DETAIL, {"id": "x"})
        assert len(sim.requests) == 1


def _sent(username: str | None, password: Secret | None) -> str | None:
    made = settings(username=username, password=password)
    request = requests.Request("GET", "http://act2").prepare()
    platform(made).credentials.apply(request)
    return request.headers.get("Authorization")


def test_a_password_is_any_text_and_stays_a_secret() -> None:
    sent = _sent("op", Secret("pä:ss wörd"))
    assert sent is not None
    assert base64.b64decode(sent.removeprefix("Basic ")).decode() == "op:pä:ss wörd"
    assert masked(f"header {sent}") == f"header Basic {MASK}"
    assert _sent(None, None) is None


def test_a_rotated_password_is_read_again() -> None:
    texts = iter(["new-password"])
    credentials = platform(settings(username="op", password=_rotating(lambda: next(texts))))
    assert credentials.credentials.renew(_no_login)
    assert not platform(settings()).credentials.renew(_no_login)


def _rotating(reread: Callable[[], str]) -> Secret:
    return Secret("old-password", reread)


def _no_login(method: str, url: str, **_: Any) -> Reply:
    raise AssertionError("Basic has no login")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"time_zone": "Asia/Shangai"}, "time_zone: 'Asia/Shangai' is no IANA time zone"),
        ({"time_zone": ""}, "is no IANA time zone"),
        ({"time_zone": "../etc/passwd"}, "is no IANA time zone"),
        ({"username": "op"}, "password is missing"),
        ({"password": Secret("a-password-alone")}, "username is missing"),
        ({"page_size": 0}, "page_size must be 1 or more, not 0"),
    ],
)
def test_settings_that_cannot_be_right(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        settings(**changes)


def test_a_name_stands_for_a_url_and_a_user_has_one_budget() -> None:
    one = settings("http://act2:6868/")
    assert SOURCE.identity(one) == {"url": "http://act2:6868"}
    same = settings("http://act2:6868", username="a", password=Secret("the-first-password"))
    other = settings("http://act2:6868", username="a", password=Secret("the-second-password"))
    assert platform(same).account == platform(other).account != platform(one).account
