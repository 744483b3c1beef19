"""The pages: what they say, to whom, and that nobody can hang or abuse them."""

from __future__ import annotations

import re
import socket
import threading
import time
from html.parser import HTMLParser
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
import status_kit as kit
from sqlalchemy import text
from web_kit import fill, served

from etl import web
from etl.daemon.state import DaemonState
from etl.db import Database, open_database
from etl.errors import DatabaseTrouble, Usage
from etl.metrics import Metrics
from etl.redact import known
from etl.web.facts import Patient
from etl.web.html import document, tag
from etl.web.server import Server


def test_the_status_page_tells_everything_of_every_source(
    database: Database, tmp_path: Path
) -> None:
    failed = fill(database)
    with served(database, tmp_path) as pages:
        came = pages.ask("/")
    assert came.status == 200
    words = _words(came.body)
    for told in (
        "1 of 3 sources is not fresh",
        "aged explorer not configured",
        f"ago , run {failed} HTTP 401",
        "HTTP 401: the token is old",
        "Backfill 1 running",
        "1 of 4 windows done (25%), 1 failed",
        "Completeness : 1 complete, 1 incomplete, 1 unproven",
        "Unfinished (1)",
        "Rejects (1)",
        "Backfills done this week (1)",
    ):
        assert told in words, f"{told}: {words}"
    assert f'href="/runs/{failed}"' in came.body
    assert came.body.count('<svg class="chart"') == 3, "a name that never ran has none"
    assert re.search(r"in \d+ (s|min)", words), "the next run"


def test_each_run_has_a_page(database: Database, tmp_path: Path) -> None:
    failed = fill(database)
    with served(database, tmp_path) as pages:
        came = pages.ask(f"/runs/{failed}")
        first = pages.ask("/runs/1")
        missing = pages.ask("/runs/4711")
    words = _words(came.body)
    assert f"Run {failed}: sync of quality failed" in words
    assert "Why it failed (unauthorized)" in words
    assert "HTTP 401: the token is old" in words
    assert "quality_instance failed 1" in words
    assert "torn" in words
    assert 'href="/runs/3"' in first.body, "the next run of the same source"
    assert (missing.status, "There is no run 4711" in missing.body) == (404, True)


def test_the_page_refreshes_by_itself_with_and_without_a_script(
    database: Database, tmp_path: Path
) -> None:
    with served(database, tmp_path) as pages:
        body = pages.ask("/").body
        script = re.search(r'<script src="(/refresh\.js\?\w+)"', body)
        assert script
        assert "setInterval" in pages.ask(script[1]).body
    assert '<noscript><meta http-equiv="refresh" content="15"></noscript>' in body


