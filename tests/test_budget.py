"""Several processes with one account keep one rate, strictly, and use it up."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from http_kit import FakeClock
from sqlalchemy import insert, select

from etl.clock import Clock
from etl.config import load
from etl.db import Database, open_database
from etl.errors import DatabaseTrouble
from etl.http.address import Origin
from etl.ledger import budget
from etl.ledger.budget import SharedSlots
from etl.ledger.tables import request_budgets, sources
from etl.passes import Surroundings
from etl.simulator import Credentials, Fault, Simulator, World
from etl.sync import sync
from etl.units import Rate

ORIGIN = Origin("http", "upstream", 80)
COUNT, WINDOW_S = 35, 2.0
RATE = f"{COUNT}/2s"


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator(World.empty(datetime(2026, 1, 1, tzinfo=UTC))) as served:
        for path in ("/live", "/backfill"):
            served.fault(Fault("body", path, body="{}", times=None))
        yield served


@contextmanager
def caller(
    url: str, simulator: Simulator, seconds: float, seat: str = "live", rate: str = RATE
) -> Iterator[subprocess.Popen[str]]:
    """A process that calls for so long; killed at the end if it is still there."""
    here = Path(__file__).parent
    arguments = [url, simulator.url, rate, str(seconds), seat]
    with subprocess.Popen(
        [sys.executable, "budget_caller.py", *arguments],
        cwd=here,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def begun(process: subprocess.Popen[str]) -> None:
    """Returns when its first call was answered."""
    assert process.stdout is not None
    assert process.stdout.readline()


def arrivals(simulator: Simulator, seat: str = "") -> list[float]:
    return sorted(call.at for call in simulator.requests if call.path.startswith(f"/{seat}"))


def most_in_a_window(times: list[float]) -> int:
    return max(bisect_left(times, at + WINDOW_S) - place for place, at in enumerate(times))


def share_used(times: list[float], since: float) -> float:
    """Of what the rate allows in the whole windows from `since` to the last call."""
    windows = int((times[-1] - since) / WINDOW_S)
    assert windows >= 1
    end = since + windows * WINDOW_S
    return (bisect_left(times, end) - bisect_left(times, since)) / (windows * COUNT)


class Asker:
    """Slots with a thread's patience."""

    def __init__(self, database: Database, clock: Clock | None = None, *, live: bool = True):
        self.slots = SharedSlots(database, ORIGIN, "account", clock or Clock(), live=live)
        self._woken = threading.Event()
        self.slots.attach(self._woken.set)

    def draws(self, rate: Rate, within_s: float = 20) -> bool:
        """Whether one call was allowed within that time."""
        give_up_at = time.monotonic() + within_s
        while (delay := self.slots.reserve([rate])) > 0:
            left = give_up_at - time.monotonic()
            if left <= 0:
                return False
            self._woken.wait(min(delay, left, 0.1))
            self._woken.clear()
        return True


@pytest.fixture
def asker(database: Database) -> Iterator[Callable[[], Asker]]:
    made: list[Asker] = []

    def make(**settings: Any) -> Asker:
        made.append(Asker(database, **settings))
        return made[-1]

    yield make
    for one in made:
        one.slots.rest()


def row(database: Database) -> dict[str, Any]:
    with database.reading() as connection:
        found: dict[str, Any] = json.loads(
            connection.execute(select(request_budgets.c.sent_at)).scalar_one()
        )
        return found


# processes


@pytest.mark.long  # real time, real processes
def test_two_processes_keep_one_rate_and_use_it(
    every_database_url: str, simulator: Simulator
) -> None:
    with (
        caller(every_database_url, simulator, 5) as one,
        caller(every_database_url, simulator, 5) as two,
    ):
        begun(one)
        begun(two)
        assert one.wait(60) == two.wait(60) == 0
    times = arrivals(simulator)
    assert most_in_a_window(times) <= COUNT
    assert share_used(times, times[0]) >= 0.75


