"""Act2's tables: job records, and what each host answered."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, NamedTuple

from sqlalchemy import Boolean, String

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
    SpoolableText,
    column,
    data_table,
    key,
)
from etl.spool import SpooledText


class JobRecord(NamedTuple):
    """One execution of a script, or one transfer of files, on many hosts."""

    record_id: Annotated[str, key(String(KEY_LENGTH), "Act2's id of the record.")]
    status: Annotated[str, column(STATUS, "Status in the vocabulary of all sources.")]
    execute_status: Annotated[str | None, column(LongText(), "Act2's own word: doing, done, …")]
    result_status: Annotated[str | None, column(LongText(), "Act2's own word: success, fail, …")]
    pattern: Annotated[str | None, column(LongText(), "script or file.")]
    script: Annotated[str | None, column(LongText(), "The script, or where it lies.")]
    script_type: Annotated[str | None, column(LongText(), "bash, python, bat, url, …")]
    provider: Annotated[str | None, column(LongText(), "How the hosts were reached: salt, ssh, …")]
    script_hash: Annotated[str | None, column(String(64), "SHA-256 of the script.")]
    user_name: Annotated[str | None, column(LongText(), "Who started it.")]
    execute_id: Annotated[str | None, column(LongText(), "Act2's id of the execution.")]
    master_id: Annotated[str | None, column(LongText(), "The master that sent it.")]
    callback: Annotated[str | None, column(LongText(), "Where Act2 reported the end to.")]
    timeout_s: Annotated[int | None, column(BIG, "Allowed time, in seconds.")]
    parameters: Annotated[
        str | None, column(JsonText(), "The parameters (JSON), without the password.")
    ]
    host_ids: Annotated[str | None, column(JsonText(), "The hosts it was sent to (JSON array).")]
    started_at: Annotated[datetime | None, column(Instant(), "When it began.")]
    finished_at: Annotated[datetime | None, column(Instant(), "When it ended; NULL before.")]
    host_expected_count: Annotated[int | None, column(WHOLE, "Host rows to expect.")]
    host_result_count: Annotated[int | None, column(WHOLE, "Host rows stored here.")]
    extra: Annotated[str | None, EXTRA]
    text_repaired: Annotated[bool, REPAIRED]


class HostResult(NamedTuple):
    """What one host answered to one record."""

    record_id: Annotated[str, key(String(KEY_LENGTH), "The record.")]
    host_id: Annotated[str, key(String(KEY_LENGTH), "Act2's id of the host; may be empty.")]
    ordinal: Annotated[
        int, key(WHOLE, "From 1: numbers the rows of one host in an order of their content.")
    ]
    host_ip: Annotated[str | None, column(LongText(), "Address(es), comma between.")]
    entity_id: Annotated[str | None, column(LongText(), "The host's id in its inventory.")]
    idc_name: Annotated[str | None, column(LongText(), "The data centre.")]
    os_type: Annotated[str | None, column(LongText(), "linux, windows, aix, …")]
    status: Annotated[str, column(STATUS, "Status in the vocabulary of all sources.")]
    status_text: Annotated[str | None, column(LongText(), "The agent's own word.")]
    started_at: Annotated[datetime | None, column(Instant(), "The record's start, not the host's.")]
    finished_at: Annotated[datetime | None, column(Instant(), "The record's end, not the host's.")]
    stdout: Annotated[str | SpooledText | None, column(SpoolableText(), "Standard output.")]
    stderr: Annotated[str | SpooledText | None, column(SpoolableText(), "Standard error.")]
    message: Annotated[str | None, column(LongText(), "What Act2 says of this host.")]
    stdout_bytes: Annotated[int | None, column(BIG, "True length of stdout, bytes of UTF-8.")]
    stderr_bytes: Annotated[int | None, column(BIG, "True length of stderr, bytes of UTF-8.")]
    output_cut: Annotated[
        bool,
        column(Boolean(create_constraint=False), "The middle of stdout or stderr was left out."),
    ]
    extra: Annotated[str | None, EXTRA]
    text_repaired: Annotated[bool, REPAIRED]


JOB_RECORDS = data_table(
    "job_records",
    JobRecord,
    "Act2's job records: each is one script or file transfer sent to many hosts.",
    kind="job_record",
    gone=True,
    indexes=(
        ("started_at",),
        ("script_hash", "started_at"),
        ("status", "finished_at"),
        ("source", "changed_at"),
    ),
)
HOST_RESULTS = data_table(
    "host_results",
    HostResult,
    "Act2's host results: what each host answered; times are the record's, not the host's.",
    kind="host_result",
    parent=JOB_RECORDS,
    replace="never_fewer",
    group=("record_id", "host_id"),
    part=("host_id", "ordinal"),
    counted_in="host_result_count",
    indexes=(
        ("started_at",),
        ("host_id", "started_at"),
        ("status", "started_at"),
        ("source", "changed_at"),
    ),
)
