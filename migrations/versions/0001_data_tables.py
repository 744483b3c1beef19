"""The platforms' tables, and the dictionary that says what they mean.

Deploy: the first; nothing runs before it.
"""

from __future__ import annotations

from sqlalchemy import ForeignKeyConstraint, PrimaryKeyConstraint

from etl.migrate.steps import (
    BIG,
    FLAG,
    JSON,
    LONG,
    TIME,
    WHOLE,
    create_index,
    create_table,
    drop_table,
    may,
    must,
    stamps,
    text,
)

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

CREATES = (
    "data_dictionary",
    "jobs",
    "tasks",
    "sample_rows",
    "job_records",
    "host_results",
    "quality_instances",
)

STATUS = text(16)
WORD = text(32)
NAME = text(64)
KEY = text(255)


def upgrade() -> None:
    _data_dictionary()
    _jobs()
    _tasks()
    _sample_rows()
    _job_records()
    _host_results()
    _quality_instances()


def downgrade() -> None:
    for name in reversed(CREATES):
        drop_table(name)


def _data_dictionary() -> None:
    create_table(
        "data_dictionary",
        "The ledger's dictionary: what each table, view and column means.",
        must("table_name", NAME, "Table or view."),
        must("column_name", NAME, "Column; empty for the table itself."),
        must("meaning", LONG, "What it holds."),
        PrimaryKeyConstraint("table_name", "column_name", name="pk_data_dictionary"),
    )


def _jobs() -> None:
    create_table(
        "jobs",
        "Explorer's jobs: each is one run of a workflow.",
        must("source", NAME, "Your name for the source."),
        must("job_id", BIG, "Explorer's number of the job."),
        may("name", LONG, "The job's name."),
        may("workflow_id", KEY, "The workflow that was run."),
        may("workflow_name", LONG, "The workflow's name at that time."),
        must("status", STATUS, "Status in the vocabulary of all sources."),
        may("status_code", BIG, "Explorer's own number of the status."),
        may("created_at", TIME, "When the job was submitted."),
        may("started_at", TIME, "When it began to run."),
        may("finished_at", TIME, "When it ended; NULL before."),
        may("task_count", WHOLE, "Tasks that the job's detail named."),
        may("extra", JSON, "Fields of the platform that have no column (JSON); NULL if none."),
        *stamps(gone=True),
        PrimaryKeyConstraint("source", "job_id", name="pk_jobs"),
    )
    create_index("jobs", "created_at")
    create_index("jobs", "source", "changed_at")
    create_index("jobs", "started_at")
    create_index("jobs", "status", "finished_at")
    create_index("jobs", "workflow_id", "created_at")


def _tasks() -> None:
    create_table(
        "tasks",
        "Explorer's tasks: each is the run of one component of the workflow in one job.",
        must("source", NAME, "Your name for the source."),
        must("job_id", BIG, "The job that ran it."),
        must("task_id", KEY, "The workflow's component: the same in every run of a workflow."),
        may("name", LONG, "The component's name, e.g. PageRank."),
        must("status", STATUS, "Status in the vocabulary of all sources."),
        may("status_code", BIG, "Explorer's own number of the status."),
        may("started_at", TIME, "When it began to run."),
        may("finished_at", TIME, "When it ended; NULL before."),
        may(
            "sample_row_count",
            WHOLE,
            "Rows of the sample; 0 for an empty one, NULL if nothing was sampled.",
        ),
        may("sample_error", LONG, "Why there is no sample."),
        may("sample_digest", NAME, "SHA-256 of the sample rows: changes when the set does."),
        may("extra", JSON, "Fields of the platform that have no column (JSON); NULL if none."),
        *stamps(gone=True),
        PrimaryKeyConstraint("source", "job_id", "task_id", name="pk_tasks"),
        ForeignKeyConstraint(
            ["source", "job_id"], ["jobs.source", "jobs.job_id"], name="fk_tasks_jobs"
        ),
    )
    create_index("tasks", "source", "changed_at")
    create_index("tasks", "status", "finished_at")


def _sample_rows() -> None:
    create_table(
        "sample_rows",
        (
            "Explorer's samples: the first rows of a task's result; tasks.changed_at moves "
            "with the set."
        ),
        must("source", NAME, "Your name for the source."),
        must("job_id", BIG, "The job."),
        must("task_id", KEY, "The task."),
        must("row_no", WHOLE, "Place in the sample, from 1."),
        may("column_1", LONG, "First value, often a vertex id."),
        may("column_2", LONG, "Second value."),
        may("column_3", LONG, "Third value."),
        may("more_columns", JSON, "Values from the fourth on (JSON array); NULL if none."),
        PrimaryKeyConstraint("source", "job_id", "task_id", "row_no", name="pk_sample_rows"),
        ForeignKeyConstraint(
            ["source", "job_id", "task_id"],
            ["tasks.source", "tasks.job_id", "tasks.task_id"],
            name="fk_sample_rows_tasks",
        ),
        sqlite_with_rowid=False,
    )


