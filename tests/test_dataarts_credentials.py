"""How DataArts is spoken to: three ways to authenticate, errors, headers, settings, identity."""

from __future__ import annotations

import builtins
import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from dataarts_kit import (
    NOW,
    OWN,
    calls,
    filled,
    iam,
    opened,
    scanned,
    settings,
    simulator,
    span,
)
from http_kit import FakeClock

from etl.errors import BadRequest, Refused, SourceFailed, Transient, Unauthorized, Usage
from etl.http import Reply
from etl.redact import Secret, masked
from etl.simulator import Fault, Quirks, Simulator
from etl.sources.dataarts import SOURCE
from etl.sources.dataarts.answers import judge
from etl.sources.dataarts.auth import credentials
from etl.sources.dataarts.settings import DataArtsSettings, Iam, account
from etl.units import Rate, Since


@pytest.fixture
def sim() -> Iterator[Simulator]:
    with simulator(filled(250)) as served:
        yield served


@pytest.fixture(autouse=True)
def _no_tokens_from_other_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("etl.sources.dataarts.auth._held", {})


def logins(sim: Simulator) -> int:
    return sum(logged.platform == "iam" for logged in sim.requests)


# a ready token


def test_a_ready_token_and_the_headers_go_with_every_call(sim: Simulator) -> None:
    assert len(scanned(sim).rows) == 250
    for logged in sim.requests:
        assert logged.headers["x-auth-token"] == OWN.dataarts_token
        assert logged.headers["workspace"] == OWN.workspace
        assert logged.headers["content-type"] == "application/json"


def test_a_refused_token_is_read_again_once(sim: Simulator) -> None:
    texts = ["a-stale-token", OWN.dataarts_token]
    token = Secret(texts.pop(0), lambda: texts.pop(0))
    assert len(scanned(sim, token=token).rows) == 250
    assert [logged.status for logged in sim.requests[:2]] == [401, 200]
    assert texts == []


def test_a_token_that_stays_refused_ends_the_pass_after_one_more_try(sim: Simulator) -> None:
    texts = ["a-stale-token", "another-stale-token"]
    with pytest.raises(Unauthorized, match=r"APIGW\.0301.*is url the project's own region"):
        scanned(sim, token=Secret(texts.pop(0), lambda: texts.pop(0)))
    assert len(sim.requests) == 2


# IAM


def test_iam_gives_a_token_before_the_first_call(sim: Simulator) -> None:
    assert len(scanned(sim, iam=iam(sim)).rows) == 250
    login, *others = sim.requests
    assert (login.method, login.path, login.status) == ("POST", "/v3/auth/tokens", 201)
    assert json.loads(login.body)["auth"]["scope"] == {"project": {"id": OWN.project_id}}
    assert "x-auth-token" not in login.headers
    assert {logged.status for logged in others} == {200}


def test_sources_of_one_user_share_the_token_between_passes(sim: Simulator) -> None:
    scanned(sim, iam=iam(sim))
    scanned(sim, iam=iam(sim), workspace=OWN.workspaces[1])
    assert logins(sim) == 1


def test_a_token_that_dies_in_the_middle_of_a_walk_is_renewed_once(sim: Simulator) -> None:
    sim.fault(Fault("expire", platform="dataarts", after=1))
    read = scanned(sim, iam=iam(sim))
    assert len(read.rows) == 250
    assert logins(sim) == 2


def test_a_token_is_renewed_before_it_ends(sim: Simulator) -> None:
    clock = FakeClock()
    sim.wall = clock.now
    for minutes, expected in [(0, 1), (23 * 60 + 45, 1), (10, 2)]:
        clock.advance(minutes * 60)
        with opened(sim, clock, dated=True, iam=iam(sim)) as (api, made):
            list(SOURCE.scan(api, made, span()))
        assert logins(sim) == expected
    assert 401 not in {logged.status for logged in sim.requests}


def test_a_clock_that_is_days_fast_costs_no_login_a_call(sim: Simulator) -> None:
    clock = FakeClock()
    sim.wall = lambda: clock.now() - timedelta(days=2)
    with opened(sim, clock, dated=True, iam=iam(sim)) as (api, made):
        list(SOURCE.scan(api, made, span()))
    assert logins(sim) == 1


