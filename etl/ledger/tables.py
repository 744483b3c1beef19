"""The ledger's tables: what was done, what is owed, what was proven, and who may write.

They hold no upstream content but that of rejected records. None has a foreign key to
`sync_runs`, so that runs may be forgotten before what they found.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    ForeignKeyConstraint,
    Integer,
    PrimaryKeyConstraint,
    Table,
    UniqueConstraint,
)
from sqlalchemy.schema import Index, SchemaItem
from sqlalchemy.types import TypeEngine

from etl.schema import (
    KEY_LENGTH,
    SOURCE,
    STATUS,
    Instant,
    JsonText,
    LongText,
    exact_text,
    metadata,
)

_ID = BigInteger().with_variant(Integer(), "sqlite")
"""A number given by the database: only INTEGER PRIMARY KEY counts by itself on SQLite."""
_BIG = BigInteger()
_WHOLE = Integer()
_SECONDS: Double[float] = Double()
_WORD = exact_text(32)
_NAME = exact_text(64)
_HASH = exact_text(64)
_KEY = exact_text(KEY_LENGTH)
_TEXT = LongText()
_JSON = JsonText()
_TIME = Instant()


def _table(name: str, comment: str, *items: SchemaItem) -> Table:
    return Table(name, metadata, *items, comment=comment)


def _must(name: str, type_: TypeEngine[Any], comment: str) -> Column[Any]:
    return Column(name, type_, nullable=False, comment=comment, autoincrement=False)


def _may(name: str, type_: TypeEngine[Any], comment: str) -> Column[Any]:
    return Column(name, type_, nullable=True, comment=comment)


def _number(name: str, comment: str) -> Column[Any]:
    return Column(name, _ID, primary_key=True, autoincrement=True, comment=comment)


def _source() -> Column[Any]:
    return _must("source", SOURCE, "Your name for the source.")


sync_runs = _table(
    "sync_runs",
    "The ledger's runs: each is one pass over one source, from its start to its end.",
    _number("run_id", "Number of the run."),
    _source(),
    _must("mode", _WORD, "sync, backfill, verify, prune or retry."),
    _must("triggered_by", _WORD, "What started it: schedule or command."),
    _may("scheduled_for", _TIME, "The firing that it claimed; NULL for a run by hand."),
    _must("status", STATUS, "running, succeeded, failed, stopped or crashed."),
    _must("started_at", _TIME, "When it began."),
    _may("finished_at", _TIME, "When it ended; NULL while it runs."),
    _must("requests", _BIG, "HTTP calls made, retries and logins included."),
    _must("retries", _BIG, "Of these, calls made again."),
    _must("bytes_read", _BIG, "Bytes of bodies received, unpacked."),
    _must("rows_read", _BIG, "Rows meant for data tables; a rejected record is one."),
    _must("rows_written", _BIG, "Rows that were new or differed."),
    _must("rows_unchanged", _BIG, "Rows that the database held already."),
    _must("rows_rejected", _BIG, "Records that went to rejected_records."),
    _may("error", _TEXT, "Why it failed, in one line without secrets."),
    _may("error_kind", _WORD, "transient, refused, unauthorized, malformed or database."),
    _must("version", _WORD, "Release of etl."),
    _must("host", _KEY, "Machine that ran it."),
    _must("pid", _BIG, "Its process id."),
    UniqueConstraint("source", "mode", "scheduled_for"),
    Index(None, "source", "started_at"),
    Index(None, "source", "status", "started_at"),
)

sources = _table(
    "sources",
    "The ledger's sources: each is a name of the configuration and what it stands for.",
    _source(),
    _must("api", _WORD, "explorer, act2, dataarts, …"),
    _must("address", _TEXT, "Platform, project and workspace that the name stands for."),
    _may("account", _HASH, "Hash of origin and credentials: the owner of the request budget."),
    _may("expected_every_s", _SECONDS, "Longest gap of its sync schedule, in seconds."),
    _may("stale_after_s", _SECONDS, "Age of the last success from which it is not fresh, seconds."),
    _may("since", _TIME, "How far back its first sync went; NULL for everything."),
    _may("pruned_before", _TIME, "Older executions were pruned and are not fetched again."),
    _may("last_changed_at", _TIME, "The latest changed_at given to one of its rows."),
    _must("first_used_at", _TIME, "When the name was first used."),
    _must("last_used_at", _TIME, "When it was last used."),
    PrimaryKeyConstraint("source"),
)

sync_cursors = _table(
    "sync_cursors",
    "The ledger's cursors: everything up to here is complete.",
    _source(),
    _must("stream", _NAME, "What is walked; one for each platform today."),
    _must("position", _JSON, "Where the next sync goes on (JSON)."),
    _must("updated_at", _TIME, "When it last moved."),
    PrimaryKeyConstraint("source", "stream"),
)

sync_leases = _table(
    "sync_leases",
    "The ledger's seats: who may write for a source, and until when.",
    _source(),
    _must("seat", _WORD, "live (sync, verify, retry, prune) or backfill."),
    _may("holder", _KEY, "Who holds it; NULL when it is free."),
    _must("token", _BIG, "Grows with every holder: an older one may write no more."),
    _must("expires_at", _TIME, "When anybody may take it."),
    _may("host", _KEY, "Machine of the holder."),
    _may("pid", _BIG, "Process id of the holder, in its own namespace."),
    _may("boot_id", _KEY, "Boot of that machine and process namespace."),
    _may("started", _KEY, "Start time of the process, as its system counts it."),
    PrimaryKeyConstraint("source", "seat"),
)

request_budgets = _table(
    "request_budgets",
    "The ledger's request budgets: calls of the current window, by account.",
    _must("account", _HASH, "Hash of origin and credentials."),
    _must("origin", _TEXT, "Scheme, host and port."),
    _must("sent_at", _JSON, "When the calls of the current window were sent (JSON)."),
    _must("updated_at", _TIME, "When it last changed."),
    PrimaryKeyConstraint("account"),
)

unfinished = _table(
    "unfinished",
    "The ledger's debts: what must be asked again.",
    _source(),
    _must("kind", _WORD, "What is owed: an execution's kind, detail, sample, settle, hole."),
    _must("id", _KEY, "Of what: the execution, or the page."),
    _must("first_seen_at", _TIME, "Since when it is owed."),
    _must("changed_at", _TIME, "When its state upstream last changed."),
    _must("next_due_at", _TIME, "When to ask again."),
    _must("attempts", _WHOLE, "How often it was asked again."),
    _must("reason", _TEXT, "Why it is owed."),
    _may("hint", _JSON, "What is needed to ask again (JSON)."),
    _may("given_up_at", _TIME, "When it was given up; NULL while it is asked for."),
    PrimaryKeyConstraint("source", "kind", "id"),
)

rejected_records = _table(
    "rejected_records",
    "The ledger's quarantine: records that could not be stored, whole, with the reason.",
    _number("reject_id", "Number of the reject."),
    _source(),
    _must("stream", _NAME, "What was being read."),
    _may("upstream_id", _TEXT, "The platform's id; NULL if it had none that is usable."),
    _must("fingerprint", _HASH, "SHA-256 of the key, else of the payload: one row a record."),
    _must("reason", _TEXT, "Why it could not be stored."),
    _must("payload", _TEXT, "The record as it came (JSON), up to 1 MiB, without passwords."),
    _may("run_id", _BIG, "The run that saw it last."),
    _must("first_seen_at", _TIME, "When it first came."),
    _must("last_seen_at", _TIME, "When it last came."),
    _must("seen_count", _BIG, "How often it came."),
    _may("resolved_at", _TIME, "When it was resolved; NULL while it is open."),
    _may("resolution", _WORD, "written (it was stored later) or dismissed (by hand)."),
    _may("note", _TEXT, "Why it was dismissed."),
    UniqueConstraint("source", "stream", "fingerprint"),
    Index(None, "source", "resolved_at"),
)

backfills = _table(
    "backfills",
    "The ledger's backfills: each is one time range of one source, read anew.",
    _number("backfill_id", "Number of the backfill."),
    _source(),
    _must("arguments", _TEXT, "The command's arguments as typed."),
    _may("since", _TIME, "Start of the range, inclusive; NULL for the beginning."),
    _must("until", _TIME, "End of the range, exclusive."),
    _must("status", STATUS, "running, stopped, done, failed or cancelled."),
    _must("created_at", _TIME, "When it was planned."),
    _may("finished_at", _TIME, "When it ended; NULL before."),
)

backfill_windows = _table(
    "backfill_windows",
    "The ledger's backfill windows: the parts of a backfill, each done or still to do.",
    _must("backfill_id", _BIG, "The backfill."),
    _must("window_number", _WHOLE, "Place in time, from 1."),
    _may("since", _TIME, "Start of the window, inclusive; NULL for the beginning."),
    _must("until", _TIME, "End of the window, exclusive."),
    _must("status", STATUS, "pending, running, done or failed."),
    _may("position", _JSON, "How far it was read (JSON); NULL before its first page."),
    _must("rows_written", _BIG, "Rows that were new or differed."),
    _may("error", _TEXT, "Why it failed, in one line without secrets."),
    _must("updated_at", _TIME, "When this line last changed."),
    PrimaryKeyConstraint("backfill_id", "window_number"),
    ForeignKeyConstraint(["backfill_id"], ["backfills.backfill_id"]),
)

completeness = _table(
    "completeness",
    "The ledger's proofs: what the platform lists beside what the database holds.",
    _number("check_id", "Number of the check."),
    _source(),
    _must("stream", _NAME, "What was compared."),
    _may("since", _TIME, "Start of the range, inclusive; NULL for the beginning."),
    _may("until", _TIME, "End of the range, exclusive; NULL for an open end."),
    _may("upstream_total", _BIG, "How many the platform counts."),
    _may("upstream_ids", _BIG, "How many ids it lists."),
    _may("database_ids", _BIG, "How many the database holds."),
    _may("missing", _BIG, "Listed, not in the database."),
    _may("differing", _BIG, "In both, with another status or fewer rows below than told."),
    _may("gone", _BIG, "In the database, no longer listed."),
    _may("database_unfinished", _BIG, "Of those in the database, not final."),
    _may("rejected", _BIG, "Listed and in quarantine."),
    _may("unlisted", _BIG, "Counted by the platform, listed nowhere."),
    _may("upstream_digest", _HASH, "SHA-256 over the platform's sorted lines of id and status."),
    _may("database_digest", _HASH, "The same over the database's lines."),
    _must("verdict", _WORD, "complete, incomplete or unproven."),
    _may("reason", _TEXT, "Why it is not complete."),
    _must("checked_at", _TIME, "When it was compared."),
    _may("run_id", _BIG, "The run that compared."),
)

status_changes = _table(
    "status_changes",
    "The ledger's history: each change of a status as it was observed.",
    _number("change_id", "Number of the change."),
    _source(),
    _must("kind", _WORD, "job, task, job_record, host_result, quality_instance."),
    _must("id", _KEY, "The execution, as text."),
    _may("part_id", _KEY, "The task or host; NULL for the execution itself."),
    _may("ordinal", _WHOLE, "Which row of the host; NULL elsewhere."),
    _may("old_status", STATUS, "Status before; NULL at first sight of something unfinished."),
    _must("new_status", STATUS, "Status from then on."),
    _must("observed_at", _TIME, "When it was seen here."),
    _may("run_id", _BIG, "The run that saw it."),
    Index(None, "source", "kind", "id"),
    Index(None, "observed_at"),
)

data_dictionary = _table(
    "data_dictionary",
    "The ledger's dictionary: what each table, view and column means.",
    _must("table_name", _NAME, "Table or view."),
    _must("column_name", _NAME, "Column; empty for the table itself."),
    _must("meaning", _TEXT, "What it holds."),
    PrimaryKeyConstraint("table_name", "column_name"),
)
