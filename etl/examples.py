"""Twelve questions and the SQL that answers them, the same on every database.

The README shows them with their answers, `etl demo` asks a few; both take them from here.
Times are literals, so that indexes serve and no dialect's date functions are needed.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from msgspec import Struct


class Example(Struct, frozen=True):
    """A question in plain words; `sql` may hold {night}, {morning}, {day}, {week}, {month}."""

    name: str
    question: str
    sql: str

    def at(self, now: datetime) -> str:
        """The SQL as one would write it at `now`: last night is 18:00 to 08:00."""
        morning = now.replace(hour=8, minute=0, second=0)
        written = {
            "night": morning - timedelta(hours=14),
            "morning": morning,
            "day": now - timedelta(days=1),
            "week": now - timedelta(days=7),
            "month": now.replace(day=1, hour=0, minute=0, second=0),
        }
        return self.sql.format(**{name: f"{at:%Y-%m-%d %H:%M}" for name, at in written.items()})


EXAMPLES = (
    Example(
        "failed",
        "What failed last night, where, and what did it print?",
        """\
SELECT kind, definition_name, part_name, status, stderr
FROM failures
WHERE finished_at >= '{night}' AND finished_at < '{morning}'
ORDER BY finished_at DESC, part_name, id
LIMIT 8""",
    ),
    Example(
        "hosts",
        "Which hosts fail most, by month?",
        """\
SELECT SUBSTR(CAST(started_at AS CHAR(19)), 1, 7) AS month_of, host_ip, COUNT(*) AS answers,
       ROUND(AVG(CASE WHEN status IN ('failed', 'timed_out') THEN 100.0 ELSE 0.0 END), 1)
           AS failed_percent
FROM host_results
GROUP BY SUBSTR(CAST(started_at AS CHAR(19)), 1, 7), host_ip
HAVING COUNT(*) >= 5
ORDER BY failed_percent DESC, host_ip, month_of
LIMIT 6""",
    ),
    Example(
        "flapping",
        "Which quality tasks flap?",
        """\
SELECT name, COUNT(*) AS runs, SUM(flipped) AS flips
FROM (
    SELECT source, task_id, name,
           CASE WHEN status <> LAG(status) OVER (
               PARTITION BY source, task_id ORDER BY started_at, instance_id
           ) THEN 1 ELSE 0 END AS flipped
    FROM quality_instances
    WHERE status IN ('succeeded', 'alarmed', 'failed')
) AS runs_in_order
GROUP BY source, task_id, name
HAVING SUM(flipped) >= 4
ORDER BY flips DESC, name
LIMIT 5""",
    ),
    Example(
        "usual",
        "How long does each workflow usually take?",
        """\
SELECT definition_name AS workflow, runs, ROUND(CAST(median_s AS DECIMAL(12, 1)), 1) AS median_s,
       ROUND(CAST(p95_s AS DECIMAL(12, 1)), 1) AS p95_s
FROM usual_durations
WHERE kind = 'job'
ORDER BY 3 DESC, workflow
LIMIT 6""",
    ),
    Example(
        "changes",
        "What changed since yesterday, and from what?",
        """\
SELECT kind, old_status, new_status, COUNT(*) AS changes
FROM status_changes
WHERE observed_at >= '{day}'
GROUP BY kind, old_status, new_status
ORDER BY changes DESC, kind, new_status, old_status
LIMIT 8""",
    ),
    Example(
        "samples",
        "Which PageRank samples differ between the last two runs of a workflow?",
        """\
WITH runs AS (
    SELECT source, job_id, workflow_id, workflow_name, ROW_NUMBER() OVER (
        PARTITION BY source, workflow_id ORDER BY created_at DESC, job_id DESC
    ) AS age
    FROM jobs WHERE status = 'succeeded'
)
SELECT b.workflow_name AS workflow, t.name AS task, x.column_1 AS vertex,
       y.column_2 AS was, x.column_2 AS now_is
