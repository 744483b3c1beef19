"""`etl sync` as a user meets it: what it prints, how it ends, and what it says of mistakes."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import hostile_tls
import pytest
from command_line import Done, run

from etl.simulator import Simulator, World, environment

TOKEN = "never-to-be-seen-0123456789"

GRAPH = """\
sources:
  graph:
    api: explorer
    url: {url}
    token: {token}
"""
BOTH = """\
sources:
  graph:
    api: explorer
    url: {url}
    token: wrong-token-0123456789
  scripts:
    api: act2
    url: {url}
"""


@pytest.fixture(scope="module")
def sim() -> Iterator[Simulator]:
    world = World.empty()
    now = world.now()
    job = world.explorer.create("daily", ["PageRank"], now)
    world.explorer.start(job.id, now)
    world.explorer.finish(job.id, at=now, samples={"PageRank": [["a", "1"]]})
    with Simulator(world) as simulator:
        yield simulator


def _sync(folder: Path, text: str, *words: str) -> Done:
    (folder / "schedules.yaml").write_text(text)
    done = run(*words, "sync", cwd=folder)
    assert TOKEN not in done.out + done.err
    return done


def test_a_pass_ends_with_a_table_and_0(sim: Simulator, tmp_path: Path) -> None:
    token = environment(sim)["EXPLORER_TOKEN"]
    done = _sync(tmp_path, GRAPH.format(url=sim.url, token=token))
    assert (done.code, done.err) == (0, "")
    header, line = done.out.splitlines()
    assert header.split()[:5] == ["source", "status", "read", "written", "unchanged"]
    assert header.split()[5:] == ["rejected", "requests", "retries", "seconds"]
    assert line.split()[:6] == ["graph", "succeeded", "3", "3", "0", "0"]
    again = _sync(tmp_path, GRAPH.format(url=sim.url, token=token))
    assert again.out.splitlines()[1].split()[3] == "0"


def test_the_run_keeps_the_same_figures(sim: Simulator, tmp_path: Path) -> None:
    token = environment(sim)["EXPLORER_TOKEN"]
    printed = _sync(tmp_path, GRAPH.format(url=sim.url, token=token)).out.splitlines()[1].split()
    query = "SELECT * FROM sync_runs"
    (kept,) = json.loads(run("sql", "--format", "json", query, cwd=tmp_path).out)
    names = ("rows_read", "rows_written", "rows_unchanged", "rows_rejected", "requests", "retries")
    assert [str(kept[name]) for name in names] == printed[2:8]
    assert (kept["status"], kept["mode"], kept["triggered_by"]) == ("succeeded", "sync", "command")


def test_a_wrong_token_is_one_line_with_the_mend(sim: Simulator, tmp_path: Path) -> None:
    done = _sync(tmp_path, GRAPH.format(url=sim.url, token=TOKEN))
    assert done.code == 1
    (line,) = done.err.splitlines()
    assert line.startswith("etl: graph: ")
    assert "token" in line
    assert "failed" in done.out


def test_one_source_that_fails_does_not_keep_the_others(sim: Simulator, tmp_path: Path) -> None:
    done = _sync(tmp_path, BOTH.format(url=sim.url))
    assert done.code == 1
    states = [line.split()[:2] for line in done.out.splitlines()[1:]]
    assert states == [["graph", "failed"], ["scripts", "succeeded"]]


def test_a_wrong_path_is_one_line_that_names_the_url(sim: Simulator, tmp_path: Path) -> None:
    done = _sync(tmp_path, GRAPH.format(url=f"{sim.url}/elsewhere", token=TOKEN))
    assert done.code == 1
    (line,) = done.err.splitlines()
    assert "/elsewhere/" in line
    assert "url" in line


def test_json_logs_are_one_object_a_line(sim: Simulator, tmp_path: Path) -> None:
    text = GRAPH.format(url=sim.url, token=TOKEN)
    done = _sync(tmp_path, text, "--log-format", "json", "-vv")
    assert done.code == 1
    events = [json.loads(line) for line in done.err.splitlines()]
    assert events
    assert all({"at", "level", "logger", "message"} <= event.keys() for event in events)


def test_a_refused_certificate_is_one_line_with_the_mend(tmp_path: Path) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            raise AssertionError("nothing may be asked without a trusted certificate")

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context: ssl.SSLContext = hostile_tls.server_context(tmp_path)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        url = f"https://localhost:{server.server_port}"
        done = _sync(tmp_path, GRAPH.format(url=url, token=TOKEN))
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert done.code == 1
    (line,) = done.err.splitlines()
    assert "certificate" in line
    assert "ca_bundle" in line


def test_no_source_is_wrong_configuration(tmp_path: Path) -> None:
    done = _sync(tmp_path, "sources: {}\n")
    assert done.code == 2
    assert "none is configured" in done.err


def test_an_unknown_source_is_wrong_usage(sim: Simulator, tmp_path: Path) -> None:
    (tmp_path / "schedules.yaml").write_text(GRAPH.format(url=sim.url, token=TOKEN))
    done = run("sync", "grahp", cwd=tmp_path)
    assert done.code == 2
    assert "did you mean 'graph'" in done.err


def test_a_name_pointed_at_another_platform_is_refused(sim: Simulator, tmp_path: Path) -> None:
    token = environment(sim)["EXPLORER_TOKEN"]
    _sync(tmp_path, GRAPH.format(url=sim.url, token=token))
    done = _sync(tmp_path, GRAPH.format(url="http://127.0.0.1:9", token=token))
    assert done.code == 2
    assert "source 'graph' holds rows of url" in done.err
    assert "etl sources move graph" in done.err
