"""Views of the ledger: how fresh each source is, and which months are proven.

Deploy: any order; only readers see them.
"""

from __future__ import annotations

from etl.migrate.steps import create_view, drop_view
from etl.migrate.words import Words, words

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

CREATES = ("source_freshness", "coverage")

SOURCE_FRESHNESS = {
    "source": "Your name for the source.",
    "api": "Its platform: explorer, act2, dataarts.",
    "last_success_at": "When its last succeeded sync ended; NULL if none did.",
    "copied_until": "When that sync began: what ended before is here.",
    "expected_every_s": "Longest gap of its sync schedule, in seconds; NULL without one.",
    "fresh": "The last success is young enough; NULL if nothing says how young it must be.",
    "unfinished": "Debts that are still asked for.",
    "given_up": "Debts that were given up.",
    "rejects": "Rejected records that are open.",
    "last_error": "Error of the latest run that had one.",
}

COVERAGE = {
    "source": "Your name for the source.",
    "month": "Calendar month in UTC, YYYY-MM.",
    "executions": "How many the database holds of it.",
    "verdict": "complete, incomplete, unproven, or unchecked: the worst that still stands.",
    "checked_since": "Start of what was checked, inclusive.",
    "checked_until": "End of what was checked, exclusive.",
    "checked_at": "When it was last checked.",
}


def upgrade() -> None:
    w = words()
    create_view(
        "source_freshness",
        "The ledger's freshness: each source with its last success and what is open.",
        SOURCE_FRESHNESS,
        _source_freshness(w),
    )
    create_view(
        "coverage",
        "The ledger's coverage: for each source and month whether the copy is proven.",
        COVERAGE,
        _coverage(w),
    )


def downgrade() -> None:
    for name in reversed(CREATES):
        drop_view(name)


def _source_freshness(w: Words) -> str:
    last = "r.source = s.source AND r.mode = 'sync' AND r.status = 'succeeded'"
    debts = "SELECT COUNT(*) FROM unfinished u WHERE u.source = s.source AND u.given_up_at IS"
    return f"""
        SELECT b.source, b.api, b.last_success_at, b.copied_until, b.expected_every_s,
            CASE WHEN b.last_success_at IS NULL THEN (1 = 0)
                ELSE {w.seconds_between("b.last_success_at", w.now)}
                    <= COALESCE(b.stale_after_s, 2 * b.expected_every_s) END AS fresh,
            b.unfinished, b.given_up, b.rejects, b.last_error
        FROM (
            SELECT s.source, s.api, s.expected_every_s, s.stale_after_s,
                (SELECT MAX(r.finished_at) FROM sync_runs r WHERE {last}) AS last_success_at,
                (SELECT MAX(r.started_at) FROM sync_runs r WHERE {last}) AS copied_until,
                ({debts} NULL) AS unfinished,
                ({debts} NOT NULL) AS given_up,
                (SELECT COUNT(*) FROM rejected_records d
                    WHERE d.source = s.source AND d.resolved_at IS NULL) AS rejects,
                (SELECT r.error FROM sync_runs r WHERE r.source = s.source
                    AND r.error IS NOT NULL ORDER BY r.run_id DESC LIMIT 1) AS last_error
            FROM sources s
        ) b"""


def _coverage(w: Words) -> str:
    """A check stands until a later one covers its whole range; the worst that stands counts.

    What was checked must reach from the month's first execution to its last to be complete.
    """
    return f"""
        WITH held AS (
            SELECT source, {w.month("created_at")} AS month, COUNT(*) AS executions,
                MIN(created_at) AS first_at, MAX(created_at) AS last_at
            FROM executions
            WHERE created_at IS NOT NULL
            GROUP BY source, {w.month("created_at")}
        ), standing AS (
            SELECT c.source, c.since, c.until, c.verdict, c.checked_at,
                {w.month("c.since")} AS first_month, {w.month_before("c.until")} AS last_month
            FROM completeness c
            WHERE c.since IS NOT NULL AND c.until IS NOT NULL AND NOT EXISTS (
                SELECT 1 FROM completeness later
                WHERE later.source = c.source AND later.stream = c.stream
                    AND later.check_id > c.check_id
                    AND later.since <= c.since AND later.until >= c.until)
        ), every_month AS (
            SELECT source, month FROM held UNION SELECT source, first_month FROM standing
        ), joined AS (
            SELECT m.source, m.month, COALESCE(h.executions, 0) AS executions,
                h.first_at, h.last_at, c.since, c.until, c.verdict, c.checked_at
            FROM every_month m
            LEFT JOIN held h ON h.source = m.source AND h.month = m.month
            LEFT JOIN standing c ON c.source = m.source
                AND c.first_month <= m.month AND c.last_month >= m.month
        )
        SELECT source, month, executions,
            CASE WHEN COUNT(verdict) = 0 THEN 'unchecked'
                WHEN SUM(CASE verdict WHEN 'incomplete' THEN 1 ELSE 0 END) > 0 THEN 'incomplete'
                WHEN SUM(CASE verdict WHEN 'complete' THEN 0 ELSE 1 END) > 0 THEN 'unproven'
                WHEN MIN(since) > first_at OR MAX(until) <= last_at THEN 'unproven'
                ELSE 'complete' END AS verdict,
            MIN(since) AS checked_since, MAX(until) AS checked_until,
            MAX(checked_at) AS checked_at
        FROM joined
        GROUP BY source, month, executions, first_at, last_at"""
