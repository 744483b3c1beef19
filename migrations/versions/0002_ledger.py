"""The ledger: runs, cursors, seats, debts, quarantine, backfills and proofs.

Deploy: with 0001, before any process starts.
"""

from __future__ import annotations

from sqlalchemy import ForeignKeyConstraint, PrimaryKeyConstraint, UniqueConstraint

from etl.migrate.steps import (
    BIG,
    JSON,
    LONG,
    SECONDS,
    TIME,
    WHOLE,
    create_index,
    create_table,
    drop_table,
    may,
    must,
    number,
    text,
)

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

CREATES = (
    "sources",
    "sync_runs",
    "sync_cursors",
    "sync_leases",
    "request_budgets",
    "unfinished",
    "rejected_records",
    "backfills",
    "backfill_windows",
    "completeness",
    "status_changes",
)

STATUS = text(16)
WORD = text(32)
NAME = text(64)
KEY = text(255)


def upgrade() -> None:
    _sources()
    _sync_runs()
    _sync_cursors()
    _sync_leases()
    _request_budgets()
    _unfinished()
    _rejected_records()
    _backfills()
    _backfill_windows()
    _completeness()
    _status_changes()


def downgrade() -> None:
    for name in reversed(CREATES):
        drop_table(name)


def _sources() -> None:
    create_table(
        "sources",
        "The ledger's sources: each is a name of the configuration and what it stands for.",
        must("source", NAME, "Your name for the source."),
        must("api", WORD, "explorer, act2, dataarts, …"),
        must("address", LONG, "Platform, project and workspace that the name stands for."),
        may("account", NAME, "Hash of origin and credentials: the owner of the request budget."),
        may("expected_every_s", SECONDS, "Longest gap of its sync schedule, in seconds."),
        may(
            "stale_after_s", SECONDS, "Age of the last success from which it is not fresh, seconds."
        ),
        may("since", TIME, "How far back its first sync went; NULL for everything."),
        may("pruned_before", TIME, "Older executions were pruned and are not fetched again."),
        may("last_changed_at", TIME, "The latest changed_at given to one of its rows."),
        must("first_used_at", TIME, "When the name was first used."),
        must("last_used_at", TIME, "When it was last used."),
        PrimaryKeyConstraint("source", name="pk_sources"),
    )


def _sync_runs() -> None:
    create_table(
        "sync_runs",
        "The ledger's runs: each is one pass over one source, from its start to its end.",
        number("run_id", "Number of the run."),
        must("source", NAME, "Your name for the source."),
        must("mode", WORD, "sync, backfill, verify, prune or retry."),
        must("triggered_by", WORD, "What started it: schedule or command."),
        may("scheduled_for", TIME, "The firing that it claimed; NULL for a run by hand."),
        must("status", STATUS, "running, succeeded, failed, stopped or crashed."),
        must("started_at", TIME, "When it began."),
        may("finished_at", TIME, "When it ended; NULL while it runs."),
        must("requests", BIG, "HTTP calls made, retries and logins included."),
        must("retries", BIG, "Of these, calls made again."),
        must("bytes_read", BIG, "Bytes of bodies received, unpacked."),
        must("rows_read", BIG, "Rows meant for data tables; a rejected record is one."),
        must("rows_written", BIG, "Rows that were new or differed."),
        must("rows_unchanged", BIG, "Rows that the database held already."),
        must("rows_rejected", BIG, "Records that went to rejected_records."),
        may("error", LONG, "Why it failed, in one line without secrets."),
        may("error_kind", WORD, "transient, refused, unauthorized, malformed or database."),
        must("version", WORD, "Release of etl."),
        must("host", KEY, "Machine that ran it."),
        must("pid", BIG, "Its process id."),
        PrimaryKeyConstraint("run_id", name="pk_sync_runs"),
        UniqueConstraint(
            "source", "mode", "scheduled_for", name="uq_sync_runs_source_mode_scheduled_for"
        ),
    )


