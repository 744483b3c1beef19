"""SIGTERM and SIGINT end a sync within seconds, whatever it waits for (guarantee 14)."""

from __future__ import annotations

import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random

import crash_kit
import databases
import pytest
from crash_kit import Contents, Stage, assert_closed, assert_honest, assert_same
from crashing import KINDS, Instant, Nursery
from relay import Relay

from etl.simulator import Fault

Servers = Callable[[str], databases.Server]

_WITHIN_S = 5.0
_TERM, _INT = signal.SIGTERM, signal.SIGINT


@dataclass
class Scene:
    """Platforms, and what an undisturbed sync makes of them."""

    stage: Stage
    wanted: Contents
    events: dict[str, int]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, servers: Servers) -> Iterator[Scene]:
    with Nursery() as nursery, crash_kit.stage(nursery, tmp_path_factory.mktemp("stop")) as stage:
        url = servers("sqlite").migrated()
        ended = stage.sync(url)
        assert ended.code == 0, ended.output
        yield Scene(stage, crash_kit.contents(url), ended.events)


@dataclass
class _Told:
    """A process that is told to stop a moment after one of its requests, and how it took it."""

    scene: Scene
    signal: signal.Signals
    later_s: float = 0.3
    at: float = field(default=0.0)

    def run(self, url: str, request_number: int, first: Callable[[], object] = int) -> int:
        """Returns the exit code; it must come in time. `first` is done before the moment."""
        stage = self.scene.stage
        ready = threading.Event()

        def here() -> None:
            first()
            ready.set()

        stage.at_request(request_number, here)
        with stage.process(url) as process:
            assert ready.wait(60)
            time.sleep(self.later_s)
            began = time.monotonic()
            process.send_signal(self.signal)
            code = process.wait(60)
            took_s = time.monotonic() - began
        stage.sim.clear_faults()
        printed = stage.printed.read_text()
        assert "Traceback" not in printed, printed
        assert took_s < _WITHIN_S, printed
        return code


def _assert_stopped_and_goes_on(scene: Scene, url: str) -> None:
    runs = [crash_kit.run_rows(url, source) for source in crash_kit.SOURCES]
    assert {run.status for its in runs for run in its} <= {"stopped", "succeeded"}
    assert "stopped" in {run.status for its in runs for run in its}
    assert crash_kit.holders(url) == []
    assert_honest(url, scene.wanted)
    scene.stage.synced(url)
    assert_same(crash_kit.contents(url), scene.wanted)
    assert_closed(url)


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (Fault("hang", times=None), _TERM),
        (Fault("throttle", times=None, retry_after="120"), _INT),
        pytest.param(Fault("hang", times=None), _INT, marks=pytest.mark.long),
        pytest.param(Fault("drip", times=None, seconds=0.3), _TERM, marks=pytest.mark.long),
        pytest.param(Fault("delay", times=None, seconds=20), _TERM, marks=pytest.mark.long),
        pytest.param(Fault("status", times=None, status=503), _TERM, marks=pytest.mark.long),
        pytest.param(Fault("reset", times=None), _INT, marks=pytest.mark.long),
    ],
    ids=lambda value: value.kind if isinstance(value, Fault) else value.name,
)
def test_a_stop_ends_the_wait_for_a_platform(
    scene: Scene, database_url: str, fault: Fault, told: signal.Signals
) -> None:
    stage = scene.stage
    code = _Told(scene, told).run(database_url, 20, lambda: stage.sim.fault(fault))
    assert code == 128 + told
    _assert_stopped_and_goes_on(scene, database_url)


@pytest.mark.parametrize("told", [_TERM, pytest.param(_INT, marks=pytest.mark.long)])
def test_a_stop_in_the_middle_of_work(
    scene: Scene, database_url: str, told: signal.Signals
) -> None:
    assert _Told(scene, told, later_s=0.0).run(database_url, 30) == 128 + told
    _assert_stopped_and_goes_on(scene, database_url)


def test_a_stop_ends_the_wait_for_a_locked_file(scene: Scene, servers: Servers) -> None:
    url = servers("sqlite").migrated()
    path = url.removeprefix("sqlite:///")
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    code = _Told(scene, _TERM, later_s=1.0).run(url, 20, lambda: other.execute("BEGIN IMMEDIATE"))
    other.close()
    assert code == 128 + _TERM
    assert_honest(url, scene.wanted)
    scene.stage.synced(url)
    assert_same(crash_kit.contents(url), scene.wanted)
    assert_closed(url)


@pytest.mark.long
@pytest.mark.parametrize("kind", databases.SERVERS)
def test_a_stop_ends_the_wait_for_a_server_that_is_away(
    scene: Scene, servers: Servers, kind: str
) -> None:
    url = servers(kind).migrated()
    with Relay(url) as relay:
        assert _Told(scene, _TERM, later_s=1.0).run(relay.url, 20, relay.down) == 128 + _TERM
    assert_honest(url, scene.wanted)
    scene.stage.synced(url)
    assert_same(crash_kit.contents(url), scene.wanted)
    assert_closed(url)


@pytest.mark.parametrize("kind", crash_kit.POSTGRESQL_AND_LONG)
def test_a_stop_ends_the_wait_for_a_row_that_another_process_locks(
    scene: Scene, servers: Servers, kind: str
) -> None:
    url = servers(kind).migrated()
    with crash_kit.opened(url) as database, database.engine.connect() as other:
        statement = "UPDATE sources SET last_used_at = last_used_at"
        code = _Told(scene, _TERM, later_s=1.0).run(
            url, 20, lambda: other.exec_driver_sql(statement)
        )
        other.rollback()
    assert code == 128 + _TERM
    assert_honest(url, scene.wanted)
    scene.stage.synced(url)
    assert_same(crash_kit.contents(url), scene.wanted)
    assert_closed(url)


@pytest.mark.long
@pytest.mark.parametrize("part", range(4))
def test_a_stop_at_any_instant(scene: Scene, servers: Servers, part: int) -> None:
    dice, kind = Random(f"stop {part}"), ("sqlite", *databases.KINDS)[part]
    for told in (_TERM, _INT, _TERM, _INT):
        url = servers(kind).migrated()
        event = dice.choice(KINDS)
        instant = Instant(event, dice.randint(1, scene.events[event]), signal=told)
        ended = scene.stage.sync(url, instant)
        assert ended.code in (0, 128 + told), (instant, ended.output)
        assert_honest(url, scene.wanted)
        scene.stage.synced(url)
        assert_same(crash_kit.contents(url), scene.wanted)
        assert_closed(url)
