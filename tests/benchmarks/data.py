"""The data sets: what the three platforms answer, and the rows that must come of it.

Everything is computed from its number, so that nothing is kept: a set of any size costs no memory.
All lists are newest first in pages of 100; filters and windows are ignored.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs

PAGE = 100
TASKS = 2
SAMPLE = 100
HOSTS = 5
PROJECT = "p" * 32
_BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
_TEXT = "".join(random.Random(1).choices("abcdefghijklmnopqrstuvwxyz 0123456789\n", k=8192))

Row = tuple[Any, ...]


@dataclass(frozen=True)
class DataSet:
    """So many jobs (2 tasks of 100 sample rows each), records (5 hosts each), instances."""

    jobs: int
    records: int
    instances: int

    @property
    def rows(self) -> int:
        """Rows of all tables."""
        tasks = self.jobs * TASKS
        return self.jobs + tasks * (1 + SAMPLE) + self.records * (1 + HOSTS) + self.instances

    @property
    def requests(self) -> int:
        """What reading all of it costs without knowing anything, a request for each thing."""
        pages = sum(-(-n // PAGE) for n in (self.jobs, self.records, self.instances))
        return pages + self.jobs * (1 + TASKS) + self.records * 2


SETS = {
    "S": DataSet(300, 300, 20_000),
    "M": DataSet(3_000, 3_000, 200_000),
    "tiny": DataSet(12, 12, 240),
}


# Rows that must arrive, in the order of their keys


def jobs(data: DataSet) -> Iterator[Row]:
    """job_id, name, workflow_id, status_code"""
    return ((n, f"job {n}", str(7000 + n % 20), 2) for n in range(1, data.jobs + 1))


def tasks(data: DataSet) -> Iterator[Row]:
    """job_id, task_id, name, status_code"""
    return ((n, _task_id(t), f"task {t}", 2) for n in range(1, data.jobs + 1) for t in range(TASKS))


def sample_rows(data: DataSet) -> Iterator[Row]:
    """job_id, task_id, row_no, column_1, column_2"""
    for n in range(1, data.jobs + 1):
        for t in range(TASKS):
            for place, values in enumerate(_sample(n, t), 1):
                yield (n, _task_id(t), place, *values)


def job_records(data: DataSet) -> Iterator[Row]:
    """record_id, script, execute_status"""
    return ((_record_id(n), f"echo {n}", "done") for n in range(data.records))


def host_results(data: DataSet) -> Iterator[Row]:
    """record_id, host_id, host_ip, stdout"""
    for n in range(data.records):
        for h in range(HOSTS):
            yield (_record_id(n), f"host-{h}", f"10.0.0.{h}", _stdout(n, h))


def quality_instances(data: DataSet) -> Iterator[Row]:
    """instance_id, name, task_id, run_status"""
    for n in range(data.instances):
        yield (_instance_id(n), f"check {n % 50}", 9 * 10**17 + n % 50, "SUCCESS")


TABLES: dict[str, Callable[[DataSet], Iterator[Row]]] = {
    "jobs": jobs,
    "tasks": tasks,
    "sample_rows": sample_rows,
    "job_records": job_records,
    "host_results": host_results,
    "quality_instances": quality_instances,
}


# What the platforms answer


def answer(data: DataSet, target: str) -> bytes | None:
    """The body for a path with its query; None: there is no such thing."""
    path, _, query = target.partition("?")
    for pattern, make in _ROUTES:
        found = pattern.fullmatch(path)
        if found:
            return make(data, *map(int, found.groups()), query=parse_qs(query))
    return None


Query = dict[str, list[str]]


def _job_list(data: DataSet, query: Query) -> bytes:
    page = int(query.get("page", ["1"])[0])
    items = [_job(n) for n in _newest_first(data.jobs, page, first=1)]
    return _explorer({"items": items, "total": data.jobs, "Page": page, "PageSize": PAGE})


def _job_detail(_data: DataSet, n: int, query: Query) -> bytes:
    made = [
        {
            "id": _task_id(t),
            "name": f"task {t}",
            "runBeginTime": _at(n).astimezone().isoformat(),
            "runEndTime": (_at(n) + timedelta(seconds=30)).astimezone().isoformat(),
            "status": 2,
        }
        for t in range(TASKS)
    ]
    return _explorer({**_job(n), "tasks": made})


def _sample_result(_data: DataSet, n: int, t: int, query: Query) -> bytes:
    return _explorer({"items": _sample(n, t)})


def _record_page(data: DataSet, query: Query) -> bytes:
    page = int(query["pageNo"][0])
    size = min(PAGE, int(query["pageSize"][0]))
    numbers = _newest_first(data.records, page, size)
    items = [_record(n) for n in numbers]
    return _act2(
        {
            "pageNo": page,
            "pageSize": size,
            "pageCount": -(-data.records // size),
            "totalCount": data.records,
            "list": items,
        }
    )


def _record_detail(_data: DataSet, query: Query) -> bytes:
    n = int(query["id"][0].rpartition("-")[2], 16)
    hosts = json.dumps([f"host-{h}" for h in range(HOSTS)])
    return _act2(
        {
            **_record(n),
            "hosts": hosts,
            "callback": "",
            "provider": "salt",
            "script": f"echo {n}",
            "script_type": "bash",
            "module_name": "script",
            "timeout": 60,
            "parameters": json.dumps({"pattern": "script", "params": {"args": str(n)}, "env": {}}),
        }
    )


def _record_result(_data: DataSet, query: Query) -> bytes:
    n = int(query["id"][0].rpartition("-")[2], 16)
    return _act2([_host_row(n, h) for h in range(HOSTS)])


def _instance_list(data: DataSet, query: Query) -> bytes:
    offset, limit = int(query.get("offset", ["0"])[0]), int(query.get("limit", ["10"])[0])
    newest = data.instances - 1 - offset
    numbers = range(newest, max(-1, newest - min(PAGE, limit)), -1)
    return _packed({"count": data.instances, "resources": [_instance(n) for n in numbers]})


_ROUTES: Sequence[tuple[re.Pattern[str], Callable[..., bytes]]] = (
    (re.compile(r"/api-open/v1/jobs"), _job_list),
    (re.compile(r"/api-open/v1/jobs/(\d+)"), _job_detail),
    (re.compile(r"/api-open/v1/jobs/(\d+)/tasks/0*(\d+)/sample_result"), _sample_result),
    (re.compile(r"/api/v1/job/record/page"), _record_page),
    (re.compile(r"/api/v1/job/record"), _record_detail),
    (re.compile(r"/api/v1/job/record/result"), _record_result),
    (re.compile(rf"/v2/{PROJECT}/quality/instances"), _instance_list),
)


def _newest_first(count: int, page: int, size: int = PAGE, *, first: int = 0) -> range:
    last = first + count - 1 - (page - 1) * size
    return range(last, max(first - 1, last - size), -1)


def _at(n: int) -> datetime:
    return _BEGAN + timedelta(minutes=n)


def _ms(at: datetime) -> int:
    return round(at.timestamp() * 1000)


def _job(n: int) -> dict[str, Any]:
    return {
        "id": n,
        "name": f"job {n}",
        "workflowId": str(7000 + n % 20),
        "workflowName": f"workflow {n % 20}",
        "status": 2,
        "runBeginTime": _ms(_at(n)),
        "runEndTime": _ms(_at(n)) + 60_000,
        "createTime": _ms(_at(n)) - 500,
    }


def _task_id(t: int) -> str:
    return f"{t:032d}"


def _sample(n: int, t: int) -> list[list[str]]:
    return [[f"player{n * 1000 + r}", f"0.{t}{r:04d}{n % 97:02d}"] for r in range(SAMPLE)]


def _record_id(n: int) -> str:
    return f"0a1b2c3d-4e5f-6071-8293-{n:012x}"


def _record(n: int) -> dict[str, Any]:
    return {
        "id": _record_id(n),
        "start_time": _at(n).isoformat(),
        "end_time": (_at(n) + timedelta(seconds=20)).isoformat(),
        "execute_status": "done",
        "result_status": "success",
    }


def _host_row(n: int, h: int) -> dict[str, Any]:
    return {
        "recordId": _record_id(n),
        "hostIp": f"10.0.0.{h}",
        "hostId": f"host-{h}",
        "entityId": f"entity-{h}",
        "osType": "linux",
        "startTime": _at(n).isoformat(),
        "endTime": (_at(n) + timedelta(seconds=20)).isoformat(),
        "status": "success",
        "idcName": "杭州",
        "stdout": _stdout(n, h),
        "stderr": "",
        "message": "",
    }


def _stdout(n: int, h: int) -> str:
    start = (n * 31 + h * 977) % (len(_TEXT) - 2048)
    return f"{n}/{h} {_TEXT[start : start + 2030]}"


def _instance_id(n: int) -> int:
    return 10**18 + n * 3


def _instance(n: int) -> dict[str, Any]:
    return {
        "id": _instance_id(n),
        "name": f"check {n % 50}",
        "task_id": 9 * 10**17 + n % 50,
        "task_type": "QUALITY_TASK",
        "run_status": "SUCCESS",
        "notify_status": "NOT_TRIGGERED",
        "start_time": _ms(_at(n // 4)),
        "end_time": _ms(_at(n // 4)) + 100_000,
    }


def _packed(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _explorer(data: Any) -> bytes:
    return _packed({"code": 0, "data": data, "message": "Success"})


def _act2(content: Any) -> bytes:
    return _packed({"status": "success", "message": "", "content": content})