FROM runs AS b
JOIN runs AS a ON a.source = b.source AND a.workflow_id = b.workflow_id AND a.age = 2
JOIN tasks AS t ON t.source = b.source AND t.job_id = b.job_id
JOIN sample_rows AS x ON x.source = b.source AND x.job_id = b.job_id AND x.task_id = t.task_id
JOIN sample_rows AS y ON y.source = a.source AND y.job_id = a.job_id AND y.task_id = t.task_id
    AND y.column_1 = x.column_1
WHERE b.age = 1 AND t.name = 'PageRank' AND y.column_2 <> x.column_2
ORDER BY workflow, task, vertex, was
LIMIT 6""",
    ),
    Example(
        "slow",
        "What ran much longer than usual this week?",
        """\
SELECT e.definition_name AS what, e.id, ROUND(CAST(e.duration_s AS DECIMAL(12, 1)), 1) AS took_s,
       ROUND(CAST(u.median_s AS DECIMAL(12, 1)), 1) AS usually_s
FROM executions AS e
JOIN usual_durations AS u
    ON u.source = e.source AND u.kind = e.kind AND u.definition_id = e.definition_id
WHERE e.created_at >= '{week}' AND u.runs >= 5 AND e.duration_s > 5 * u.median_s
ORDER BY e.duration_s / u.median_s DESC, e.id
LIMIT 5""",
    ),
    Example(
        "stderr",
        "Whose stderr says that a disk is full?",
        """\
SELECT host_ip, COUNT(*) AS times, MAX(started_at) AS last_seen
FROM host_results
WHERE stderr LIKE '%No space left on device%'
GROUP BY host_ip
ORDER BY times DESC, host_ip
LIMIT 5""",
    ),
    Example(
        "waiting",
        "How long do jobs wait before they start?",
        """\
SELECT definition_name AS workflow, COUNT(*) AS runs,
       ROUND(AVG(waited_s)) AS mean_s, ROUND(MAX(waited_s)) AS longest_s
FROM executions
WHERE kind = 'job' AND waited_s IS NOT NULL
GROUP BY definition_name
ORDER BY longest_s DESC, workflow
LIMIT 5""",
    ),
    Example(
        "quality",
        "What is the state of every quality task now, and since when is it broken?",
        """\
SELECT name, status, broken_since
FROM (
    SELECT q.name, q.status, q.task_id,
           ROW_NUMBER() OVER (
               PARTITION BY q.source, q.task_id ORDER BY q.started_at DESC, q.instance_id DESC
           ) AS age,
           (SELECT MIN(b.started_at) FROM quality_instances AS b
            WHERE b.source = q.source AND b.task_id = q.task_id AND b.status = 'failed'
              AND b.started_at > COALESCE(
                  (SELECT MAX(g.started_at) FROM quality_instances AS g
                   WHERE g.source = q.source AND g.task_id = q.task_id
                     AND g.status IN ('succeeded', 'alarmed')),
                  '1970-01-01')) AS broken_since
    FROM quality_instances AS q
    WHERE q.status IN ('succeeded', 'alarmed', 'failed')
) AS runs_in_order
WHERE age = 1
ORDER BY CASE status WHEN 'failed' THEN 0 WHEN 'alarmed' THEN 1 ELSE 2 END, name, task_id
LIMIT 8""",
    ),
    Example(
        "silent",
        "Which records lack hosts?",
        """\
SELECT started_at, status, host_expected_count AS expected, host_result_count AS answered
FROM job_records
WHERE host_result_count < host_expected_count AND finished_at IS NOT NULL
ORDER BY started_at DESC
LIMIT 5""",
    ),
    Example(
        "coverage",
        "Is last month complete?",
        """\
SELECT source, month, verdict
FROM coverage
WHERE month >= '2000-01'
ORDER BY source, month DESC
LIMIT 6""",
    ),
)
"""In the order of the README."""