def test_a_text_from_outside_is_never_markup(database: Database, tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>\"'&\0\ud800"
    read = _Read()
    read.feed(document(tag("p", evil, title=evil)).decode())
    assert read.found == [("p", evil.replace("\0", "\u2400").replace("\ud800", "?"))] * 2
    kit.add_source(database, "graph")
    evil = "</p><img src=x onerror=alert(1)>"
    run = kit.add_run(database, "graph", status="failed", error=evil)
    kit.add_reject(database, "graph", 1, evil)
    with served(database, tmp_path) as pages:
        bodies = [pages.ask("/").body, pages.ask(f"/runs/{run}").body]
    for body in bodies:
        assert "<img" not in body
        assert "&lt;img" in body


@pytest.mark.shows_secrets("an older release left one in the ledger")
def test_no_known_secret_is_on_any_page(database: Database, tmp_path: Path) -> None:
    known("s3cr<et-word")
    kit.add_source(database, "graph")
    run = kit.add_run(database, "graph", status="failed", error="token s3cr<et-word refused")
    kit.add_reject(database, "graph", 1, "s3cr<et-word is no status", run_id=run)
    with served(database, tmp_path) as pages:
        for path in ("/", f"/runs/{run}", "/metrics", "/readyz"):
            body = pages.ask(path).body
            assert "et-word" not in body, path
        assert "[secret]" in pages.ask("/").body


def test_ready_means_that_the_tables_are_those_of_this_release_and_the_scheduler_runs(
    database: Database, tmp_path: Path
) -> None:
    with served(database, tmp_path) as pages:
        assert pages.ask("/readyz").status == 200
        pages.state.running = False
        came = pages.ask("/readyz")
        assert (came.status, "scheduler: not running" in came.body) == (503, True)
        assert "scheduler does not run" in pages.ask("/").body
    with database.writing() as connection:
        connection.execute(text("UPDATE etl_version SET version_num = '0001'"))
    with served(database, tmp_path) as pages:
        came = pages.ask("/readyz")
    assert (came.status, "at revision 0001" in came.body) == (503, True)


def test_a_stale_source_does_not_make_it_unready(database: Database, tmp_path: Path) -> None:
    with served(database, tmp_path) as pages:
        assert "3 of 3 sources are not fresh" in pages.ask("/").body
        assert pages.ask("/readyz").status == 200


def test_pages_say_that_the_database_is_away_and_come_back_with_it(tmp_path: Path) -> None:
    file = tmp_path / "away.db"
    database = open_database(f"sqlite:///{file}")
    try:
        with served(database, tmp_path) as pages:
            page, ready = pages.ask("/"), pages.ask("/readyz")
            assert (page.status, ready.status) == (503, 503)
            assert "The database is away" in page.body
            assert pages.ask("/healthz").body == "ok\n"
            metrics = pages.ask("/metrics")
            assert (metrics.status, "etl_database_up 0.0" in metrics.body) == (200, True)
            assert pages.ask("/runs/1").status == 503
    finally:
        database.close()


def test_a_database_that_does_not_answer_holds_nobody_up() -> None:
    never = threading.Event()
    asked: Patient[str] = Patient(lambda: "late" if never.wait(30) else "", "away")
    assert asked.get(patience_s=0.01) == "away"
    assert asked.get(patience_s=0.01) == "away"
    assert sum(t.name == "web-facts" and t.is_alive() for t in threading.enumerate()) == 1
    never.set()


def test_a_failing_question_is_answered_with_otherwise() -> None:
    def ask() -> str:
        raise DatabaseTrouble("gone")

    assert Patient(ask, "away").get() == "away"


def test_methods_and_paths_are_told_apart(database: Database, tmp_path: Path) -> None:
    with served(database, tmp_path) as pages:
        head, get = pages.ask("/healthz", "HEAD"), pages.ask("/healthz")
        assert (head.status, head.body) == (200, "")
        assert head.headers["content-length"] == get.headers["content-length"] == "3"
        for method in ("POST", "PUT", "DELETE", "OPTIONS"):
            came = pages.ask("/", method)
            assert (came.status, came.headers["allow"]) == (405, "GET, HEAD")
        for path in ("/x", "/runs/", "/runs/-1", "/runs/1/2", "/runs/%D9%A3", "/../etc/passwd",
                     "/style.css/", "/runs/99999999999999999999"):  # fmt: skip
            assert pages.ask(path).status == 404, path
        assert pages.ask("/", "BREW").status == 501


def test_every_answer_forbids_what_it_does_not_need(database: Database, tmp_path: Path) -> None:
    with served(database, tmp_path) as pages:
        for path in ("/", "/metrics", "/healthz", "/style.css", "/none"):
            headers = pages.ask(path).headers
            policy = headers["content-security-policy"]
            assert policy.startswith("default-src 'none'")
            assert "unsafe" not in policy
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["server"] == "etl", "no version of anything"
        body = pages.ask("/").body
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?! src)|https?://(?!localhost)", body)


@pytest.mark.parametrize(
    ("host", "status"),
    [("localhost", 200), ("127.0.0.1:8080", 200), ("[::1]:8080", 200), ("etl.localhost", 200),
     ("rebound.example", 421), ("127.0.0.1.evil.example", 421), ("[", 421)],
)  # fmt: skip
def test_a_strangers_name_that_leads_to_loopback_gets_nothing(
    database: Database, tmp_path: Path, host: str, status: int
) -> None:
    with served(database, tmp_path) as pages:
        came = pages.ask("/", Host=host)
    assert came.status == status
    if status == 421:
        assert "source" not in came.body


