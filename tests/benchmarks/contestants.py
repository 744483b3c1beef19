"""Who runs, in which Python, and what one run costs."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import venv
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.upstream import Upstream

RIVALS = ("dlt[postgres,sqlalchemy]==1.31.*", "orjson", "requests", "psycopg[binary]")
_TESTS = Path(__file__).parents[1]


@dataclass(frozen=True)
class Contestant:
    """One way to do the work. `needs_tables`: they are made before it starts."""

    name: str
    module: str
    is_rival: bool = True
    needs_tables: bool = False
    as_served: bool = False
    schema: str = ""


ETL = Contestant("etl", "etl_itself", is_rival=False)
DLT_REST = Contestant("dlt-rest", "rival_dlt_rest", as_served=True, schema="rival.")
DLT_THREADS = Contestant("dlt-threads", "rival_dlt_threads", schema="rival.")
REQUESTS = Contestant("requests", "rival_requests", needs_tables=True)
ALL = (ETL, DLT_REST, DLT_THREADS, REQUESTS)


@dataclass(frozen=True)
class Cost:
    """One run: whole process, and from its first request to its last commit; in seconds."""

    whole_s: float
    work_s: float
    cpu_s: float
    peak_mib: float
    requests: int
    in_flight: int


@dataclass
class Bench:
    """Where and how contestants run."""

    upstream: Upstream
    in_flight: int
    sources: tuple[str, ...]
    rival_python: str | None
    directory: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="etl-bench-")))

    def run(self, contestant: Contestant, database: str) -> Cost:
        """One run in a process of its own. Raises RuntimeError with what it said last."""
        python = self.rival_python if contestant.is_rival else sys.executable
        assert python is not None
        command = [python, "-m", f"benchmarks.{contestant.module}", self.upstream.url, database]
        command += [str(self.in_flight), tempfile.mkdtemp(dir=self.directory)]
        if contestant is ETL:
            command += self.sources
        elif "quality" not in self.sources:
            command += ["without-quality"]
        self.upstream.log()
        with tempfile.TemporaryFile("w+") as said:
            began = time.monotonic()
            process = subprocess.Popen(command, cwd=_TESTS, stdout=said, stderr=said)
            _, status, used = os.wait4(process.pid, 0)
            whole_s = time.monotonic() - began
            process.returncode = os.waitstatus_to_exitcode(status)
            said.seek(0)
            text = said.read()
        if process.returncode:
            raise RuntimeError(f"{contestant.name} failed: {text[-2000:]}")
        log = self.upstream.log()
        last = max(_numbers(text), default=0.0)
        return Cost(
            whole_s,
            last - log.first_at,
            used.ru_utime + used.ru_stime,
            used.ru_maxrss / 1024,
            log.requests,
            log.most_at_once,
        )


def _numbers(text: str) -> list[float]:
    """Lines that are one number: a contestant's last commit."""
    found = []
    for line in text.splitlines():
        try:
            found.append(float(line))
        except ValueError:
            continue
    return found


def rival_python() -> tuple[str | None, str]:
    """A Python that has the rivals' packages, made at the first use; None, and why it is not."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    place = cache / "etl-benchmark" / f"{sys.version_info[0]}.{sys.version_info[1]}"
    python = place / "bin" / "python"
    if (place / "complete").exists():
        return str(python), ""
    venv.create(place, with_pip=True, clear=True)
    made = subprocess.run(
        [python, "-m", "pip", "install", "-q", *RIVALS], capture_output=True, text=True, check=False
    )
    if made.returncode:
        last = (made.stderr.strip().splitlines() or ["pip failed"])[-1]
        return None, last
    (place / "complete").touch()
    return str(python), ""