def _job_records() -> None:
    create_table(
        "job_records",
        "Act2's job records: each is one script or file transfer sent to many hosts.",
        must("source", NAME, "Your name for the source."),
        must("record_id", KEY, "Act2's id of the record."),
        must("status", STATUS, "Status in the vocabulary of all sources."),
        may("execute_status", LONG, "Act2's own word: doing, done, …"),
        may("result_status", LONG, "Act2's own word: success, fail, …"),
        may("pattern", LONG, "script or file."),
        may("script", LONG, "The script, or where it lies."),
        may("script_type", LONG, "bash, python, bat, url, …"),
        may("provider", LONG, "How the hosts were reached: salt, ssh, …"),
        may("script_hash", NAME, "SHA-256 of the script."),
        may("user_name", LONG, "Who started it."),
        may("execute_id", LONG, "Act2's id of the execution."),
        may("master_id", LONG, "The master that sent it."),
        may("callback", LONG, "Where Act2 reported the end to."),
        may("timeout_s", BIG, "Allowed time, in seconds."),
        may("parameters", JSON, "The parameters (JSON), without the password."),
        may("host_ids", JSON, "The hosts it was sent to (JSON array)."),
        may("started_at", TIME, "When it began."),
        may("finished_at", TIME, "When it ended; NULL before."),
        may("host_expected_count", WHOLE, "Host rows to expect."),
        may("host_result_count", WHOLE, "Host rows stored here."),
        may("extra", JSON, "Fields of the platform that have no column (JSON); NULL if none."),
        *stamps(gone=True),
        PrimaryKeyConstraint("source", "record_id", name="pk_job_records"),
    )
    create_index("job_records", "script_hash", "started_at")
    create_index("job_records", "source", "changed_at")
    create_index("job_records", "started_at")
    create_index("job_records", "status", "finished_at")


def _host_results() -> None:
    create_table(
        "host_results",
        "Act2's host results: what each host answered; times are the record's, not the host's.",
        must("source", NAME, "Your name for the source."),
        must("record_id", KEY, "The record."),
        must("host_id", KEY, "Act2's id of the host; may be empty."),
        must(
            "ordinal", WHOLE, "From 1: numbers the rows of one host in an order of their content."
        ),
        may("host_ip", LONG, "Address(es), comma between."),
        may("entity_id", LONG, "The host's id in its inventory."),
        may("idc_name", LONG, "The data centre."),
        may("os_type", LONG, "linux, windows, aix, …"),
        must("status", STATUS, "Status in the vocabulary of all sources."),
        may("status_text", LONG, "The agent's own word."),
        may("started_at", TIME, "The record's start, not the host's."),
        may("finished_at", TIME, "The record's end, not the host's."),
        may("stdout", LONG, "Standard output."),
        may("stderr", LONG, "Standard error."),
        may("message", LONG, "What Act2 says of this host."),
        may("stdout_bytes", BIG, "True length of stdout, bytes of UTF-8."),
        may("stderr_bytes", BIG, "True length of stderr, bytes of UTF-8."),
        must("output_cut", FLAG, "The middle of stdout or stderr was left out."),
        may("extra", JSON, "Fields of the platform that have no column (JSON); NULL if none."),
        *stamps(),
        PrimaryKeyConstraint("source", "record_id", "host_id", "ordinal", name="pk_host_results"),
        ForeignKeyConstraint(
            ["source", "record_id"],
            ["job_records.source", "job_records.record_id"],
            name="fk_host_results_job_records",
        ),
    )
    create_index("host_results", "host_id", "started_at")
    create_index("host_results", "source", "changed_at")
    create_index("host_results", "started_at")
    create_index("host_results", "status", "started_at")


def _quality_instances() -> None:
    create_table(
        "quality_instances",
        "DataArts' quality instances: each is one run of a quality or consistency task.",
        must("source", NAME, "Your name for the source."),
        must("instance_id", BIG, "DataArts' id of the instance."),
        may("name", LONG, "The instance's name, usually the task's."),
        may("task_id", BIG, "The quality task that was run."),
        may("task_type", LONG, "QUALITY_TASK or CONSISTENCY_TASK."),
        must("status", STATUS, "Status in the vocabulary of all sources."),
        may("run_status", LONG, "DataArts' own word: SUCCESS, …"),
        may("notify_status", LONG, "What became of the notification."),
        may("started_at", TIME, "When it began."),
        may("finished_at", TIME, "When it ended; NULL before."),
        may("extra", JSON, "Fields of the platform that have no column (JSON); NULL if none."),
        *stamps(gone=True),
        PrimaryKeyConstraint("source", "instance_id", name="pk_quality_instances"),
    )
    create_index("quality_instances", "source", "changed_at")
    create_index("quality_instances", "source", "task_id", "started_at")
    create_index("quality_instances", "started_at")
    create_index("quality_instances", "status", "finished_at")
