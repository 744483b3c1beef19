"""Who this process is, so that another on the same host can tell whether it still lives."""

from __future__ import annotations

import os
import platform
from functools import cache
from pathlib import Path

from msgspec import Struct

_PROC = Path("/proc")


class Process(Struct, frozen=True):
    """A process of a host. `boot_id` holds the boot and the pid namespace; `started` the start
    time in clock ticks since boot (Linux), empty where the system does not tell."""

    host: str
    pid: int
    boot_id: str
    started: str

    @property
    def label(self) -> str:
        return f"{self.host}:{self.pid}"


def this_process() -> Process:
    return Process(platform.node(), os.getpid(), _boot_id(), _started(os.getpid()) or "")


def is_dead(holder: Process) -> bool:
    """True only when it is certain: the same boot and namespace here, and no such process."""
    if not holder.boot_id or holder.host != platform.node() or holder.boot_id != _boot_id():
        return False
    started = _started(holder.pid)
    if started is None:
        return not _exists(holder.pid)
    return started != holder.started


@cache
def _boot_id() -> str:
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink(_PROC / 'self/ns/pid')}"
    except OSError:
        return ""


def _exists(pid: int) -> bool:
    """Whether a process is there that /proc may hide from us (hidepid)."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _started(pid: int) -> str | None:
    """Empty for a process that has ended; None where /proc shows nothing of it."""
    try:
        stat = (_PROC / str(pid) / "stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] in "ZX" else fields[19]
