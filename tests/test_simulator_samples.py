"""The simulator sends what the live servers sent, to the byte: key order, escapes, line ends.

The texts are samples of the upstreams: Act2's from a live server, the others from the documents.
"""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import requests

from etl.simulator import Host, HostRow, Instance, Job, Record, Simulator, Task, World
from etl.simulator.times import GO_ZERO

DETAIL_OK = (
    r'{"status":"success","message":"","content":{"id":"e6203ffe-85f4-4a13-bb28-abaefc1ea0df","sta'
    r'rtTime":"2026-06-01T08:00:00+08:00","endTime":"2026-06-01T08:01:13+08:00","executeStatus":"d'
    r'one","resultStatus":"fail","callback":"","hosts":"[\"bc86f236-9a8f-47b6-88e1-ee622e9ae0ce\",'
    r"\"816d5629-f816-4858-9453-70a57fec64fe\",\"849bf68a-dfa6-42cc-91c9-e8597184bdc1\",\"3025c337"
    r"-2966-4e0a-a349-7a3423bbf34f\",\"ffe4b800-9772-4742-a79c-06ad6d6a696a\",\"496c375a-2cf0-4fae"
    r"-905e-9483d0b589a3\",\"7a75bc62-1ae3-4b61-a935-654c0759f72d\",\"948dd375-79dc-4cfa-af86-3182"
    r"c5f81041\",\"533cd37a-4b81-4eec-88c6-e211f601b67a\",\"bf9670d3-da40-49e5-97c3-87fb343e38ce\""
    r",\"704d328b-2079-4ffc-be7e-01b55ce2adf4\",\"6283e96c-b4d6-40f9-8f6c-4e91e1bb4448\",\"e4b8029"
    r"b-ab8e-4538-b3fa-5789399101dd\",\"f7b4031c-03c4-4f03-9a08-c3b304bdd82f\",\"9989e36a-067c-4ec"
    r"c-94d9-b04c243d4b71\",\"293326a8-0a43-476f-a60e-b915f0d0feec\",\"3beee2b4-c896-4dcb-8ff1-e47"
    r"80c19ebb9\",\"9e6d90f6-176b-4524-b72b-5c48e428ac77\",\"22cb857a-3d26-474b-be12-6e4f3e51c0bc"
    r'\"]","provider":"ssh","script":"dir","scriptType":"bat","pattern":"script","timeout":3600,"pa'
    r'rameters":"{\"pattern\":\"script\",\"script\":\"dir\",\"scriptType\":\"bat\",\"params\":{\"a'
    r"rgs\":\"--token s3cr3t\"},\"runas\":\"root\",\"password\":\"\",\"timeout\":3600,\"env\":null"
    r',\"extendData\":null,\"realTimeOutput\":false}","masterId":"3f2b1c88-master","user":"","exec'
    r'uteId":"ebac66a6-5f20-45f4-b292-6f813f3387b7"}}'
)
DETAIL_DOING = (
    r'{"status":"success","message":"","content":{"id":"d25540c4-a502-4ca3-acc2-ae5747c41ab7","sta'
    r'rtTime":"2026-06-11T08:53:49+08:00","endTime":"2026-06-11T08:53:49+08:00","executeStatus":"d'
    r'oing","resultStatus":"","callback":"","hosts":"[\"093397ac-c3f4-4869-8374-de070b4cfa91\",\"d'
    r"b45fe63-800e-4fde-bb02-e34eceaefe3b\",\"74eeb93d-5cd4-46c1-9a1a-9d3f9d84b83d\",\"bf9670d3-da"
    r"40-49e5-97c3-87fb343e38ce\",\"ebcf50bf-cc1b-4d4a-b6ed-97bed67ed269\",\"13e3c47e-6642-4120-84"
    r"57-d271db790c25\",\"9989e36a-067c-4ecc-94d9-b04c243d4b71\",\"58881220-291d-47de-8b49-f7f27cb"
    r'67e80\",\"aeb55664-57a9-47e4-889f-87e52980afc2\",\"aa240a23-1471-4576-8d82-81f16ce77ad4\"]",'
    r'"provider":"salt","script":"#!/bin/bash\ndf -h","scriptType":"bash","pattern":"script","time'
    r'out":300,"parameters":"{\"pattern\":\"script\",\"script\":\"#!/bin/bash\\ndf -h\",\"scriptTy'
    r"pe\":\"bash\",\"params\":{\"args\":\"--token s3cr3t\"},\"runas\":\"root\",\"password\":\"\","
    r'\"timeout\":300,\"env\":null,\"extendData\":null,\"realTimeOutput\":false}","masterId":"3f2b'
    r'1c88-master","user":"conf","executeId":"2be871d7-4493-460a-8198-610846f75a16"}}'
)
DETAIL_ZERO_DATE = (
    r'{"status":"success","message":"","content":{"id":"f10b44d2-1dfe-4133-bd98-ca7b062875c3","sta'
    r'rtTime":"2026-06-04T04:09:48+08:00","endTime":"0001-01-01T00:00:00Z","executeStatus":"done",'
    r'"resultStatus":"success","callback":"","hosts":"[\"7b6482ee-7b9c-47ec-aea5-021b6b7ee463\",\"'
    r"fba77080-67c7-4351-91b7-bdc1eeae7a87\",\"418b2afe-3c69-46b5-85f4-a034f21b2148\",\"a666d145-c"
    r"282-41cb-a034-5097d50e4d12\",\"7a75bc62-1ae3-4b61-a935-654c0759f72d\",\"a8642ba8-b851-4a87-b"
    r'914-b307d0181369\",\"aa240a23-1471-4576-8d82-81f16ce77ad4\"]","provider":"salt","script":"up'
    r'time","scriptType":"shell","pattern":"script","timeout":30,"parameters":"{\"pattern\":\"scri'
    r"pt\",\"script\":\"uptime\",\"scriptType\":\"shell\",\"params\":{\"args\":\"--token s3cr3t\"}"
    r",\"runas\":\"root\",\"password\":\"\",\"timeout\":30,\"env\":null,\"extendData\":null,\"real"
    r'TimeOutput\":false}","masterId":"3f2b1c88-master","user":"","executeId":"e773dbe3-7940-4017-'
    r'90fc-9b8091308be3"}}'
)
DETAIL_NULLS = (
    r'{"status":"success","message":"","content":{"id":"8a8c110c-87aa-4f64-9f06-f9f0bbe03638","sta'
    r'rtTime":"2026-06-03T15:57:02+08:00","endTime":"0001-01-01T00:00:00Z","executeStatus":"done",'
    r'"resultStatus":"","callback":"","hosts":"[\"704d328b-2079-4ffc-be7e-01b55ce2adf4\",\"816d562'
    r"9-f816-4858-9453-70a57fec64fe\",\"8053b48a-b14d-4b33-aef8-6da1de9e9c17\",\"13e3c47e-6642-412"
    r'0-8457-d271db790c25\",\"aa240a23-1471-4576-8d82-81f16ce77ad4\"]","provider":"","script":"","'
    r'scriptType":"","pattern":"","timeout":0,"parameters":"","masterId":"3f2b1c88-master","user":'
    r'"","executeId":""}}'
)
ROWS = (
    (
        r'{"recordId":"e6203ffe-85f4-4a13-bb28-abaefc1ea0df","hostIp":'
        r'"10.0.0.34","hostId":"6283e96c-b'
        r'4d6-40f9-8f6c-4e91e1bb4448","entityId":"8EC7BE16-6ABC-4BDC-9'
        r'F75-011864F86D26","osType":"aix"'
        r',"startTime":"2026-06-01T08:00:00+08:00","endTime":"2026-06-'
        r'01T08:01:13+08:00","status":"suc'
        r'cess","idcName":"杭州","stdout":"before\u0000after\u0001'
        "\x7f"
        r'","stderr":"","message":""}'
    ),
    (
        r'{"recordId":"e6203ffe-85f4-4a13-bb28-abaefc1ea0df","hostIp":'
        r'"10.1.0.47","hostId":"533cd37a-4'
        r'b81-4eec-88c6-e211f601b67a","entityId":"012217A1-7BCA-4593-9'
        r'2B7-E9A7FF8696BA","osType":"aix"'
        r',"startTime":"2026-06-01T08:00:00+08:00","endTime":"2026-06-'
        r'01T08:01:13+08:00","status":"fai'
        r'l","idcName":"shanghai-b","stdout":"\u001b[31mERROR\u001b[0m'
        r" \u003cb\u003ea \u0026 b\u003c/b"
        r'\u003e \"quote\" \\ back\ttab\u2028sep\u2029","stderr":"bash'
        r': line 1: foo: 未找到命令\n","message'
        r'":""}'
    ),
    (
        r'{"recordId":"e6203ffe-85f4-4a13-bb28-abaefc1ea0df","hostIp":'
        r'"10.0.0.1","hostId":"bc86f236-9a'
        r'8f-47b6-88e1-ee622e9ae0ce","entityId":"8AD2B58C-4881-4C30-B5'
        r'F5-82258A4A9FD1","osType":"windo'
        r'ws","startTime":"2026-06-01T08:00:00+08:00","endTime":"2026-'
        r'06-01T08:01:13+08:00","status":"'
        r'success","idcName":"杭州","stdout":"done 😀 ok","stderr":"","message":""}'
    ),
)
ROW_WITHOUT_TIMES = (
    r'{"recordId":"26f45599-1dfa-4221-8573-c46aef062165","hostIp":"","hostId":"533cd37a-4b81-4eec-'
    r'88c6-e211f601b67a","entityId":"012217A1-7BCA-4593-92B7-E9A7FF8696BA","osType":"aix","startTi'
    r'me":"2026-06-03T15:58:02+08:00","endTime":"","status":"","idcName":"shanghai-b","stdout":"",'
    r'"stderr":"","message":""}'
)
JOB_DETAIL = (
    '{"code":0,"data":{"id":1964,"name":"workflow_xkkjf_20220712103332","workflowId":"3992429968",'
    '"workflowName":"workflow_xkkjf","status":2,"tasks":[{"id":"f93dea90fc3a11ecac7e6da0662c195b",'
    '"name":"BFS","runBeginTime":"2022-07-12T10:33:35+08:00","runEndTime":"2022-07-12T10:33:38+08:00'
    '","status":2}],"runBeginTime":1657593215000,"runEndTime":1657593218000,"createTime":'
    '1657593212505},"message":"Success"}\n'
)
SAMPLE_RESULT = (
    '{"code":0,"data":{"items":[["player110","0.150000"],["team219","0.452126"],["player121",'
    '"0.262148"]]},"message":"Success"}\n'
)
INSTANCES = (
    '{"count":2,"resources":[{"id":1012386207306600400,"name":"test-1","task_id":'
    '1012385458115825700,"task_type":"QUALITY_TASK","run_status":"SUCCESS","notify_status":'
    '"NOT_TRIGGERED","start_time":1661413281000,"end_time":1661413381000},{"id":'
    '1012386190504218600,"name":"test-0","task_id":1012386182149165000,"task_type":'
    '"CONSISTENCY_TASK","run_status":"SUCCESS","notify_status":"NOT_TRIGGERED","start_time":'
    '1661413277000,"end_time":1661413380000}]}\n'
)
JSON = {"Content-Type": "application/json"}


