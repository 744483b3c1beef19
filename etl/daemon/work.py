"""What a lane does with a firing, and what it makes of its outcome."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta

from msgspec import Struct, field
from msgspec.structs import replace

from etl.config import Config
from etl.context import about
from etl.daemon import tasks
from etl.daemon.circuit import UNAUTHORIZED_S, Circuit
from etl.daemon.tasks import Firing, Task
from etl.errors import (
    Claimed,
    DatabaseTrouble,
    EtlError,
    LostSeat,
    Migrated,
    SeatTaken,
    Stopped,
    Unauthorized,
    Usage,
)
from etl.ledger import firings
from etl.passes import Outcome, Surroundings

_log = logging.getLogger(__name__)
_MARGIN_S = 0.05

Again = Callable[[Firing, datetime], None]
Observe = Callable[[Outcome, str], None]
"""Is told each outcome of a run, with its mode."""


class Work(Struct):
    """Performs firings. Each source is worked on by one thread at a time."""

    config_of: Callable[[], Config]
    around: Surroundings
    again: Again
    observe: Observe
    end: Callable[[EtlError], None]
    """Called when the process is to end, with the reason."""
    circuits: dict[Task, Circuit] = field(default_factory=dict)
    _refused_until: dict[str, datetime] = field(default_factory=dict)

    def perform(self, firing: Firing) -> None:
        """Never raises: whatever goes wrong, the task is tried again later."""
        task = firing.task
        circuit = self.circuits.setdefault(task, Circuit())
        with about(source=task.source):
            try:
                self._perform(firing, circuit)
            except Exception:  # noqa: BLE001 - nor may one mistake end all later passes
                until = circuit.failed(None, self._now())
                _log.exception("%s: a mistake in etl; again at %s UTC", task, _clock(until))
                self.again(firing, until)

    def forget(self, kept: set[Task]) -> None:
        """Tasks that are no longer planned are forgotten."""
        for task in list(self.circuits):
            if task not in kept:
                del self.circuits[task]

    def _perform(self, firing: Firing, circuit: Circuit) -> None:
        config, name = self.config_of(), firing.task.source
        if self.around.stop.is_set() or name not in config.source_names:
            return
        until = self._waits(name, circuit)
        if until is not None:
            self.again(firing, until)
        elif not self._tried_by_others(firing, circuit):
            facts = {"attempt": circuit.failures + 1} if circuit.failures else {}
            with about(**facts):
                self._judge(firing, circuit, self._run(firing, config))

    def _waits(self, source: str, circuit: Circuit) -> datetime | None:
        now = self._now()
        refused = self._refused_until.get(source)
        if refused is not None and now < refused <= now + timedelta(seconds=UNAUTHORIZED_S):
            return refused
        return circuit.waits(now)

    def _tried_by_others(self, firing: Firing, circuit: Circuit) -> bool:
        """A further try of a run that failed: another process may have had one meanwhile."""
        if firing.claims or firing.after is None:
            return False
        try:
            with self.around.database.reading() as connection:
                last = firings.latest(connection, firing.task.source, firing.task.command)
        except DatabaseTrouble:
            return False  # the pass says so
        if last is None or last.run_id == firing.after:
            return False
        if last.status == "succeeded":
            circuit.succeeded()
            return True
        if last.status == "failed":
            until = circuit.failed(None, self._now())
            self.again(replace(firing, after=last.run_id), until)
            return True
        return False

    def _run(self, firing: Firing, config: Config) -> Outcome:
        try:
            configured = config.source(firing.task.source)  # a rotated secret is seen
        except Usage as error:
            return Outcome(firing.task.source, "failed", error=error)
        around = replace(
            self.around,
            triggered_by="schedule",
            scheduled_for=firing.scheduled_for,
            all_due=False,
        )
        return tasks.perform(firing.task, configured, around)

    def _judge(self, firing: Firing, circuit: Circuit, outcome: Outcome) -> None:
        error = outcome.error
        if isinstance(error, Claimed):
            _log.debug("%s", error)
        elif isinstance(error, SeatTaken):  # if its holder dies, the firing is taken over
            _log.debug("%s", error)
            self.again(firing, self._in(error.free_in_s + _MARGIN_S))
        elif isinstance(error, Migrated):
            self.end(error)
        else:
            self.observe(outcome, firing.task.command)
            if error is None:
                self._succeeded(firing, circuit, outcome)
            elif isinstance(error, LostSeat):
                _log.warning("%s: %s", firing.task, error)
            elif not isinstance(error, Stopped):
                self._failed(firing, circuit, outcome)

    def _succeeded(self, firing: Firing, circuit: Circuit, outcome: Outcome) -> None:
        tally = outcome.tally
        level = logging.INFO if tally.written or tally.rejected else logging.DEBUG
        with about(run=outcome.run_id):
            if circuit.failures:
                tries = "1 failure" if circuit.failures == 1 else f"{circuit.failures} failures"
                _log.info("%s works again after %s", firing.task, tries)
            _log.log(
                level,
                "%s: %d rows written, %d unchanged, %d rejected, %d requests, %.1f s",
                firing.task,
                tally.written,
                tally.unchanged,
                tally.rejected,
                outcome.requests,
                outcome.seconds,
            )
        circuit.succeeded()

    def _failed(self, firing: Firing, circuit: Circuit, outcome: Outcome) -> None:
        """It is tried again: a claim that was not made by then still is to be made."""
        until = circuit.failed(outcome.error, self._now())
        if isinstance(outcome.error, Unauthorized):
            self._refused_until[firing.task.source] = self._in(UNAUTHORIZED_S)
        with about(run=outcome.run_id) if outcome.run_id else about():
            _log.warning(
                "%s failed: %s; again at %s UTC", firing.task, outcome.error, _clock(until)
            )
        if outcome.run_id is not None:
            firing = replace(firing, claims=False, after=outcome.run_id)
        self.again(firing, until)

    def _now(self) -> datetime:
        return self.around.clock.now()

    def _in(self, seconds: float) -> datetime:
        return self._now() + timedelta(seconds=seconds)


def _clock(at: datetime) -> str:
    return f"{at:%H:%M:%S}"
