"""What the tables must hold of a world: made from its objects, not by the readers.

A row is a dict of the columns that the world determines; a table is a dict by key.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import select

from etl.db import Database
from etl.schema import metadata
from etl.simulator import Instance, Quirks, World
from etl.simulator.graphs import Job, Task
from etl.simulator.scripts import HostRow, Record
from etl.simulator.times import from_ms

Row = dict[str, Any]
Rows = dict[tuple[Any, ...], Row]

_CODES = ("pending", "running", "succeeded", "failed", "cancelled", "stopping")
_ENDED = {"succeeded", "failed", "cancelled"}
_RESULTS = {"success": "succeeded", "fail": "failed", "timeout": "timed_out", "": "unknown"}
_RUN_STATUSES = {
    "RUNNING": "running",
    "SUSPENDING": "paused",
    "SUCCESS": "succeeded",
    "FAILED": "failed",
    "ALARMING": "alarmed",
}
_NOTHING: Row = {"extra": None, "text_repaired": False}


def table(database: Database, name: str) -> Rows:
    """The rows of a table by key, without `source`; JSON as it is."""
    made = metadata.tables[name]
    key = [column.name for column in made.primary_key if column.name != "source"]
    with database.reading() as connection:
        found = [dict(row) for row in connection.execute(select(made)).mappings()]
    return {tuple(row[n] for n in key): row for row in found}


def assert_holds(held: Rows, wanted: Mapping[tuple[Any, ...], Row], name: str) -> None:
    """Every wanted row is there, with every wanted column."""
    for key, row in wanted.items():
        assert key in held, f"{name} {key} is missing"
        found = {column: held[key][column] for column in row}
        assert found == row, f"{name} {key}"


# Explorer


def jobs(world: World) -> Rows:
    return {(job.id,): _job(job) for job in world.explorer.jobs}


def _job(job: Job) -> Row:
    status = _CODES[job.status]
    return {
        "name": job.name,
        "workflow_id": job.workflow_id,
        "workflow_name": job.workflow_name,
        "status": status,
        "status_code": job.status,
        "created_at": from_ms(job.created),
        "started_at": _at(job.began),
        "finished_at": _at(job.ended) if status in _ENDED else None,
        "task_count": len(job.tasks),
        "upstream_gone_at": None,
        **_NOTHING,
    }


def tasks(world: World, quirks: Quirks) -> Rows:
    return {
        (job.id, task.id): _task(task, quirks) for job in world.explorer.jobs for task in job.tasks
    }


def _task(task: Task, quirks: Quirks) -> Row:
    status = _CODES[task.status]
    row = {
        "name": task.name,
        "status": status,
        "status_code": task.status,
        "started_at": _second(_at(task.began)),
        "finished_at": _second(_at(task.ended)) if status in _ENDED else None,
        "upstream_gone_at": None,
        **_NOTHING,
    }
    if status == "succeeded" and task.sample is not None:
        row |= {"sample_row_count": len(task.sample), "sample_error": None}
    return row


def sample_rows(world: World) -> dict[tuple[int, str], list[tuple[Any, ...]]]:
    """Of each task that succeeded and has a sample: its rows, in order."""
    return {
        (job.id, task.id): [_sample_row(row) for row in task.sample]
        for job in world.explorer.jobs
        for task in job.tasks
        if task.sample is not None and _CODES[task.status] == "succeeded"
    }


def _sample_row(row: Sequence[str]) -> tuple[Any, ...]:
    first, second, third = ([*row[:3], None, None, None])[:3]
    return first, second, third, list(row[3:]) or None


def samples_held(held: Rows) -> dict[tuple[int, str], list[tuple[Any, ...]]]:
    """`sample_rows` as `sample_rows()` gives them; their numbers run from 1."""
    found: dict[tuple[int, str], list[tuple[Any, ...]]] = {}
    for (job_id, task_id, number), row in sorted(held.items()):
        rows = found.setdefault((job_id, task_id), [])
        assert number == len(rows) + 1
        more = row["more_columns"] and json.loads(row["more_columns"])
        rows.append((row["column_1"], row["column_2"], row["column_3"], more))
    return found


# Act2


def job_records(records: Iterable[Record], quirks: Quirks) -> Rows:
    return {(record.id,): _job_record(record, quirks) for record in records}


def _job_record(record: Record, quirks: Quirks) -> Row:
    live, over = quirks.act2_shape == "live", record.execute_status == "done"
    hosts = json.loads(record.hosts)
    urls = len(json.loads(record.script)) if record.pattern == "file" else 1
    return {
        "status": _RESULTS[record.result_status] if over else "running",
        "execute_status": record.execute_status,
        "result_status": record.result_status,
        "pattern": record.pattern,
        "script": record.script,
        "script_type": record.script_type,
        "provider": record.provider,
        "user_name": record.user if live else None,
        "execute_id": record.execute_id if live else None,
        "master_id": record.master_id if live else None,
        "callback": record.callback,
        "timeout_s": record.timeout,
        "started_at": _second(record.start),
        "finished_at": _second(record.end) if over else None,
        "host_expected_count": len(hosts) * urls,
        "host_result_count": len(record.rows),
        "upstream_gone_at": None,
        **_NOTHING,
    }


def host_results(records: Iterable[Record], quirks: Quirks) -> Counter[tuple[Any, ...]]:
    """Rows without their ordinals, so that their order does not matter."""
    return Counter(
        tuple(_host_result(record, row, quirks).values())
        for record in records
        for row in record.rows
    )


def hosts_held(held: Rows, ids: set[str]) -> Counter[tuple[Any, ...]]:
    """`host_results` of the records `ids`, as `host_results()` gives them; they are numbered."""
    numbers: dict[tuple[str, str], list[int]] = {}
    for record_id, host_id, ordinal in held:
        numbers.setdefault((record_id, host_id), []).append(ordinal)
    assert all(sorted(n) == list(range(1, len(n) + 1)) for n in numbers.values())
    return Counter(
        tuple(row[column] for column in _HOST_COLUMNS)
        for row in held.values()
        if row["record_id"] in ids
    )


def _host_result(record: Record, row: HostRow, quirks: Quirks) -> Row:
    over = record.execute_status == "done"
    return {
        "record_id": record.id,
        "host_id": row.host.id,
        "host_ip": row.host.ip,
        "entity_id": row.host.entity_id,
        "idc_name": row.host.idc_name,
        "os_type": row.host.os_type if quirks.act2_shape == "live" else None,
        "status": _RESULTS[row.status] if row.status or over else "running",
        "status_text": row.status,
        "started_at": _second(record.start),
        "finished_at": _second(record.end) if over else None,
        "stdout": row.stdout,
        "stderr": row.stderr,
        "message": row.message,
        "stdout_bytes": len(row.stdout.encode()),
        "stderr_bytes": len(row.stderr.encode()),
        "output_cut": False,
        **_NOTHING,
    }


_HOST_COLUMNS = (
    *("record_id", "host_id", "host_ip", "entity_id", "idc_name", "os_type", "status"),
    *("status_text", "started_at", "finished_at", "stdout", "stderr", "message"),
    *("stdout_bytes", "stderr_bytes", "output_cut", "extra", "text_repaired"),
)


# DataArts


def instances(world: World) -> Rows:
    return {(instance.id,): _instance(instance) for instance in world.dataarts.instances()}


def _instance(instance: Instance) -> Row:
    status = _RUN_STATUSES[instance.run_status]
    return {
        "name": instance.name,
        "task_id": instance.task_id,
        "task_type": instance.task_type,
        "status": status,
        "run_status": instance.run_status,
        "notify_status": instance.notify_status,
        "started_at": from_ms(instance.start),
        "finished_at": None if status in ("running", "paused") else _at(instance.end),
        "upstream_gone_at": None,
        **_NOTHING,
    }


def _at(epoch_ms: int | None) -> datetime | None:
    return None if epoch_ms is None else from_ms(epoch_ms)


def _second(at: datetime | None) -> datetime | None:
    return None if at is None else at.replace(microsecond=0)