@pytest.fixture
def sim() -> Iterator[Simulator]:
    with Simulator(World.empty(datetime(2026, 6, 1, tzinfo=UTC))) as simulator:
        yield simulator


def moment(text: str) -> datetime | None:
    return None if text in ("", GO_ZERO) else datetime.fromisoformat(text)


def record_of(detail: dict[str, Any]) -> Record:
    start, end = moment(detail["startTime"]), moment(detail["endTime"])
    assert start is not None
    return Record(
        detail["id"],
        start,
        end,
        detail["executeStatus"],
        detail["resultStatus"],
        detail["callback"],
        detail["hosts"],
        detail["provider"],
        detail["script"],
        detail["scriptType"],
        detail["pattern"],
        detail["timeout"],
        detail["parameters"],
        detail["masterId"],
        detail["user"],
        detail["executeId"],
    )


def row_of(row: dict[str, Any]) -> HostRow:
    host = Host(row["hostId"], row["hostIp"], row["osType"], row["idcName"], row["entityId"])
    return HostRow(host, row["status"], row["stdout"], row["stderr"], row["message"])


def act2(sim: Simulator, path: str) -> str:
    answer = requests.get(f"{sim.act2_url}/api/v1/job/record{path}", headers=JSON, timeout=5)
    assert answer.status_code == 200
    return answer.content.decode()


