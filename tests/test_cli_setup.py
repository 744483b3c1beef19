"""`etl init` and `etl simulate`: a file to begin with, and something to try it against."""

from __future__ import annotations

import re
import signal
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

from command_line import run, start

from etl.config import template


def test_init_writes_the_template_once(tmp_path: Path) -> None:
    done = run("init", cwd=tmp_path)
    path = tmp_path / "schedules.yaml"
    assert (done.code, done.err) == (0, "")
    assert "etl check" in done.out
    assert path.read_text("utf-8") == template()
    path.write_text("mine")
    refused = run("init", cwd=tmp_path)
    assert (refused.code, path.read_text()) == (2, "mine")
    assert "--force" in refused.err
    assert run("init", "--force", cwd=tmp_path).code == 0
    assert path.read_text("utf-8") == template()


def test_init_says_where_it_cannot_write(tmp_path: Path) -> None:
    done = run("--config", "nowhere/s.yaml", "init", cwd=tmp_path)
    assert (done.code, done.out) == (2, "")
    assert "nowhere/s.yaml cannot be written" in done.err


def test_simulate_serves_until_it_is_told_to_stop(tmp_path: Path) -> None:
    process = start("simulate", "--port", "0", cwd=tmp_path, stdout=subprocess.PIPE)
    assert process.stdout is not None
    url = re.search(r"http://127\.0\.0\.1:(\d+)", process.stdout.readline())
    assert url is not None
    try:
        with urllib.request.urlopen(f"{url[0]}/v1/conf/job/record/acl/list/?pageIndex=1"):
            pass
    except urllib.error.HTTPError as error:
        error.close()  # any answer of its own will do
    taken = run("simulate", "--port", url[1], cwd=tmp_path)
    assert (taken.code, taken.out, taken.err.count("\n")) == (2, "", 1)
    assert f"port {url[1]}" in taken.err
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert process.returncode == 0