def test_a_wrong_password_is_read_again_and_then_refused_by_name(sim: Simulator) -> None:
    texts = ["an-old-password", OWN.huawei_password]
    password = Secret(texts.pop(0), lambda: texts.pop(0))
    user = Iam(
        url=sim.iam_url, domain=OWN.huawei_domain, username=OWN.huawei_user, password=password
    )
    assert len(scanned(sim, iam=user).rows) == 250
    with pytest.raises(Unauthorized, match=r"IAM refuses user 'quality-reader' of domain") as error:
        scanned(sim, iam=iam(sim, "a-wrong-password"))
    assert "a-wrong-password" not in str(error.value)


def test_an_iam_that_is_none_is_refused_with_the_setting(sim: Simulator) -> None:
    user = Iam(
        url=f"{sim.iam_url}/nowhere", domain="d", username="u", password=Secret("a-long-password")
    )
    with pytest.raises(Refused, match=r"is iam\.url right\?"):
        scanned(sim, iam=user)


def test_a_token_of_iam_is_a_secret(sim: Simulator) -> None:
    scanned(sim, iam=iam(sim))
    token = sim.requests[-1].headers["x-auth-token"]
    assert masked(f"echo {token}") == "echo [secret]"


# an access key


def signed(**changes: Any) -> dict[str, Any]:
    secret = Secret(OWN.secret_key)
    return {"access_key": OWN.access_key, "secret_key": secret, **changes}


def test_every_attempt_is_signed_anew(sim: Simulator) -> None:
    clock = FakeClock()
    sim.wall = clock.now
    sim.fault(Fault("throttle", platform="dataarts", retry_after="240", times=4))
    with opened(sim, clock, dated=True, **signed()) as (api, made):
        assert sum(len(page.records) for page in SOURCE.scan(api, made, span())) == 250
    assert [logged.status for logged in sim.requests] == [429] * 4 + [200] * 3
    dates = [logged.headers["x-sdk-date"] for logged in sim.requests]
    assert len(set(dates[:5])) == 5  # sixteen minutes: one old date would have been refused
    for logged in sim.requests:
        assert logged.headers["authorization"].startswith("SDK-HMAC-SHA256 Access=SIMULATED")
        assert logged.headers["x-project-id"] == OWN.project_id


def test_the_lock_of_a_key_is_never_reached(sim: Simulator) -> None:
    wrong = Secret("wrongSecretKeyOfFortyCharacters012345678")
    with pytest.raises(Unauthorized):
        scanned(sim, **signed(secret_key=wrong), concurrency=8)
    assert calls(sim) <= 2
    assert not sim.gateway.key_locked


def test_a_key_that_is_revoked_in_the_middle_is_not_locked() -> None:
    with simulator(filled(3000)) as served:

        def revoke(_: object) -> bool:
            if calls(served) == 10:
                served.credentials.secret_key = "x" * 40
            return False

        served.fault(Fault("delay", when=revoke))
        with pytest.raises(Unauthorized):
            scanned(served, **signed(), concurrency=8)
        assert not served.gateway.key_locked
        assert 1 <= sum(logged.status == 401 for logged in served.requests) <= 5


def test_a_missing_signer_says_what_to_install(
    sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **named: Any) -> Any:
        if name.startswith("huaweicloudsdkcore"):
            raise ImportError(name)
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(Usage, match=r"pip install 'etl\[huawei\]'"):
        credentials(settings(sim, **signed()))


def test_equal_credentials_share_a_login_and_others_do_not(sim: Simulator) -> None:
    made = [
        settings(sim),
        settings(sim, token=Secret("another-token")),
        settings(sim, iam=iam(sim)),
        settings(sim, iam=iam(sim, "another")),
        settings(sim, **signed()),
        settings(sim, **signed(access_key="OTHER")),
    ]
    for n, one in enumerate(made):
        for m, other in enumerate(made):
            assert (credentials(one) == credentials(other)) is (n == m)
            if n == m:
                assert hash(credentials(one)) == hash(credentials(other))


# errors


@pytest.mark.parametrize("prefix", ["APIG", "APIGW", "APIC"])
@pytest.mark.parametrize(
    ("status", "code", "error", "said"),
    [
        (401, ".0301", Unauthorized, "region"),
        (401, ".0307", Unauthorized, "region"),
        (403, ".0302", Refused, "may not read"),
        (404, ".0101", Refused, "is url right, and is project_id?"),
        (429, ".0308", Transient, "limit:40,time:10 second"),
        (500, ".0203", Transient, "HTTP 500"),
        (503, ".0203", Transient, "HTTP 503"),
        (400, ".0106", BadRequest, "HTTP 400"),
    ],
)
def test_errors_are_named_by_what_to_do(
    prefix: str, status: int, code: str, error: type[SourceFailed], said: str
) -> None:
    body = {"error_code": prefix + code, "error_msg": "limit:40,time:10 second", "request_id": "r1"}
    with pytest.raises(error, match=said) as raised:
        judge(Reply(status, {}, json.dumps(body).encode(), "https://x"))
    assert prefix + code in str(raised.value)
    assert "(request r1)" in str(raised.value)


