"""What there is to know about a source: the values that the terminal, the page and the metrics
show alike."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

VERDICTS = ("complete", "incomplete", "unproven")
WINDOW_STATUSES = ("pending", "running", "done", "failed")


class Expected(Struct, frozen=True):
    """What the configuration says of a source. Durations in seconds; None: nothing says."""

    source: str
    api: str
    every_s: float | None = None
    stale_after_s: float | None = None
    next_run_at: datetime | None = None


class Run(Struct, frozen=True):
    """One row of `sync_runs`."""

    run_id: int
    source: str
    mode: str
    triggered_by: str
    scheduled_for: datetime | None
    status: str
    started_at: datetime
    finished_at: datetime | None
    requests: int
    retries: int
    bytes_read: int
    rows_read: int
    rows_written: int
    rows_unchanged: int
    rows_rejected: int
    error: str | None
    error_kind: str | None
    version: str
    host: str
    pid: int

    def duration_s(self, now: datetime) -> float:
        """Seconds from start to end, to `now` while it runs."""
        return max(0.0, ((self.finished_at or now) - self.started_at).total_seconds())


class Day(Struct, frozen=True):
    """What the runs that began in the last 24 hours did."""

    runs: int = 0
    failed: int = 0
    requests: int = 0
    rows_read: int = 0
    rows_written: int = 0


class Owed(Struct, frozen=True):
    """What is unfinished, of one kind: an execution's, detail, sample, settle, hole."""

    kind: str
    asked: int
    """Still asked for."""
    given_up: int
    oldest_at: datetime
    """Since when the oldest is owed."""


class Reason(Struct, frozen=True):
    """Why some records are in quarantine, and how many."""

    reason: str
    rejects: int
    last_seen_at: datetime


class Backfill(Struct, frozen=True):
    """One backfill with its windows by status. `killed`: running, had its process not died."""

    backfill_id: int
    source: str
    arguments: str
    since: datetime | None
    until: datetime
    status: str
    created_at: datetime
    finished_at: datetime | None
    windows: dict[str, int]
    rows_written: int
    error: str | None

    @property
    def total(self) -> int:
        return sum(self.windows.values())

    @property
    def done(self) -> int:
        return self.windows.get("done", 0)


class Check(Struct, frozen=True):
    """The latest comparison of a stretch of time with the platform's own listing."""

    check_id: int
    source: str
    stream: str
    since: datetime | None
    until: datetime | None
    verdict: str
    reason: str | None
    missing: int | None
    differing: int | None
    gone: int | None
    checked_at: datetime
    run_id: int | None

    def covers(self, other: Check) -> bool:
        """Whether `other` is about nothing that this one is not about."""
        begins = self.since is None or (other.since is not None and self.since <= other.since)
        ends = self.until is None or (other.until is not None and self.until >= other.until)
        return self.stream == other.stream and begins and ends


class SourceStatus(Struct, frozen=True):
    """Everything about one source at the moment `now`."""

    source: str
    api: str
    configured: bool
    now: datetime
    last_success_at: datetime | None = None
    copied_until: datetime | None = None
    expected_every_s: float | None = None
    stale_after_s: float | None = None
    next_run_at: datetime | None = None
    runs: tuple[Run, ...] = ()
    """The latest first."""
    last_error: str | None = None
    last_error_at: datetime | None = None
    last_error_run_id: int | None = None
    owed: tuple[Owed, ...] = ()
    reasons: tuple[Reason, ...] = ()
    """Those of most rejects first."""
    day: Day = Day()
    backfills: tuple[Backfill, ...] = ()
    """Those not done, and those of the last week; the latest first."""
    checks: tuple[Check, ...] = ()
    """Those that no later one covers, by time."""

    @property
    def last_run(self) -> Run | None:
        return self.runs[0] if self.runs else None

    @property
    def unfinished(self) -> int:
        """Debts that are still asked for."""
        return sum(each.asked for each in self.owed)

    @property
    def given_up(self) -> int:
        """Debts that were given up."""
        return sum(each.given_up for each in self.owed)

    @property
    def rejects(self) -> int:
        """Rejected records that are open."""
        return sum(each.rejects for each in self.reasons)

    @property
    def freshness_s(self) -> float | None:
        """Age of the last success in seconds."""
        if self.last_success_at is None:
            return None
        return max(0.0, (self.now - self.last_success_at).total_seconds())

    @property
    def fresh(self) -> bool | None:
        """Never copied is never fresh. None: it is not configured, or nothing says how young it
        must be."""
        if not self.configured:
            return None
        if self.freshness_s is None:
            return False
        if self.stale_after_s is None:
            return None
        return self.freshness_s <= self.stale_after_s

    def verdicts(self) -> dict[str, int]:
        """How many stretches of time are complete, incomplete, unproven."""
        counted = dict.fromkeys(VERDICTS, 0)
        for check in self.checks:
            counted[check.verdict] = counted.get(check.verdict, 0) + 1
        return counted


class Status(Struct, frozen=True):
    """All sources at one moment, the configured ones first, in the order of the file."""

    now: datetime
    sources: tuple[SourceStatus, ...]

    @property
    def stale(self) -> tuple[str, ...]:
        """The sources that are not fresh."""
        return tuple(each.source for each in self.sources if each.fresh is False)
