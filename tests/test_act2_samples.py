"""Every answer of the live server that was kept, field by field."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from etl.errors import BadRequest, Gone, Unauthorized
from etl.http import Reply
from etl.sources.act2.access import judge
from etl.sources.act2.executions import Execution, execution
from etl.sources.act2.hosts import host_results
from etl.sources.act2.shapes import host_rows, listing, record
from etl.sources.act2.tables import HostResult, JobRecord

SAMPLES = Path(__file__).parent / "act2_samples"
ZONE = ZoneInfo("UTC")
MIB = 2**20


def content(name: str) -> Any:
    return judge(Reply(200, {}, (SAMPLES / f"{name}.json").read_bytes(), "http://act2"))


def detail(name: str) -> Execution:
    item = content(name)
    return execution(record(item, item["id"]), ZONE)


def hosts_of(name: str, done: Execution) -> list[HostResult]:
    rows, rejects = host_results(host_rows(content(name)).rows, done, ZONE, MIB)
    assert rejects == []
    return rows


def over(record_id: str, execute: str = "done", result: str = "success") -> Execution:
    item = {"id": record_id, "executeStatus": execute, "resultStatus": result}
    return execution(item, ZONE)


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def parameters(**changes: Any) -> str:
    """The samples' parameters without the password, as canonical JSON."""
    value = {
        "pattern": "script",
        "params": {"args": "--token s3cr3t"},
        "runas": "root",
        "env": None,
        "extendData": None,
        "realTimeOutput": False,
        **changes,
    }
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def test_a_record_that_failed() -> None:
    done = detail("detail_ok")
    hosts = json.loads(content("detail_ok")["hosts"])
    assert done.over
    assert done.row == JobRecord(
        record_id="e6203ffe-85f4-4a13-bb28-abaefc1ea0df",
        status="failed",
        execute_status="done",
        result_status="fail",
        pattern="script",
        script="dir",
        script_type="bat",
        provider="ssh",
        script_hash=sha("dir"),
        user_name="",
        execute_id="ebac66a6-5f20-45f4-b292-6f813f3387b7",
        master_id="3f2b1c88-master",
        callback="",
        timeout_s=3600,
        parameters=parameters(script="dir", scriptType="bat", timeout=3600),
        host_ids=json.dumps(hosts, separators=(",", ":")),
        started_at=datetime(2026, 6, 1, 0, 0, tzinfo=UTC),
        finished_at=datetime(2026, 6, 1, 0, 1, 13, tzinfo=UTC),
        host_expected_count=19,
        host_result_count=None,
        extra=None,
        text_repaired=False,
    )


def test_a_running_record_has_no_end_though_the_platform_writes_one() -> None:
    done = detail("detail_doing")
    assert not done.over
    assert done.row._replace(host_ids=None) == JobRecord(
        record_id="d25540c4-a502-4ca3-acc2-ae5747c41ab7",
        status="running",
        execute_status="doing",
        result_status="",
        pattern="script",
        script="#!/bin/bash\ndf -h",
        script_type="bash",
        provider="salt",
        script_hash=sha("#!/bin/bash\ndf -h"),
        user_name="conf",
        execute_id="2be871d7-4493-460a-8198-610846f75a16",
        master_id="3f2b1c88-master",
        callback="",
        timeout_s=300,
        parameters=parameters(script="#!/bin/bash\ndf -h", scriptType="bash", timeout=300),
        host_ids=None,
        started_at=datetime(2026, 6, 11, 0, 53, 49, tzinfo=UTC),
        finished_at=None,
        host_expected_count=10,
        host_result_count=None,
        extra=None,
        text_repaired=False,
    )


def test_a_zero_end_is_none() -> None:
    done = detail("detail_zerodate")
    assert done.row._replace(host_ids=None) == JobRecord(
        record_id="f10b44d2-1dfe-4133-bd98-ca7b062875c3",
        status="succeeded",
        execute_status="done",
        result_status="success",
        pattern="script",
        script="uptime",
        script_type="shell",
        provider="salt",
        script_hash=sha("uptime"),
        user_name="",
        execute_id="e773dbe3-7940-4017-90fc-9b8091308be3",
        master_id="3f2b1c88-master",
        callback="",
        timeout_s=30,
        parameters=parameters(script="uptime", scriptType="shell", timeout=30),
        host_ids=None,
        started_at=datetime(2026, 6, 3, 20, 9, 48, tzinfo=UTC),
        finished_at=None,
        host_expected_count=7,
        host_result_count=None,
        extra=None,
        text_repaired=False,
    )


def test_a_record_of_empty_texts_is_unknown() -> None:
    done = detail("detail_nulls")
    assert done.over
    assert done.row._replace(host_ids=None) == JobRecord(
        record_id="8a8c110c-87aa-4f64-9f06-f9f0bbe03638",
        status="unknown",
        execute_status="done",
        result_status="",
        pattern="",
        script="",
        script_type="",
        provider="",
        script_hash=sha(""),
        user_name="",
        execute_id="",
        master_id="3f2b1c88-master",
        callback="",
        timeout_s=0,
        parameters=None,
        host_ids=None,
        started_at=datetime(2026, 6, 3, 7, 57, 2, tzinfo=UTC),
        finished_at=None,
        host_expected_count=5,
        host_result_count=None,
        extra=None,
        text_repaired=False,
    )


