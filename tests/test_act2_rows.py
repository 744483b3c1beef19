"""Records and hosts as rows: both shapes, what is absent, what is too long, what is wrong."""

from __future__ import annotations

import itertools
import json
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.errors import Malformed
from etl.sources.act2.executions import Execution, execution, told
from etl.sources.act2.hosts import host_results, kept
from etl.sources.act2.shapes import host_rows, listing, record
from etl.sources.act2.tables import HostResult
from etl.values import BadKey

ZONE = ZoneInfo("Asia/Shanghai")
DONE = {"id": "r", "executeStatus": "done", "resultStatus": "success"}


def done(**changes: Any) -> Execution:
    return execution({**DONE, **changes}, ZONE)


def hosts(*rows: dict[str, Any], limit: int = 100, of: Execution | None = None) -> list[HostResult]:
    made, rejects = host_results(rows, of or done(), ZONE, limit)
    assert rejects == []
    return made


def test_the_documented_record() -> None:
    item = {
        "id": 17,
        "start_time": "2026-01-31 08:00:00",
        "end_time": "2026-01-31 08:00:05",
        "execute_status": "Done",
        "result_status": "Cancelled",
        "script_type": "python",
        "module_name": "script",
        "hosts": ["a", "b", "a"],
        "script": "print()",
        "queue": {"name": "fast"},
    }
    row = execution(item, ZONE).row
    assert (row.record_id, row.status) == ("17", "cancelled")
    assert (row.execute_status, row.result_status) == ("Done", "Cancelled")
    assert (row.script_type, row.pattern) == ("python", "script")
    assert row.started_at == datetime(2026, 1, 31, 0, 0, tzinfo=UTC)
    assert row.finished_at == datetime(2026, 1, 31, 0, 0, 5, tzinfo=UTC)
    assert (row.host_ids, row.host_expected_count) == ('["a","b","a"]', 3)
    assert row.extra == '{"queue":{"name":"fast"}}'


def test_every_field_of_the_documented_record_is_optional() -> None:
    row = execution({"id": "r"}, ZONE).row
    assert row._asdict() == {
        **dict.fromkeys(row._fields),
        "record_id": "r",
        "status": "unknown",
        "text_repaired": False,
    }


@pytest.mark.parametrize(
    ("execute", "result", "status", "over"),
    [
        ("init", "", "pending", False),
        ("doing", "", "running", False),
        ("DOING", "success", "running", False),
        ("done", "success", "succeeded", True),
        ("DONE", "FAIL", "failed", True),
        ("done", "timeout", "timed_out", True),
        ("done", "cancelled", "cancelled", True),
        ("done", "", "unknown", True),
        ("done", None, "unknown", True),
        ("done", "weird", "unknown", True),
        ("paused", "success", "unknown", False),
        (None, "fail", "failed", True),
        (None, None, "unknown", False),
    ],
)
def test_statuses(execute: str | None, result: str | None, status: str, over: bool) -> None:
    made = done(executeStatus=execute, resultStatus=result)
    assert (made.row.status, made.over) == (status, over)
    assert (made.row.execute_status, made.row.result_status) == (execute, result)


@pytest.mark.parametrize(
    ("word", "running", "over"),
    [
        ("success", "succeeded", "succeeded"),
        ("FAIL", "failed", "failed"),
        ("timeout", "timed_out", "timed_out"),
        ("", "running", "unknown"),
        (None, "running", "unknown"),
        ("weird", "unknown", "unknown"),
    ],
)
def test_host_statuses(word: str | None, running: str, over: str) -> None:
    row = {"hostId": "h", "status": word}
    [under_way] = hosts(row, of=done(executeStatus="doing"))
    [after] = hosts(row)
    assert (under_way.status, after.status, after.status_text) == (running, over, word)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"hosts": '["a","b"]'}, 2),
        ({"hosts": "null"}, None),
        ({"hosts": None}, None),
        ({"hosts": "[]"}, 0),
        ({"hosts": '["a","b"]', "pattern": "file", "scriptType": "url", "script": '["u","v"]'}, 4),
        ({"hosts": '["a"]', "pattern": "FILE", "scriptType": "Url", "script": "u v w"}, 3),
        ({"hosts": '["a"]', "pattern": "file", "scriptType": "url", "script": ""}, 1),
        ({"hosts": '["a"]', "pattern": "file", "scriptType": "text", "script": '["u","v"]'}, 1),
    ],
)
def test_how_many_host_rows_to_expect(fields: dict[str, Any], expected: int | None) -> None:
    row = done(**fields).row
    assert (row.host_expected_count, row.extra) == (expected, None)


