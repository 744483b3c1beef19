"""dlt by hand: generator resources with key hints, which read in a thread pool of their own.

python -m benchmarks.rival_dlt_threads URL DATABASE IN_FLIGHT DIRECTORY [without-quality]
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import dlt

from benchmarks.data import PAGE
from benchmarks.rival_dlt import load
from benchmarks.rival_requests import Client, instances, job, job_list, record, record_list
from benchmarks.rival_tables import COLUMNS

_KINDS = {"bigint": "bigint", "text": "text"}


def _marked(table: str, rows: Any) -> Any:
    """Rows of one table with their hints."""
    columns, key = COLUMNS[table]
    names = [column.split() for column in columns.split(", ")]
    return dlt.mark.with_hints(
        [dict(zip((name for name, _ in names), row, strict=True)) for row in rows],
        dlt.mark.make_hints(
            table_name=table,
            primary_key=key.split(", "),
            write_disposition="merge",
            columns={name: {"data_type": _KINDS[kind]} for name, kind in names},
        ),
        create_table_variant=True,
    )


def resources(url: str, in_flight: int, *, with_quality: bool) -> list[Any]:
    client = Client(url)

    def graph() -> Iterator[Any]:
        with ThreadPoolExecutor(in_flight) as pool:
            for row, tasks, samples in pool.map(lambda one: job(client, one), job_list(client)):
                yield _marked("jobs", [row])
                yield _marked("tasks", tasks)
                yield _marked("sample_rows", samples)

    def scripts() -> Iterator[Any]:
        with ThreadPoolExecutor(in_flight) as pool:
            for row, hosts in pool.map(lambda one: record(client, one), record_list(client)):
                yield _marked("job_records", [row])
                yield _marked("host_results", hosts)

    def quality() -> Iterator[Any]:
        first, total = instances(client, 0)
        yield _marked("quality_instances", first)
        with ThreadPoolExecutor(in_flight) as pool:
            for rows, _ in pool.map(lambda at: instances(client, at), range(PAGE, total, PAGE)):
                yield _marked("quality_instances", rows)

    made = [graph, scripts, quality] if with_quality else [graph, scripts]
    return [
        dlt.resource(read, name=read.__name__, max_table_nesting=0).parallelize() for read in made
    ]


if __name__ == "__main__":
    _, _url, _database, _in_flight, _directory, *_rest = sys.argv
    _made = resources(_url, int(_in_flight), with_quality=_rest != ["without-quality"])
    load(_made, _database, int(_in_flight), _directory)
