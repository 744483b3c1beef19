"""Views of what ran: executions in one shape, failures, silent hosts, usual durations.

Deploy: any order; only readers see them.
"""

from __future__ import annotations

from etl.migrate.steps import create_view, drop_view, union
from etl.migrate.words import Words, words

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

CREATES = ("executions", "failures", "failed_hosts", "silent_hosts", "usual_durations")

RECORD_STATUS = "COALESCE(NULLIF(r.result_status, ''), r.execute_status)"

EXECUTIONS_COMMENT = "All platforms: jobs, job records and quality instances in one shape."
EXECUTIONS = {
    "source": "Your name for the source.",
    "api": "Its platform: explorer, act2, dataarts.",
    "kind": "job, job_record or quality_instance.",
    "id": "The platform's id, as text.",
    "name": "The execution's name; NULL where the platform gives none (act2).",
    "definition_id": "What was run: workflow, quality task, or hash of the script.",
    "definition_name": "Its name; of a script the first 80 characters.",
    "status": "Status in the vocabulary of all sources.",
    "upstream_status": "The platform's own word or number.",
    "is_final": "Nothing more will happen.",
    "is_failure": "failed or timed_out.",
    "created_at": "The time that the platform lists by: a job's creation, otherwise the start.",
    "started_at": "When it began.",
    "finished_at": "When it ended; NULL before.",
    "duration_s": "Seconds from start to end; NULL until finished.",
    "waited_s": "Seconds from creation to start; NULL before, and where the two are one.",
    "changed_at": "When its content last changed here.",
    "upstream_gone_at": "When a proven listing no longer held it; NULL if it does.",
}

FAILURES_COMMENT = (
    "All platforms: each failed task, host or instance; the execution where no part tells."
)
FAILURES = {
    "source": "Your name for the source.",
    "api": "Its platform: explorer, act2, dataarts.",
    "kind": "What failed: task, job, host_result, job_record or quality_instance.",
    "id": "The execution's id, as text.",
    "part_id": "The task or host; NULL for an execution.",
    "part_name": "The task's name or the host's address; NULL for an execution.",
    "definition_name": "What was run: workflow, instance, first 80 characters of the script.",
    "status": "failed or timed_out.",
    "upstream_status": "The platform's own word or number.",
    "started_at": "When it began.",
    "finished_at": "When it ended.",
    "message": "What the platform says of it; NULL if nothing.",
    "stdout": "Standard output of the host; NULL elsewhere.",
    "stderr": "Standard error of the host; NULL elsewhere.",
}

FAILED_HOSTS = {
    "source": "Your name for the source.",
    "record_id": "The record.",
    "host_id": "Act2's id of the host; may be empty.",
    "ordinal": "From 1: numbers the rows of one host.",
    "host_ip": "Address(es), comma between.",
    "entity_id": "The host's id in its inventory.",
    "idc_name": "The data centre.",
    "os_type": "linux, windows, aix, …",
    "status": "failed or timed_out.",
    "status_text": "The agent's own word.",
    "started_at": "The record's start, not the host's.",
    "finished_at": "The record's end, not the host's.",
    "stdout": "Standard output.",
    "stderr": "Standard error.",
    "message": "What Act2 says of this host.",
    "stdout_bytes": "True length of stdout, bytes of UTF-8.",
    "stderr_bytes": "True length of stderr, bytes of UTF-8.",
    "output_cut": "The middle of stdout or stderr was left out.",
    "extra": "Fields of the platform that have no column (JSON); NULL if none.",
    "text_repaired": "A text held U+0000 or a lone surrogate; stored as U+2400 or U+FFFD.",
    "first_synced_at": "When this row came here.",
    "changed_at": "When this row's content last changed here.",
    "script_hash": "SHA-256 of the record's script.",
    "user_name": "Who started the record.",
}

SILENT_HOSTS = {
    "source": "Your name for the source.",
    "record_id": "The record.",
    "host_id": "The host that should have answered.",
    "reason": "'no row': expected, and nothing came; 'no status': it never said how it ended.",
    "status": "Status of the record.",
    "started_at": "The record's start.",
    "finished_at": "The record's end; NULL before.",
    "definition": "The first 80 characters of the script.",
}

