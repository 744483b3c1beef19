"""The daemon itself: one loop that fires what is due and notices what has changed around it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from etl import migrate
from etl.config import Config, unscheduled
from etl.daemon.lanes import Lanes
from etl.daemon.scheduler import Scheduler
from etl.daemon.state import DaemonState
from etl.daemon.tasks import LEDGER, Firing, Planned, Task, last_due, planned
from etl.daemon.work import Observe, Work
from etl.db import Persistence
from etl.errors import DatabaseTrouble, EtlError, Migrated, Stopped, Usage
from etl.ledger import firings, keeping
from etl.passes import Surroundings

_log = logging.getLogger("etl.daemon")

LEAVING_S = 8.0
_LOOK_AT_TABLES = timedelta(minutes=5)
_CATCH_UP_AGAIN = timedelta(seconds=15)
_SET_BACK_S = 60.0
_CATCH_UP = Task(LEDGER, "catch up")
_KEEP = Task(LEDGER, "keep the ledger small")
_TABLES = Task(LEDGER, "look at the tables")


class Daemon:
    """Built, started, turned until it is told to stop, closed.

    `load` reads the configuration anew (raises Usage); `observe` is told every outcome.
    """

    def __init__(
        self,
        load: Callable[[], Config],
        around: Surroundings,
        state: DaemonState,
        observe: Observe = lambda *_: None,
        *,
        threads: bool = True,
    ) -> None:
        self._load = load
        self._around = around
        self._state = state
        self.config, self._plan = _proven(load)
        self.reload_asked = threading.Event()
        """Once set, the next turn reloads the configuration."""
        self.ended_by: EtlError | None = None
        """Why the daemon ended by itself."""
        self.lanes = Lanes(self._perform, threads=threads)
        self.scheduler = Scheduler(self.lanes.offer)
        self.work = Work(lambda: self.config, around, self.scheduler.again, observe, self._end)
        self._own = {_CATCH_UP: self._catch_up, _KEEP: self._keep, _TABLES: self._look_at_tables}
        self._wall = around.clock.now()
        self._ticks = around.clock.monotonic()

    def start(self) -> None:
        """Plans everything, and catches up with what is overdue."""
        now = self._around.clock.now()
        self.scheduler.start()
        self.scheduler.plan(self._plan)
        self.scheduler.recur(_KEEP, timedelta(days=1), now + timedelta(minutes=1))
        self.scheduler.recur(_TABLES, _LOOK_AT_TABLES, now + _LOOK_AT_TABLES)
        self._warn()
        self.lanes.offer(Firing(_CATCH_UP, now))
        self._state.tell_next_runs(self.scheduler.next_runs)
        self._state.running = True
        _log.info("started: %d sources, %d schedules", len(self.config.source_names),
                  len(self.config.schedules))  # fmt: skip

    def turn(self) -> float | None:
        """Fires what is due; returns the seconds until something is, None: nothing will be."""
        if self.reload_asked.is_set():
            self.reload_asked.clear()
            self.reload()
        self._look_at_clock()
        return self.scheduler.fire()

    def reload(self) -> None:
        """Takes the configuration as it is now; a broken one is refused and the old goes on."""
        try:
            config, plan = _proven(self._load)
        except Usage as error:
            _log.error("the changed configuration is refused, the old one goes on: %s", error)
            return
        self.config, self._plan = config, plan
        self.scheduler.plan(plan)
        self.work.forget({one.task for one in plan})
        self.lanes.keep(config.source_names)
        self._warn()
        self.lanes.offer(Firing(_CATCH_UP, self._around.clock.now()))
        _log.info("reloaded: %d sources, %d schedules", len(config.source_names),
                  len(config.schedules))  # fmt: skip

    def close(self) -> list[str]:
        """Begins nothing more and waits for what runs, which the stop event ends; returns the
        sources that are still at work after eight seconds."""
        self._state.running = False
        if self.scheduler.running:
            self.scheduler.shutdown(wait=False)
        return self.lanes.end(LEAVING_S)

    def _end(self, error: EtlError) -> None:
        self.ended_by = error
        self._around.stop.set()

    def _perform(self, firing: Firing) -> None:
        own = self._own.get(firing.task)
        if own is None:
            self.work.perform(firing)
            return
        try:
            own()
        except Stopped:
            return
        except Migrated as error:
            self._end(error)
        except (DatabaseTrouble, Usage) as error:
            level = logging.DEBUG if firing.task == _TABLES else logging.WARNING  # passes say it
            _log.log(level, "could not %s: %s", firing.task, error)
            if firing.task == _CATCH_UP:
                self.scheduler.again(firing, self._around.clock.now() + _CATCH_UP_AGAIN)
        except Exception:  # noqa: BLE001 - a mistake here must not end the lane
            _log.exception("could not %s: a mistake in etl", firing.task)

    def _catch_up(self) -> None:
        """Whatever should have run while no daemon did, once."""
        due = list(last_due(self._plan, self._around.clock.now()))

        def owed() -> list[Firing]:
            with self._around.database.reading() as connection:
                found = []
                for firing in due:
                    task, at = firing.task, firing.scheduled_for
                    assert at is not None  # noqa: S101 - it claims
                    missed = firings.missed(connection, task.source, task.command, at)
                    if missed is not None:
                        tried = missed.failed
                        found.append(Firing(task, firing.due, tried is None, tried))
                return found

        for firing in self._persistence()(owed):
            _log.debug("%s %s is overdue since %s", firing.task.source, firing.task, firing.due)
            self.lanes.offer(firing)

    def _keep(self) -> None:
        around = self._around
        keep = timedelta(seconds=float(self.config.keep_runs))
        once = self._persistence()
        gone = keeping.forget(around.database, around.clock.now(), keep, once)
        if gone:
            told = ", ".join(f"{count} of {table}" for table, count in sorted(gone.items()))
            _log.info("the ledger forgot %s", told)

    def _look_at_tables(self) -> None:
        """An idle process must notice too that the database was migrated."""
        database = self._around.database
        found = migrate.current(database)
        if database.revision is not None and found != database.revision:
            raise Migrated(
                f"database {database.name} was migrated from revision {database.revision} to "
                f"{found} while this process ran; start it again, with the release of that revision"
            )

    def _look_at_clock(self) -> None:
        """A clock that was set back would leave every firing waiting for the old time."""
        wall, ticks = self._around.clock.now(), self._around.clock.monotonic()
        behind_s = (self._wall - wall).total_seconds() + (ticks - self._ticks)
        self._wall, self._ticks = wall, ticks
        if behind_s > _SET_BACK_S:
            _log.warning("the clock was set back by %.0f s; everything is planned anew", behind_s)
            self.scheduler.plan(self._plan)

    def _persistence(self) -> Persistence:
        return Persistence(self._around.database.lease_s, self._around.clock, self._around.stop)

    def _warn(self) -> None:
        for name in unscheduled(self.config):
            _log.warning("no schedule syncs the source '%s'", name)


def _proven(load: Callable[[], Config]) -> tuple[Config, list[Planned]]:
    """A configuration whose every source and schedule can be used now. Raises Usage."""
    config = load()
    config.select(())
    _ = config.keep_runs
    return config, planned(config)


class Watched:
    """A file whose change is noticed by its place, time and size."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen = self._look()

    def changed(self) -> bool:
        before, self._seen = self._seen, self._look()
        return self._seen is not None and self._seen != before

    def _look(self) -> tuple[int, int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None  # it is being replaced
        return found.st_ino, found.st_mtime_ns, found.st_size