def test_an_error_without_an_envelope_is_told_too() -> None:
    with pytest.raises(Transient, match="HTTP 502: <html> bad gateway"):
        judge(Reply(502, {}, b"<html>\n bad gateway", "https://x"))
    with pytest.raises(Transient, match="HTTP 503: no content"):
        judge(Reply(503, {}, b"", "https://x"))


def test_success_is_the_status_not_the_code() -> None:
    body = b'{"count":1,"error_code":"DQC.0000","resources":[{"id":1}]}'
    assert judge(Reply(200, {}, body, "https://x")).count == 1
    with pytest.raises(Transient):
        judge(Reply(500, {}, b'{"error_code":"DQC.0000"}', "https://x"))


def test_an_unknown_workspace_is_refused_by_the_settings_name(sim: Simulator) -> None:
    with pytest.raises(Refused, match=r"DLM\.4001.*`workspace`") as error:
        scanned(sim, workspace="0" * 32)
    assert not isinstance(error.value, BadRequest)
    assert calls(sim) == 1


def test_the_limit_that_a_429_names_is_waited_for(sim: Simulator) -> None:
    clock = FakeClock()
    sim.fault(Fault("throttle", platform="dataarts"))
    with opened(sim, clock) as (api, made):
        assert sum(len(page.records) for page in SOURCE.scan(api, made, span())) == 250
        assert api.retries == 1
    assert sum(clock.waits) >= 10


# settings


def given(**changes: Any) -> DataArtsSettings:
    base: dict[str, Any] = {"api": "dataarts", "url": "https://d", "project_id": "p"}
    return DataArtsSettings(**{**base, "workspace": "w", **changes})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "came: none"),
        ({"token": Secret("t"), **signed()}, "came: token and access_key"),
        ({"access_key": "a"}, "secret_key is missing"),
        ({"secret_key": Secret("s")}, "access_key is missing"),
        ({"token": Secret("t"), "page_size": 0}, "page_size must be 1 to 100"),
    ],
)
def test_settings_name_what_is_wrong(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        given(**changes)


def test_the_account_is_the_user_at_the_origin_not_the_workspace() -> None:
    base = given(token=Secret("t-one"))
    same = given(token=Secret("t-one"), workspace="other", url="https://D/")
    others = [
        given(token=Secret("t-two")),
        given(token=Secret("t-one"), url="https://e"),
        given(**signed()),
    ]
    assert account(base) == account(same)
    assert len({account(one) for one in [base, *others]}) == 4
    assert "t-one" not in account(base)
    assert SOURCE.identity(same) == {"url": "https://D", "project_id": "p", "workspace": "other"}


def test_ping_says_how_much_there_is_and_what_a_first_sync_costs() -> None:
    with simulator(filled(2501)) as sim, opened(sim) as (api, made):
        assert SOURCE.ping is not None
        said = "2,501 instances; a first sync asks 26 times"
        assert SOURCE.ping(api, made) == said
        assert calls(sim) == 1
        limited = settings(sim, rate_limit=None)
        assert SOURCE.ping(api, limited) == f"{said}, about 0 s at 35/10s"
        recent = settings(
            sim, rate_limit=Rate(1, 10.0), since=Since(NOW - timedelta(hours=2), None)
        )
        assert SOURCE.ping(api, recent) == (
            "2,501 instances, 120 instances since 2026-11-22; "
            "a first sync asks 2 times, about 10 s at 1/10s"
        )


def test_the_quirk_of_the_prefix_changes_nothing() -> None:
    with Simulator(filled(5), Quirks(dataarts_prefix="APIC")) as sim:
        sim.revoke_tokens()
        with pytest.raises(Unauthorized, match=r"APIC\.0301"):
            scanned(sim)


@pytest.mark.parametrize("kind", ["empty", "html", "broken_json"])
def test_an_answer_of_iam_without_a_token_is_asked_for_again(kind: Any) -> None:
    with Simulator(filled(5)) as sim:
        fault = sim.fault(Fault(kind, platform="iam"))
        assert len(scanned(sim, iam=iam(sim)).rows) == 5
        assert fault.hits == 1