def _sync_cursors() -> None:
    create_table(
        "sync_cursors",
        "The ledger's cursors: everything up to here is complete.",
        must("source", NAME, "Your name for the source."),
        must("stream", NAME, "What is walked; one for each platform today."),
        must("position", JSON, "Where the next sync goes on (JSON)."),
        must("updated_at", TIME, "When it last moved."),
        PrimaryKeyConstraint("source", "stream", name="pk_sync_cursors"),
    )


def _sync_leases() -> None:
    create_table(
        "sync_leases",
        "The ledger's seats: who may write for a source, and until when.",
        must("source", NAME, "Your name for the source."),
        must("seat", WORD, "live (sync, verify, retry, prune) or backfill."),
        may("holder", KEY, "Who holds it; NULL when it is free."),
        must("token", BIG, "Grows with every holder: an older one may write no more."),
        must("expires_at", TIME, "When anybody may take it."),
        may("host", KEY, "Machine of the holder."),
        may("pid", BIG, "Process id of the holder, in its own namespace."),
        may("boot_id", KEY, "Boot of that machine and process namespace."),
        may("started", KEY, "Start time of the process, as its system counts it."),
        PrimaryKeyConstraint("source", "seat", name="pk_sync_leases"),
    )


def _request_budgets() -> None:
    create_table(
        "request_budgets",
        "The ledger's request budgets: calls of the current window, by account.",
        must("account", NAME, "Hash of origin and credentials."),
        must("origin", LONG, "Scheme, host and port."),
        must("sent_at", JSON, "When the calls of the current window were sent (JSON)."),
        must("updated_at", TIME, "When it last changed."),
        PrimaryKeyConstraint("account", name="pk_request_budgets"),
    )


def _unfinished() -> None:
    create_table(
        "unfinished",
        "The ledger's debts: what must be asked again.",
        must("source", NAME, "Your name for the source."),
        must("kind", WORD, "What is owed: an execution's kind, detail, sample, settle, hole."),
        must("id", KEY, "Of what: the execution, or the page."),
        must("first_seen_at", TIME, "Since when it is owed."),
        must("changed_at", TIME, "When its state upstream last changed."),
        must("next_due_at", TIME, "When to ask again."),
        must("attempts", WHOLE, "How often it was asked again."),
        must("reason", LONG, "Why it is owed."),
        may("hint", JSON, "What is needed to ask again (JSON)."),
        may("given_up_at", TIME, "When it was given up; NULL while it is asked for."),
        PrimaryKeyConstraint("source", "kind", "id", name="pk_unfinished"),
    )


def _rejected_records() -> None:
    create_table(
        "rejected_records",
        "The ledger's quarantine: records that could not be stored, whole, with the reason.",
        number("reject_id", "Number of the reject."),
        must("source", NAME, "Your name for the source."),
        must("stream", NAME, "What was being read."),
        may("upstream_id", LONG, "The platform's id; NULL if it had none that is usable."),
        must("fingerprint", NAME, "SHA-256 of the key, else of the payload: one row a record."),
        must("reason", LONG, "Why it could not be stored."),
        must("payload", LONG, "The record as it came (JSON), up to 1 MiB, without passwords."),
        may("run_id", BIG, "The run that saw it last."),
        must("first_seen_at", TIME, "When it first came."),
        must("last_seen_at", TIME, "When it last came."),
        must("seen_count", BIG, "How often it came."),
        may("resolved_at", TIME, "When it was resolved; NULL while it is open."),
        may("resolution", WORD, "written (it was stored later) or dismissed (by hand)."),
        may("note", LONG, "Why it was dismissed."),
        PrimaryKeyConstraint("reject_id", name="pk_rejected_records"),
        UniqueConstraint(
            "source", "stream", "fingerprint", name="uq_rejected_records_source_stream_fingerprint"
        ),
    )


