"""Whether what a contestant wrote is right: every row of every table, against the generator."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import zip_longest

from sqlalchemy import create_engine, make_url, text

from benchmarks.data import TABLES, DataSet

_OWN = {
    "jobs": "job_id, name, workflow_id, status_code",
    "tasks": "job_id, task_id, name, status_code",
    "sample_rows": "job_id, task_id, row_no, column_1, column_2",
    "job_records": "record_id, script, execute_status",
    "host_results": "record_id, host_id, host_ip, stdout",
    "quality_instances": "instance_id, name, task_id, run_status",
}
_REST = {
    "jobs": "id, name, workflow_id, status",
    "tasks": "_jobs_id, id, name, status",
    "sample_rows": "_tasks__jobs_id, _tasks_id, row_no, column_1, column_2",
    "job_records": "id, script, execute_status",
    "host_results": "record_id, host_id, host_ip, stdout",
    "quality_instances": "id, name, task_id, run_status",
}
_OF = {
    "graph": ("jobs", "tasks", "sample_rows"),
    "scripts": ("job_records", "host_results"),
    "quality": ("quality_instances",),
}
_KEYS = {"jobs": 1, "tasks": 2, "sample_rows": 3, "job_records": 1, "host_results": 2}


class WrongRows(Exception):
    """A contestant wrote something else than the platforms told."""


def check(
    database: str,
    data: DataSet,
    *,
    schema: str = "",
    as_served: bool = False,
    sources: Iterable[str] = tuple(_OF),
) -> int:
    """Compares all rows of `sources`; answers how many there are. Raises WrongRows.

    `as_served`: columns are named as the API names them.
    """
    url = make_url(database)
    if url.drivername == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    engine = create_engine(url)
    count = 0
    collation = "" if url.drivername == "sqlite" else ' COLLATE "C"'
    with engine.connect() as connection:
        for table in (table for source in sources for table in _OF[source]):
            columns = (_REST if as_served else _OWN)[table]
            names = columns.split(", ")
            order = ", ".join(_sorted(name, collation) for name in names[: _KEYS.get(table, 1)])
            query = text(f"SELECT {columns} FROM {schema}{table} ORDER BY {order}")
            found = connection.execution_options(stream_results=True).execute(query)
            for wrote, meant in zip_longest(found, TABLES[table](data)):
                if wrote is None or meant is None or tuple(wrote) != meant:
                    raise WrongRows(f"{table}: {str(wrote)[:200]} instead of {str(meant)[:200]}")
                count += 1
    engine.dispose()
    return count


def _sorted(name: str, collation: str) -> str:
    """Texts are compared byte by byte."""
    is_text = name in ("task_id", "_tasks_id", "record_id", "host_id")
    return f"{name}{collation}" if is_text else name
