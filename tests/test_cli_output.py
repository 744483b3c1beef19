"""Where the output of a command goes: a reader that leaves, a full disk, nowhere at all."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from command_line import start

COMMANDS = ("tables", "--help", "--version", "db current", "db upgrade")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_reader_that_went_away_is_no_failure(command: str, tmp_path: Path) -> None:
    process = start(*command.split(), cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    with process.stderr as said:
        assert (said.read(), process.wait(60)) == ("", 0)


@pytest.mark.parametrize("command", ["tables", "db upgrade"])
def test_a_full_disk_is_one_line(command: str, tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        process = start(*command.split(), cwd=tmp_path, stdout=full, stderr=subprocess.PIPE)
        _, said = process.communicate(timeout=60)
    assert said == "etl: the output cannot be written: No space left on device\n"
    assert process.returncode == 1


def test_a_closed_stdout_is_no_mistake(tmp_path: Path) -> None:
    process = start("tables", cwd=tmp_path, stderr=subprocess.PIPE, preexec_fn=_close_stdout)
    _, said = process.communicate(timeout=60)
    assert (said, process.returncode) == ("", 0)


def _close_stdout() -> None:
    os.close(1)