def _backfills() -> None:
    create_table(
        "backfills",
        "The ledger's backfills: each is one time range of one source, read anew.",
        number("backfill_id", "Number of the backfill."),
        must("source", NAME, "Your name for the source."),
        must("arguments", LONG, "The command's arguments as typed."),
        may("since", TIME, "Start of the range, inclusive; NULL for the beginning."),
        must("until", TIME, "End of the range, exclusive."),
        must("status", STATUS, "running, stopped, done, failed or cancelled."),
        must("created_at", TIME, "When it was planned."),
        may("finished_at", TIME, "When it ended; NULL before."),
        PrimaryKeyConstraint("backfill_id", name="pk_backfills"),
    )


def _backfill_windows() -> None:
    create_table(
        "backfill_windows",
        "The ledger's backfill windows: the parts of a backfill, each done or still to do.",
        must("backfill_id", BIG, "The backfill."),
        must("window_number", WHOLE, "Place in time, from 1."),
        may("since", TIME, "Start of the window, inclusive; NULL for the beginning."),
        must("until", TIME, "End of the window, exclusive."),
        must("status", STATUS, "pending, running, done or failed."),
        may("position", JSON, "How far it was read (JSON); NULL before its first page."),
        must("rows_written", BIG, "Rows that were new or differed."),
        may("error", LONG, "Why it failed, in one line without secrets."),
        must("updated_at", TIME, "When this line last changed."),
        PrimaryKeyConstraint("backfill_id", "window_number", name="pk_backfill_windows"),
        ForeignKeyConstraint(
            ["backfill_id"], ["backfills.backfill_id"], name="fk_backfill_windows_backfills"
        ),
    )


def _completeness() -> None:
    create_table(
        "completeness",
        "The ledger's proofs: what the platform lists beside what the database holds.",
        number("check_id", "Number of the check."),
        must("source", NAME, "Your name for the source."),
        must("stream", NAME, "What was compared."),
        may("since", TIME, "Start of the range, inclusive; NULL for the beginning."),
        may("until", TIME, "End of the range, exclusive; NULL for an open end."),
        may("upstream_total", BIG, "How many the platform counts."),
        may("upstream_ids", BIG, "How many ids it lists."),
        may("database_ids", BIG, "How many the database holds."),
        may("missing", BIG, "Listed, not in the database."),
        may("differing", BIG, "In both, with another status or fewer rows below than told."),
        may("gone", BIG, "In the database, no longer listed."),
        may("database_unfinished", BIG, "Of those in the database, not final."),
        may("rejected", BIG, "Listed and in quarantine."),
        may("unlisted", BIG, "Counted by the platform, listed nowhere."),
        may("upstream_digest", NAME, "SHA-256 over the platform's sorted lines of id and status."),
        may("database_digest", NAME, "The same over the database's lines."),
        must("verdict", WORD, "complete, incomplete or unproven."),
        may("reason", LONG, "Why it is not complete."),
        must("checked_at", TIME, "When it was compared."),
        may("run_id", BIG, "The run that compared."),
        PrimaryKeyConstraint("check_id", name="pk_completeness"),
    )


def _status_changes() -> None:
    create_table(
        "status_changes",
        "The ledger's history: each change of a status as it was observed.",
        number("change_id", "Number of the change."),
        must("source", NAME, "Your name for the source."),
        must("kind", WORD, "job, task, job_record, host_result, quality_instance."),
        must("id", KEY, "The execution, as text."),
        may("part_id", KEY, "The task or host; NULL for the execution itself."),
        may("ordinal", WHOLE, "Which row of the host; NULL elsewhere."),
        may("old_status", STATUS, "Status before; NULL at first sight of something unfinished."),
        must("new_status", STATUS, "Status from then on."),
        must("observed_at", TIME, "When it was seen here."),
        may("run_id", BIG, "The run that saw it."),
        PrimaryKeyConstraint("change_id", name="pk_status_changes"),
    )
    create_index("status_changes", "observed_at")
    create_index("status_changes", "source", "kind", "id")