@pytest.mark.long  # real time, real processes
def test_one_process_uses_the_whole_rate(database_url: str, simulator: Simulator) -> None:
    with caller(database_url, simulator, 5) as one:
        assert one.wait(60) == 0
    times = arrivals(simulator)
    assert most_in_a_window(times) <= COUNT
    assert share_used(times, times[0]) >= 0.8


@pytest.mark.long  # real time, real processes
def test_live_comes_before_backfill(database_url: str, simulator: Simulator) -> None:
    with caller(database_url, simulator, 60, "backfill") as backfill:
        begun(backfill)
        with caller(database_url, simulator, 5, "live") as live:
            assert live.wait(60) == 0
    times, live_times = arrivals(simulator), arrivals(simulator, "live")
    assert most_in_a_window(times) <= COUNT
    since = live_times[0] + WINDOW_S  # by then the calls of the time before do not count any more
    assert share_used(live_times, since) >= 0.6


def test_a_killed_process_frees_its_slots_after_a_window(
    database_url: str, simulator: Simulator, asker: Callable[[], Asker]
) -> None:
    """Its calls hang; what it held might have arrived until it died."""
    simulator.fault(Fault("body", "/hang", body="{}"))
    simulator.fault(Fault("hang", "/hang", times=None))
    rate = Rate(8, 1.0)
    with caller(database_url, simulator, 60, "hang", rate="8/1s") as hanging:
        begun(hanging)
        give_up_at = time.monotonic() + 20
        while len(simulator.requests) < 9:  # one that was answered, eight that hang
            assert time.monotonic() < give_up_at
            time.sleep(0.05)
        mine = asker()
        assert not mine.draws(rate, within_s=1.5)
        hanging.kill()
        killed_at = time.monotonic()
        assert mine.draws(rate)
        assert time.monotonic() - killed_at >= 1.0


def test_a_pass_draws_from_the_row_of_its_account(
    database: Database, simulator: Simulator, tmp_path: Path
) -> None:
    own = Credentials()
    file = tmp_path / "schedules.yaml"
    file.write_text(
        f"sources: {{q: {{api: dataarts, url: '{simulator.dataarts_url}', rate_limit: 35/10s, "
        f"project_id: {own.project_id}, workspace: {own.workspace}, token: {own.dataarts_token}}}}}"
    )
    around = Surroundings(database, threading.Event(), lambda *_: None)
    outcome = sync(load(file, {}).source("q"), around)
    assert outcome.error is None
    with database.reading() as connection:
        account = connection.execute(select(sources.c.account)).scalar_one()
        kept = connection.execute(select(request_budgets)).one()
    assert kept.account == account
    assert simulator.url.startswith(kept.origin)
    held = row(database)
    assert held["holders"] == {}
    assert sum(count for _, count in held["sent"]) == outcome.requests


# one process


def test_without_a_limit_the_database_is_left_alone(
    database: Database, asker: Callable[[], Asker]
) -> None:
    mine = asker()
    for _ in range(3):
        assert mine.slots.reserve([Rate.parse("none")]) == 0
        mine.slots.arrived()
    mine.slots.rest()
    with database.reading() as connection:
        assert connection.execute(select(request_budgets)).first() is None


def test_calls_from_before_the_limit_was_known_count(asker: Callable[[], Asker]) -> None:
    one, other = asker(), asker()
    for _ in range(3):
        assert one.slots.reserve([]) == 0
        one.slots.arrived()
    assert one.draws(Rate(4, 60))
    assert not other.draws(Rate(4, 60), within_s=0.3)


def test_what_was_not_used_is_given_back(database: Database, asker: Callable[[], Asker]) -> None:
    one, other = asker(), asker()
    assert one.draws(Rate(35, 60))
    assert next(iter(row(database)["holders"].values()))["slots"] == 5
    one.slots.arrived()
    one.slots.rest()
    held = row(database)
    assert held["holders"] == {}
    assert [count for _, count in held["sent"]] == [1]
    assert all(other.draws(Rate(35, 60)) for _ in range(34))
    assert not other.draws(Rate(35, 60), within_s=0.3)


