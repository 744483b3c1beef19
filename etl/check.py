"""What would keep a pass from working, found before it runs: nothing is copied here.

Each function gives findings; each names what it looked at and, where that is wrong, the mend.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

from msgspec import Struct
from sqlalchemy import select, text

from etl import migrate
from etl.clock import Clock
from etl.config import Config, Configured, unscheduled
from etl.db import Database
from etl.errors import EtlError, Stopped, Usage
from etl.http import ACCOUNTS, open_api
from etl.ledger import budget, names
from etl.ledger.tables import sources
from etl.redact import masked

Mark = Literal["ok", "note", "wrong"]
_ATTEMPTS = 2
"""Whoever asks whether a platform answers wants to know it now."""


class Finding(Struct, frozen=True):
    """One line: `exit_code` is 1 for what does not answer, 2 for the configuration, else 0."""

    mark: Mark
    what: str
    says: str
    exit_code: int = 0


def wrong(what: str, error: EtlError) -> Finding:
    """A finding from an error, secrets masked."""
    return Finding("wrong", what, masked(str(error)), error.exit_code)


def check_schedules(config: Config) -> Iterator[Finding]:
    """The file as a whole, and the sources that no schedule syncs."""
    count = len(config.source_names)
    if count == 0:
        yield wrong("configuration", Usage(f"{config.path}: it names no source"))
        return
    try:
        entries = len(config.schedules)
        idle = unscheduled(config)
    except Usage as error:
        yield wrong("configuration", error)
        return
    says = f"{config.path}: {_counted(count, 'source')}, {_counted(entries, 'schedule')}"
    yield Finding("ok", "configuration", says)
    for name in idle:
        yield Finding("note", name, f"no schedule syncs it; add one: - sync: {name}, every: 5m")


def check_database(database: Database, chosen: Iterable[Configured]) -> Iterator[Finding]:
    """Its revision, and on MySQL and MariaDB whether it takes the largest outputs."""
    try:
        found = migrate.current(database)
        if found is None:
            migrate.require_room(database)
            says = "it has no tables yet; the first sync makes them"
        else:
            migrate.require_head(database)
            says = f"revision {found}, as this release needs"
        yield Finding("ok", "database", f"{database.name}: {says}")
        yield from _check_packet(database, chosen)
    except EtlError as error:
        yield wrong("database", error)


def _check_packet(database: Database, chosen: Iterable[Configured]) -> Iterator[Finding]:
    if database.dialect not in ("mysql", "mariadb"):
        return
    with database.reading() as connection:
        packet = int(connection.execute(text("SELECT @@max_allowed_packet")).scalar_one())
    for configured in chosen:
        keeps_outputs = any("output_cut" in table.table.c for table in configured.source.tables)
        largest = int(configured.settings.max_output)
        if keeps_outputs and packet < largest:
            yield Finding(
                "note",
                "database",
                f"max_allowed_packet is {_size(packet)}: longer outputs of {configured.name} are "
                f"cut; raise it above {_size(largest)} on the server, or lower max_output",
            )


def check_sources(
    config: Config,
    chosen: Sequence[str],
    database: Database | None,
    stop: threading.Event,
    clock: Clock,
) -> Iterator[Finding]:
    """Each source, all at once, told in their order; one that fails does not stop the others."""

    def check_one(name: str) -> Finding:
        return _check_source(config, name, database, stop, clock)

    with ThreadPoolExecutor(max_workers=max(1, len(chosen)), thread_name_prefix="check") as pool:
        yield from pool.map(check_one, chosen)


def _check_source(
    config: Config, name: str, database: Database | None, stop: threading.Event, clock: Clock
) -> Finding:
    try:
        configured = config.source(name)
        if database is not None:
            _require_same(database, configured)
        return Finding("ok", name, _answer(configured, database, stop, clock))
    except Stopped:
        raise
    except EtlError as error:
        return wrong(name, error)


def _usable(database: Database) -> bool:
    return migrate.current(database) == migrate.head()


def _require_same(database: Database, configured: Configured) -> None:
    """The name stands for what it stood for. Raises Usage."""
    if not _usable(database):
        return  # what the tables lack is told once, for the database
    source, settings = configured.source, configured.settings
    with database.reading() as connection:
        row = connection.execute(select(sources).where(sources.c.source == configured.name)).first()
    if row is not None:
        names.require_same(
            configured.name, row.api, json.loads(row.address), source.api, source.identity(settings)
        )


def _answer(
    configured: Configured, database: Database | None, stop: threading.Event, clock: Clock
) -> str:
    """What the platform says to one cheap call. Raises SourceFailed, Usage, Stopped."""
    source, settings = configured.source, configured.settings
    platform = source.platform(settings)
    if source.ping is None:
        return f"{source.api} at {platform.url}: configured; it cannot be asked without a sync"
    shared = budget.accounts(database) if database is not None and _usable(database) else ACCOUNTS
    with open_api(
        platform, settings, stop=stop, clock=clock, accounts=shared, attempts=_ATTEMPTS
    ) as api:
        return masked(source.ping(api, settings))


def resolved(config: Config, chosen: Iterable[str]) -> list[Configured]:
    """Those of `chosen` whose settings resolve; what is wrong with others is told elsewhere."""
    found = []
    for name in chosen:
        try:
            found.append(config.source(name))
        except Usage:
            continue
    return found


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _size(count: int) -> str:
    return f"{count / 2**20:g} MiB"
