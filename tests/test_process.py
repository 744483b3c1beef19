"""A process is dead only when it is certain."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from msgspec.structs import replace

from etl.ledger import process
from etl.ledger.process import is_dead, this_process


def test_only_certain_death_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    me = this_process()
    assert not is_dead(me)
    assert is_dead(replace(me, started="1"))
    assert not is_dead(replace(me, host="elsewhere", started="1"))
    assert not is_dead(replace(me, boot_id="another", started="1"))
    assert not is_dead(replace(me, boot_id="", started=""))
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert is_dead(replace(me, pid=ended.pid))
    monkeypatch.setattr(process, "_PROC", tmp_path)  # as with hidepid: others are not shown
    assert not is_dead(me)
    assert is_dead(replace(me, pid=ended.pid))


def test_a_process_that_nobody_waited_for_is_dead() -> None:
    me = this_process()
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        started = _start_of(child.pid)
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert is_dead(replace(me, pid=child.pid, started=started))


def _start_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
