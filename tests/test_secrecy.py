"""What every test is watched for is really seen: each form of a secret, in each place."""

from __future__ import annotations

import base64
import json
import logging
import sqlite3
import urllib.parse
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import secrecy

from etl import redact
from etl.redact import Secret, masked
from etl.simulator import Simulator, World

SECRET = 'tökén&"of tests"\\0123'
_SHOWN = pytest.mark.shows_secrets("to see that it is seen")

FORMS: dict[str, str] = {
    "as it is": f"token {SECRET} refused",
    "in a URL": f"/jobs?token={urllib.parse.quote(SECRET, safe='')}",
    "in a form": urllib.parse.urlencode({"token": SECRET}),
    "in JSON": json.dumps({"token": SECRET}),
    "in JSON with its letters": json.dumps({"token": SECRET}, ensure_ascii=False),
    "in a page": "<p>tökén&amp;&quot;of tests&quot;\\0123</p>",
    **{
        f"in a header, after {user!r}": base64.b64encode(f"{user}:{SECRET}!".encode()).decode()
        for user in ("o", "op", "ope")
    },
}


@_SHOWN
@pytest.mark.parametrize("name", FORMS)
def test_each_form_is_seen(
    name: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    with secrecy.watching(monkeypatch) as watch:
        Secret(SECRET)
        watch.saw("a page", "nothing to see")
        assert watch.found(request.node) == []
        secrecy.saw("a page", FORMS[name])
        assert watch.found(request.node)[0].startswith("a page: ")


def _in_a_file(directory: Path) -> None:
    (directory / "daemon.log").write_text(f"said {SECRET}")


def _in_a_database(directory: Path) -> None:
    with closing(sqlite3.connect(directory / "etl.db")) as made, made:
        made.execute("CREATE TABLE sync_runs (error TEXT)")
        made.execute("INSERT INTO sync_runs VALUES (?)", (SECRET,))


def _in_a_log_line(_: Path) -> None:
    logging.getLogger("etl.http").warning("said %s", SECRET)


@_SHOWN
@pytest.mark.parametrize("put", [_in_a_file, _in_a_database, _in_a_log_line])
def test_each_place_is_looked_at(
    put: Callable[[Path], None],
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    with secrecy.watching(monkeypatch) as watch:
        watch.knows(SECRET)  # and `redact` does not
        (tmp_path / "schedules.yaml").write_text(f"token: '{SECRET}'")
        (tmp_path / "token").write_text(f"{SECRET}\n")
        assert watch.found(request.node) == []
        put(tmp_path)
        assert len(watch.found(request.node)) == 1


@_SHOWN
def test_what_is_learnt_while_a_test_runs_is_looked_for(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    with secrecy.watching(monkeypatch) as watch, Simulator(World.empty()) as sim:
        sim.credentials.act2_password = "changed meanwhile"
        redact.known("the-token-of-a-login")
        later = Secret("the-first-of-two", lambda: "the-second-of-two")
        assert later.reload()
        for text in ("changed meanwhile", "the-token-of-a-login", "the-second-of-two"):
            watch.saw("a page", text)
        assert len(watch.found(request.node)) == 3
        assert masked("the-second-of-two") == redact.MASK