@pytest.mark.parametrize("sample", [DETAIL_OK, DETAIL_DOING, DETAIL_ZERO_DATE, DETAIL_NULLS])
def test_a_record_is_answered_as_the_live_server_did(sim: Simulator, sample: str) -> None:
    record = sim.world.act2.add(record_of(json.loads(sample)["content"]))
    assert act2(sim, f"?id={record.id}") == sample


@pytest.mark.parametrize("sample", [*ROWS, ROW_WITHOUT_TIMES])
def test_a_row_is_answered_as_the_live_server_did(sim: Simulator, sample: str) -> None:
    row = json.loads(sample)
    start = moment(row["startTime"])
    assert start is not None
    record = Record(row["recordId"], start, moment(row["endTime"]), "done", rows=[row_of(row)])
    sim.world.act2.add(record)
    want = '{"status":"success","message":"","content":'
    assert act2(sim, f"/result?id={record.id}") == f"{want}[{sample}]}}"
    page = '{"PageNo":1,"PageSize":5,"PageCount":1,"TotalCount":1,"List":'
    assert act2(sim, "/page?pageNo=1&pageSize=5") == f"{want}{page}[{sample}]}}}}"


@pytest.mark.parametrize(
    ("path", "want"),
    [
        ("?id=nobody", '{"status":"error","message":"record not found","content":null}'),
        ("/result?id=nobody", '{"status":"success","message":"","content":[]}'),
        ("/page?pageSize=5", '{"status":"error","message":"pageNo is not int","content":null}'),
        (
            "/page?pageNo=999999&pageSize=10",
            '{"status":"success","message":"","content":{"PageNo":999999,"PageSize":10,'
            '"PageCount":1,"TotalCount":1,"List":[]}}',
        ),
    ],
)
def test_what_is_not_there_is_answered_as_the_live_server_did(
    sim: Simulator, path: str, want: str
) -> None:
    sim.world.act2.start()
    assert act2(sim, path) == want


