"""One writer per source and seat: across processes that are alive, dead, stopped or slow."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from seat_worker import SOURCE, StandingClock, Worker, note, register
from sqlalchemy import delete, select, text, update

from etl.config import load
from etl.db import Database, open_database
from etl.errors import LostSeat, SeatTaken
from etl.ledger import names, seats
from etl.ledger.tables import sources, status_changes, sync_leases, sync_runs

LEASE_S = 1.0
LONG_S = 30.0

_BLOCKED = (
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE datname = current_database() AND wait_event_type = 'Lock'"
)
_OURS = "SELECT id FROM information_schema.processlist WHERE db = DATABASE()"


@pytest.fixture(scope="module", autouse=True)
def _workers() -> Iterator[None]:
    yield
    Worker.end_all()


@pytest.fixture
def url(every_database_url: str) -> str:
    """A database that knows the source."""
    database = open_database(every_database_url)
    register(database)
    database.close()
    return every_database_url


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    opened = open_database(url)
    yield opened
    opened.close()


@contextmanager
def seat(
    database: Database,
    name: str = "live",
    lease_s: float = LONG_S,
    clock: StandingClock | None = None,
) -> Iterator[seats.Seat]:
    taken = seats.take(database, SOURCE, name, lease_s=lease_s, clock=clock or StandingClock())
    try:
        yield taken
    finally:
        taken.release()


def written(database: Database) -> list[tuple[str, datetime]]:
    """(seat, stamp) of each row, in the order in which they were written."""
    statement = select(status_changes.c.kind, status_changes.c.observed_at)
    with database.reading() as connection:
        rows = connection.execute(statement.order_by(status_changes.c.change_id))
        return [(row.kind, row.observed_at) for row in rows]


def expires_at(database: Database, name: str = "live") -> datetime:
    with database.reading() as connection:
        at: datetime = connection.execute(
            select(sync_leases.c.expires_at).where(sync_leases.c.seat == name)
        ).scalar_one()
        return at


def until(true: Callable[[], bool], timeout_s: float = 20) -> None:
    """Waits for what only real time brings."""
    give_up_at = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < give_up_at
        time.sleep(0.05)


def waiting(database: Database) -> int:
    """How many wait for a lock, where the server tells."""
    with database.reading() as connection:
        if database.dialect == "postgresql":
            return int(connection.execute(text(_BLOCKED)).scalar_one())
        # innodb_trx is renewed only when nobody at all has asked for 0.1 s
        status = connection.execute(text("SHOW ENGINE INNODB STATUS")).one()[2]
        ours = {str(id_) for id_ in connection.execute(text(_OURS)).scalars()}
    blocked = [part for part in status.split("---TRANSACTION ") if "LOCK WAIT" in part]
    return sum(not ours.isdisjoint(re.findall(r"thread id (\d+)", part)) for part in blocked)


def taken_in_time(database: Database, lease_s: float) -> seats.Seat:
    """Takes the live seat as soon as it may be taken."""
    while True:
        try:
            return seats.take(database, SOURCE, "live", lease_s=lease_s, clock=StandingClock())
        except SeatTaken:
            time.sleep(0.02)


# taken and free


def test_a_second_process_is_told_at_once(url: str, database: Database) -> None:
    with Worker.at(url, LONG_S) as first:
        assert first.ask("take live")
        with pytest.raises(SeatTaken, match=f":{first.process.pid} is at work on it"):
            seats.take(database, SOURCE, "live", lease_s=LONG_S, clock=StandingClock())


def test_the_command_answers_3(database_url: str, tmp_path: Path) -> None:
    file = tmp_path / "schedules.yaml"
    file.write_text("sources: {s: {api: explorer, url: 'http://127.0.0.1:9', token: t0ken}}\n")
    configured = load(file, {}).source(SOURCE)
    database = open_database(database_url)
    with database.writing() as connection:
        names.register(
            connection,
            SOURCE,
            api="explorer",
            identity=configured.source.identity(configured.settings),
            account="a",
            since=None,
            expected_every_s=None,
            stale_after_s=None,
            now=StandingClock().now(),
        )
    with seat(database):
        command = [sys.executable, "-m", "etl", "--config", str(file)]
        ended = subprocess.run(
            [*command, "--database", database_url, "sync", SOURCE],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    database.close()
    assert ended.returncode == 3, ended.stderr
    assert f":{os.getpid()} is at work on it" in ended.stderr


def test_a_seat_of_the_same_process_is_taken_too(database: Database) -> None:
    with seat(database), pytest.raises(SeatTaken), seat(database):
        pass


def test_release_frees(url: str, database: Database) -> None:
    with Worker.at(url, LONG_S) as first:
        token = first.ask("take live")
        assert first.ask("release") == "released"
        with seat(database) as second:
            assert second.token == token + 1
            assert first.ask("write") == {"error": "LostSeat"}
    assert written(database) == []


def test_tokens_grow_for_ever(url: str, database: Database) -> None:
    tokens = []
    for _ in range(3):
        with Worker.at(url, LONG_S) as worker:
            tokens.append(worker.ask("take live"))
        with seat(database) as mine:
            tokens.append(mine.token)
    assert tokens == list(range(tokens[0], tokens[0] + 6))


def test_a_holder_of_a_dropped_source_writes_nothing_more(database: Database) -> None:
    with seat(database) as old:
        with database.writing() as connection:
            connection.execute(delete(sync_leases))
            connection.execute(delete(sources))
        with pytest.raises(LostSeat, match="was dropped or renamed"), old.transaction():
            pass
        register(database)  # the same name, anew
        with seat(database), pytest.raises(LostSeat), old.transaction():
            pass


def test_a_released_seat_cannot_be_renewed(database: Database) -> None:
    with seat(database) as old:
        pass
    with seat(database) as new:
        with pytest.raises(LostSeat), old.transaction():
            pass
        before = expires_at(database)
        old.release()
        assert expires_at(database) == before
        with new.transaction() as writing:
            note(writing, "live")


# dead


def test_a_killed_process_frees_its_seat_at_once(url: str, database: Database) -> None:
    with Worker.at(url, LONG_S) as first:
        token = first.ask("take live")
        first.kill()
        with seat(database) as mine:
            assert mine.token == token + 1


def test_the_next_holder_marks_the_crashed_run(url: str, database: Database) -> None:
    with (
        Worker.at(url, LONG_S) as killed,
        Worker.at(url, LONG_S) as other,
        Worker.at(url, LONG_S) as heir,
    ):
        assert killed.ask("take live")
        assert other.ask("take backfill")
        crashed, going_on = killed.ask("run"), other.ask("run")
        killed.kill()
        assert heir.ask("take live")
        own = heir.ask("run")
    with database.reading() as connection:
        rows = connection.execute(select(sync_runs.c.run_id, sync_runs.c.status))
        found = {row.run_id: row.status for row in rows}
    assert found == {crashed: "crashed", going_on: "running", own: "running"}


# stopped


def test_a_stopped_process_is_overtaken_when_its_lease_has_expired(
    url: str, database: Database
) -> None:
    with Worker.at(url, LEASE_S) as stopped:
        token = stopped.ask("take live")
        stopped.stop()
        with pytest.raises(SeatTaken):
            seats.take(database, SOURCE, "live", lease_s=LONG_S, clock=StandingClock())
        heir = taken_in_time(database, LONG_S)
        assert heir.token == token + 1
        stopped.go_on()
        assert stopped.ask("write") == {"error": "LostSeat"}
        assert written(database) == []
        heir.release()


def test_a_process_stopped_in_a_transaction_is_overtaken_too(url: str) -> None:
    if url.startswith("sqlite"):
        pytest.skip("a process suspended inside a SQLite transaction keeps the file")
    database = open_database(url, lease_s=LEASE_S)
    with Worker.at(url, LEASE_S) as stopped:
        stopped.ask("take live")
        stopped.ask("begin")
        stopped.stop()
        began = time.monotonic()
        heir = taken_in_time(database, LONG_S)
        assert time.monotonic() - began < 2 * LEASE_S + 1
        stopped.go_on()
        assert stopped.ask("commit") == {"error": "DatabaseTrouble"}
        assert stopped.ask("write") == {"error": "LostSeat"}
        assert written(database) == []
        heir.release()
    database.close()


def test_a_stopped_process_that_nobody_overtook_goes_on(url: str, database: Database) -> None:
    with Worker.at(url, LEASE_S) as stopped:
        stopped.ask("take live")
        stopped.stop()
        until(lambda: seats_now(database) > expires_at(database))
        stopped.go_on()
        assert len(stopped.ask("write")) == 1
        with pytest.raises(SeatTaken):
            seats.take(database, SOURCE, "live", lease_s=LONG_S, clock=StandingClock())


def seats_now(database: Database) -> datetime:
    with database.reading() as connection:
        return seats.server_now(connection)


# slow


def test_renewal_keeps_a_slow_pass(url: str, database: Database) -> None:
    with Worker.at(url, LONG_S) as slow:
        slow.ask("take live 0.6")
        first = expires_at(database)
        until(lambda: seats_now(database) > first + timedelta(seconds=0.6))
        with pytest.raises(SeatTaken):
            seats.take(database, SOURCE, "live", lease_s=LONG_S, clock=StandingClock())
        assert len(slow.ask("write")) == 1


def test_a_transaction_longer_than_the_lease_keeps_the_seat(url: str, database: Database) -> None:
    """Whoever waits for it to end finds a lease that was renewed at its end."""
    with Worker.at(url, LONG_S) as slow, ThreadPoolExecutor() as pool:
        slow.ask("take live 0.6")
        slow.ask("begin")
        lease_over_at = time.monotonic() + 0.7
        until(lambda: time.monotonic() > lease_over_at)
        heir = pool.submit(
            seats.take, database, SOURCE, "live", lease_s=LONG_S, clock=StandingClock()
        )
        if database.dialect != "sqlite":
            until(lambda: waiting(database) == 2)  # the heir, and the renewal in the background
        assert not heir.done()
        assert slow.ask("commit") == "committed"
        with pytest.raises(SeatTaken):
            heir.result(10)
        assert len(slow.ask("write")) == 1


def test_a_stop_while_the_file_is_locked_ends_quietly(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """SQLite: neither the renewal nor the release may end in another error."""
    if not database_url.startswith("sqlite"):
        pytest.skip("only SQLite locks a whole file")
    stop = threading.Event()
    database, other = open_database(database_url, stop=stop), open_database(database_url)
    register(database)
    taken = seats.take(database, SOURCE, "live", lease_s=0.3, clock=StandingClock())
    stop.set()
    with other.writing(), caplog.at_level(logging.WARNING, "etl"):
        until(lambda: "could not be renewed" in caplog.text)
        taken.release()
    assert "will expire by itself" in caplog.text
    other.close()
    database.close()


# two at once


def test_two_seats_write_in_one_order(url: str, database: Database) -> None:
    """Clocks that stand, differ and go back; the stamps of a source grow strictly all the same."""
    with Worker.at(url, LONG_S) as live, Worker.at(url, LONG_S) as backfill:
        assert live.ask("take live")
        assert backfill.ask("take backfill")
        for minutes in (5, -60):
            live.ask(f"set_clock {minutes}")
            live.tell("write 15")
            backfill.tell("write 15")
            assert len(live.answer()) == len(backfill.answer()) == 15
    rows = written(database)
    stamps = [stamp for _, stamp in rows]
    assert len(stamps) == 60
    assert all(a < b for a, b in pairwise(stamps))
    assert {name for name, _ in rows} == {"live", "backfill"}


def test_the_time_of_an_ask_is_never_before_the_last_stamp(database: Database) -> None:
    clock = StandingClock()
    with seat(database, clock=clock) as mine:
        with mine.transaction() as writing:
            note(writing, "live")
        clock.at -= timedelta(hours=1)
        assert mine.now() == writing.stamp
    with seat(database, clock=clock) as next_:
        assert next_.now() == writing.stamp


def test_a_transaction_that_changes_nothing_moves_no_stamp(database: Database) -> None:
    with seat(database) as mine:
        with mine.transaction():
            pass
        with database.reading() as connection:
            assert connection.execute(select(sources.c.last_changed_at)).scalar_one() is None


def test_two_processes_register_a_source_at_once(every_database_url: str) -> None:
    database = open_database(every_database_url)
    with Worker.at(every_database_url, LONG_S) as one, Worker.at(every_database_url, LONG_S) as two:
        with database.writing() as connection:
            connection.execute(
                sources.insert().values(
                    source=SOURCE,
                    api="explorer",
                    address='{"url":"http://x"}',
                    first_used_at=StandingClock().now(),
                    last_used_at=StandingClock().now(),
                )
            )
            both_wait(database, one, two, "register")
        assert (one.answer(), two.answer()) == ("registered", "registered")
    database.close()


def test_two_processes_take_the_first_lease_at_once(url: str, database: Database) -> None:
    with Worker.at(url, LONG_S) as one, Worker.at(url, LONG_S) as two:
        with database.writing() as connection:
            connection.execute(update(sources).values(last_used_at=StandingClock().now()))
            both_wait(database, one, two, "take live")
        answers = [one.answer(), two.answer()]
    assert {"error": "SeatTaken"} in answers
    assert any(isinstance(answer, int) for answer in answers)


def both_wait(database: Database, one: Worker, two: Worker, line: str) -> None:
    """Both processes stand before the lock that the caller holds."""
    one.tell(line)
    two.tell(line)
    if database.dialect != "sqlite":
        until(lambda: waiting(database) == 2)
