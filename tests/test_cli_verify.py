"""`etl verify` and `etl prune` as a user and an auditor meet them."""

from __future__ import annotations

import csv
import hashlib
import json
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from command_line import Done, run
from databases import KINDS
from verify_kit import history

from etl.db import open_database
from etl.simulator import Simulator, environment

NOW = datetime.now(UTC).replace(microsecond=0)
SCHEDULES = """\
sources:
  graph: {api: explorer, url: "${EXPLORER_URL}", token: "${EXPLORER_TOKEN}"}
  scripts: {api: act2, url: "${ACT2_URL}"}
  quality:
    api: dataarts
    url: ${DATAARTS_URL}
    project_id: ${HUAWEI_PROJECT_ID}
    workspace: ${DATAARTS_WORKSPACE}
    rate_limit: none
    token: ${TOKEN}
"""
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="module")
def sim() -> Iterator[Simulator]:
    with Simulator(history(40, NOW)) as simulator:
        yield simulator


class Desk:
    """A configured folder."""

    def __init__(self, folder: Path, sim: Simulator) -> None:
        self.folder = folder
        self.env = {**environment(sim), "TOKEN": sim.credentials.dataarts_token}
        (folder / "schedules.yaml").write_text(SCHEDULES)

    def etl(self, *words: str, **less: None) -> Done:
        env = {name: value for name, value in self.env.items() if name not in less}
        return run(*words, cwd=self.folder, env=env)

    def ask(self, query: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = json.loads(self.etl("sql", "--format", "json", query).out)
        return rows

    def change(self, *statements: str) -> None:
        with sqlite3.connect(self.folder / "etl.db") as connection:
            for statement in statements:
                assert connection.execute(statement).rowcount == 1
        connection.close()


@pytest.fixture
def desk(tmp_path: Path, sim: Simulator) -> Desk:
    made = Desk(tmp_path, sim)
    assert made.etl("sync").code == 0
    return made


def holes(desk: Desk) -> None:
    desk.change(
        "DELETE FROM quality_instances WHERE instance_id = (SELECT MIN(instance_id) FROM"
        " quality_instances)",
        "UPDATE quality_instances SET status = 'failed' WHERE instance_id = (SELECT"
        " MAX(instance_id) FROM quality_instances)",
    )


def test_a_whole_copy_ends_with_0_and_a_line_a_month(desk: Desk) -> None:
    done = desk.etl("verify", "quality")
    assert done.code == 0, done.err
    header, *lines = done.out.splitlines()
    assert header.split() == [
        "source", "window", "listed", "held", "missing", "differing", "gone", "verdict",
    ]  # fmt: skip
    assert all(line.endswith("complete") for line in lines if not line.startswith("-"))


def test_findings_end_with_1_and_examples_until_a_repair_ends_with_0(desk: Desk) -> None:
    oldest = desk.ask("SELECT MIN(instance_id) AS id FROM quality_instances")[0]["id"]
    holes(desk)
    found = desk.etl("verify")
    assert found.code == 1
    assert f"missing: {oldest}" in found.err
    assert "differing: " in found.err
    mended = desk.etl("verify", "--repair")
    assert mended.code == 0, mended.err
    assert "1 repaired" in mended.err
    assert desk.etl("verify", "--since", "90d").code == 0


def test_findings_are_told_among_json_logs_too(desk: Desk) -> None:
    assert desk.etl("--log-format", "json", "verify", "quality").err == ""
    holes(desk)
    found = desk.etl("--log-format", "json", "verify", "quality")
    assert (found.code, found.out) == (1, "")
    events = [json.loads(line) for line in found.err.splitlines()]
    assert {event["level"] for event in events} == {"warning"}
    assert any("missing: " in event["message"] for event in events)


def test_no_control_character_of_a_platform_reaches_the_terminal(desk: Desk) -> None:
    now = NOW.replace(tzinfo=None)
    desk.change(
        "UPDATE job_records SET record_id = char(27) || '[2J' WHERE started_at ="
        " (SELECT MAX(started_at) FROM job_records)"
    )
    found = desk.etl("verify", "scripts", "--since", f"{now:%Y-%m-01}")
    assert found.code == 1
    assert "gone: \\x1b[2J" in found.err
    assert all(character.isprintable() for character in found.err.replace("\n", ""))


def test_a_report_that_cannot_be_written_leaves_nothing_behind(
    desk: Desk, sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    (desk.folder / "a.html").mkdir()
    before = len(sim.requests)
    done = desk.etl("verify", "quality", "--report", "a.html")
    assert (done.code, len(sim.requests)) == (2, before)
    assert "--report a.html: it is a folder" in done.err

    def full(self: Path, _: Path) -> Path:
        raise OSError(28, "No space left on device", str(self))

    monkeypatch.setattr(Path, "replace", full)
    done = desk.etl("verify", "quality", "--report", "b.html")
    assert done.code == 2
    assert "--report b.html: cannot be written: No space left on device" in done.err
    assert [each.name for each in desk.folder.glob("*b.html*")] == []


def test_a_dry_run_tells_windows_and_requests_and_asks_nothing(desk: Desk, sim: Simulator) -> None:
    before = len(sim.requests)
    done = desk.etl("verify", "scripts", "--dry-run")
    assert (done.code, len(sim.requests)) == (0, before)
    estimate = re.match(r"scripts: \d windows, about (\d+) requests", done.out)
    assert estimate is not None
    assert desk.etl("verify", "scripts").err.startswith(estimate[0])
    spent = len(sim.requests) - before
    assert spent <= int(estimate[1]) <= 1.5 * spent
    assert desk.ask("SELECT COUNT(*) AS n FROM completeness WHERE source = 'quality'") == [{"n": 0}]


def test_a_taken_seat_ends_with_3(desk: Desk) -> None:
    desk.change(
        "UPDATE sync_leases SET holder = 'somebody', host = 'elsewhere',"
        " expires_at = '2999-01-01 00:00:00.000000' WHERE source = 'quality' AND seat = 'live'"
    )
    assert desk.etl("verify", "quality").code == 3
    assert desk.etl("prune", "quality", "--older-than", "10d").code == 3


@pytest.mark.parametrize(
    "words",
    [
        ("--since", "soon"),
        ("--since", "0001-01-01T00:00:00+08:00"),
        ("--until", "9999-12-31T23:59:59-08:00"),
        ("--report", "a.pdf"),
        ("--report", "missing/a.html"),
        ("--report", "a.html", "--dry-run"),
        ("--since", "1d", "--until", "2d"),
        ("--since", "1d", "--until", "2d", "--dry-run"),
    ],
)
def test_a_mistake_ends_with_2_before_anything_is_asked(
    desk: Desk, sim: Simulator, words: Sequence[str]
) -> None:
    before = len(sim.requests)
    done = desk.etl("verify", "quality", *words)
    assert (done.code, done.out) == (2, "")
    assert len(done.err.splitlines()) == 1
    assert words[0] in done.err
    assert len(sim.requests) == before


def test_more_days_than_there_ever_were_is_everything(desk: Desk) -> None:
    done = desk.etl("prune", "quality", "--older-than", "9999999999d", "--dry-run")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("quality: 0 executions before 1970-01-01 00:00 UTC")


def test_every_line_of_a_report_can_be_recounted(desk: Desk) -> None:
    holes(desk)
    desk.change("UPDATE jobs SET upstream_gone_at = changed_at WHERE job_id = 30")
    desk.etl("verify", "--report", "r.json")
    desk.etl("verify", "--report", "r.csv")
    told = json.loads((desk.folder / "r.json").read_text())["windows"]
    rows = list(csv.DictReader((desk.folder / "r.csv").read_text().splitlines()))
    assert [row["window"] for row in rows] == [each["window"] for each in told]
    assert {each["source"] for each in told} == {"graph", "scripts", "quality"}
    for each, row in zip(told, rows, strict=True):
        recounts(desk, each)
        assert row["lines_sql"] == each["lines_sql"]
        assert row["database_digest"] == each["database_digest"]
        same = each["upstream_digest"] == each["database_digest"]
        assert same == (each["verdict"] == "complete")


def recounts(desk: Desk, told: dict[str, Any]) -> None:
    """Both queries, through `etl sql`, give what the report tells."""
    assert desk.ask(told["count_sql"]) == [{"executions": told["database_ids"]}]
    printed = desk.etl("sql", "--format", "csv", told["lines_sql"]).out.splitlines()[1:]
    digest = hashlib.sha256("".join(f"{line}\n" for line in sorted(printed)).encode())
    assert digest.hexdigest() == told["database_digest"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_queries_recount_on_every_database(
    kind: str, servers: Any, tmp_path: Path, sim: Simulator
) -> None:
    desk = Desk(tmp_path, sim)
    url = servers(kind).migrated()
    desk.env["ETL_DATABASE_URL"] = url
    assert desk.etl("sync", "scripts", "quality").code == 0
    assert desk.etl("verify", "scripts", "quality", "--report", "r.json").code == 0
    for each in json.loads((tmp_path / "r.json").read_text())["windows"]:
        recounts(desk, each)
    covered = desk.ask("SELECT DISTINCT verdict FROM coverage")
    assert covered == [{"verdict": "complete"}]
    open_database(url).close()


class _Page(HTMLParser):
    """What a page refers to, and whether its elements are closed."""

    def __init__(self) -> None:
        super().__init__()
        self.outside: list[str] = []
        self.open: list[str] = []
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        self.outside += [str(v) for n, v in attrs if n in ("src", "href", "srcset", "action")]
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_stands_alone_and_is_accessible(desk: Desk) -> None:
    holes(desk)
    assert desk.etl("verify", "--report", "r.html").code == 1
    text = (desk.folder / "r.html").read_text(encoding="utf-8")
    page = _Page()
    page.feed(text)
    assert (page.outside, page.open) == ([], [])
    assert "script" not in page.seen
    assert not re.search(r"url\(|@import|https?://", text.partition("<body>")[0])
    assert {"main", "h1", "h2", "caption", "th", "title"} <= page.seen
    assert '<html lang="en">' in text
    assert text.count('scope="row"') == len(desk.ask("SELECT check_id FROM completeness")) == 9


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is reachable")
def test_the_page_prints(desk: Desk) -> None:
    assert desk.etl("verify", "quality", "--report", "r.html").code == 0
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu",
               f"--user-data-dir={desk.folder / 'browser'}", "--no-pdf-header-footer",
               "--print-to-pdf=r.pdf", (desk.folder / "r.html").as_uri()]  # fmt: skip
    subprocess.run(command, cwd=desk.folder, check=True, capture_output=True, timeout=60)
    assert (desk.folder / "r.pdf").read_bytes().startswith(b"%PDF-")


def test_a_prune_needs_no_credentials(desk: Desk) -> None:
    counted = desk.etl("prune", "graph", "--older-than", "20d", "--dry-run", EXPLORER_TOKEN=None)
    assert (counted.code, counted.err) == (0, "")
    assert re.match(r"graph: 21 executions before .* would be deleted\n", counted.out)
    assert desk.ask("SELECT COUNT(*) AS n FROM jobs") == [{"n": 40}]
    account = desk.ask("SELECT account FROM sources WHERE source = 'graph'")
    done = desk.etl("prune", "graph", "--older-than", "20d", EXPLORER_TOKEN=None)
    assert (done.code, done.err) == (0, "")
    assert "21 executions" in done.out
    assert desk.ask("SELECT account FROM sources WHERE source = 'graph'") == account
    assert desk.etl("sync", "graph").code == 0
    assert desk.ask("SELECT COUNT(*) AS n FROM jobs") == [{"n": 19}]
    assert desk.ask("SELECT mode FROM sync_runs WHERE source = 'graph' ORDER BY run_id") == [
        {"mode": "sync"}, {"mode": "prune"}, {"mode": "sync"},
    ]  # fmt: skip


def test_a_prune_of_another_address_is_refused(desk: Desk) -> None:
    desk.env["EXPLORER_URL"] = "http://127.0.0.1:9"
    done = desk.etl("prune", "graph", "--older-than", "20d")
    assert done.code == 2
    assert "etl sources move graph" in done.err
    assert desk.ask("SELECT COUNT(*) AS n FROM jobs") == [{"n": 40}]