def test_unused_slots_come_back_while_the_pass_goes_on(asker: Callable[[], Asker]) -> None:
    """The one draws a block and needs a part of it; the other waits for less than a window."""
    one, other = asker(), asker()
    rate = Rate(14, 3600)
    assert one.draws(rate)
    assert all(other.draws(rate) for _ in range(13))


def test_arrivals_are_told_while_nothing_is_asked(
    database: Database, asker: Callable[[], Asker]
) -> None:
    mine = asker()
    assert mine.draws(Rate(1, 1))
    mine.slots.arrived()
    give_up_at = time.monotonic() + 20
    while not row(database)["sent"]:
        assert time.monotonic() < give_up_at
        time.sleep(0.02)


def test_slots_that_lay_too_long_are_not_used(
    monkeypatch: pytest.MonkeyPatch, asker: Callable[[], Asker]
) -> None:
    """The process was suspended; others may have thought it dead."""
    mine = asker()
    assert mine.draws(Rate(35, 60))
    assert mine.slots.reserve([Rate(35, 60)]) == 0
    monkeypatch.setattr(budget, "_STALE_S", -1)
    assert mine.slots.reserve([Rate(35, 60)]) == math.inf


def test_a_process_keeps_its_own_window_too(
    database: Database, asker: Callable[..., Asker]
) -> None:
    """Whatever becomes of the row, or of the database's clock."""
    mine = asker(clock=FakeClock())
    assert mine.draws(Rate(1, 60))
    mine.slots.arrived()
    mine.slots.rest()
    with database.writing() as connection:
        connection.execute(request_budgets.delete())
    assert not mine.draws(Rate(1, 60), within_s=0.3)


def test_a_new_limit_voids_what_was_drawn(asker: Callable[[], Asker]) -> None:
    one, other = asker(), asker()
    assert one.draws(Rate(35, 60))
    one.slots.arrived()
    assert one.draws(Rate(2, 60))
    assert not one.draws(Rate(2, 60), within_s=0.3)
    assert not other.draws(Rate(35, 60), within_s=0.3)


def test_passes_of_one_process_share_the_accounts(database: Database) -> None:
    assert budget.accounts(database) is budget.accounts(database, "live")
    assert budget.accounts(database) is not budget.accounts(database, "backfill")


def test_two_processes_make_the_first_row_at_once(every_database: Database) -> None:
    with every_database.writing() as connection:
        connection.execute(
            insert(request_budgets).values(
                account="account", origin="o", sent_at="{}", updated_at=datetime.now(UTC)
            )
        )
        askers = [Asker(every_database), Asker(every_database)]
        assert not any(one.draws(Rate(35, 60), within_s=0.3) for one in askers)
    assert all(one.draws(Rate(35, 60)) for one in askers)
    for one in askers:
        one.slots.rest()
    assert sum(count for _, count in row(every_database)["sent"]) == 2


# trouble


def test_a_locked_database_is_waited_for_and_then_said_so(
    database_url: str,
) -> None:
    if not database_url.startswith("sqlite"):
        pytest.skip("only SQLite locks a whole file")
    database, other = open_database(database_url, lease_s=0.3), open_database(database_url)
    mine = Asker(database)
    with other.writing():
        began = time.monotonic()
        assert mine.slots.reserve([Rate(35, 10)]) == math.inf
        assert time.monotonic() - began < 0.2
        with pytest.raises(DatabaseTrouble, match="no request budget"):
            mine.draws(Rate(35, 10))
    assert until_drawn(mine)
    mine.slots.rest()
    other.close()
    database.close()


def until_drawn(mine: Asker) -> bool:
    """The trouble of before is told until the database has answered."""
    for _ in range(100):
        try:
            return mine.draws(Rate(35, 10))
        except DatabaseTrouble:
            time.sleep(0.05)
    return False


def test_what_no_waiting_mends_is_said_at_once(
    database: Database, asker: Callable[[], Asker]
) -> None:
    with database.writing() as connection:
        connection.execute(
            insert(request_budgets).values(
                account="account", origin="o", sent_at="[]", updated_at=datetime.now(UTC)
            )
        )
    with pytest.raises(DatabaseTrouble, match="delete its row"):
        asker().draws(Rate(35, 10))
