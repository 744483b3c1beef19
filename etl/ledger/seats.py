"""One writer per source and seat at a time, across processes and machines (guarantee 10).

Taking a seat raises its token. Every writing transaction begins by locking the source's row and
renewing the lease under its own token, in one UPDATE that must hit one row: a holder that was
overtaken can commit nothing more. Times are the database server's, so machines need not agree.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec import Struct, field
from sqlalchemy import Connection, column, insert, select, table, text, update

from etl.clock import Clock
from etl.db import Database, Persistence
from etl.errors import DatabaseTrouble, LostSeat, Migrated, SeatTaken, Stopped
from etl.ledger.process import Process, is_dead, this_process
from etl.ledger.tables import sources, sync_leases

_log = logging.getLogger(__name__)
_L = sync_leases.c
_VERSION = table("etl_version", column("version_num"))
_TICK = timedelta(microseconds=1)
_LEAVING_S = 2.0
"""So long a seat is tried to be given back; its lease ends by itself."""

_SERVER_NOW = {
    "postgresql": "SELECT clock_timestamp() AT TIME ZONE 'UTC'",
    "mysql": "SELECT UTC_TIMESTAMP(6)",
    "mariadb": "SELECT UTC_TIMESTAMP(6)",
}


def server_now(connection: Connection) -> datetime:
    """The database's own time in UTC; on SQLite that is this machine's."""
    query = _SERVER_NOW.get(connection.dialect.name)
    if query is None:
        return datetime.now(UTC)
    moment: datetime = connection.execute(text(query)).scalar_one()
    return moment.replace(tzinfo=UTC)


class Writing(Struct):
    """A writing transaction of a seat. `stamp` is its `changed_at`: later than that of any
    earlier transaction of the source. `changed` must be set when a data row was written."""

    connection: Connection
    stamp: datetime
    changed: bool = False


class Seat(Struct):
    """A held seat. `transaction` is the only way to write; it raises LostSeat when overtaken and
    Migrated once the tables are no longer those that the process began with."""

    database: Database
    source: str
    name: str
    token: int
    lease: timedelta
    clock: Clock
    last_stamp: datetime
    _done: threading.Event = field(default_factory=threading.Event)
    _keeper: threading.Thread | None = None

    def now(self) -> datetime:
        """The wall time, but never before what this source's rows were stamped with."""
        return max(self.clock.now(), self.last_stamp)

    @contextmanager
    def transaction(self) -> Iterator[Writing]:
        with self.database.writing() as connection:
            began = time.monotonic()
            last = self._lock(connection)
            writing = Writing(connection, max(self.clock.now(), last + _TICK))
            yield writing
            if writing.changed:
                connection.execute(
                    update(sources)
                    .where(sources.c.source == self.source)
                    .values(last_changed_at=writing.stamp)
                )
            if time.monotonic() - began > self._renewed_every_s:
                self._renew(connection, server_now(connection))  # whoever waited sees it alive
        self.last_stamp = max(last, writing.stamp if writing.changed else last)

    def _lock(self, connection: Connection) -> datetime:
        """Locks the source's row, proves the token, renews the lease; returns the last stamp."""
        last = _locked(connection, self.source)
        _require_same_tables(self.database, connection)
        self._renew(connection, server_now(connection))
        return last

    def _renew(self, connection: Connection, now: datetime) -> None:
        hit = connection.execute(
            update(sync_leases)
            .where(_L.source == self.source, _L.seat == self.name, _L.token == self.token)
            .values(expires_at=now + self.lease)
        )
        if hit.rowcount != 1:
            raise LostSeat(
                f"source '{self.source}': another process took over the {self.name} seat while "
                "this one was away; nothing more was written"
            )

    @property
    def _renewed_every_s(self) -> float:
        return self.lease.total_seconds() / 3

    def keep(self) -> None:
        """Renews the lease in the background at a third of its length."""
        self._keeper = threading.Thread(target=self._keep, name=f"lease-{self.source}", daemon=True)
        self._keeper.start()

    def _keep(self) -> None:
        while not self._done.wait(self._renewed_every_s):
            try:
                with self.database.writing() as connection:
                    mine = select(_L.token).where(_L.source == self.source, _L.seat == self.name)
                    connection.execute(mine.with_for_update())  # may wait; the time comes after it
                    self._renew(connection, server_now(connection))
            except LostSeat:
                return  # the next transaction says so
            except (DatabaseTrouble, Stopped) as error:
                _log.warning("the lease of %s could not be renewed: %s", self.source, error)

    def release(self) -> None:
        """Gives the seat back; the token stays, so that the next one is higher."""
        self._done.set()
        if self._keeper is not None:
            self._keeper.join()
        leaving = Persistence(_LEAVING_S, self.clock, threading.Event())
        try:
            leaving(self._give_back)
        except (DatabaseTrouble, Stopped) as error:
            _log.warning("the seat of %s will expire by itself: %s", self.source, error)

    def _give_back(self) -> None:
        with self.database.writing() as connection:
            connection.execute(
                update(sync_leases)
                .where(_L.source == self.source, _L.seat == self.name, _L.token == self.token)
                .values(holder=None, expires_at=server_now(connection), pid=None)
            )


