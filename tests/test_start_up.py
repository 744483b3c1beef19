"""What a short command costs before it does anything."""

from __future__ import annotations

import statistics
import subprocess
import sys
from pathlib import Path

import pytest
import status_kit as kit
from command_line import environment
from measuring import measured

resource = pytest.importorskip("resource", reason="needs getrusage")

_HEAVY = ("requests", "urllib3", "etl.http", "etl.sources.explorer", "alembic", "rich", "psycopg",
          "sqlalchemy.dialects.mysql", "sqlalchemy.dialects.postgresql", "apscheduler",
          "prometheus_client")  # fmt: skip
_LOADED = (
    "import sys; from etl.cli import main\n"
    "try: main()\n"
    "except SystemExit: print(*sys.modules, sep='\\n', file=sys.stderr)"
)


def test_status_imports_no_platform_and_no_other_database(
    database_url: str, tmp_path: Path
) -> None:
    if not database_url.startswith("sqlite"):
        pytest.skip("it is SQLite's start that is measured")
    kit.configured(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", _LOADED, "--database", database_url, "status"],
        cwd=tmp_path, env=environment(None), capture_output=True, encoding="utf-8", check=True,
    )  # fmt: skip
    assert "graph" in done.stdout
    loaded = set(done.stderr.split())
    assert "sqlalchemy" in loaded
    assert not loaded & set(_HEAVY)


@pytest.mark.long
@measured
def test_a_start_costs_little_beside_importing_sqlalchemy(
    database_url: str, tmp_path: Path
) -> None:
    """CPU seconds, in pairs of one run: `status` at most 1.6 times, `--help` a quarter second."""
    if not database_url.startswith("sqlite"):
        pytest.skip("it is SQLite's start that is measured")
    kit.configured(tmp_path)
    ratios, helps = [], []
    for _ in range(9):
        alone_s = _cpu_s(tmp_path, "-c", "import sqlalchemy")
        status_s = _cpu_s(tmp_path, "-m", "etl", "--database", database_url, "status")
        ratios.append(status_s / alone_s)
        helps.append(_cpu_s(tmp_path, "-m", "etl", "--help"))
    assert statistics.median(ratios) <= 1.6, ratios
    assert min(helps) < 0.25, helps


def _cpu_s(directory: Path, *words: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, *words], cwd=directory, env=environment(None), capture_output=True,
        check=False,
    )  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return float(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
