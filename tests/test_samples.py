"""The platforms' own samples, synced over real HTTP: the same content in every database.

The bytes are the samples of the platforms' documents and of a live Act2 server. Act2's page is
put together from rows of its samples; the file of a record without one is answered as unknown.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import databases
import pytest
from sqlalchemy import select

from etl.cli.progress import Silent
from etl.config import load
from etl.db import open_database
from etl.passes import Surroundings
from etl.sources import find, names
from etl.sync import sync_all

SAMPLES = Path(__file__).parent / "act2_samples"

JOB = (
    b'{"code":0,"data":{"id":1964,"name":"workflow_xkkjf_20220712103332","workflowId":"3992429968",'
    b'"workflowName":"workflow_xkkjf","status":2,"tasks":[{"id":"f93dea90fc3a11ecac7e6da0662c195b",'
    b'"name":"BFS","runBeginTime":"2022-07-12T10:33:35+08:00","runEndTime":'
    b'"2022-07-12T10:33:38+08:00","status":2}],"runBeginTime":1657593215000,"runEndTime":'
    b'1657593218000,"createTime":1657593212505},"message":"Success"}'
)
LISTED = (
    b'{"code":0,"data":{"items":[{"id":1964,"name":"workflow_xkkjf_20220712103332","workflowId":'
    b'"3992429968","workflowName":"workflow_xkkjf","status":2,"runBeginTime":1657593215000,'
    b'"runEndTime":1657593218000,"createTime":1657593212505}],"total":1,"Page":1,"PageSize":10},'
    b'"message":"Success"}'
)
SAMPLE = (
    b'{"code":0,"data":{"items":[["player110","0.150000"],["team219","0.452126"],'
    b'["player121","0.262148"]]},"message":"Success"}'
)
INSTANCES = (
    b'{"count":2,"resources":[{"id":1012386207306600400,"name":"test-1","task_id":'
    b'1012385458115825700,"task_type":"QUALITY_TASK","run_status":"SUCCESS","notify_status":'
    b'"NOT_TRIGGERED","start_time":1661413281000,"end_time":1661413381000},{"id":'
    b'1012386190504218600,"name":"test-0","task_id":1012386182149165000,"task_type":'
    b'"CONSISTENCY_TASK","run_status":"SUCCESS","notify_status":"NOT_TRIGGERED","start_time":'
    b'1661413277000,"end_time":1661413380000}]}'
)
OK = "e6203ffe-85f4-4a13-bb28-abaefc1ea0df"
NULLS = "8a8c110c-87aa-4f64-9f06-f9f0bbe03638"
ZERO = "f10b44d2-1dfe-4133-bd98-ca7b062875c3"
_DETAILS = {OK: "detail_ok", NULLS: "detail_nulls", ZERO: "detail_zerodate"}

SCHEDULES = """\
sources:
  graph: {{api: explorer, url: "{url}", token: a-ready-token}}
  scripts: {{api: act2, url: "{url}"}}
  quality: {{api: dataarts, url: "{url}", project_id: p0, workspace: w0, token: another-token}}