USUAL_DURATIONS = {
    "source": "Your name for the source.",
    "kind": "job, job_record or quality_instance.",
    "definition_id": "What was run: workflow, quality task, or hash of the script.",
    "definition_name": "Its name at the latest run.",
    "runs": "How many succeeded in the last 90 days.",
    "median_s": "Half of them took at most so many seconds.",
    "p95_s": "95 of 100 took at most so many seconds.",
}


def upgrade() -> None:
    w = words()
    create_view("executions", EXECUTIONS_COMMENT, EXECUTIONS, union(executions(w)))
    create_view("failures", FAILURES_COMMENT, FAILURES, union(failures(w)))
    create_view(
        "failed_hosts",
        "Act2's failed hosts: host results that failed or timed out, with the record's script.",
        FAILED_HOSTS,
        _failed_hosts(),
    )
    create_view(
        "silent_hosts",
        "Act2's silent hosts: expected and without a row, or without a status at the end.",
        SILENT_HOSTS,
        _silent_hosts(w),
    )
    create_view(
        "usual_durations",
        "All platforms: how long each definition takes when it succeeds, over 90 days.",
        USUAL_DURATIONS,
        _usual_durations(w),
    )


def downgrade() -> None:
    for name in reversed(CREATES):
        drop_view(name)


def is_final(row: str) -> str:
    """Nothing more will happen: `unknown` is final once the execution has ended."""
    return (
        f"({row}.status IN ('succeeded', 'alarmed', 'failed', 'cancelled', 'timed_out')"
        f" OR ({row}.status = 'unknown' AND {row}.finished_at IS NOT NULL))"
    )


def is_failure(row: str) -> str:
    """It ended badly; a list, so that the index on status serves."""
    return f"{row}.status IN ('failed', 'timed_out')"


def executions(w: Words) -> list[str]:
    """A query for each platform; a new one appends its own (`steps.earlier`)."""

    def tail(row: str, created_at: str) -> str:
        waits = created_at != "started_at"
        waited = w.seconds_between(f"{row}.{created_at}", f"{row}.started_at") if waits else "NULL"
        return (
            f"{is_final(row)} AS is_final, ({is_failure(row)}) AS is_failure,"
            f" {row}.{created_at} AS created_at, {row}.started_at, {row}.finished_at,"
            f" {w.seconds_between(f'{row}.started_at', f'{row}.finished_at')} AS duration_s,"
            f" {waited} AS waited_s, {row}.changed_at, {row}.upstream_gone_at"
        )

    return [
        f"""
        SELECT j.source, 'explorer' AS api, 'job' AS kind, {w.text("j.job_id")} AS id, j.name,
            j.workflow_id AS definition_id, j.workflow_name AS definition_name, j.status,
            {w.text("j.status_code")} AS upstream_status, {tail("j", "created_at")}
        FROM jobs j""",
        f"""
        SELECT r.source, 'act2' AS api, 'job_record' AS kind, r.record_id AS id, NULL AS name,
            r.script_hash AS definition_id, substr(r.script, 1, 80) AS definition_name, r.status,
            {RECORD_STATUS} AS upstream_status, {tail("r", "started_at")}
        FROM job_records r""",
        f"""
        SELECT q.source, 'dataarts' AS api, 'quality_instance' AS kind,
            {w.text("q.instance_id")} AS id, q.name, {w.text("q.task_id")} AS definition_id,
            q.name AS definition_name, q.status, q.run_status AS upstream_status,
            {tail("q", "started_at")}
        FROM quality_instances q""",
    ]


def failures(w: Words) -> list[str]:
    """A query for each kind of part, and one for executions of which no part failed."""
    return [*_explorer_failures(w), *_act2_failures(), *_dataarts_failures(w)]


def _explorer_failures(w: Words) -> list[str]:
    return [
        f"""
        SELECT t.source, 'explorer' AS api, 'task' AS kind, {w.text("t.job_id")} AS id,
            t.task_id AS part_id, t.name AS part_name, j.workflow_name AS definition_name,
            t.status, {w.text("t.status_code")} AS upstream_status, t.started_at, t.finished_at,
            t.sample_error AS message, NULL AS stdout, NULL AS stderr
        FROM tasks t JOIN jobs j ON j.source = t.source AND j.job_id = t.job_id
        WHERE {is_failure("t")}""",
        f"""
        SELECT j.source, 'explorer' AS api, 'job' AS kind, {w.text("j.job_id")} AS id,
            NULL AS part_id, NULL AS part_name, j.workflow_name AS definition_name,
            j.status, {w.text("j.status_code")} AS upstream_status, j.started_at, j.finished_at,
            NULL AS message, NULL AS stdout, NULL AS stderr
        FROM jobs j
        WHERE {is_failure("j")} AND NOT EXISTS (SELECT 1 FROM tasks t
            WHERE t.source = j.source AND t.job_id = j.job_id AND {is_failure("t")})""",
    ]


