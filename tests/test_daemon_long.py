"""Daemons that live for long, and daemons that die: real processes at one-second schedules."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import databases
import pytest
import world_rows
from daemon_kit import runs, sources
from daemon_process import Running
from sqlalchemy import func, select

from etl.db import open_database
from etl.ledger.tables import sync_leases, sync_runs
from etl.schema import metadata
from etl.simulator import Fault, Quirks, Simulator, World

Servers = Callable[[str], databases.Server]
SOAK_MINUTES = float(os.environ.get("ETL_SOAK_MINUTES", "3"))
_EVERY_SECOND = "schedules:\n  - sync: all\n    every: 1s\n"
_SECOND = timedelta(seconds=1)
_LEASE_S = 6
_BUSY = 60
"""Handles or threads of three passes with eight calls each in flight, and some of the daemon's."""
_DATA = ("jobs", "tasks", "sample_rows", "job_records", "host_results", "quality_instances")


@contextmanager
def _happening(world: World, every_s: float) -> Iterator[None]:
    """Executions that are over as they begin come all the while."""
    over = threading.Event()

    def happen() -> None:
        while not over.wait(every_s):
            at = datetime.now(UTC)
            world.explorer.finish(world.explorer.create(at=at).id, at=at)
            world.act2.finish(world.act2.start(at=at).id, at=at)
            world.dataarts.finish(world.dataarts.start(at=at).id, at=at)

    thread = threading.Thread(target=happen, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", databases.SERVERS)
def test_what_a_killed_daemon_leaves_another_takes_over(
    servers: Servers, kind: str, tmp_path: Path
) -> None:
    """Killed again and again in the middle of its passes; each time the other goes on."""
    url = servers(kind).migrated()
    world = World.empty()
    database = open_database(url)
    with Simulator(world) as sim, ExitStack() as happening:
        happening.enter_context(_happening(world, 0.3))
        text = sources(sim, more=f"  lease: {_LEASE_S}s") + _EVERY_SECOND
        slow = Fault("delay", times=None, seconds=0.3)
        sim.fault(slow)
        with Running(tmp_path, url, text, name="two") as two:
            for turn in range(3):
                with Running(tmp_path, url, text, name=f"one-{turn}") as one:
                    one.hears("rows written")
                    one.sees(lambda: _seats_of(database, one.process.pid))
                    orphaned = _seats_of(database, one.process.pid)
                    assert one.told(signal.SIGKILL)[0] == -signal.SIGKILL
                    killed_at = datetime.now(UTC)
                for name in orphaned:
                    two.sees(partial(_went_on, database, name, killed_at))
            happening.close()
            sim.clear_faults()
            two.sees(lambda: _holds_all(database, world))
            assert two.told(signal.SIGTERM)[0] == 0
    made = runs(database)
    database.close()
    firings = Counter((r.source, r.scheduled_for) for r in made if r.scheduled_for is not None)
    assert set(firings.values()) == {1}, "no schedule fired twice"
    assert {run.status for run in made} <= {"succeeded", "crashed", "stopped"}
    assert "crashed" in {run.status for run in made}
    pids = {run.pid for run in made}
    assert len(pids) == 4, "they share the work"


def _seats_of(database: Any, pid: int) -> list[str]:
    with database.reading() as connection:
        mine = select(sync_leases.c.source).where(sync_leases.c.pid == pid)
        return list(connection.execute(mine).scalars())


def _went_on(database: Any, name: str, killed_at: datetime) -> bool:
    """A pass began after the death of the other, within the lease."""
    with database.reading() as connection:
        began = connection.execute(
            select(func.min(sync_runs.c.started_at)).where(
                sync_runs.c.source == name, sync_runs.c.started_at > killed_at
            )
        ).scalar()
    if began is None:
        assert datetime.now(UTC) - killed_at < timedelta(seconds=_LEASE_S + 5)
        return False
    assert began - killed_at < timedelta(seconds=_LEASE_S + 2)
    return True


def _holds_all(database: Any, world: World) -> bool:
    """No gap: all that happened until now is there; and nothing was written twice."""
    for name, wanted in (
        ("jobs", world_rows.jobs(world)),
        ("job_records", world_rows.job_records(world.act2.records, Quirks())),
        ("quality_instances", world_rows.instances(world)),
    ):
        if not wanted.keys() <= world_rows.table(database, name).keys():
            return False
    with database.reading() as connection:
        rows = sum(
            connection.execute(select(func.count()).select_from(metadata.tables[name])).scalar_one()
            for name in _DATA
        )
        written = connection.execute(select(func.sum(sync_runs.c.rows_written))).scalar_one()
    assert written == rows, "each row was written once"
    return True


@pytest.mark.long
@pytest.mark.timeout(int(SOAK_MINUTES * 60) + 300)
def test_a_soak_at_one_second_schedules(database_url: str, tmp_path: Path) -> None:
    """One platform hangs for most of the time; the fast source misses no firing, and neither
    memory nor handles grow."""
    world = World.empty()
    figures: list[tuple[float, float, int, int]] = []
    with Simulator(world) as sim, _happening(world, 5):
        text = sources(sim, more="  overlap: 1m\n  settle: 1m") + _EVERY_SECOND
        with Running(tmp_path, database_url, text) as daemon:
            daemon.hears("rows written")
            began = time.monotonic()
            while (passed_s := time.monotonic() - began) < SOAK_MINUTES * 60:
                if int(passed_s) % 30 < 20:
                    sim.fault(Fault("hang", platform="explorer", times=None))
                else:
                    sim.clear_faults()
                time.sleep(2)
                figures.append((passed_s, *_figures(daemon.process.pid)))
            code, took_s = daemon.told(signal.SIGTERM)
            assert (code, took_s < 10) == (0, True)
            log = daemon.events
    _print(figures)
    database = open_database(database_url)
    fast = [run.scheduled_for for run in runs(database, sync_runs.c.source == "scripts")]
    slow = runs(database, sync_runs.c.source == "graph", sync_runs.c.finished_at.is_not(None))
    database.close()
    assert max(run.finished_at - run.started_at for run in slow) > 10 * _SECOND, "the other hung"
    gaps = [b - a for a, b in pairwise(fast)]
    print(f"{len(fast)} firings, longest gap {max(gaps)}")  # noqa: T201 - shown by -s
    # A machine that is busy may skip one; a source that starves would wait for the hang to end.
    assert max(gaps) < 5 * _SECOND
    assert len(fast) > 0.95 * (fast[-1] - fast[0]) / _SECOND
    third = len(figures) // 3
    early, late = figures[third : 2 * third], figures[2 * third :]
    assert max(f[1] for f in late) < max(f[1] for f in early) * 1.05 + 2, "memory (MiB)"
    for place, what in ((2, "handles"), (3, "threads")):
        # A pass in the middle of its calls has up to eight of both: a leak raises the rest too.
        assert median(f[place] for f in late) <= median(f[place] for f in early) + 8, what
        assert max(f[place] for f in late) < _BUSY, what
    failures = [event for event in log if event["level"] == "warning"]
    assert len(failures) < 20 * SOAK_MINUTES


def _figures(pid: int) -> tuple[float, int, int]:
    """Memory in MiB, open files, threads."""
    status = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
    )
    handles = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    return int(status["VmRSS"].split()[0]) / 1024, handles, int(status["Threads"])


def _print(figures: list[tuple[float, float, int, int]]) -> None:
    step = max(1, len(figures) // 12)
    for passed_s, mib, handles, threads in figures[::step]:
        print(f"{passed_s:7.0f} s {mib:7.1f} MiB {handles:4d} handles {threads:4d} threads")  # noqa: T201
