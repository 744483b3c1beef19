"""What Prometheus is told: documented and exposed are the same, and the exposition is well made."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
import readme
import status_kit as kit
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from status_kit import NOW

from etl.db import Database
from etl.metrics import Metrics
from etl.passes import Outcome
from etl.status import expected, read
from etl.store import Tally

_BASE_UNITS = ("seconds", "bytes", "ratio", "info", "timestamp_seconds")
_NO_BASE_UNITS = ("milliseconds", "ms", "minutes", "hours", "kilobytes", "percent")


def _exposed(
    database: Database, directory: Path, metrics: Metrics | None = None
) -> dict[str, Metric]:
    due = expected(kit.configured(directory), NOW)
    with database.reading() as connection:
        status = read(connection, due, NOW)
    text = (metrics or Metrics()).exposition(kit.APIS, status).decode()
    return {family.name: family for family in text_string_to_metric_families(text)}


def _value(found: dict[str, Metric], sample: str, **labels: str) -> float:
    family = found[re.sub(r"_(total|sum|count|bucket)$", "", sample)]
    (value,) = [s.value for s in family.samples if s.name == sample and s.labels == labels]
    return value


def test_every_metric_is_documented_and_every_documented_one_exists(
    database: Database, tmp_path: Path
) -> None:
    section = readme.README.read_text(encoding="utf-8").partition("#### Metrics")[2]
    documented = set(re.findall(r"^\| `([a-z_]+)", section.partition("\n#")[0], re.MULTILINE))
    found = _exposed(database, tmp_path)
    exposed = {
        f"{name}_total" if family.type == "counter" else name for name, family in found.items()
    }
    assert documented == exposed


def test_the_exposition_keeps_the_rules_of_promtool(database: Database, tmp_path: Path) -> None:
    text = Metrics().exposition(kit.APIS, None).decode()
    for name, family in _exposed(database, tmp_path).items():
        assert family.documentation.endswith("."), f"{name}: no help text"
        assert re.fullmatch(r"[a-z][a-z0-9_]*", name), f"{name}: snake case, no colon"
        assert not name.endswith(_NO_BASE_UNITS), f"{name}: no base unit"
        assert not re.search(r"(gauge|counter|histogram|metric)", name), f"{name}: names its type"
        samples = {sample.name for sample in family.samples}
        if family.type == "counter":
            assert samples <= {f"{name}_total"}, f"{name}: a counter ends in _total"
        else:
            assert not name.endswith(("_total", "_count", "_sum", "_bucket")), name
        if family.type == "histogram":
            assert name.endswith(_BASE_UNITS)
        labels = {label for sample in family.samples for label in sample.labels}
        assert not [label for label in labels if label == name or ":" in label]
        assert len({(s.name, *sorted(s.labels.items())) for s in family.samples}) == len(
            family.samples
        ), f"{name}: a sample comes twice"
    heads = [line for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(heads) == len(set(heads)), "each family comes once"
    assert "_created" not in text


def test_every_label_set_of_a_configured_source_is_there_from_the_start(
    database: Database, tmp_path: Path
) -> None:
    found = _exposed(database, tmp_path)
    for source in kit.APIS:
        for mode in ("sync", "verify", "prune"):
            for status in ("succeeded", "failed", "stopped"):
                labels = {"source": source, "mode": mode, "status": status}
                assert _value(found, "etl_runs_total", **labels) == 0
            assert _value(found, "etl_run_duration_seconds_count", source=source, mode=mode) == 0
        for outcome in ("first", "retry"):
            assert _value(found, "etl_requests_total", source=source, outcome=outcome) == 0
        for name in ("etl_unfinished", "etl_given_up", "etl_rejects", "etl_source_fresh"):
            assert _value(found, name, source=source) == 0
        assert _value(found, "etl_source_last_success_timestamp_seconds", source=source) == 0
        for status in ("pending", "running", "done", "failed"):
            assert _value(found, "etl_backfill_windows", source=source, status=status) == 0
    labels = {"source": "scripts", "table": "host_results", "outcome": "written"}
    assert _value(found, "etl_rows_total", **labels) == 0


def test_the_ledger_is_told_as_it_is_when_asked(database: Database, tmp_path: Path) -> None:
    kit.add_source(database, "graph")
    kit.add_source(database, "aged")
    kit.add_run(database, "graph", finished_at=NOW)
    kit.add_debt(database, "graph", "job", "1")
    kit.add_debt(database, "graph", "hole", "2", given_up_at=NOW)
    kit.add_reject(database, "graph", 1, "torn")
    kit.add_backfill(database, "graph", ["done", "done", "failed"])
    found = _exposed(database, tmp_path)
    told = {
        "etl_source_last_success_timestamp_seconds": NOW.timestamp(),
        "etl_source_fresh": 1,
        "etl_unfinished": 1,
        "etl_given_up": 1,
        "etl_rejects": 1,
    }
    assert {name: _value(found, name, source="graph") for name in told} == told
    assert _value(found, "etl_backfill_windows", source="graph", status="done") == 2
    assert "aged" not in {s.labels["source"] for s in found["etl_unfinished"].samples}


def test_what_nothing_says_is_no_number(database: Database, tmp_path: Path) -> None:
    kit.configured(tmp_path, kit.SCHEDULES.partition("schedules:")[0])
    kit.add_source(database, "graph", stale_after_s=None, expected_every_s=None)
    kit.add_run(database, "graph")
    due = expected(kit.configured(tmp_path, kit.SCHEDULES.partition("schedules:")[0]), NOW)
    with database.reading() as connection:
        text = Metrics().exposition(kit.APIS, read(connection, due, NOW)).decode()
    found = {family.name: family for family in text_string_to_metric_families(text)}
    assert math.isnan(_value(found, "etl_source_fresh", source="graph"))
    assert math.isnan(_value(found, "etl_source_next_run_timestamp_seconds", source="graph"))


def test_a_pass_is_counted(database: Database, tmp_path: Path) -> None:
    metrics = Metrics()
    tally = Tally(read=12, written=7)
    tally.by_table.update({("jobs", "written"): 7, ("jobs", "unchanged"): 5})
    metrics.observe(Outcome("graph", "succeeded", None, tally, 9, 2, 3.5), "sync")
    metrics.observe(Outcome("graph", "failed", requests=5, retries=4, seconds=45.0), "sync")
    found = _exposed(database, tmp_path, metrics)
    runs = {"source": "graph", "mode": "sync"}
    assert _value(found, "etl_runs_total", status="succeeded", **runs) == 1
    assert _value(found, "etl_runs_total", status="failed", **runs) == 1
    assert _value(found, "etl_run_duration_seconds_sum", **runs) == pytest.approx(48.5)
    assert _value(found, "etl_run_duration_seconds_bucket", le="5.0", **runs) == 1
    assert _value(found, "etl_requests_total", source="graph", outcome="first") == 8
    assert _value(found, "etl_requests_total", source="graph", outcome="retry") == 6
    jobs = {"source": "graph", "table": "jobs"}
    assert _value(found, "etl_rows_total", outcome="written", **jobs) == 7
    assert _value(found, "etl_rows_total", outcome="unchanged", **jobs) == 5


def test_while_the_database_is_away_only_the_process_speaks() -> None:
    text = Metrics().exposition(kit.APIS, None).decode()
    found = {family.name: family for family in text_string_to_metric_families(text)}
    assert _value(found, "etl_database_up") == 0
    assert "etl_source_fresh" not in found
    assert "etl_runs" in found