def _act2_failures() -> list[str]:
    return [
        f"""
        SELECT h.source, 'act2' AS api, 'host_result' AS kind, h.record_id AS id,
            h.host_id AS part_id, h.host_ip AS part_name,
            substr(r.script, 1, 80) AS definition_name, h.status, h.status_text AS upstream_status,
            h.started_at, h.finished_at, h.message, h.stdout, h.stderr
        FROM host_results h JOIN job_records r
            ON r.source = h.source AND r.record_id = h.record_id
        WHERE {is_failure("h")}""",
        f"""
        SELECT r.source, 'act2' AS api, 'job_record' AS kind, r.record_id AS id,
            NULL AS part_id, NULL AS part_name, substr(r.script, 1, 80) AS definition_name,
            r.status, {RECORD_STATUS} AS upstream_status, r.started_at, r.finished_at,
            NULL AS message, NULL AS stdout, NULL AS stderr
        FROM job_records r
        WHERE {is_failure("r")} AND NOT EXISTS (SELECT 1 FROM host_results h
            WHERE h.source = r.source AND h.record_id = r.record_id AND {is_failure("h")})""",
    ]


def _dataarts_failures(w: Words) -> list[str]:
    return [
        f"""
        SELECT q.source, 'dataarts' AS api, 'quality_instance' AS kind,
            {w.text("q.instance_id")} AS id, NULL AS part_id, NULL AS part_name,
            q.name AS definition_name, q.status, q.run_status AS upstream_status,
            q.started_at, q.finished_at, NULL AS message, NULL AS stdout, NULL AS stderr
        FROM quality_instances q
        WHERE {is_failure("q")}""",
    ]


def _failed_hosts() -> str:
    own = ", ".join(
        f"h.{name}" for name in FAILED_HOSTS if name not in ("script_hash", "user_name")
    )
    return f"""
        SELECT {own}, r.script_hash, r.user_name
        FROM host_results h JOIN job_records r
            ON r.source = h.source AND r.record_id = h.record_id
        WHERE {is_failure("h")}"""


def _silent_hosts(w: Words) -> str:
    record = "r.status, r.started_at, r.finished_at, substr(r.script, 1, 80) AS definition"
    return f"""
        SELECT DISTINCT r.source, r.record_id, {w.text("e.value")} AS host_id,
            'no row' AS reason, {record}
        FROM job_records r CROSS JOIN {w.elements.format("r.host_ids")} e
        LEFT JOIN host_results h
            ON h.source = r.source AND h.record_id = r.record_id AND h.host_id = e.value
        WHERE h.source IS NULL
        UNION ALL
        SELECT h.source, h.record_id, h.host_id, 'no status' AS reason, {record}
        FROM host_results h JOIN job_records r
            ON r.source = h.source AND r.record_id = h.record_id
        WHERE h.status = 'unknown' AND {is_final("r")}"""


def _usual_durations(w: Words) -> str:
    """Ranks instead of percentiles, which half of the databases lack."""
    return f"""
        WITH ranked AS (
            SELECT source, kind, definition_id, definition_name, duration_s,
                ROW_NUMBER() OVER (PARTITION BY source, kind, definition_id
                    ORDER BY duration_s) AS place,
                ROW_NUMBER() OVER (PARTITION BY source, kind, definition_id
                    ORDER BY finished_at DESC, id DESC) AS age,
                COUNT(*) OVER (PARTITION BY source, kind, definition_id) AS runs
            FROM executions
            WHERE status = 'succeeded' AND finished_at >= {w.days_ago(90)}
                AND definition_id IS NOT NULL AND duration_s IS NOT NULL
        )
        SELECT source, kind, definition_id,
            MAX(CASE WHEN age = 1 THEN definition_name END) AS definition_name, runs,
            AVG(CASE WHEN 2 * place BETWEEN runs AND runs + 2 THEN duration_s END) AS median_s,
            MIN(CASE WHEN 100 * place >= 95 * runs THEN duration_s END) AS p95_s
        FROM ranked
        GROUP BY source, kind, definition_id, runs"""
