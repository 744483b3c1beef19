"""The benchmark works and cannot praise a contestant whose rows are wrong."""

from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks import rival_tables
from benchmarks.checking import WrongRows, check
from benchmarks.data import SETS, TABLES
from benchmarks.statistics import interval

TINY = SETS["tiny"]


def tiny(*more: str) -> str:
    """What a run of set tiny on SQLite prints."""
    command = [sys.executable, "-m", "benchmarks", "--set", "tiny", "--rounds", "1", *more]
    run = subprocess.run(
        [*command, "--databases", "sqlite"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=True,
        timeout=100,
    )
    assert "every row of every run is right" in run.stdout
    return run.stdout


def test_a_tiny_run_is_right_and_says_what_it_cost() -> None:
    first, second = (line.split() for line in tiny("--alone").splitlines() if "  etl " in line)
    assert int(first[5]) >= TINY.requests
    assert int(second[5]) <= 30


def test_one_source_alone_is_told_beside_its_latency() -> None:
    said = tiny("--source", "quality", "--latency-ms", "1", "--in-flight", "2")
    assert "dlt" not in said.replace("dlt and requests are skipped: left out", "")
    assert re.search(r"etl, work_s: [\d.]+ times requests × latency ÷ in flight", said)


def test_the_sets_are_those_of_the_comparison() -> None:
    assert (SETS["S"].requests, SETS["S"].rows) == (1706, 82_700)
    assert (SETS["M"].requests, SETS["M"].rows) == (17_060, 827_000)


@pytest.mark.parametrize(
    "spoil",
    [
        "UPDATE sample_rows SET column_2 = '' WHERE job_id = 7 AND row_no = 100",
        "DELETE FROM host_results WHERE record_id LIKE '%b'",
        "INSERT INTO jobs (job_id) VALUES (999)",
    ],
)
def test_a_wrong_row_is_found(tmp_path: Path, spoil: str) -> None:
    path = tmp_path / "rows.db"
    url = f"sqlite:///{path}"
    rival_tables.create(url)
    with sqlite3.connect(path) as file:
        for table, rows in TABLES.items():
            docs = (rows.__doc__ or "").split(", ")
            marks = ", ".join("?" * len(docs))
            file.executemany(
                f"INSERT INTO {table} ({', '.join(docs)}) VALUES ({marks})", rows(TINY)
            )
    assert check(url, TINY) == TINY.rows
    with sqlite3.connect(path) as file:
        file.execute(spoil)
    with pytest.raises(WrongRows):
        check(url, TINY)


def test_the_interval_is_that_of_the_sign_test() -> None:
    assert interval([9, 1, 8, 2, 7, 3, 6, 4, 5]) == (2, 8)
    assert interval([3, 1, 2]) == (1, 3)
