"""The simulated Explorer: logins, sessions, lists, details, samples, and each of its quirks."""

import base64
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests

from etl.simulator import Credentials, Quirks, Simulator, World
from etl.simulator.graphs import FAILED, SUCCESS

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
OWN = Credentials()
GRAPHD = {"address": OWN.explorer_address, "port": OWN.explorer_port}
ARRAY = json.dumps([OWN.explorer_user, OWN.explorer_password])
PAIR = f"{OWN.explorer_user}:{OWN.explorer_password}"


def world_of(jobs: int) -> World:
    """Succeeded jobs, a minute apart, the last one now; ids from 1."""
    world = World.empty(NOW)
    for n in range(jobs):
        at = NOW - timedelta(minutes=jobs - 1 - n)
        job = world.explorer.create(f"flow_{n % 2}", ("PageRank", "BFS"), at)
        world.explorer.finish(job.id, SUCCESS, at + timedelta(seconds=9), {"BFS": [["a", "1"]]})
    return world


@pytest.fixture
def sim() -> Iterator[Simulator]:
    with Simulator(world_of(25)) as simulator:
        yield simulator


def login(sim: Simulator, text: str, graphd: object = GRAPHD) -> requests.Response:
    bearer = {"Authorization": "Bearer " + base64.b64encode(text.encode()).decode()}
    url = sim.explorer_url + "/api-open/v1/connect"
    return requests.post(url, json=graphd, headers=bearer, timeout=5)


def get(sim: Simulator, path: str, token: str | None = None, **params: Any) -> requests.Response:
    if isinstance(params.get("filter"), dict):
        params["filter"] = json.dumps(params["filter"])
    cookies = {"explorer_token": token or sim.credentials.explorer_token}
    url = f"{sim.explorer_url}/api-open/v1/{path}"
    return requests.get(url, params=params, cookies=cookies, timeout=5)


def data(sim: Simulator, path: str, **params: Any) -> Any:
    body = get(sim, path, **params).json()
    assert list(body) == ["code", "data", "message"]
    assert (body["code"], body["message"]) == (0, "Success")
    return body["data"]


def ids(sim: Simulator, **params: Any) -> list[int]:
    return [job["id"] for job in data(sim, "jobs", **params)["items"] or []]


@pytest.mark.parametrize(("version", "good", "bad"), [("3.2", PAIR, ARRAY), ("3.3", ARRAY, PAIR)])
def test_each_version_takes_its_own_form_of_login(
    sim: Simulator, version: Any, good: str, bad: str
) -> None:
    sim.quirks.explorer_version = version
    refused = login(sim, bad)
    assert (refused.status_code, refused.json()["code"]) == (400, 40004000)
    accepted = login(sim, good)
    token = accepted.cookies["explorer_token"]
    assert accepted.headers["Set-Cookie"] == (
        f"explorer_token={token}; Path=/; Max-Age=259200; HttpOnly"
    )
    assert get(sim, "jobs", token).json()["code"] == 0


def test_a_wrong_graphd_or_password_is_a_bad_request(sim: Simulator) -> None:
    assert login(sim, ARRAY, {"address": "elsewhere", "port": 9669}).json()["code"] == 40004000
    assert login(sim, json.dumps([OWN.explorer_user, "wrong"])).json()["code"] == 40004000


@pytest.mark.parametrize(
    ("cookie", "tail"), [("stray", "#; HttpOnly"), ("secure", "HttpOnly; Secure; SameSite=None")]
)
def test_the_cookie_varies(sim: Simulator, cookie: Any, tail: str) -> None:
    sim.quirks.explorer_cookie = cookie
    header = login(sim, ARRAY).headers["Set-Cookie"]
    assert header.startswith("explorer_token=")
    assert header.endswith(tail)


def test_sessions_die_with_the_server_and_too_many_block_everybody(sim: Simulator) -> None:
    sim.quirks.explorer_session_limit = 2
    tokens = [login(sim, ARRAY).cookies["explorer_token"] for _ in range(2)]
    assert "too many sessions" in login(sim, ARRAY).json()["message"]
    sim.restart_explorer_sessions()
    for token in (tokens[0], sim.credentials.explorer_token):
        refused = get(sim, "jobs", token)
        assert (refused.status_code, refused.json()["code"]) == (401, 40104001)
    assert get(sim, "jobs", login(sim, ARRAY).cookies["explorer_token"]).status_code == 200
    sim.revive_ready_tokens()
    assert get(sim, "jobs").status_code == 200


def test_a_list_is_newest_first_ten_a_page_with_capitals(sim: Simulator) -> None:
    page = data(sim, "jobs")
    assert list(page) == ["items", "total", "Page", "PageSize"]
    assert (page["total"], page["Page"], page["PageSize"]) == (25, 1, 10)
    assert list(page["items"][0]) == [
        "id",
        "name",
        "workflowId",
        "workflowName",
        "status",
        "runBeginTime",
        "runEndTime",
        "createTime",
    ]
    assert ids(sim) == list(range(25, 15, -1))
    assert ids(sim, page=3) == [5, 4, 3, 2, 1]
    assert ids(sim, page=4) == []


def test_a_filter_chooses_orders_and_bounds(sim: Simulator) -> None:
    created = data(sim, "jobs/7")["createTime"]
    window = {"fromCreateTime": created, "toCreateTime": created + 120_000}
    assert ids(sim, filter={**window, "orderByCreateTime": "asc"}) == [7, 8, 9]
    sim.world.explorer.fail(8)
    assert ids(sim, filter={**window, "status": FAILED}) == [8]
    assert ids(sim, filter={**window, "name": "flow_1"}) == [8]
    workflow = data(sim, "jobs/1")["workflowId"]
    assert data(sim, f"workflows/{workflow}/jobs")["total"] == 13