def test_where_everybody_may_ask_any_name_will_do(database: Database, tmp_path: Path) -> None:
    with served(database, tmp_path, host="0.0.0.0") as pages:
        assert pages.ask("/healthz", Host="etl.example").status == 200


def test_a_reloaded_configuration_shows_at_once(database: Database, tmp_path: Path) -> None:
    config = [kit.configured(tmp_path)]
    with served(database, tmp_path, lambda: config[0]) as pages:
        assert "source-graph" in pages.ask("/").body
        config[0] = kit.configured(tmp_path, kit.SCHEDULES.replace("graph:", "graph2:"))
        assert 'source="graph2"' in pages.ask("/metrics").body


def test_an_address_that_is_taken_is_wrong_usage(database: Database, tmp_path: Path) -> None:
    config = kit.configured(tmp_path)
    with (
        served(database, tmp_path) as pages,
        pytest.raises(Usage, match=r"--listen 127.0.0.1:\d+: .*name another"),
        web.serve(pages.address, database, lambda: config, DaemonState(), Metrics()),
    ):
        raise AssertionError("served twice")


class _Read(HTMLParser):
    """What a browser makes of it: (element, title), then (element, text)."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)["title"]))

    def handle_data(self, data: str) -> None:
        if self.found:
            self.found.append((self.found[0][0], data))


class _Ok(BaseHTTPRequestHandler):
    timeout = 30

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


def test_slow_clients_are_cut_off_and_take_no_more_than_their_threads() -> None:
    server = Server(("127.0.0.1", 0), _Ok, threads=2, whole_s=0.5)
    thread = threading.Thread(target=server.run)
    thread.start()
    where = ("127.0.0.1", server.server_port)
    try:
        slow = [socket.create_connection(where, timeout=20) for _ in range(2)]
        for one in slow:
            one.sendall(b"GET / HTTP/1.0\r\nX-Slow: ")
        _await(lambda: server._free._value == 0)
        with socket.create_connection(where, timeout=20) as third:
            assert third.recv(100).startswith(b"HTTP/1.0 503")
        for one in slow:
            assert one.recv(100) == b"", "cut off, whatever it would have said"
            one.close()
        _await(lambda: server._free._value == 2)
        with socket.create_connection(where, timeout=20) as fourth:
            fourth.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert fourth.recv(100).startswith(b"HTTP/1.0 200")
    finally:
        server.stop()
        thread.join()


def test_rubbish_gets_an_answer_and_does_not_end_the_server(
    database: Database, tmp_path: Path
) -> None:
    with served(database, tmp_path) as pages:
        for rubbish, status in (
            (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", b"400"),
            (b"GET " + b"a" * 70000 + b" HTTP/1.0\r\n\r\n", b"414"),
            (b"GET / HTTP/1.0\r\n" + b"X: y\r\n" * 200 + b"\r\n", b"431"),
            (b"GET http://[::1/healthz HTTP/1.0\r\n\r\n", b"404"),
        ):
            with socket.create_connection(pages.address, timeout=20) as client:
                client.sendall(rubbish)
                assert status in client.recv(200).partition(b"\r\n")[0]
        assert pages.ask("/healthz").status == 200


def _await(true: object, seconds: float = 20) -> None:
    give_up_at = time.monotonic() + seconds
    while time.monotonic() < give_up_at:
        if callable(true) and true():
            return
        time.sleep(0.01)
    raise AssertionError("it never came to that")


def _words(body: str) -> str:
    """What is read on a page, without markup."""
    plain = re.sub(r"<(title|script)\b.*?</\1>", " ", body, flags=re.S)
    return " ".join(re.sub(r"<[^>]+>", " ", plain).split())
