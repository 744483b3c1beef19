"""A world that lives, a platform that misbehaves, syncs in between: what all machines share.

Invariants hold after every sync, however it ended; once the trouble is over and everything has
settled, two syncs make the tables equal the world.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, ClassVar

import hypothesis.strategies as st
from http_kit import START
from hypothesis.stateful import RuleBasedStateMachine, rule
from sqlalchemy import func, select, text
from sync_kit import Named, Syncing, sources

from etl.db import Database, open_database
from etl.http import Api
from etl.ledger.tables import sync_runs
from etl.passes import Outcome, Surroundings
from etl.schema import metadata
from etl.simulator import Fault, Quirks, World
from etl.simulator.wire import Request
from etl.store import Tally
from etl.sync import sync
from etl.units import Duration

OVERLAP_S, SETTLE_S = 600.0, 600.0
TABLES = {
    "graph": ("jobs", "tasks"),
    "scripts": ("job_records", "host_results"),
    "quality": ("quality_instances",),
}
_ORPHANS = {
    "tasks": "SELECT COUNT(*) FROM tasks t LEFT JOIN jobs p ON p.source = t.source"
    " AND p.job_id = t.job_id WHERE p.job_id IS NULL",
    "sample_rows": "SELECT COUNT(*) FROM sample_rows t LEFT JOIN tasks p ON p.source = t.source"
    " AND p.job_id = t.job_id AND p.task_id = t.task_id WHERE p.job_id IS NULL",
    "host_results": "SELECT COUNT(*) FROM host_results t LEFT JOIN job_records p"
    " ON p.source = t.source AND p.record_id = t.record_id WHERE p.record_id IS NULL",
}
TROUBLE = (
    *("status", "error", "throttle", "empty", "html", "broken_json", "nested", "redirect"),
    *("gzip", "bomb", "expire", "delay", "reset", "reset_mid", "truncate"),
)
"""Kinds of faults that may befall any call."""
LIES = ("total", "empty_page", "repeat_page", "page_size")
"""Kinds of faults of a list."""

WAITS = st.sampled_from([1, 45, 700, 4000])
"""Seconds before a sync: within the overlap and before all has settled, or after."""

Held = dict[tuple[Any, ...], tuple[datetime, tuple[Any, ...]]]
NewDatabase = Callable[[], str]


class WorldMachine(RuleBasedStateMachine):
    """Of one platform; a subclass says which, lets its world live, and compares."""

    name: ClassVar[str]
    list_path: ClassVar[str]

    def __init__(self, new_database: NewDatabase) -> None:
        super().__init__()
        self.database: Database = open_database(new_database())
        self.world = World.empty(START)
        self.syncing = Syncing.over(self.database, self.world, Quirks())
        self.sim = self.syncing.sim.start()
        self.clock = self.syncing.clock
        self.quirks = self.sim.quirks
        self.page_size = 5
        self._faults: list[Fault] = []
        self._sampled_at: dict[str, Held] = {name: {} for name in TABLES[self.name]}
        self._latest: datetime | None = None
        self._seen_written = 0

    @property
    def now(self) -> datetime:
        return self.clock.now()

    def login(self) -> dict[str, Any]:
        """Settings that let a session be renewed."""
        return {}

    def something_happens(self) -> None:
        """An execution begins now, and ends."""
        raise NotImplementedError

    def assert_equal(self) -> None:
        """The tables hold the world."""
        raise NotImplementedError

    def configured(self) -> Named:
        common = {
            "page_size": self.page_size,
            "concurrency": 3,
            "overlap": Duration(OVERLAP_S),
            "settle": Duration(SETTLE_S),
            "give_up_after": Duration(90 * 86400),
        }
        return sources(self.sim, (self.name,), **common, **self.login())[self.name]

    # rules

    @rule(
        seconds=WAITS,
        kind=st.sampled_from(TROUBLE),
        times=st.sampled_from([1, 3, 15]),
        after=st.integers(0, 4),
    )
    def trouble(self, seconds: int, kind: Any, times: int, after: int) -> None:
        """The next calls go wrong, those for samples aside (a sample is given up after four)."""
        self.clock.advance(seconds)
        fault = Fault(
            kind, times=times, after=after, when=self._ours, location="http://127.0.0.1:1/"
        )
        if kind == "throttle":
            fault.retry_after, fault.body = "2", "{}"  # a limit named there is kept in real time
        self._faults.append(self.sim.fault(fault))
        self._sync()

    @rule(
        seconds=WAITS,
        kind=st.sampled_from(LIES),
        times=st.integers(1, 2),
        after=st.integers(0, 3),
        size=st.sampled_from([1, 2, -1]),
    )
    def lie(self, seconds: int, kind: Any, times: int, after: int, size: int) -> None:
        """The next pages lie."""
        self.clock.advance(seconds)
        size = max(1, size) if kind == "page_size" else size
        when = self._further_page if kind == "repeat_page" else self._listing
        fault = Fault(kind, times=times, after=after, size=size, when=when)
        self._faults.append(self.sim.fault(fault))
        self._sync()

    @rule(after=st.integers(1, 8), kind=st.sampled_from(["status", "reset"]))
    def outage_in_a_long_walk(self, after: int, kind: Any) -> None:
        """Much happened, over more than the overlap, and the walk over it breaks off."""
        for _ in range(3 * self.page_size):
            self.something_happens()
            self.clock.advance(OVERLAP_S / 2)
        fault = Fault(kind, times=1000, after=after, when=self._ours)
        self._faults.append(self.sim.fault(fault))
        self._sync()
        self.end_trouble()

    @rule(seconds=WAITS)
    def sync(self, seconds: int) -> None:
        self.clock.advance(seconds)
        self._sync()

    @rule(seconds=WAITS)
    def calm_sync_twice(self, seconds: int) -> None:
        """A sync right after a complete one writes nothing."""
        self.clock.advance(seconds)
        self.end_trouble()
        if self._sync().error is None:
            again = self._sync()
            assert again.error is None, again.error
            assert again.tally.written == 0

    def teardown(self) -> None:
        try:
            if sys.exc_info()[0] is None:
                self._ends_well()
        finally:
            self.sim.close()
            self.database.close()

    def _ends_well(self) -> None:
        """No more trouble, and all has settled: two syncs, and the third finds nothing."""
        self.end_trouble()
        self.clock.advance(3 * SETTLE_S + 2 * OVERLAP_S)
        for _ in range(2):
            outcome = self._sync()
            assert outcome.error is None, outcome.error
        self.assert_equal()
        assert self._sync().tally.written == 0

    def end_trouble(self) -> None:
        for fault in self._faults:
            fault.times = 0

    # one sync and what must hold after it

    def before_sync(self) -> None:
        """What happens to the world just as it is read."""

    def after_sync(self) -> None:
        """Ends it."""

    def _sync(self) -> Outcome:
        self._seen_written = 0
        self.before_sync()
        around = Surroundings(self.database, threading.Event(), self._committed, self.clock)
        outcome = sync(self.configured(), around)
        self.after_sync()
        self._figures_add_up(outcome)
        self._nothing_is_orphaned()
        self._changes_are_stamped()
        self.clock.advance(1)
        return outcome

    def _committed(self, source: str, tally: Tally, api: Api, share: float | None) -> None:
        """Each transaction that wrote is stamped later than any before it."""
        latest = max((at for name in TABLES[self.name] for at in self._stamps(name)), default=None)
        if tally.written > self._seen_written:
            assert latest is not None
            assert self._latest is None or latest > self._latest
        else:
            assert latest == self._latest or tally.marked
        self._latest, self._seen_written = latest, tally.written

    def _stamps(self, name: str) -> list[datetime]:
        column = metadata.tables[name].c.changed_at
        with self.database.reading() as connection:
            return [at for at in connection.execute(select(func.max(column))).scalars() if at]

    def _figures_add_up(self, outcome: Outcome) -> None:
        statement = select(sync_runs).order_by(sync_runs.c.run_id.desc()).limit(1)
        with self.database.reading() as connection:
            run = connection.execute(statement).one()
        assert run.status == outcome.status != "running"
        assert run.rows_read == run.rows_written + run.rows_unchanged + run.rows_rejected
        assert min(run.rows_written, run.rows_unchanged, run.rows_rejected) >= 0

    def _nothing_is_orphaned(self) -> None:
        with self.database.reading() as connection:
            for name, query in _ORPHANS.items():
                assert connection.execute(text(query)).scalar_one() == 0, name

    def _changes_are_stamped(self) -> None:
        """`changed_at` of a row moved exactly when its content did, and no row went away."""
        for name, before in self._sampled_at.items():
            held = self._held(name)
            assert before.keys() <= held.keys(), f"rows of {name} went away"
            for key, (at, content) in before.items():
                moved = held[key][0] > at
                assert moved == (held[key][1] != content), f"{name} {key}: changed_at"
            self._sampled_at[name] = held

    def _held(self, name: str) -> Held:
        made = metadata.tables[name]
        key = [column.name for column in made.primary_key]
        other = [c.name for c in made.c if c.name not in ("changed_at", *key)]
        with self.database.reading() as connection:
            rows = connection.execute(select(made)).mappings().all()
        return {
            tuple(row[n] for n in key): (row["changed_at"], tuple(row[n] for n in other))
            for row in rows
        }

    def _ours(self, request: Request) -> bool:
        return not request.path.endswith("/sample_result")

    def _listing(self, request: Request) -> bool:
        """Whether a request is for a page of the list."""
        return request.path.endswith(self.list_path)

    def _further_page(self, request: Request) -> bool:
        """Whether a request is for another page than the first."""
        params = request.params
        if not self._listing(request):
            return False
        number = params.get("page") or params.get("pageNo") or "1"
        return number != "1" or params.get("offset", "0") != "0"


def ago(now: datetime, seconds: float) -> datetime:
    return now - timedelta(seconds=seconds)