@pytest.mark.parametrize("unreadable", ["a,b", "{}", '{"a":1}', 7, '["a"'])
def test_hosts_that_cannot_be_read_stay_in_extra(unreadable: Any) -> None:
    row = done(hosts=unreadable).row
    assert (row.host_ids, row.host_expected_count) == (None, None)
    assert row.extra is not None
    assert json.loads(row.extra) == {"hosts": unreadable}


def test_values_that_do_not_fit_stay_in_extra() -> None:
    row = done(timeout="long", startTime="yesterday", endTime="2026-01-01T00:00:00+08:00").row
    assert (row.timeout_s, row.started_at) == (None, None)
    assert row.finished_at == datetime(2025, 12, 31, 16, tzinfo=UTC)
    assert row.extra == '{"startTime":"yesterday","timeout":"long"}'


def test_the_hash_can_be_recounted_from_the_stored_script() -> None:
    row = done(script="echo \0 \ud800").row
    assert (row.script, row.text_repaired) == ("echo ␀ �", True)
    assert row.script_hash == done(script=row.script).row.script_hash


def test_a_page_tells_only_some_columns() -> None:
    assert told({"id": "r", "startTime": "", "end_time": ""}) == ("started_at", "finished_at")
    assert told({"executeStatus": "done", "hosts": "[]"}) == (
        "status",
        "execute_status",
        "host_ids",
        "host_expected_count",
    )


def test_the_documented_host_row() -> None:
    [row] = hosts({"host_id": "h", "host_ip": "10.0.0.1", "idc_name": "x", "status": "success"})
    assert row == HostResult(
        record_id="r",
        host_id="h",
        ordinal=1,
        host_ip="10.0.0.1",
        entity_id=None,
        idc_name="x",
        os_type=None,
        status="succeeded",
        status_text="success",
        started_at=None,
        finished_at=None,
        stdout=None,
        stderr=None,
        message=None,
        stdout_bytes=None,
        stderr_bytes=None,
        output_cut=False,
        extra=None,
        text_repaired=False,
    )


@pytest.mark.parametrize("host_id", [{}, {"hostId": ""}, {"hostId": None}])
def test_a_host_id_may_be_empty(host_id: dict[str, Any]) -> None:
    [row] = hosts({"stdout": "x", **host_id})
    assert row.host_id == ""


def test_a_reshuffle_changes_nothing() -> None:
    rows: list[dict[str, Any]] = [
        {"hostId": "a", "stdout": "2", "status": "success"},
        {"hostId": "a", "stdout": "1", "status": "success"},
        {"hostId": "a", "stdout": None, "status": ""},
        {"hostId": "b", "stdout": "2", "status": "fail"},
    ]
    wanted = sorted(hosts(*rows))
    assert [(r.host_id, r.ordinal) for r in wanted] == [("a", 1), ("a", 2), ("a", 3), ("b", 1)]
    assert all(sorted(hosts(*mixed)) == wanted for mixed in itertools.permutations(rows))


def test_a_wrong_row_costs_that_row() -> None:
    rows: list[dict[str, Any]] = [
        {"hostId": "a", "recordId": "r"},
        {"hostId": "a", "recordId": "another"},
        {"hostId": "b" * 256},
        {"hostId": ["list"], "parameters": {"password": "pass-word"}},
        {"hostId": "c\0"},
    ]
    made, rejects = host_results(rows, done(), ZONE, 100)
    assert [row.host_id for row in made] == ["a"]
    assert [r.upstream_id for r in rejects] == ["r"] * 4
    assert "a row of record 'another' among those of r" in rejects[0].reason
    assert rejects[0].payload == rows[1]
    assert "pass-word" not in repr(rejects)


def test_long_output_keeps_its_first_and_last_half() -> None:
    [row] = hosts({"stdout": "a" * 60 + "b" * 60, "stderr": "short"}, limit=10)
    assert (row.stdout, row.stdout_bytes) == ("aaaaabbbbb", 120)
    assert (row.stderr, row.stderr_bytes, row.output_cut) == ("short", 5, True)


