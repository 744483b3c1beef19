"""A live pass and a backfill that read the same record: what one leaves out stays owed."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta

from http_kit import opened
from seat_worker import SOURCE, START, StandingClock, register
from sqlalchemy import select

from etl.db import Database, Persistence
from etl.engine import Pass
from etl.http import Api
from etl.ledger import runs, seats
from etl.ledger.debts import Terms
from etl.ledger.tables import unfinished
from etl.source import Debt, Page, Part, Record
from etl.sources import find
from etl.sources.explorer.tables import JOBS, Job

TERMS = Terms(timedelta(minutes=1), timedelta(days=7))


def minute(number: int) -> datetime:
    return START + timedelta(minutes=number)


def record(status: str, asked_at: datetime, *debts: Debt) -> Record:
    job = Job(5, "d", "w", "d", status, 2, START, START, None, 0, None, False)
    return Record("5", asked_at, [Part(JOBS, [job])], debts)


def copy(database: Database, api: Api, seat: str, now: datetime, one: Record) -> None:
    """A pass of that seat which has read one record."""
    clock = StandingClock(now)
    taken = seats.take(database, SOURCE, seat, lease_s=30, clock=clock)
    mode = "sync" if seat == "live" else seat
    with taken.transaction() as writing:
        run = runs.open_run(writing.connection, SOURCE, mode, triggered_by="command", now=now)
    stop, observer = threading.Event(), lambda *_: None
    work = Pass(
        find("explorer"), taken, run, api, TERMS, stop, observer, Persistence(0, clock, stop)
    )
    work.copy([Page([one])])
    taken.release()


def test_a_record_that_is_left_out_keeps_its_debt(every_database: Database) -> None:
    """The backfill asks first and writes last but one; the pass that asked later is left out,
    for nobody can tell: so the record must be asked for again.
    """
    register(every_database)
    with opened("http://127.0.0.1:9") as api:
        running = record("running", minute(1), Debt("job", "5", "running"))
        copy(every_database, api, "backfill", minute(3), running)
        copy(every_database, api, "live", minute(4), record("succeeded", minute(2)))
    with every_database.reading() as connection:
        assert connection.execute(select(JOBS.table.c.status)).scalars().all() == ["running"]
        assert connection.execute(select(unfinished.c.id)).scalars().all() == ["5"]


def test_a_record_that_is_written_settles_its_debt(every_database: Database) -> None:
    register(every_database)
    with opened("http://127.0.0.1:9") as api:
        running = record("running", minute(1), Debt("job", "5", "running"))
        copy(every_database, api, "backfill", minute(2), running)
        copy(every_database, api, "live", minute(4), record("succeeded", minute(3)))
    with every_database.reading() as connection:
        assert connection.execute(select(JOBS.table.c.status)).scalars().all() == ["succeeded"]
        assert connection.execute(select(unfinished.c.id)).first() is None
