"""Killed at any instant: nothing is half there, and the next sync goes on (guarantees 1, 2, 4)."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import crash_kit
import databases
import pytest
from crash_kit import Contents, Stage, assert_closed, assert_honest, assert_same
from crashing import KINDS, Instant, Nursery, Order

from etl.simulator import Fault, World

Servers = Callable[[str], databases.Server]

KILLS = int(os.environ.get("ETL_CRASH_KILLS", "60"))
"""Of the long runs, shared by the databases and both orders of the lists."""
_IN_A_ROW = (1, 1, 1, 2, 3)
_FROM_NOTHING = 0.15
"""Share of the trials that begin with an empty database, which the killed process migrates."""


@dataclass
class Scene:
    """Platforms, and what an undisturbed sync makes of them."""

    stage: Stage
    wanted: Contents
    events: dict[str, int]


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with Nursery() as running:
        yield running


@pytest.fixture(scope="module")
def scenes(
    nursery: Nursery, tmp_path_factory: pytest.TempPathFactory, servers: Servers
) -> Iterator[dict[str, Scene]]:
    """Lists that are oldest first where they can be, and lists that never are."""
    oldest, newest = (tmp_path_factory.mktemp(name) for name in ("oldest", "newest"))
    with (
        crash_kit.stage(nursery, oldest) as plain,
        crash_kit.stage(nursery, newest, crash_kit.NEWEST_FIRST) as falling,
    ):
        yield {"oldest first": _scene(plain, servers), "newest first": _scene(falling, servers)}


def _scene(stage: Stage, servers: Servers) -> Scene:
    url = servers("sqlite").migrated()
    ended = stage.sync(url)
    assert ended.code == 0, ended.output
    assert_closed(url)
    wanted = crash_kit.contents(url)
    assert_honest(url, wanted)
    return Scene(stage, wanted, ended.events)


def _instant(dice: Random, events: dict[str, int], batch_rows: int) -> Instant:
    """Any event; as often the writing of a batch, before which nothing of it may be there."""
    later_s = dice.choice((0.0, 0.0, dice.uniform(0, 0.02), dice.uniform(0, 0.3)))
    kind = dice.choice(KINDS)
    if dice.random() < 0.5:
        return Instant(kind, dice.randint(1, events[kind]), later_s)
    kind = f"INSERT INTO {dice.choice(crash_kit.DATA)}"
    batches = max(1, events[kind] * Order.batch_rows // batch_rows)
    return Instant(kind, dice.randint(1, batches))


def _trial(scene: Scene, url: str, dice: Random) -> int:
    """Some crashes in a row, then a sync to its end. Returns how many processes were killed."""
    killed = 0
    for _ in range(dice.choice(_IN_A_ROW)):
        batch_rows = dice.choice((Order.batch_rows, 200, 400))
        instant = _instant(dice, scene.events, batch_rows)
        ended = scene.stage.sync(url, instant, batch_rows=batch_rows)
        assert ended.code in (0, -signal.SIGKILL), (instant, ended.output)
        if ended.code == 0:  # there was nothing left to do at that instant
            break
        killed += 1
        assert_honest(url, scene.wanted)
    scene.stage.synced(url)
    assert_same(crash_kit.contents(url), scene.wanted)
    assert_closed(url)
    return killed


def _kill(scene: Scene, server: databases.Server, kills: int, seed: str) -> None:
    dice = Random(seed)
    while kills > 0:
        url = server.blank() if dice.random() < _FROM_NOTHING else server.migrated()
        kills -= _trial(scene, url, dice)


@pytest.mark.parametrize("order", ["oldest first", "newest first"])
def test_a_killed_sync_is_as_if_it_had_not_been_killed(
    scenes: dict[str, Scene], servers: Servers, order: str
) -> None:
    _kill(scenes[order], servers("sqlite"), 2, f"quick {order}")


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("part", range(2))
@pytest.mark.parametrize("order", ["oldest first", "newest first"])
@pytest.mark.parametrize("kind", databases.KINDS)
def test_killed_again_and_again(
    scenes: dict[str, Scene], servers: Servers, kind: str, order: str, part: int
) -> None:
    _kill(scenes[order], servers(kind), -(-KILLS // 12), f"{kind} {order} {part}")


@pytest.mark.parametrize(("source", "table"), [("graph", "jobs"), ("quality", "quality_instances")])
def test_a_crash_in_a_newest_first_walk_hides_no_tail(
    nursery: Nursery, tmp_path: Path, database_url: str, source: str, table: str
) -> None:
    now = datetime.now(UTC)  # where the first sync leaves the cursor
    world = World.empty(now)
    with crash_kit.stage(nursery, tmp_path, crash_kit.NEWEST_FIRST, world) as stage:
        _happen(world, 20, now - timedelta(hours=1))
        stage.synced(database_url, [source])
        before = crash_kit.cursors(database_url)
        _happen(world, 60, now + timedelta(minutes=1))
        ended = stage.sync(database_url, Instant(f"INSERT INTO {table}", 2), [source])
        assert ended.code == -signal.SIGKILL
        held = len(crash_kit.contents(database_url)[table])
        assert 20 < held < 80, "batches were committed, and some were not"
        assert crash_kit.cursors(database_url) == before
        stage.synced(database_url, [source])
        assert len(crash_kit.contents(database_url)[table]) == 80


def _happen(world: World, times: int, first: datetime) -> None:
    """So many jobs and instances, a minute apart, that are over."""
    for place in range(times):
        at = first + timedelta(minutes=1) * place
        world.explorer.finish(world.explorer.create(at=at).id, at=at)
        world.dataarts.finish(world.dataarts.start(at=at).id, at=at)


def test_two_committed_batches_survive_a_crash_in_the_third(
    scenes: dict[str, Scene], database_url: str
) -> None:
    scene = scenes["oldest first"]
    third = Instant("INSERT INTO jobs", 3)
    ended = scene.stage.sync(database_url, third, ["graph"], batch_rows=400)
    assert ended.code == -signal.SIGKILL
    found = crash_kit.contents(database_url)
    assert set(found["jobs"]) < set(scene.wanted["jobs"])
    assert found["jobs"]
    assert crash_kit.cursors(database_url)
    assert_honest(database_url, scene.wanted)
    [run] = crash_kit.run_rows(database_url, "graph")
    rows = sum(len(found[name]) for name in ("jobs", "tasks", "sample_rows"))
    assert (run.status, run.rows_written) == ("running", rows), "rows and figures came together"


def test_a_dead_process_does_not_keep_its_seat(
    nursery: Nursery, tmp_path: Path, database_url: str
) -> None:
    with crash_kit.stage(nursery, tmp_path) as stage:
        asked = threading.Event()
        stage.at_request(1, asked.set)
        stage.sim.fault(Fault("hang", times=None))
        with stage.process(database_url, ["scripts"]) as process:
            assert asked.wait(60)
            process.kill()
            assert process.wait(10) == -signal.SIGKILL
        assert crash_kit.holders(database_url) == ["scripts"]
        stage.sim.clear_faults()
        began = time.monotonic()
        stage.synced(database_url, ["scripts"])
        assert time.monotonic() - began < 25, "it waited for the lease of 30 s to end"
    runs = crash_kit.run_rows(database_url, "scripts")
    assert [run.status for run in runs] == ["crashed", "succeeded"]


@pytest.mark.parametrize("seed", ["one", pytest.param("two", marks=pytest.mark.long)])
def test_the_command_as_users_start_it_is_killed_by_the_clock(
    scenes: dict[str, Scene], database_url: str, seed: str
) -> None:
    scene, dice = scenes["oldest first"], Random(seed)
    for _ in range(1 if seed == "one" else 3):
        asked = threading.Event()
        scene.stage.at_request(dice.randint(1, scene.events["call"]), asked.set)
        with scene.stage.process(database_url) as process:
            asked.wait(60)
            time.sleep(dice.uniform(0, 0.1))
            process.kill()
        scene.stage.sim.clear_faults()
        assert_honest(database_url, scene.wanted)
    scene.stage.synced(database_url)
    assert_same(crash_kit.contents(database_url), scene.wanted)
    assert_closed(database_url)