def test_output_of_just_the_limit_is_whole() -> None:
    [row] = hosts({"stdout": "é" * 5}, limit=10)
    assert (row.stdout, row.stdout_bytes, row.output_cut) == ("é" * 5, 10, False)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60), st.integers(0, 40))
def test_cutting_splits_no_character(text: str, limit: int) -> None:
    cut = kept(text, limit)
    assert cut is not None
    if len(text.encode()) <= limit:
        assert cut is text
        return
    assert len(cut.encode()) <= limit
    half = len(cut)
    while not text.startswith(cut[:half]):
        half -= 1
    assert text.endswith(cut[half:])
    assert limit // 2 * 2 - len(cut.encode()) <= 6


def test_the_true_length_is_of_what_came() -> None:
    [row] = hosts({"stdout": "a\0b", "stderr": "\ud800"})
    assert (row.stdout, row.stdout_bytes) == ("a␀b", 3)
    assert (row.stderr, row.stderr_bytes, row.text_repaired) == ("�", 3, True)


def test_unknown_fields_of_a_host_are_kept() -> None:
    [row] = hosts({"hostId": "a", "exitCode": 3, "auth": {"password": "pass-word"}})
    assert row.extra == '{"auth":{},"exitCode":3}'


@pytest.mark.parametrize("record_id", [None, "", "x" * 256, "a\0", True])
def test_a_record_needs_a_usable_id(record_id: Any) -> None:
    with pytest.raises(BadKey):
        execution({"id": record_id}, ZONE)


def test_the_detail_of_another_record_is_refused() -> None:
    with pytest.raises(Malformed, match="that of 'b' came"):
        record({"id": "b"}, "a")
    with pytest.raises(Malformed, match="not NoneType"):
        record(None, "a")
    assert record({"script": "x"}, "a") == {"script": "x", "id": "a"}


def test_a_page_may_hold_rows_records_and_nonsense() -> None:
    page = listing(
        {
            "list": [
                {"recordId": "a", "hostId": "h", "startTime": "2026-01-31 08:00:00"},
                {"id": "b", "start_time": "2026-01-31T00:00:00Z", "execute_status": "done"},
                {"record_id": "a", "hostId": "i"},
                {"id": None, "parameters": {"password": "pass-word"}},
                {"hostId": "nobody's"},
                "nonsense",
            ],
            "pageNo": "3",
            "PageSize": -1,
            "totalCount": 2.5,
        },
        ZONE,
    )
    assert {i: len(e.rows) for i, e in page.entries.items()} == {"a": 2, "b": 0}
    start = datetime(2026, 1, 31, tzinfo=UTC)
    assert {e.started for e in page.entries.values()} == {start}
    assert page.entries["b"].execute_status == "done"
    assert (page.number, page.size, page.total) == (3, None, None)
    assert (len(page.rejects), page.placed) == (3, 4)
    assert "pass-word" not in repr(page.rejects)


@pytest.mark.parametrize("nothing", [None, {}, {"List": None, "TotalCount": 0}, {"list": []}, []])
def test_a_page_may_hold_nothing(nothing: Any) -> None:
    assert listing(nothing, ZONE).entries == {}


@pytest.mark.parametrize("wrong", ["text", 7, {"list": {"a": 1}}, {"List": "text"}])
def test_a_page_that_is_none(wrong: Any) -> None:
    with pytest.raises(Malformed):
        listing(wrong, ZONE)


def test_a_result_may_be_one_object_a_list_or_nothing() -> None:
    assert host_rows(None).rows == []
    assert host_rows([{"hostId": "a"}, "nonsense"]).rows == [{"hostId": "a"}]
    assert len(host_rows([{"hostId": "a"}, "nonsense"]).rejects) == 1
    assert host_rows({"list": [{"hostId": "a"}]}).rows == [{"hostId": "a"}]
    nothings: list[Any] = [{}, {"list": None}, {"List": []}]
    for nothing in nothings:
        assert host_rows(nothing) == host_rows([])
    single = host_rows({"hostId": "a"})
    assert (single.rows, single.single) == ([{"hostId": "a"}], True)
    with pytest.raises(Malformed):
        host_rows("text")
