"""The pages in headless Chromium: nothing that axe calls a violation, nothing that the policy of
the pages stops, nothing wider than a telephone."""

from __future__ import annotations

import html
import http.server
import json
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from web_kit import Served, fill, served

from etl.db import Database, open_database

_CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
_AXE = Path(os.environ.get("ETL_TEST_AXE", "node_modules/axe-core/axe.min.js"))

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(_CHROMIUM is None, reason="no Chromium here (apt-get install chromium)"),
    pytest.mark.skipif(
        not _AXE.is_file(), reason="no axe here (npm install axe-core; ETL_TEST_AXE names the file)"
    ),
]

_ASK = """
"use strict";
const stopped = [];
addEventListener("securitypolicyviolation", (event) => stopped.push(event.blockedURI));
addEventListener("load", async () => {
  for (const each of document.querySelectorAll("details")) each.open = true;
  const made = await axe.run(document);
  const told = {
    stopped,
    violations: made.violations.map((v) => [v.id, v.nodes.map((n) => n.html)]),
    passes: made.passes.map((p) => p.id),
    wide: document.documentElement.scrollWidth > innerWidth,
    dark: matchMedia("(prefers-color-scheme: dark)").matches,
    unpaused: !document.getElementById("pause").hidden,
  };
  const out = document.createElement("pre");
  out.id = "told";
  out.textContent = JSON.stringify(told);
  document.body.append(out);
});
"""
_LOOKS = {"light": "1", "dark": "0"}


@pytest.mark.parametrize("look", _LOOKS)
@pytest.mark.parametrize("width", [1360, 500])
def test_the_status_page_has_no_violation(
    database: Database, tmp_path: Path, look: str, width: int
) -> None:
    fill(database)
    with served(database, tmp_path) as pages:
        told = _told(pages, "/", tmp_path, look, width)
    _is_well_made(told)
    assert told["dark"] is (look == "dark")
    assert told["unpaused"], "the script of the page ran"


def test_the_page_of_a_run_has_no_violation(database: Database, tmp_path: Path) -> None:
    failed = fill(database)
    with served(database, tmp_path) as pages:
        _is_well_made(_told(pages, f"/runs/{failed}", tmp_path))


def test_the_page_without_a_database_has_no_violation(tmp_path: Path) -> None:
    database = open_database(f"sqlite:///{tmp_path}/away.db")
    try:
        with served(database, tmp_path) as pages:
            _is_well_made(_told(pages, "/", tmp_path))
    finally:
        database.close()


def _is_well_made(told: dict[str, Any]) -> None:
    assert told["violations"] == []
    assert told["stopped"] == []
    assert not told["wide"]
    assert "color-contrast" in told["passes"], "axe has really looked"


def _told(
    pages: Served, path: str, directory: Path, look: str = "light", width: int = 1360
) -> dict[str, Any]:
    """What axe says of a page."""
    with _with_axe(pages) as port:
        done = subprocess.run(
            [
                str(_CHROMIUM), "--headless=new", "--no-sandbox", "--disable-gpu", "--dump-dom",
                f"--user-data-dir={directory}/profile", f"--window-size={width},1200",
                f"--blink-settings=preferredColorScheme={_LOOKS[look]}",
                "--virtual-time-budget=10000", f"http://localhost:{port}{path}",
            ],
            capture_output=True, encoding="utf-8", check=True, timeout=100,
        )  # fmt: skip
    found = re.search(r'<pre id="told">(.*?)</pre>', done.stdout, re.S)
    assert found, done.stdout[-2000:]
    told: dict[str, Any] = json.loads(html.unescape(found[1]))
    return told


@contextmanager
def _with_axe(pages: Served) -> Iterator[int]:
    """The same pages with the same headers, and two scripts more; its port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            own = {"/axe.js": _AXE.read_bytes(), "/ask.js": _ASK.encode()}
            if self.path in own:
                self._send(200, {"Content-Type": "text/javascript"}, own[self.path])
                return
            came = pages.ask(self.path)
            scripts = '<script src="/axe.js"></script><script src="/ask.js"></script></head>'
            body = came.body.replace("</head>", scripts)
            headers = {k: v for k, v in came.headers.items() if k != "content-length"}
            self._send(came.status, headers, body.encode())

        def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