"""


def _act2(path: str, asked: dict[str, list[str]]) -> bytes:
    if path.endswith("/page"):
        rows = json.loads((SAMPLES / "result_ok.json").read_bytes())["content"]
        for record_id in (NULLS, ZERO):
            detail = json.loads((SAMPLES / f"{_DETAILS[record_id]}.json").read_bytes())["content"]
            times = {"startTime": detail["startTime"], "endTime": detail["endTime"]}
            poison = {"recordId": record_id, "stdout": "\x00 ends", "status": "weird"}
            rows.append(rows[0] | times | poison)
        listed = rows if asked["pageNo"] == ["1"] else []
        page = {"PageNo": 1, "PageSize": 20, "PageCount": 1, "TotalCount": 3, "List": listed}
        return json.dumps({"status": "success", "message": "", "content": page}).encode()
    (record_id,) = asked["id"]
    name = _DETAILS[record_id] if path.endswith("/record") else "result_unknown"
    return (SAMPLES / f"{name}.json").read_bytes()


def _answer(target: str) -> bytes:
    parts = urlsplit(target)
    if parts.path.startswith("/api/v1/"):
        return _act2(parts.path, parse_qs(parts.query))
    if parts.path.startswith("/v2/"):
        return INSTANCES
    if parts.path.endswith("/sample_result"):
        return SAMPLE
    return JOB if parts.path.endswith("/1964") else LISTED


@contextmanager
def _platforms() -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = _answer(self.path)
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


Dump = dict[str, list[dict[str, Any]]]


def _synced(url: str, folder: Path, platforms: str) -> Dump:
    """All data tables after a sync, without the stamps of this very run."""
    path = folder / "schedules.yaml"
    path.write_text(SCHEDULES.format(url=platforms))
    database = open_database(url)
    around = Surroundings(database, threading.Event(), Silent())
    outcomes = sync_all(load(path, {}).select(()), around)
    assert [outcome.error for outcome in outcomes] == [None, None, None]
    dump: Dump = {}
    with database.reading() as connection:
        for api in names():
            for table in find(api).tables:
                key = [table.table.c[name] for name in ("source", *table.key)]
                rows = connection.execute(select(table.table).order_by(*key)).mappings()
                dump[table.name] = [_lasting(dict(row)) for row in rows]
    database.close()
    return dump


def _lasting(row: dict[str, Any]) -> dict[str, Any]:
    for stamp in ("first_synced_at", "changed_at"):
        row.pop(stamp, None)
    return row


@pytest.fixture(scope="module")
def dumps(
    servers: Callable[[str], databases.Server], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Dump]:
    with _platforms() as url:
        return {
            kind: _synced(servers(kind).migrated(), tmp_path_factory.mktemp(kind), url)
            for kind in databases.KINDS
        }


def test_all_databases_hold_the_same_content(dumps: dict[str, Dump]) -> None:
    assert dumps["postgresql"] == dumps["sqlite"]
    assert dumps["mariadb"] == dumps["sqlite"]


def test_explorer_arrives_field_by_field(dumps: dict[str, Dump]) -> None:
    (job,), (task,) = dumps["sqlite"]["jobs"], dumps["sqlite"]["tasks"]
    assert job == {
        "source": "graph",
        "job_id": 1964,
        "name": "workflow_xkkjf_20220712103332",
        "workflow_id": "3992429968",
        "workflow_name": "workflow_xkkjf",
        "status": "succeeded",
        "status_code": 2,
        "created_at": datetime.fromisoformat("2022-07-12T02:33:32.505+00:00"),
        "started_at": datetime.fromisoformat("2022-07-12T02:33:35+00:00"),
        "finished_at": datetime.fromisoformat("2022-07-12T02:33:38+00:00"),
        "task_count": 1,
        "extra": None,
        "text_repaired": False,
        "upstream_gone_at": None,
    }
    assert (task["task_id"], task["name"]) == ("f93dea90fc3a11ecac7e6da0662c195b", "BFS")
    assert (task["started_at"], task["finished_at"]) == (job["started_at"], job["finished_at"])
    assert (task["sample_row_count"], task["sample_error"]) == (3, None)
    rows = [tuple(row.values()) for row in dumps["sqlite"]["sample_rows"]]
    key = ("graph", 1964, "f93dea90fc3a11ecac7e6da0662c195b")
    assert rows == [
        (*key, 1, "player110", "0.150000", None, None),
        (*key, 2, "team219", "0.452126", None, None),
        (*key, 3, "player121", "0.262148", None, None),
    ]


def test_dataarts_arrives_field_by_field(dumps: dict[str, Dump]) -> None:
    older, newer = dumps["sqlite"]["quality_instances"]
    assert newer == {
        "source": "quality",
        "instance_id": 1012386207306600400,
        "name": "test-1",
        "task_id": 1012385458115825700,
        "task_type": "QUALITY_TASK",
        "status": "succeeded",
        "run_status": "SUCCESS",
        "notify_status": "NOT_TRIGGERED",
        "started_at": datetime.fromisoformat("2022-08-25T07:41:21+00:00"),
        "finished_at": datetime.fromisoformat("2022-08-25T07:43:01+00:00"),
        "extra": None,
        "text_repaired": False,
        "upstream_gone_at": None,
    }
    assert (older["instance_id"], older["task_type"]) == (1012386190504218600, "CONSISTENCY_TASK")


def test_act2_arrives_with_its_hosts(dumps: dict[str, Dump]) -> None:
    records = {row["record_id"]: row for row in dumps["sqlite"]["job_records"]}
    assert set(records) == {OK, NULLS, ZERO}
    failed = records[OK]
    assert (failed["status"], failed["script"], failed["timeout_s"]) == ("failed", "dir", 3600)
    assert (failed["host_expected_count"], failed["host_result_count"]) == (19, 19)
    assert "password" not in failed["parameters"]
    assert records[NULLS]["status"] == "unknown"
    assert (records[ZERO]["status"], records[ZERO]["finished_at"]) == ("succeeded", None)
    hosts = [row for row in dumps["sqlite"]["host_results"] if row["record_id"] == OK]
    assert {row["status"] for row in hosts} <= {"succeeded", "failed", "timed_out", "unknown"}
    assert any("服务正常" in row["stdout"] for row in hosts)
    (poisoned,) = (row for row in dumps["sqlite"]["host_results"] if row["record_id"] == ZERO)
    assert (poisoned["stdout"], poisoned["text_repaired"]) == ("\u2400 ends", True)
    assert (poisoned["status"], poisoned["status_text"]) == ("unknown", "weird")
