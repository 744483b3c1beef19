"""Log lines: one event a line, with source, run and attempt, each level as asked, no secret."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import environment

from etl.cli.logs import JsonFormatter, TextFormatter, levels, set_up
from etl.context import about, carried, facts
from etl.errors import Usage
from etl.redact import Secret

SECRET = 'tökén"with\\quotes'


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    names = ("etl", "etl.http", "sqlalchemy.pool", "etl.daemon")
    own = {name: logging.getLogger(name).level for name in names}
    yield
    root.handlers[:], root.level = handlers, level
    for name, before in own.items():
        logging.getLogger(name).setLevel(before)


def _record(message: str, *args: Any, **more: Any) -> logging.LogRecord:
    made = logging.LogRecord("etl.http", logging.WARNING, "x.py", 1, message, args, None)
    made.__dict__.update(more)
    return made


def _failing() -> logging.LogRecord:
    Secret(SECRET)
    record = _record("it failed")
    try:
        raise ValueError(f"the token is {SECRET}\nand more")
    except ValueError:
        record.exc_info = sys.exc_info()
    return record


def test_a_line_says_what_it_is_about() -> None:
    with about(source="graph"), about(run=12):
        record = _record("attempt %d failed", 2, attempt=2)
        text = TextFormatter().format(record)
        event = json.loads(JsonFormatter().format(record))
    assert text.split(" ", 1)[1] == "WARNING graph: run 12: attempt 2: attempt 2 failed"
    assert (event["source"], event["run"], event["attempt"]) == ("graph", 12, 2)
    assert facts() == {}


def test_a_thread_of_a_pass_knows_what_it_works_on() -> None:
    seen: list[object] = []

    def look() -> None:
        seen.append(dict(facts()))

    with about(source="graph"):
        thread = threading.Thread(target=carried(look))
    thread.start()
    thread.join()
    assert seen == [{"source": "graph"}]


def test_an_event_is_one_line_with_its_traceback_and_without_secrets() -> None:
    text = TextFormatter().format(_failing())
    assert "\n" not in text
    assert "ValueError" in text
    line = JsonFormatter().format(_failing())
    assert "\n" not in line
    for found in (text, line, json.loads(line)["traceback"]):
        assert "[secret]" in found
        for form in (
            SECRET,
            json.dumps(SECRET)[1:-1],
            json.dumps(SECRET, ensure_ascii=False)[1:-1],
        ):
            assert form not in found


def test_a_secret_in_the_fields_of_an_event_is_masked() -> None:
    Secret(SECRET)
    line = JsonFormatter().format(_record("x", told={"deep": [SECRET]}, said=SECRET))
    assert json.loads(line)["told"] == {"deep": ["[secret]"]}
    assert json.loads(line)["said"] == "[secret]"


def test_levels_are_set_by_module() -> None:
    assert levels(["info", "etl.http=debug,etl.db=error"]) == {
        "etl": logging.INFO,
        "etl.http": logging.DEBUG,
        "etl.db": logging.ERROR,
    }
    set_up("text", 0, ["etl.http=debug"])
    assert logging.getLogger("etl.http").isEnabledFor(logging.DEBUG)
    assert not logging.getLogger("etl.daemon").isEnabledFor(logging.INFO)
    with pytest.raises(Usage, match=r"'etl.http=loud' is no level"):
        levels(["etl.http=loud"])


def test_with_json_even_last_words_and_warnings_are_objects_without_secrets(tmp_path: Path) -> None:
    """What no code of ours catches: a bug in the command, in a thread, in a finaliser; warnings."""
    (tmp_path / "sitecustomize.py").write_text(_LAST_WORDS)
    asked = {"PYTHONPATH": str(tmp_path)}
    for words in (["tables"], ["tables", "--nosuch"], ["--log-level", "loud", "tables"]):
        done = subprocess.run(
            [sys.executable, "-m", "etl", "--log-format", "json", *words],
            env=environment(asked), cwd=tmp_path, capture_output=True, text=True, timeout=60,
            check=False,
        )  # fmt: skip
        told = [json.loads(line) for line in done.stderr.splitlines()]
        assert "S3cret-of-tests" not in done.stderr
        if words == ["tables"]:
            seen = [event["message"].partition(":")[0] for event in told]
            assert done.returncode == 1
            assert seen[0].endswith("sitecustomize.py")
            assert seen[1] == "thread worker"
            assert seen[2].startswith("ignored in")
            assert seen[3] == "a mistake in etl"
            assert all("[secret]" in event["traceback"] for event in told[1:])
        else:
            assert done.returncode == 2
            assert len(told) == 1


_LAST_WORDS = """\
import sys, threading, warnings
import etl.cli.query

def _fails(*_, **__):
    from etl.redact import known
    known("S3cret-of-tests")
    raise ValueError("a bug with S3cret-of-tests")

class Odd:
    __del__ = _fails

def _all(*_, **__):
    warnings.warn("that is old", RuntimeWarning)
    worker = threading.Thread(target=_fails, name="worker")
    worker.start()
    worker.join()
    Odd()
    _fails()

etl.cli.query.tables.callback = _all
"""


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_json_is_json_whatever_the_terminal_speaks(encoding: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "etl", "--log-format", "json", "tables", "grün😀"],
        cwd=tmp_path,
        env=environment({"PYTHONIOENCODING": encoding}),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 2
    for line in done.stderr.decode("utf-8").splitlines():
        json.loads(line)
