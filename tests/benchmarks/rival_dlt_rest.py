"""dlt's declarative `rest_api` source, as its documentation recommends: `parallelized` children,
merged on their keys.

    python -m benchmarks.rival_dlt_rest URL DATABASE IN_FLIGHT DIRECTORY [without-quality]
"""

from __future__ import annotations

import json
import sys
from typing import Any

from dlt.sources.rest_api import rest_api_resources

from benchmarks.data import PAGE, PROJECT
from benchmarks.rival_dlt import load


def _listed(name: str, key: str, path: str, selector: str, paginator: Any) -> dict[str, Any]:
    return {
        "name": name,
        "primary_key": key,
        "write_disposition": "merge",
        "max_table_nesting": 0,
        "endpoint": {"path": path, "data_selector": selector, "paginator": paginator},
    }


def _child(name: str, key: list[str], path: str, selector: str, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "primary_key": key,
        "write_disposition": "merge",
        "max_table_nesting": 0,
        "parallelized": True,
        "endpoint": {"path": path, "data_selector": selector, "paginator": "single_page"},
        **more,
    }


def _numbered(reply: Any, *_: Any, **__: Any) -> Any:
    """Sample rows are arrays without a key: dlt needs objects, and their place is the key."""
    body = reply.json()
    names = "row_no", "column_1", "column_2"
    body["data"]["items"] = [
        dict(zip(names, (place, *row), strict=True))
        for place, row in enumerate(body["data"]["items"], 1)
    ]
    reply._content = json.dumps(body).encode()
    return reply


def resources(url: str, *, with_quality: bool) -> Any:
    pages = {
        "type": "page_number",
        "base_page": 1,
        "total_path": None,
        "stop_after_empty_page": True,
    }
    jobs, records = {**pages, "page_param": "page"}, {**pages, "page_param": "pageNo"}
    offset = {
        "type": "offset",
        "limit": PAGE,
        "offset_param": "offset",
        "limit_param": "limit",
        "total_path": "count",
    }
    job = "api-open/v1/jobs/{resources.jobs.id}"
    task = "api-open/v1/jobs/{resources.tasks._jobs_id}/tasks/{resources.tasks.id}"
    listed = _listed("job_records_listed", "id", "api/v1/job/record/page", "content.list", records)
    listed["endpoint"]["params"] = {"pageSize": PAGE}
    listed["selected"] = False
    samples = _child(
        "sample_rows",
        ["_tasks__jobs_id", "_tasks_id", "row_no"],
        f"{task}/sample_result?limit=100",
        "data.items",
        include_from_parent=["_jobs_id", "id"],
    )
    samples["endpoint"]["response_actions"] = [_numbered]
    made = [
        _listed("jobs", "id", "api-open/v1/jobs", "data.items", jobs),
        _child("tasks", ["_jobs_id", "id"], job, "data.tasks", include_from_parent=["id"]),
        samples,
        listed,
        _child(
            "job_records",
            ["id"],
            "api/v1/job/record?id={resources.job_records_listed.id}",
            "content",
        ),
        _child(
            "host_results",
            ["record_id", "host_id"],
            "api/v1/job/record/result?id={resources.job_records_listed.id}",
            "content",
        ),
    ]
    if with_quality:
        path = f"v2/{PROJECT}/quality/instances"
        made.append(_listed("quality_instances", "id", path, "resources", offset))
    return rest_api_resources({"client": {"base_url": url}, "resources": made})


if __name__ == "__main__":
    _, _url, _database, _in_flight, _directory, *_rest = sys.argv
    _made = resources(_url, with_quality=_rest != ["without-quality"])
    load(_made, _database, int(_in_flight), _directory)
