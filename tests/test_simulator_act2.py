"""The simulated Act2: pages of rows, holes, races, access, both shapes."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests

from etl.simulator import Fault, HostRow, Quirks, Script, Simulator, World

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
JSON = {"Content-Type": "application/json"}


@pytest.fixture
def sim() -> Iterator[Simulator]:
    world = World.empty(NOW)
    for n in range(7):
        record = world.act2.start(hosts=2, at=NOW - timedelta(minutes=7 - n))
        world.act2.finish(record.id)
    with Simulator(world) as simulator:
        yield simulator


def get(sim: Simulator, path: str, **options: Any) -> requests.Response:
    url = f"{sim.act2_url}/api/v1/job/record{path}"
    return requests.get(url, **{"headers": JSON, "timeout": 5, **options})


def content(sim: Simulator, path: str) -> Any:
    body = get(sim, path).json()
    assert list(body) == ["status", "message", "content"]
    assert body["status"] == "success"
    return body["content"]


def page(sim: Simulator, number: int, size: int) -> Any:
    return content(sim, f"/page?pageNo={number}&pageSize={size}")


def listed(sim: Simulator, number: int, size: int) -> set[str]:
    return {row["recordId"] for row in page(sim, number, size)["List"]}


def ids(sim: Simulator) -> list[str]:
    return [record.id for record in sim.world.act2.records]


def test_a_page_counts_records_and_lists_their_rows_oldest_first(sim: Simulator) -> None:
    first = page(sim, 1, 3)
    assert {k: first[k] for k in ("PageNo", "PageSize", "PageCount", "TotalCount")} == {
        "PageNo": 1,
        "PageSize": 3,
        "PageCount": 3,
        "TotalCount": 7,
    }
    assert len(first["List"]) == 6
    assert listed(sim, 1, 3) == set(ids(sim)[:3])
    assert listed(sim, 3, 3) == set(ids(sim)[6:])
    assert [row["hostId"] for row in first["List"]] == sorted(r["hostId"] for r in first["List"])
    assert page(sim, 0, 0)["PageSize"] == 10


def test_a_record_without_rows_leaves_a_hole(sim: Simulator) -> None:
    scripts, hole = sim.world.act2, ids(sim)[3]
    scripts.hide_rows(hole)
    assert page(sim, 4, 1)["List"] == []
    assert page(sim, 4, 1)["TotalCount"] == 7
    assert content(sim, f"?id={hole}")["id"] == hole
    scripts.show_rows(hole)
    assert listed(sim, 4, 1) == {hole}


def test_list_is_null_only_when_there_is_nothing(sim: Simulator) -> None:
    assert page(sim, 9, 10)["List"] == []
    for record in ids(sim):
        sim.world.act2.delete(record)
    assert page(sim, 1, 10)["List"] is None


def test_a_running_record_ends_when_it_starts(sim: Simulator) -> None:
    record = sim.world.act2.start(Script(args="--deep", password="weak"))
    detail = content(sim, f"?id={record.id}")
    assert detail["endTime"] == detail["startTime"] == "2026-11-22T20:00:00+08:00"
    assert (detail["executeStatus"], detail["resultStatus"]) == ("doing", "")
    assert json.loads(detail["parameters"])["password"] == "weak"
    assert {row["status"] for row in content(sim, f"/result?id={record.id}")} == {""}


def test_the_next_readings_may_be_short(sim: Simulator) -> None:
    record = ids(sim)[0]
    sim.world.act2.shorten(record, reads=2, keep=1)
    sim.world.act2.shorten(record)
    counts = [len(content(sim, f"/result?id={record}")) for _ in range(4)]
    assert counts == [1, 1, 0, 2]


def test_a_file_job_leaves_a_row_for_each_url_and_host(sim: Simulator) -> None:
    record = sim.world.act2.start(Script(urls=("http://a/1", "http://a/2")), hosts=2)
    detail = content(sim, f"?id={record.id}")
    assert (detail["pattern"], detail["scriptType"]) == ("file", "url")
    rows = content(sim, f"/result?id={record.id}")
    assert len(rows) == 4
    assert len({json.dumps(row) for row in rows}) == 2


def test_any_text_comes_through_and_bytes_that_are_none_become_ufffd(sim: Simulator) -> None:
    record = sim.world.act2.start(hosts=1)
    output = "\ufeff\x00\x1b[31mred\x1b[0m\r\n<&> \u2028 青岛 \ufffd"
    sim.world.act2.rewrite_rows(
        record.id, [HostRow(record.rows[0].host, "success", output + "\udc80")]
    )
    answer = get(sim, f"/result?id={record.id}")
    assert answer.json()["content"][0]["stdout"] == output + "\ufffd"
    assert rb"\u003c\u0026\u003e \u2028" in answer.content
    assert "青岛 \ufffd\\ufffd".encode() in answer.content


def test_content_type_is_mandatory_and_unknown_paths_are_text(sim: Simulator) -> None:
    refused = get(sim, "/page?pageNo=1&pageSize=1", headers={})
    assert (refused.status_code, refused.content) == (415, b"")
    unknown = get(sim, "/pages")
    assert (unknown.status_code, unknown.headers["Content-Type"][:10]) == (404, "text/plain")
    assert requests.post(f"{sim.url}/api/v1/job/record", headers=JSON, timeout=5).status_code == 405


def test_access(sim: Simulator) -> None:
    own = sim.credentials
    sim.quirks.act2_auth = "basic"
    path = f"?id={ids(sim)[0]}"
    assert get(sim, path).content == (
        b'{"status":"error","message":"invalid authorization data","content":null}'
    )
    assert get(sim, path, auth=("nobody", "x")).json()["message"] == "invalid user"
    answer = get(sim, path, auth=(own.act2_user, own.act2_password))
    assert answer.json()["status"] == "success"
    sim.quirks.act2_auth = "forbidden"
    assert (get(sim, path).status_code, get(sim, path).text.strip()) == (403, "Forbidden")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("", "id can not be null"),
        ("/result", "id can not be null"),
        ("/page?pageNo=&pageSize=3", "pageNo is not int"),
        ("/page?pageNo=1&pageSize=1.5", "pageSize is not int"),
        ("/page?pageNo=-1&pageSize=5", "Error 1064: You have an error in your SQL syntax"),
    ],
)
def test_errors_come_with_200(sim: Simulator, path: str, message: str) -> None:
    answer = get(sim, path)
    assert answer.status_code == 200
    assert answer.json() == {"status": "error", "message": message, "content": None}


def test_a_transient_error_is_a_fault(sim: Simulator) -> None:
    sim.fault(Fault("error", platform="act2"))
    assert "connection refused" in get(sim, f"?id={ids(sim)[0]}").json()["message"]
    assert get(sim, f"?id={ids(sim)[0]}").json()["status"] == "success"


def test_the_documented_shape(sim: Simulator) -> None:
    sim.quirks.act2_shape, sim.quirks.act2_time_format = "doc", "plain"
    sim.quirks.act2_order = "desc"
    body = get(sim, "/page?pageNo=1&pageSize=2").json()
    assert list(body) == ["list", "pageNo", "pageSize", "pageCount", "totalCount"]
    assert [item["id"] for item in body["list"]] == ids(sim)[:-3:-1]
    detail = get(sim, f"?id={ids(sim)[0]}").json()
    assert detail["start_time"] == "2026-11-22 19:53:00"
    assert {"execute_status", "result_status", "script_type", "module_name"} < set(detail)
    assert not {"masterId", "user", "executeId", "startTime"} & set(detail)
    unknown = get(sim, "?id=nobody")
    assert (unknown.status_code, unknown.json()) == (400, {"message": "record not found"})
    sim.fault(Fault("error"))
    assert get(sim, "?id=nobody").status_code == 500


@pytest.mark.parametrize(
    ("hosts", "form", "kind"),
    [(1, "auto", dict), (2, "auto", list), (2, "object", dict), (1, "array", list)],
)
def test_the_documented_result(hosts: int, form: Any, kind: type) -> None:
    world = World.empty(NOW)
    record = world.act2.start(hosts=hosts)
    with Simulator(world, Quirks(act2_shape="doc", act2_doc_result=form)) as sim:
        body = get(sim, f"/result?id={record.id}").json()
    row: Any = body if kind is dict else body[0]
    assert isinstance(body, kind)
    assert "osType" not in row
    assert row["recordId"] == record.id


def test_rows_may_be_shuffled_and_pages_clamped(sim: Simulator) -> None:
    sim.quirks.act2_reshuffle, sim.quirks.act2_page_size_max = True, 2
    assert page(sim, 1, 50)["PageSize"] == 2
    record = sim.world.act2.start(hosts=8)
    orders = {
        tuple(row["hostId"] for row in content(sim, f"/result?id={record.id}")) for _ in range(5)
    }
    assert len(orders) > 1
    sim.quirks.beyond_end = "repeat"
    assert listed(sim, 40, 2) == set(ids(sim)[-2:])


def test_rows_of_a_record_without_end_may_show_the_zero_time(sim: Simulator) -> None:
    record = sim.world.act2.edit(ids(sim)[0])
    record.end = None
    assert content(sim, f"/result?id={record.id}")[0]["endTime"] == ""
    sim.quirks.act2_zero_row_times = True
    assert content(sim, f"/result?id={record.id}")[0]["endTime"] == "0001-01-01T00:00:00Z"
    sim.world.act2.add_row(record.id, record.rows[0])
    assert len(content(sim, f"/result?id={record.id}")) == 3