def test_the_hosts_of_a_record() -> None:
    done = detail("detail_ok")
    rows = hosts_of("result_ok", done)
    came = content("result_ok")
    assert len(rows) == 19
    assert {(r.host_id, r.stdout, r.status_text) for r in rows} == {
        (c["hostId"], c["stdout"].replace("\0", "␀"), c["status"]) for c in came
    }
    assert [r.stdout for r in rows if r.text_repaired] == ["before␀after\x01\x7f"]
    first = came[0]
    assert rows[0] == HostResult(
        record_id="e6203ffe-85f4-4a13-bb28-abaefc1ea0df",
        host_id="948dd375-79dc-4cfa-af86-3182c5f81041",
        ordinal=1,
        host_ip="10.0.0.58",
        entity_id="881DBA57-D1A9-4959-BCB4-A4213ECD229C",
        idc_name="杭州",
        os_type="aix",
        status="succeeded",
        status_text="success",
        started_at=datetime(2026, 6, 1, 0, 0, tzinfo=UTC),
        finished_at=datetime(2026, 6, 1, 0, 1, 13, tzinfo=UTC),
        stdout=first["stdout"],
        stderr="",
        message="",
        stdout_bytes=len(first["stdout"].encode()),
        stderr_bytes=0,
        output_cut=False,
        extra=None,
        text_repaired=False,
    )


def test_a_file_job_leaves_a_row_for_each_url_and_host() -> None:
    rows = hosts_of("result_multitask", over("cc465877-d7a7-41f3-b1bd-dc335027d833"))
    assert len(rows) == 36
    assert len({row.host_id for row in rows}) == 18
    assert sorted(row.ordinal for row in rows) == [1] * 18 + [2] * 18


@pytest.mark.parametrize(("execute", "status"), [("doing", "running"), ("DONE", "unknown")])
def test_hosts_that_have_not_answered(execute: str, status: str) -> None:
    rows = hosts_of("result_nulls", over("26f45599-1dfa-4221-8573-c46aef062165", execute))
    assert len(rows) == 17
    assert {(r.status, r.status_text, r.finished_at, r.host_ip) for r in rows} == {
        (status, "", None, "")
    }
    assert {row.started_at for row in rows} == {datetime(2026, 6, 3, 7, 58, 2, tzinfo=UTC)}


def test_no_rows_of_an_unknown_record() -> None:
    assert host_rows(content("result_unknown")).rows == []


def test_a_page_of_rows_out_of_order() -> None:
    page = listing(content("page_small"), ZONE)
    assert (page.number, page.size, page.count, page.total) == (102, 5, 102, 509)
    assert (page.placed, page.of_records, page.rejects) == (4, False, [])
    assert {i: len(entry.rows) for i, entry in page.entries.items()} == {
        "4fa0e064-cb2c-e012-954e-8fe8e6af2258": 2,
        "21f14e51-925b-3af5-c031-ee213d568afb": 2,
        "86186d83-b5af-aa9c-8a5d-c6baeab3553a": 2,
        "8adc06e7-39aa-cbda-72db-6ba68ec66f14": 2,
    }
    start = datetime(2026, 11, 22, 17, 7, 3, tzinfo=UTC)
    poisoned = page.entries["21f14e51-925b-3af5-c031-ee213d568afb"]
    assert (poisoned.started, poisoned.ended) == (start, start)


def test_rows_with_an_unusual_status_and_a_poisoned_text() -> None:
    page = listing(content("page_small"), ZONE)
    made = {
        (i, row.host_ip): row
        for i, entry in page.entries.items()
        for row in host_results(entry.rows, over(i), ZONE, MIB)[0]
    }
    weird = made["4fa0e064-cb2c-e012-954e-8fe8e6af2258", "10.0.0.4"]
    assert (weird.status, weird.status_text, weird.stdout) == (
        "unknown",
        "weird",
        "ok 你好 10.0.0.4",
    )
    poisoned = made["21f14e51-925b-3af5-c031-ee213d568afb", "10.0.0.4"]
    assert (poisoned.stdout, poisoned.text_repaired) == ("����␀nul", True)
    assert poisoned.stdout_bytes == len("����\0nul".encode())
    late = made["86186d83-b5af-aa9c-8a5d-c6baeab3553a", "10.0.0.1"]
    assert (late.status, late.message, late.stdout) == ("timed_out", "timeout", "")
    failed = made["8adc06e7-39aa-cbda-72db-6ba68ec66f14", "10.0.0.1"]
    assert (failed.status, failed.message) == ("failed", "proxy exploded")


@pytest.mark.parametrize(
    ("name", "number", "size", "count"),
    [("page_beyond", 999999, 10, 51), ("page_record_without_results", 101, 1, 509)],
)
def test_empty_pages(name: str, number: int, size: int, count: int) -> None:
    page = listing(content(name), ZONE)
    assert (page.number, page.size, page.count, page.total) == (number, size, count, 509)
    assert (page.entries, page.placed) == ({}, 0)


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("err_record_unknown", Gone, "record not found"),
        ("err_page_missing", BadRequest, "pageNo is not int"),
        ("acl_noauth", Unauthorized, "invalid authorization data; check username and password"),
    ],
)
def test_errors_that_come_with_http_200(name: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        content(name)


def test_every_sample_is_read_here() -> None:
    text = Path(__file__).read_text(encoding="utf-8")
    assert [p.stem for p in SAMPLES.iterdir() if f'"{p.stem}"' not in text] == []
