"""Explorer's tables: jobs, their tasks, and a sample of each task's result."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, NamedTuple

from sqlalchemy import String

from etl.schema import (
    BIG,
    EXTRA,
    KEY_LENGTH,
    REPAIRED,
    STATUS,
    WHOLE,
    Instant,
    JsonText,
    LongText,
    column,
    data_table,
    key,
)


class Job(NamedTuple):
    """One run of a workflow."""

    job_id: Annotated[int, key(BIG, "Explorer's number of the job.")]
    name: Annotated[str | None, column(LongText(), "The job's name.")]
    workflow_id: Annotated[str | None, column(String(KEY_LENGTH), "The workflow that was run.")]
    workflow_name: Annotated[str | None, column(LongText(), "The workflow's name at that time.")]
    status: Annotated[str, column(STATUS, "Status in the vocabulary of all sources.")]
    status_code: Annotated[int | None, column(BIG, "Explorer's own number of the status.")]
    created_at: Annotated[datetime | None, column(Instant(), "When the job was submitted.")]
    started_at: Annotated[datetime | None, column(Instant(), "When it began to run.")]
    finished_at: Annotated[datetime | None, column(Instant(), "When it ended; NULL before.")]
    task_count: Annotated[int | None, column(WHOLE, "Tasks that the job's detail named.")]
    extra: Annotated[str | None, EXTRA]
    text_repaired: Annotated[bool, REPAIRED]


class Task(NamedTuple):
    """One component's run in a job."""

    job_id: Annotated[int, key(BIG, "The job that ran it.")]
    task_id: Annotated[
        str,
        key(String(KEY_LENGTH), "The workflow's component: the same in every run of a workflow."),
    ]
    name: Annotated[str | None, column(LongText(), "The component's name, e.g. PageRank.")]
    status: Annotated[str, column(STATUS, "Status in the vocabulary of all sources.")]
    status_code: Annotated[int | None, column(BIG, "Explorer's own number of the status.")]
    started_at: Annotated[datetime | None, column(Instant(), "When it began to run.")]
    finished_at: Annotated[datetime | None, column(Instant(), "When it ended; NULL before.")]
    sample_row_count: Annotated[
        int | None,
        column(WHOLE, "Rows of the sample; 0 for an empty one, NULL if nothing was sampled."),
    ]
    sample_error: Annotated[str | None, column(LongText(), "Why there is no sample.")]
    sample_digest: Annotated[
        str | None, column(String(64), "SHA-256 of the sample rows: changes when the set does.")
    ]
    extra: Annotated[str | None, EXTRA]
    text_repaired: Annotated[bool, REPAIRED]


class SampleRow(NamedTuple):
    """One row of the sample of a task's result."""

    job_id: Annotated[int, key(BIG, "The job.")]
    task_id: Annotated[str, key(String(KEY_LENGTH), "The task.")]
    row_no: Annotated[int, key(WHOLE, "Place in the sample, from 1.")]
    column_1: Annotated[str | None, column(LongText(), "First value, often a vertex id.")]
    column_2: Annotated[str | None, column(LongText(), "Second value.")]
    column_3: Annotated[str | None, column(LongText(), "Third value.")]
    more_columns: Annotated[
        str | None, column(JsonText(), "Values from the fourth on (JSON array); NULL if none.")
    ]


JOBS = data_table(
    "jobs",
    Job,
    "Explorer's jobs: each is one run of a workflow.",
    kind="job",
    gone=True,
    indexes=(
        ("created_at",),
        ("started_at",),
        ("workflow_id", "created_at"),
        ("status", "finished_at"),
        ("source", "changed_at"),
    ),
)
TASKS = data_table(
    "tasks",
    Task,
    "Explorer's tasks: each is the run of one component of the workflow in one job.",
    kind="task",
    parent=JOBS,
    replace="named",
    part=("task_id",),
    expected_in="task_count",
    gone=True,
    indexes=(("status", "finished_at"), ("source", "changed_at")),
)
SAMPLE_ROWS = data_table(
    "sample_rows",
    SampleRow,
    "Explorer's samples: the first rows of a task's result; tasks.changed_at moves with the set.",
    parent=TASKS,
    replace="never_fewer",
    group=("job_id", "task_id"),
    described_by=("sample_row_count", "sample_digest"),
    lean=True,
)
