"""Commands as a user runs them: their output and their exit code."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import secrecy

from etl.cli import main

_KEPT = ("PATH", "HOME", "LANG", "TMPDIR", "SYSTEMROOT")


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str


def run(*words: str, cwd: Path, stdin: str = "", env: Mapping[str, str] | None = None) -> Done:
    """Runs `etl` with `words` in `cwd`, inside this process, which spares its start; no setting of
    this machine gets in."""
    out, err = _stream(), _stream()
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    with (
        contextlib.chdir(cwd),
        mock.patch.dict(os.environ, environment(env), clear=True),
        mock.patch.object(sys, "argv", ["etl", *words]),
        mock.patch.object(sys, "stdin", io.StringIO(stdin)),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as ended:
            code = ended.code
        finally:
            root.handlers[:] = handlers
            root.setLevel(level)
    assert isinstance(code, int)
    return _seen(Done(code, _text(out), _text(err)), words)


def run_process(*words: str, cwd: Path) -> Done:
    """Runs `etl` with `words` in `cwd` as a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "etl", *words],
        cwd=cwd,
        env=environment(None),
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=60,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return _seen(Done(done.returncode, done.stdout, done.stderr), words)


def _seen(done: Done, words: tuple[str, ...]) -> Done:
    secrecy.saw(f"the output of etl {' '.join(words)}", done.out + done.err)
    return done


def _stream() -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="", write_through=True)


def _text(stream: io.TextIOWrapper) -> str:
    stream.flush()
    buffer = stream.buffer
    assert isinstance(buffer, io.BytesIO)
    return buffer.getvalue().decode().replace("\r\n", "\n")


def start(*words: str, cwd: Path, **more: Any) -> subprocess.Popen[str]:
    """Starts `etl` with `words`; its output goes where `more` says."""
    return subprocess.Popen(
        [sys.executable, "-m", "etl", *words],
        cwd=cwd,
        env=environment(None),
        encoding="utf-8",
        **more,
    )


def await_handler(process: subprocess.Popen[str], number: signal.Signals) -> None:
    """Waits until the command has its own idea of what `number` means (Linux)."""
    status = Path(f"/proc/{process.pid}/status")
    give_up_at = time.monotonic() + 60
    while time.monotonic() < give_up_at:
        caught = re.search(r"^SigCgt:\t([0-9a-f]+)$", status.read_text(), re.MULTILINE)
        if caught and int(caught[1], 16) >> (number - 1) & 1:
            return
        time.sleep(0.05)
    raise AssertionError(f"{process.args!r} does not handle {number.name}")


def environment(more: Mapping[str, str] | None) -> dict[str, str]:
    secrecy.given(more or {})
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return {**kept, **(more or {})}
