"""The view `coverage`: a month whose checks leave a stretch between them is not complete.

Deploy: any order; only readers see it.
"""

from __future__ import annotations

from etl.migrate.steps import create_view, earlier
from etl.migrate.words import Words, words

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

CREATES = ()

COMMENT = "The ledger's coverage: for each source and month whether the copy is proven."


def upgrade() -> None:
    create_view("coverage", COMMENT, earlier("0004").COVERAGE, _coverage(words()))


def downgrade() -> None:
    older = earlier("0004")
    create_view("coverage", COMMENT, older.COVERAGE, older._coverage(words()))


def _coverage(w: Words) -> str:
    """A check stands until a later one covers its whole range; the worst that stands counts.

    What was checked must reach from the month's first execution to its last, without a gap, to be
    complete.
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
                h.first_at, h.last_at, c.since, c.until, c.verdict, c.checked_at,
                MAX(c.until) OVER (PARTITION BY m.source, m.month ORDER BY c.since, c.until
                    ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS reached
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
                WHEN SUM(CASE WHEN since > reached THEN 1 ELSE 0 END) > 0 THEN 'unproven'
                ELSE 'complete' END AS verdict,
            MIN(since) AS checked_since, MAX(until) AS checked_until,
            MAX(checked_at) AS checked_at
        FROM joined
        GROUP BY source, month, executions, first_at, last_at"""