@pytest.mark.parametrize(
    ("quirk", "want"),
    [("inclusive", [9, 8, 7]), ("exclusive", [8]), ("half_open", [8, 7])],
)
def test_the_ends_of_a_window(sim: Simulator, quirk: Any, want: list[int]) -> None:
    sim.quirks.explorer_window = quirk
    created = data(sim, "jobs/7")["createTime"]
    window = {"fromCreateTime": created, "toCreateTime": created + 120_000}
    assert ids(sim, filter=window) == want


@pytest.mark.parametrize(
    ("ignored", "first", "total"), [("filter", 25, 25), ("window", 1, 25), ("order", 9, 3)]
)
def test_a_server_may_not_know_the_filter(
    sim: Simulator, ignored: Any, first: int, total: int
) -> None:
    sim.quirks.explorer_ignores = ignored
    created = data(sim, "jobs/7")["createTime"]
    wanted = {"fromCreateTime": created, "toCreateTime": created + 120_000}
    page = data(sim, "jobs", filter={**wanted, "orderByCreateTime": "asc"})
    assert (page["items"][0]["id"], page["total"]) == (first, total)


def test_list_quirks(sim: Simulator) -> None:
    sim.quirks.explorer_page_size_max = 4
    sim.quirks.explorer_capitals = False
    sim.quirks.explorer_null_items = True
    sim.quirks.explorer_null_tasks = True
    page = data(sim, "jobs", pageSize=100)
    assert (len(page["items"]), page["pageSize"], page["page"]) == (4, 4, 1)
    assert page["items"][0]["tasks"] is None
    assert data(sim, "jobs", page=99)["items"] is None
    sim.quirks.beyond_end = "repeat"
    assert ids(sim, page=99, pageSize=4) == [1]


@pytest.mark.parametrize("wrong", [{"filter": "{"}, {"filter": "[]"}, {"page": "x"}])
def test_a_wrong_parameter_is_named(sim: Simulator, wrong: dict[str, str]) -> None:
    answer = get(sim, "jobs", **wrong)
    assert (answer.status_code, answer.json()["code"]) == (400, 40004001)


def test_failures_may_come_with_200(sim: Simulator) -> None:
    assert get(sim, "jobs/999").status_code == 404
    sim.quirks.explorer_errors_as_200 = True
    answer = get(sim, "jobs/999")
    assert (answer.status_code, answer.json()["code"]) == (200, 40404000)


@pytest.mark.parametrize(
    ("form", "job_none", "task_none"),
    [
        ("null", None, None),
        ("zero", 0, 0),
        ("empty", "", ""),
        ("go", "0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
        ("go_ms", -62135596800000, "0001-01-01T00:00:00Z"),
    ],
)
def test_a_time_that_has_not_come(form: Any, job_none: object, task_none: object) -> None:
    world = World.empty(NOW)
    world.explorer.create()
    with Simulator(world, Quirks(explorer_none=form)) as sim:
        detail = data(sim, "jobs/1")
        assert (detail["runBeginTime"], detail["tasks"][0]["runEndTime"]) == (job_none, task_none)
        sim.quirks.explorer_none = "absent"
        assert "runBeginTime" not in data(sim, "jobs/1")


def test_a_task_is_its_component_and_comes_back_in_every_job(sim: Simulator) -> None:
    first, again = (data(sim, f"jobs/{job}")["tasks"] for job in (1, 3))
    assert [task["id"] for task in first] == [task["id"] for task in again]
    assert all(len(task["id"]) == 32 for task in first)


def test_sample_rows(sim: Simulator) -> None:
    task = data(sim, "jobs/1")["tasks"][1]["id"]
    path = f"jobs/1/tasks/{task}/sample_result"
    assert data(sim, path, limit=10) == {"items": [["a", "1"]]}
    assert get(sim, path).json()["code"] == 40004001
    sim.quirks.explorer_sample_max = 100
    assert get(sim, path, limit=101).json()["code"] == 40004001
    sim.world.explorer.set_sample(1, task, [])
    sim.quirks.explorer_null_sample = True
    assert data(sim, path, limit=100) == {"items": None}
    sim.world.explorer.set_sample(1, task, None)
    assert get(sim, path, limit=1).json()["code"] == 40004000
    sim.quirks.explorer_sample_of_unfinished = "empty"
    assert data(sim, path, limit=1) == {"items": []}
    sim.world.explorer.delete_task(1, task)
    assert get(sim, path, limit=1).json()["code"] == 40404000


def test_the_world_changes_while_it_is_served(sim: Simulator) -> None:
    explorer = sim.world.explorer
    explorer.rerun(25)
    assert data(sim, "jobs/25")["status"] == 1
    explorer.delete(24)
    assert ids(sim, pageSize=3) == [25, 23, 22]
    new = explorer.create(at=NOW + timedelta(minutes=1))
    assert ids(sim, pageSize=2) == [new.id, 25]
    assert get(sim, "jobs/24").json()["code"] == 40404000


def test_unknown_routes_and_methods_are_not_found(sim: Simulator) -> None:
    assert get(sim, "workflows").json()["code"] == 40404000
    answer = requests.put(
        f"{sim.url}/api-open/v1/jobs/1/cancel",
        cookies={"explorer_token": OWN.explorer_token},
        timeout=5,
    )
    assert answer.status_code == 404