def _nothing(_: Connection) -> None:
    return


def take(  # noqa: PLR0913 - what is done with a seat is done in its first transaction
    database: Database,
    source: str,
    name: str,
    *,
    lease_s: float,
    clock: Clock,
    before: Callable[[Connection], None] = _nothing,
    then: Callable[[Connection], None] = _nothing,
    tried: list[int] | None = None,
) -> Seat:
    """Takes the seat `name` ("live" or "backfill"); the source must be registered.

    In the same transaction `before` looks, under the source's lock, whether to take it at all,
    and `then` writes what belongs to the taking. `tried` collects the tokens of earlier tries: a
    connection that is lost in a commit does not tell that the seat was taken.
    Raises SeatTaken while a living process holds it, and what `before` and `then` raise.
    """
    lease = timedelta(seconds=lease_s)
    me = this_process()
    with database.writing() as connection:
        last = _locked(connection, source)
        _require_same_tables(database, connection)
        token = _taken_before(connection, source, name, tried or ())
        if token is None:
            before(connection)
            now = server_now(connection)
            token = _next_token(connection, source, name, now)
            if tried is not None:
                tried.append(token)
            connection.execute(
                update(sync_leases)
                .where(_L.source == source, _L.seat == name)
                .values(token=token, expires_at=now + lease, **_identity(me))
            )
            connection.execute(
                update(sources).where(sources.c.source == source).values(last_used_at=now)
            )
            then(connection)
    seat = Seat(database, source, name, token, lease, clock, last)
    seat.keep()
    return seat


def _locked(connection: Connection, source: str) -> datetime:
    """Locks the source's row (on SQLite the transaction did); returns the last stamp.

    Times are read after it: the lock may have been waited for.
    """
    row = connection.execute(
        select(sources.c.last_changed_at).where(sources.c.source == source).with_for_update()
    ).one_or_none()
    if row is None:
        raise LostSeat(
            f"source '{source}': it was dropped or renamed while this process worked; "
            "nothing more was written"
        )
    return row.last_changed_at or datetime.fromtimestamp(0, UTC)


def _require_same_tables(database: Database, connection: Connection) -> None:
    if database.revision is None:
        return
    found = connection.execute(select(_VERSION.c.version_num)).scalar()
    if found != database.revision:
        raise Migrated(
            f"database {database.name} was migrated from revision {database.revision} to {found} "
            "while this process ran; start it again, with the release of that revision"
        )


def _taken_before(
    connection: Connection, source: str, name: str, tried: Sequence[int]
) -> int | None:
    """The token under which an earlier try of this process has taken the seat."""
    if not tried:
        return None
    row = connection.execute(
        select(sync_leases).where(_L.source == source, _L.seat == name)
    ).one_or_none()
    if row is None or row.token not in tried or _process(row) != this_process():
        return None
    return int(row.token)


def _next_token(connection: Connection, source: str, name: str, now: datetime) -> int:
    """Raises SeatTaken while a living process holds the seat."""
    row = connection.execute(
        select(sync_leases).where(_L.source == source, _L.seat == name)
    ).one_or_none()
    if row is None:
        connection.execute(
            insert(sync_leases).values(source=source, seat=name, token=0, expires_at=now)
        )
        # Above what a holder may still have in hand from before the source was dropped.
        return int(now.timestamp() * 1_000_000)
    if _lives(row, now):
        raise SeatTaken(
            f"source '{source}': {row.holder} is at work on it (its lease runs until "
            f"{row.expires_at:%H:%M:%S} UTC); wait for it, or stop it",
            free_in_s=(row.expires_at - now).total_seconds(),
        )
    return int(row.token) + 1


def is_held(connection: Connection, source: str, name: str) -> bool:
    """Whether a living process holds the seat."""
    row = connection.execute(
        select(sync_leases).where(_L.source == source, _L.seat == name)
    ).one_or_none()
    return row is not None and _lives(row, server_now(connection))


def left(connection: Connection) -> set[tuple[str, str]]:
    """(source, seat) of the seats that somebody held once and no living process holds now."""
    rows, now = connection.execute(select(sync_leases)).all(), server_now(connection)
    return {(row.source, row.seat) for row in rows if not _lives(row, now)}


def _lives(row: Any, now: datetime) -> bool:
    return row.holder is not None and row.expires_at > now and not is_dead(_process(row))


def _identity(process: Process) -> dict[str, Any]:
    return {
        "holder": process.label,
        "host": process.host,
        "pid": process.pid,
        "boot_id": process.boot_id,
        "started": process.started,
    }


def _process(row: Any) -> Process:
    return Process(row.host or "", row.pid or 0, row.boot_id or "", row.started or "")
