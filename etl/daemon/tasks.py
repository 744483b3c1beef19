"""What the daemon does: a task is one command with its options for one source."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from msgspec import Struct, field

from etl.config import Config, Entry, Options
from etl.config.firings import last_until
from etl.passes import Configured, Outcome, Surroundings
from etl.sync import sync

_TICK = timedelta(microseconds=1)

LEDGER = ""
"""The `source` of the daemon's own tasks; none of the configuration has this name."""


class Task(Struct, frozen=True):
    """A command for a source. `command` is also the mode of its runs.

    `place` tells the tasks of one source and command apart, which differ in their options; each
    claims its firings so many microseconds after they are due.
    """

    source: str
    command: str
    options: Options = field(default_factory=Options)
    place: int = 0

    def __str__(self) -> str:
        return f"{self.command} {self.place + 1}" if self.place else self.command


class Planned(Struct, frozen=True):
    """A task and one of the entries that fire it."""

    task: Task
    entry: Entry


class Firing(Struct, frozen=True):
    """A task that is due. `claims`: nobody has run it yet, as far as this process knows;
    otherwise it is a further try after the run `after`."""

    task: Task
    due: datetime
    claims: bool = True
    after: int | None = None

    @property
    def scheduled_for(self) -> datetime | None:
        return self.due + self.task.place * _TICK if self.claims else None


def planned(config: Config) -> list[Planned]:
    """Every entry of the configuration for every of its sources. Raises Usage."""
    found: list[Planned] = []
    for entry in config.schedules:
        for name in entry.sources:
            found.append(Planned(_task(found, entry, name), entry))
    return found


def _task(known: list[Planned], entry: Entry, name: str) -> Task:
    alike = [p.task for p in known if (p.task.source, p.task.command) == (name, entry.command)]
    for task in alike:
        if task.options == entry.options:
            return task
    return Task(name, entry.command, entry.options, len(set(alike)))


def last_due(plan: list[Planned], now: datetime) -> Iterator[Firing]:
    """The last firing of each task until `now`."""
    latest: dict[Task, datetime] = {}
    for task, entry in ((one.task, one.entry) for one in plan):
        due = last_until(entry, task.source, now)
        latest[task] = max(due, latest.get(task, due))
    return (Firing(task, due) for task, due in latest.items())


def _month_of(moment: datetime) -> datetime:
    """The first of its month in UTC: a later check then covers this one, whose verdict may go,
    where one that began each time a little later would leave a verdict for ever."""
    at = moment.astimezone(UTC)
    return at.replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def perform(task: Task, configured: Configured, around: Surroundings) -> Outcome:
    """One pass, as the command would make it."""
    options, now = task.options, around.clock.now()
    if task.command == "verify":
        from etl.verify import verify  # noqa: PLC0415 - only when it is due

        verified: Outcome = verify(
            configured,
            around,
            since=_month_of(options.since.resolve(now)) if options.since else None,
            until=options.until.resolve(now) if options.until else None,
            repair=options.repair,
        ).outcome
        return verified
    if task.command == "prune":
        from etl.prune import prune  # noqa: PLC0415 - only when it is due

        assert options.older_than is not None  # noqa: S101 - the configuration requires it
        before = options.older_than.resolve(now)
        pruned: Outcome = prune(configured, around, before=before).outcome
        return pruned
    return sync(configured, around)
