"""The simulated DataArts and IAM: the vendor's own SDK as the reader, tokens, limits, quirks."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests
from huaweicloudsdkcore.auth.credentials import BasicCredentials
from huaweicloudsdkcore.exceptions.exceptions import ClientRequestException
from huaweicloudsdkcore.http.http_config import HttpConfig
from huaweicloudsdkdataartsstudio.v1 import DataArtsStudioClient, ListInstancesRequest

from etl.simulator import Credentials, Simulator, World

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
OWN = Credentials()


@pytest.fixture
def sim() -> Iterator[Simulator]:
    world = World.empty(NOW)
    for n in range(25):
        at = NOW - timedelta(minutes=24 - n)
        instance = world.dataarts.start(f"check_{n % 2}", at=at)
        world.dataarts.finish(instance.id, at=at + timedelta(seconds=5))
    with Simulator(world) as simulator:
        yield simulator


def get(sim: Simulator, headers: dict[str, str] | None = None, **params: Any) -> requests.Response:
    own = sim.credentials
    sent = {"X-Auth-Token": own.dataarts_token, "workspace": own.workspace, **(headers or {})}
    url = f"{sim.dataarts_url}/v2/{own.project_id}/quality/instances"
    return requests.get(url, params=params, headers=sent, timeout=5)


def ids(sim: Simulator, **params: Any) -> list[int]:
    return [instance["id"] for instance in get(sim, **params).json()["resources"]]


def all_ids(sim: Simulator) -> list[int]:
    """Newest first."""
    return [instance.id for instance in sim.world.dataarts.instances()][::-1]


def error(answer: requests.Response) -> tuple[int, str]:
    body = answer.json()
    assert list(body) == ["error_code", "error_msg", "request_id"]
    return answer.status_code, body["error_code"]


# the vendor's SDK


def client(sim: Simulator, secret: str = OWN.secret_key) -> Any:
    credentials = BasicCredentials(OWN.access_key, secret, OWN.project_id)
    return (
        DataArtsStudioClient.new_builder()
        .with_http_config(HttpConfig(timeout=5))
        .with_credentials(credentials)
        .with_endpoints([sim.dataarts_url])
        .build()
    )


def sdk_list(sdk: Any, **wanted: Any) -> Any:
    return sdk.list_instances(ListInstancesRequest(workspace=OWN.workspace, **wanted))


def test_the_vendors_sdk_pages_through_all(sim: Simulator) -> None:
    sdk = client(sim)
    found: list[int] = []
    while page := sdk_list(sdk, limit=10, offset=len(found)).resources:
        found += [instance.id for instance in page]
    assert found == all_ids(sim)
    assert sdk_list(sdk, limit=100, offset=0).count == 25
    start = int(NOW.timestamp() * 1000) - 60_000
    window = sdk_list(sdk, start_time=start, end_time=start + 60_000, name="check_1")
    assert [instance.name for instance in window.resources] == ["check_1"]
    signed = sim.requests[-1].headers
    assert signed["authorization"].startswith("SDK-HMAC-SHA256 Access=")
    assert signed["x-project-id"] == OWN.project_id


def test_a_wrong_secret_is_refused_and_more_than_five_lock_the_key(sim: Simulator) -> None:
    wrong = client(sim, "x" * 40)
    for attempt in range(6):
        assert not sim.gateway.key_locked, attempt
        with pytest.raises(ClientRequestException) as refused:
            sdk_list(wrong)
        assert (refused.value.status_code, refused.value.error_code) == (401, "APIGW.0301")
    assert sim.gateway.key_locked
    with pytest.raises(ClientRequestException, match="locked"):
        sdk_list(client(sim))
    later = datetime.now(UTC) + timedelta(minutes=5, seconds=1)
    sim.wall = lambda: later
    assert sdk_list(client(sim)).count == 25


@pytest.mark.parametrize(("minutes", "status"), [(14, 200), (-14, 200), (16, 401), (-16, 401)])
def test_a_signature_lives_fifteen_minutes(sim: Simulator, minutes: int, status: int) -> None:
    sim.wall = lambda: datetime.now(UTC) + timedelta(minutes=minutes)
    if status == 200:
        assert sdk_list(client(sim)).count == 25
    else:
        with pytest.raises(ClientRequestException, match="expired"):
            sdk_list(client(sim))


@pytest.mark.parametrize(
    "change",
    [
        {"params": {"limit": "11"}},
        {"headers": {"workspace": OWN.workspaces[1]}},
        {"headers": {"X-Sdk-Date": "yesterday"}},
        {"path": "/v2/" + "0" * 32 + "/quality/instances"},
    ],
)
def test_a_signature_covers_query_headers_date_and_path(
    sim: Simulator, change: dict[str, Any]
) -> None:
    sdk_list(client(sim), limit=10)
    sent = sim.requests[-1]
    headers = {**sent.headers, **{k.lower(): v for k, v in change.get("headers", {}).items()}}
    params = {**sent.params, **change.get("params", {})}
    answer = requests.get(
        sim.url + change.get("path", sent.path), params=params, headers=headers, timeout=5
    )
    assert error(answer) == (401, "APIGW.0301")
    same = requests.get(sim.url + sent.path, params=sent.params, headers=sent.headers, timeout=5)
    assert same.status_code == 200


# tokens


def iam(sim: Simulator, password: str = OWN.huawei_password) -> requests.Response:
    user = {
        "name": OWN.huawei_user,
        "password": password,
        "domain": {"name": OWN.huawei_domain},
    }
    identity = {"methods": ["password"], "password": {"user": user}}
    auth = {"identity": identity, "scope": {"project": {"id": OWN.project_id}}}
    return requests.post(f"{sim.iam_url}/v3/auth/tokens", json={"auth": auth}, timeout=5)


def test_iam_gives_a_token_of_several_kb_that_lives_a_day(sim: Simulator) -> None:
    answer = iam(sim)
    token = answer.headers["X-Subject-Token"]
    assert answer.status_code == 201
    assert len(token) == sim.quirks.iam_token_bytes
    expires = datetime.fromisoformat(answer.json()["token"]["expires_at"])
    assert timedelta(hours=23) < expires - datetime.now(UTC) <= timedelta(hours=24)
    assert get(sim, {"X-Auth-Token": token}).status_code == 200
    sim.wall = lambda: expires
    assert error(get(sim, {"X-Auth-Token": token})) == (401, "APIGW.0301")


def test_iam_refuses_a_wrong_password_until_it_is_the_right_one(sim: Simulator) -> None:
    refused = iam(sim, "changed")
    assert (refused.status_code, refused.json()["error"]["title"]) == (401, "Unauthorized")
    sim.credentials.huawei_password = "changed"
    assert iam(sim, "changed").status_code == 201
    broken = requests.post(f"{sim.iam_url}/v3/auth/tokens", data="{", timeout=5)
    assert broken.status_code == 400
    assert requests.get(f"{sim.iam_url}/v3/projects", timeout=5).status_code == 404


def test_tokens_can_die_early(sim: Simulator) -> None:
    token = iam(sim).headers["X-Subject-Token"]
    sim.revoke_tokens()
    assert get(sim, {"X-Auth-Token": token}).status_code == 401
    assert get(sim).status_code == 401
    sim.revive_ready_tokens()
    assert get(sim).status_code == 200


# the list


def test_the_list_is_newest_first_ten_a_page(sim: Simulator) -> None:
    assert ids(sim) == all_ids(sim)[:10]
    assert ids(sim, limit=7, offset=20) == all_ids(sim)[20:]
    assert ids(sim, offset=25) == []
    assert min(all_ids(sim)) > 2**53
    assert get(sim).json()["count"] == 25


def test_filters(sim: Simulator) -> None:
    quality, newest = sim.world.dataarts, all_ids(sim)[0]
    quality.edit(newest).run_status = "ALARMING"
    assert ids(sim, run_status="ALARMING") == [newest]
    assert get(sim, name="check_1").json()["count"] == 12
    assert ids(sim, task_type="CONSISTENCY_TASK") == []
    assert ids(sim, notify_status="FAILED") == []


@pytest.mark.parametrize(("quirk", "want"), [("inclusive", 3), ("exclusive", 1), ("half_open", 2)])
def test_the_ends_of_a_window(sim: Simulator, quirk: Any, want: int) -> None:
    sim.quirks.dataarts_window = quirk
    end = int(NOW.timestamp() * 1000)
    assert len(ids(sim, start_time=end - 120_000, end_time=end)) == want
    sim.quirks.dataarts_ignores_window = True
    assert get(sim, start_time=end, end_time=end).json()["count"] == 25


def test_offsets_may_count_pages_and_the_oldest_may_come_first(sim: Simulator) -> None:
    sim.quirks.dataarts_offset, sim.quirks.dataarts_order = "pages", "asc"
    assert ids(sim, limit=10, offset=2) == all_ids(sim)[::-1][20:]
    sim.quirks.beyond_end = "repeat"
    assert ids(sim, limit=10, offset=9) == all_ids(sim)[::-1][20:]


def test_a_limit_above_the_maximum_is_an_error_or_clamped(sim: Simulator) -> None:
    assert error(get(sim, limit=101)) == (400, "DLM.4000")
    assert error(get(sim, limit="x")) == (400, "DLM.4000")
    sim.quirks.dataarts_limit_over, sim.quirks.dataarts_limit_max = "clamp", 5
    assert len(ids(sim, limit=101)) == 5


@pytest.mark.parametrize(("quirk", "want"), [("null", {"end_time": None}), ("absent", {})])
def test_a_running_instance_has_no_end(sim: Simulator, quirk: Any, want: object) -> None:
    sim.quirks.dataarts_none = quirk
    sim.world.dataarts.start(at=NOW + timedelta(minutes=1))
    first = get(sim).json()["resources"][0]
    assert first["run_status"] == "RUNNING"
    assert {k: v for k, v in first.items() if k == "end_time"} == want
    sim.quirks.dataarts_none = "zero"
    assert get(sim).json()["resources"][0]["end_time"] == 0


def test_the_world_changes_while_it_is_served(sim: Simulator) -> None:
    sim.world.dataarts.delete(all_ids(sim)[1])
    assert get(sim).json()["count"] == 24
    other = sim.world.dataarts.start(workspace=OWN.workspaces[1])
    assert get(sim, {"workspace": OWN.workspaces[1]}).json()["resources"][0]["id"] == other.id
    sim.world.dataarts.finish(other.id, "FAILED")
    body = get(sim, {"workspace": OWN.workspaces[1]}).json()
    assert body["resources"][0]["run_status"] == "FAILED"
    with pytest.raises(KeyError):
        sim.world.dataarts.edit(1)


def test_errors(sim: Simulator) -> None:
    assert error(get(sim, {"workspace": "0" * 32})) == (400, "DLM.4001")
    sim.quirks.dataarts_prefix = "APIC"
    assert error(get(sim, {"X-Auth-Token": "wrong"})) == (401, "APIC.0301")
    assert error(requests.get(f"{sim.url}/v2/x/quality/tasks", timeout=5)) == (404, "APIC.0101")
    elsewhere = f"{sim.url}/v2/{'0' * 32}/quality/instances"
    headers = {"X-Auth-Token": OWN.dataarts_token}
    assert error(requests.get(elsewhere, headers=headers, timeout=5)) == (403, "APIC.0302")
    assert error(requests.get(elsewhere, timeout=5)) == (401, "APIC.0301")


def test_a_user_has_so_many_calls_whatever_the_workspace(sim: Simulator) -> None:
    sim.quirks.dataarts_rate_limit, sim.quirks.dataarts_retry_after = (3, 0.3), "1"
    other = {"workspace": OWN.workspaces[1]}
    assert [get(sim, headers).status_code for headers in ({}, other, {})] == [200, 200, 200]
    throttled = get(sim, other)
    assert error(throttled) == (429, "APIGW.0308")
    assert throttled.headers["Retry-After"] == "1"
    assert "limit:3,time:0.3 second" in throttled.json()["error_msg"]
    sim.quirks.dataarts_retry_after = None
    assert "Retry-After" not in get(sim).headers
