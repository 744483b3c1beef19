"""What Prometheus is told: what this process did, and how the ledger says that every source stands.

Counters and durations count the passes of this process (`Metrics.observe`); everything else is read
from the ledger when it is asked for, so that it is right after a restart too. Every label set of a
configured source is there from the start.
"""

from __future__ import annotations

import math
import platform
from collections.abc import Iterator, Mapping

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from etl import __version__, sources
from etl.passes import Outcome
from etl.status import SourceStatus, Status
from etl.status.facts import WINDOW_STATUSES

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
MODES = ("sync", "verify", "prune")
"""What a daemon runs by its schedules."""
STATUSES = ("succeeded", "failed", "stopped")
_BUCKETS_S = (0.5, 1, 2.5, 5, 10, 30, 60, 150, 300, 600, 1800, 3600, 10800)


class Metrics:
    """The counters of one process; safe from any thread."""

    def __init__(self) -> None:
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
        own = self._registry = CollectorRegistry()
        ProcessCollector(registry=own)
        self._runs = Counter(
            "etl_runs", "Passes that ended in this process.", ["source", "mode", "status"],
            registry=own,
        )  # fmt: skip
        self._duration = Histogram(
            "etl_run_duration_seconds", "How long passes of this process took.",
            ["source", "mode"], buckets=_BUCKETS_S, registry=own,
        )  # fmt: skip
        self._requests = Counter(
            "etl_requests", "HTTP calls of this process: made first, or made again (retry).",
            ["source", "outcome"], registry=own,
        )  # fmt: skip
        self._rows = Counter(
            "etl_rows", "Rows that came for data tables: written, or the same as before.",
            ["source", "table", "outcome"], registry=own,
        )  # fmt: skip
        build = Gauge(
            "etl_build_info", "Always 1; the release of etl and of Python.",
            ["version", "python"], registry=own,
        )  # fmt: skip
        build.labels(__version__, platform.python_version()).set(1)

    def observe(self, outcome: Outcome, mode: str) -> None:
        """Counts a pass that ended; `mode` is that of its run."""
        name = outcome.source
        self._runs.labels(name, mode, outcome.status).inc()
        self._duration.labels(name, mode).observe(outcome.seconds)
        self._requests.labels(name, "first").inc(outcome.requests - outcome.retries)
        self._requests.labels(name, "retry").inc(outcome.retries)
        for (table, fate), rows in outcome.tally.by_table.items():
            self._rows.labels(name, table, fate).inc(rows)

    def exposition(self, apis: Mapping[str, str], status: Status | None) -> bytes:
        """All metrics in Prometheus' text format.

        `apis`: the configured sources with their platforms' words. `status`: None while the
        database is away; then nothing is said of what only the ledger knows.
        """
        for name, api in apis.items():
            self._begin(name, api)
        ledger = CollectorRegistry()
        ledger.register(_Ledger(status))
        return prometheus_client.generate_latest(self._registry) + (
            prometheus_client.generate_latest(ledger)
        )

    def _begin(self, name: str, api: str) -> None:
        """Asking for a label set makes it, with zero."""
        for mode in MODES:
            self._duration.labels(name, mode)
            for status in STATUSES:
                self._runs.labels(name, mode, status)
        for outcome in ("first", "retry"):
            self._requests.labels(name, outcome)
        for table in sources.find(api).tables:
            for outcome in ("written", "unchanged"):
                self._rows.labels(name, table.name, outcome)


class _Ledger(Collector):
    """What the ledger said a moment ago, of the sources that are configured."""

    def __init__(self, status: Status | None) -> None:
        self._status = status

    def collect(self) -> Iterator[GaugeMetricFamily]:
        up = "etl_database_up", "Whether the database answers and is at this release's revision."
        yield GaugeMetricFamily(*up, value=float(self._status is not None))
        if self._status is None:
            return
        known = [one for one in self._status.sources if one.configured]
        for name, meaning, value in _BY_SOURCE:
            family = GaugeMetricFamily(name, meaning, labels=["source"])
            for one in known:
                family.add_metric([one.source], value(one))
            yield family
        yield _windows(known)


def _windows(known: list[SourceStatus]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(
        "etl_backfill_windows",
        "Windows of the backfills that are not done, and of those of the last week.",
        labels=["source", "status"],
    )
    for one in known:
        for status in WINDOW_STATUSES:
            count = sum(each.windows.get(status, 0) for each in one.backfills)
            family.add_metric([one.source, status], count)
    return family


def _last_success(one: SourceStatus) -> float:
    return 0.0 if one.last_success_at is None else one.last_success_at.timestamp()


def _next_run(one: SourceStatus) -> float:
    return math.nan if one.next_run_at is None else one.next_run_at.timestamp()


def _fresh(one: SourceStatus) -> float:
    return math.nan if one.fresh is None else float(one.fresh)


_BY_SOURCE = (
    (
        "etl_source_last_success_timestamp_seconds",
        "When the last successful sync ended; 0 if none did.",
        _last_success,
    ),
    (
        "etl_source_next_run_timestamp_seconds",
        "When the next sync is scheduled; NaN without a schedule.",
        _next_run,
    ),
    (
        "etl_source_fresh",
        "1: the last success is young enough; 0: it is not; NaN: nothing says.",
        _fresh,
    ),
    ("etl_unfinished", "What is owed and still asked for.", lambda one: float(one.unfinished)),
    ("etl_given_up", "What was owed and given up.", lambda one: float(one.given_up)),
    ("etl_rejects", "Records in quarantine.", lambda one: float(one.rejects)),
)