def test_a_job_and_its_sample_are_answered_as_documented(sim: Simulator) -> None:
    task = Task("f93dea90fc3a11ecac7e6da0662c195b", "BFS", 2, 1657593215000, 1657593218000)
    task.sample = [["player110", "0.150000"], ["team219", "0.452126"], ["player121", "0.262148"]]
    names = ("workflow_xkkjf_20220712103332", "3992429968", "workflow_xkkjf")
    job = Job(1964, *names, 1657593212505, 2, 1657593215000, 1657593218000, [task])
    sim.world.explorer.add(job)
    cookies = {"explorer_token": sim.credentials.explorer_token}
    url = f"{sim.explorer_url}/api-open/v1/jobs/1964"
    assert requests.get(url, cookies=cookies, timeout=5).text == JOB_DETAIL
    sample = f"{url}/tasks/{task.id}/sample_result?limit=10"
    assert requests.get(sample, cookies=cookies, timeout=5).text == SAMPLE_RESULT


def test_instances_are_answered_as_documented_newest_first(sim: Simulator) -> None:
    for resource in reversed(json.loads(INSTANCES)["resources"]):
        start, end = resource.pop("start_time"), resource.pop("end_time")
        sim.world.dataarts.add(Instance(**resource, start=start, end=end))
    headers = {
        "X-Auth-Token": sim.credentials.dataarts_token,
        "workspace": sim.credentials.workspace,
    }
    url = f"{sim.dataarts_url}/v2/{sim.credentials.project_id}/quality/instances"
    assert requests.get(url, headers=headers, timeout=5).text == INSTANCES
