"""Backfills that are killed, that are bound to a rate, that run beside a sync: as processes."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from random import Random

import command_line
import crash_kit
import databases
import pytest
from command_line import run
from measuring import measured

from etl.simulator import Fault, Simulator, World, environment
from etl.simulator.wire import Request

Servers = Callable[[str], databases.Server]
NOW = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)

_SCHEDULES = """\
sources:
  graph: {{api: explorer, url: "{url}", token: "{token}", page_size: {page}, rate_limit: {rate}}}
  quality: {{api: dataarts, url: "{url}", project_id: "{project}", workspace: "{workspace}",
            token: "{other}", rate_limit: {rate}, page_size: {page}, overlap: 1m}}
"""


def folder_for(sim: Simulator, folder: Path, rate: str = "none", page: int = 100) -> Path:
    """A directory with a schedules.yaml for the simulator."""
    folder.mkdir(exist_ok=True)
    own = sim.credentials
    (folder / "schedules.yaml").write_text(
        _SCHEDULES.format(
            url=sim.url,
            token=environment(sim)["EXPLORER_TOKEN"],
            other=own.dataarts_token,
            project=own.project_id,
            workspace=own.workspace,
            rate=rate,
            page=page,
        )
    )
    return folder


@contextmanager
def process(folder: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    """`etl` as a process of its own, killed at the end if it still lives."""
    with (folder / "printed.txt").open("w") as printed:
        started = command_line.start(*words, cwd=folder, stdout=printed, stderr=printed)
    try:
        yield started
    finally:
        started.kill()
        started.wait(10)


def killed_at(sim: Simulator, folder: Path, request: int, words: Sequence[str]) -> bool:
    """Starts the command, kills it when the platform gets that request; False: it was done."""
    reached, numbers = threading.Event(), count(1)

    def harmless(_: Request) -> bool:
        if next(numbers) == request:
            reached.set()
        return False

    fault = sim.fault(Fault("delay", times=None, when=harmless))
    with process(folder, *words) as running:
        while running.poll() is None and not reached.wait(0.02):
            pass
        running.send_signal(signal.SIGKILL)
        running.wait(10)
    fault.when = lambda _: False
    assert "Traceback" not in (folder / "printed.txt").read_text()
    return running.returncode == -signal.SIGKILL


def planned(folder: Path) -> list[dict[str, object]]:
    query = "SELECT status, rows_written FROM backfill_windows"
    found: list[dict[str, object]] = json.loads(
        run("sql", query, "--format", "json", cwd=folder).out
    )
    return found


def kill_again_and_again(
    folder: Path, jobs: int, kills: int, least_windows: int, seed: str, lost: int
) -> None:
    """Compares what is left in the end, and what it cost, with an undisturbed backfill.

    `lost`: windows that are read again for each kill, at most.
    """
    words = ("backfill", "graph", "--since", "20d")
    dice = Random(seed)
    with Simulator(World.big(jobs=jobs, now=NOW)) as sim:
        calm = folder_for(sim, folder / "calm")
        assert run(*words, cwd=calm).code == 0
        once, windows = len(sim.requests), len(planned(calm))
        assert windows >= least_windows
        sim.clear_log()
        synced = folder_for(sim, folder / "synced")
        assert run("sync", "graph", cwd=synced).code == 0
        assert once <= 1.05 * len(sim.requests) + 20, "cutting costs little, and planning a little"
        sim.clear_log()
        wild = folder_for(sim, folder / "wild")
        for _ in range(kills):
            assert killed_at(sim, wild, dice.randint(20, once * 2 // (3 * kills)), words)
        ended = run(*words, cwd=wild)
        assert ended.code == 0, ended.err
        assert re.match(r"going on with backfill 1: .* \d+ of \d+ windows done", ended.out)
        asked = len(sim.requests)
    assert {row["status"] for row in planned(wild)} == {"done"}
    print(f"once {once}, killed {kills} times {asked}, {windows} windows")  # noqa: T201 - shown by -s
    assert asked <= 1.05 * once + kills * lost * once / windows
    wanted = crash_kit.contents(f"sqlite:///{calm}/etl.db")
    assert crash_kit.contents(f"sqlite:///{synced}/etl.db") == wanted
    assert crash_kit.contents(f"sqlite:///{wild}/etl.db") == wanted


def test_a_killed_backfill_is_as_if_it_had_not_been_killed(tmp_path: Path) -> None:
    """So few kills may each hit both workers at the end of their windows."""
    kill_again_and_again(tmp_path, jobs=300, kills=2, least_windows=15, seed="quick", lost=2)


@pytest.mark.long
@pytest.mark.timeout(500)
@measured
def test_two_hundred_windows_survive_ten_kills(tmp_path: Path) -> None:
    kill_again_and_again(tmp_path, jobs=2900, kills=10, least_windows=200, seed="long", lost=1)


def sliding(times: Sequence[float], window_s: float) -> int:
    """The most calls in any stretch of that length."""
    return max(sum(at <= later < at + window_s for later in times) for at in times)


def arrivals(sim: Simulator) -> list[float]:
    return sorted(logged.at for logged in sim.requests if logged.platform == "dataarts")


@pytest.mark.long
@pytest.mark.timeout(240)
@measured
def test_four_workers_keep_the_rate_and_use_it(tmp_path: Path) -> None:
    """35 calls in 4 s instead of 10: the same arithmetic in less time."""
    window_s = 4.0
    with Simulator(World.big(instances=1900, now=NOW)) as sim:
        folder = folder_for(sim, tmp_path, "35/4s", page=10)
        done = run("backfill", "quality", "--since", "2d", "--workers", "4", cwd=folder)
        assert done.code == 0, done.err
        times = arrivals(sim)
    assert sliding(times, window_s - 0.01) <= 35 + 1, "give or take one call of jitter"
    whole = int((times[-1] - times[0]) / window_s)
    assert whole >= 4
    used = sum(at < times[0] + whole * window_s for at in times)
    print(f"{used} of {35 * whole} calls in {whole} windows")  # noqa: T201 - shown by -s
    assert used >= 0.95 * 35 * whole


@pytest.mark.long
@pytest.mark.timeout(360)
@measured
def test_a_sync_beside_a_backfill_goes_first(tmp_path: Path) -> None:
    """The same first sync, alone and beside a backfill of the same source."""
    rate, window_s = 40, 1.0
    with Simulator(World.big(instances=4000, now=NOW)) as sim:
        alone = folder_for(sim, tmp_path / "alone", f"{rate}/{window_s:g}s", page=10)
        began = time.monotonic()
        assert run("sync", "quality", cwd=alone).code == 0
        alone_s = time.monotonic() - began
        sim.clear_log()
        both = folder_for(sim, tmp_path / "both", f"{rate}/{window_s:g}s", page=10)
        with process(both, "backfill", "quality", "--since", "2d", "--workers", "4") as backfill:
            while len(sim.requests) < 2 * rate:
                time.sleep(0.05)
            began = time.monotonic()
            synced = run("sync", "quality", cwd=both)
            beside_s = time.monotonic() - began
            assert synced.code == 0, synced.err
            assert backfill.poll() is None, "the backfill is longer than the sync"
            assert backfill.wait(60) == 0
        times = arrivals(sim)
    print(f"alone {alone_s:.1f} s, beside {beside_s:.1f} s")  # noqa: T201 - shown by -s
    assert beside_s < 1.2 * alone_s
    assert sliding(times, window_s - 0.01) <= rate + 1
    url = "sqlite:///{}/etl.db"
    wanted = crash_kit.contents(url.format(alone))
    assert len(wanted["quality_instances"]) == 4000
    assert crash_kit.contents(url.format(both)) == wanted
