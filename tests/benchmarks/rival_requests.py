"""What `requests` can do at most: threads, prepared requests sent directly, orjson, bulk upsert.

Everything is kept in memory and nothing can go wrong: this is a limit, not a tool.

    python -m benchmarks.rival_requests URL DATABASE IN_FLIGHT DIRECTORY [without-quality]
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import orjson
import requests

from benchmarks.data import PAGE, PROJECT
from benchmarks.rival_tables import COLUMNS, done, write

Row = tuple[Any, ...]
_threads = threading.local()


class Client:
    """One session a thread; a request is prepared once and sent again with another url."""

    def __init__(self, url: str) -> None:
        self.url = url

    def get(self, path: str) -> Any:
        if not hasattr(_threads, "session"):
            _threads.session = requests.Session()
            _threads.session.trust_env = False
            wanted = requests.Request("GET", self.url, headers={"X-Auth-Token": "t"})
            _threads.prepared = _threads.session.prepare_request(wanted)
        _threads.prepared.url = self.url + path
        reply = _threads.session.send(_threads.prepared, allow_redirects=False)
        if reply.status_code != 200:
            raise RuntimeError(f"{path}: HTTP {reply.status_code}")
        return orjson.loads(reply.content)


def main(url: str, database: str, in_flight: int, *, with_quality: bool) -> None:
    client = Client(url)
    rows: dict[str, list[Row]] = {table: [] for table in COLUMNS}
    with ThreadPoolExecutor(in_flight) as pool:
        listed, recorded = pool.submit(job_list, client), pool.submit(record_list, client)
        counted = pool.submit(instances, client, 0) if with_quality else None
        jobs = pool.map(lambda one: job(client, one), listed.result())
        records = pool.map(lambda one: record(client, one), recorded.result())
        if counted is not None:
            rows["quality_instances"], total = counted.result()
            for some, _ in pool.map(lambda at: instances(client, at), range(PAGE, total, PAGE)):
                rows["quality_instances"] += some
        for row, tasks, samples in jobs:
            rows["jobs"].append(row)
            rows["tasks"] += tasks
            rows["sample_rows"] += samples
        for execution, hosts in records:
            rows["job_records"].append(execution)
            rows["host_results"] += hosts
    done(write(database, rows))


def job_list(client: Client) -> list[Any]:
    """The jobs as they are listed."""
    path = "/api-open/v1/jobs?page={}&pageSize=100"
    return _pages(client, path, lambda reply: reply["data"]["items"])


def record_list(client: Client) -> list[Any]:
    """The records as they are listed."""
    path = "/api/v1/job/record/page?pageNo={}&pageSize=100"
    return _pages(client, path, lambda reply: reply["content"]["list"])


def _pages(client: Client, path: str, items: Callable[[Any], list[Any]]) -> list[Any]:
    found: list[Any] = []
    page = 1
    while some := items(client.get(path.format(page))):
        found += some
        page += 1
        if len(some) < PAGE:
            break
    return found


def job(client: Client, listed: Any) -> tuple[Row, list[Row], list[Row]]:
    """One job: its row, its tasks, their sample rows."""
    n = listed["id"]
    one = client.get(f"/api-open/v1/jobs/{n}")["data"]
    tasks, samples = [], []
    for task in one["tasks"]:
        t = task["id"]
        times = task["runBeginTime"], task["runEndTime"]
        tasks.append((n, t, task["name"], task["status"], *times))
        path = f"/api-open/v1/jobs/{n}/tasks/{t}/sample_result?limit=100"
        items = client.get(path)["data"]["items"]
        samples += [(n, t, place, *values) for place, values in enumerate(items, 1)]
    moments = one["createTime"], one["runBeginTime"], one["runEndTime"]
    return (n, one["name"], one["workflowId"], one["status"], *moments), tasks, samples


def record(client: Client, listed: Any) -> tuple[Row, list[Row]]:
    """One record: its row and those of its hosts."""
    r = listed["id"]
    one = client.get(f"/api/v1/job/record?id={r}")["content"]
    names = "script", "execute_status", "result_status", "start_time", "end_time", "hosts"
    hosts = client.get(f"/api/v1/job/record/result?id={r}")["content"]
    columns = "hostId", "hostIp", "status", "stdout", "stderr", "message"
    return (r, *(one[n] for n in names)), [(r, *(host[c] for c in columns)) for host in hosts]


def instances(client: Client, offset: int) -> tuple[list[Row], int]:
    """A page of instances, and how many there are."""
    page = client.get(f"/v2/{PROJECT}/quality/instances?limit=100&offset={offset}")
    columns = "id", "name", "task_id", "run_status", "notify_status", "start_time", "end_time"
    return [tuple(one[c] for c in columns) for one in page["resources"]], page["count"]


if __name__ == "__main__":
    _, _url, _database, _in_flight, _directory, *_rest = sys.argv
    main(_url, _database, int(_in_flight), with_quality=_rest != ["without-quality"])
