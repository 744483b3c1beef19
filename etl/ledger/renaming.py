"""A source's name: given to another, pointed elsewhere, or dropped with all that it holds.

Always under both seats of the source, so that nobody writes beside it; generic over the tables,
so that a further platform needs nothing here. `tables` come parents first and hold either a
column `source` or a key of a table that does.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from msgspec import Struct
from sqlalchemy import (
    ColumnElement,
    Connection,
    Table,
    and_,
    delete,
    insert,
    literal,
    select,
    true,
    update,
)

from etl.clock import Clock
from etl.db import Database
from etl.errors import LostSeat, Stopped, Usage
from etl.hints import did_you_mean
from etl.interrupt import interruptible, told_to_stop
from etl.ledger import backfills, seats
from etl.ledger.tables import completeness, sources, sync_cursors, sync_leases, unfinished
from etl.values import canonical

_NAME = re.compile(r"[a-z0-9_-]{1,64}", re.ASCII)
_RESERVED = ("all", "list")
_LEASE_S = 30.0
_BATCH = 200
_FIRST = (sync_cursors, completeness)
"""Dropped before anything else: they vouch for rows that are about to go."""
_LAST = (sync_leases, sources)


class Held(Struct, frozen=True):
    """Both seats of a source."""

    live: seats.Seat
    backfill: seats.Seat


@contextmanager
def held(database: Database, name: str, clock: Clock) -> Iterator[Held]:
    """Takes both seats of a known source. Raises Usage for an unknown one, SeatTaken."""
    with database.reading() as connection:
        require_known(connection, name)
    live = seats.take(database, name, "live", lease_s=_LEASE_S, clock=clock)
    try:
        backfill = seats.take(database, name, "backfill", lease_s=_LEASE_S, clock=clock)
        try:
            yield Held(live, backfill)
        finally:
            backfill.release()
    finally:
        live.release()


def require_known(connection: Connection, name: str) -> None:
    """Raises Usage when the database has no source of that name."""
    known = connection.execute(select(sources.c.source)).scalars().all()
    if name not in known:
        hint = did_you_mean(name, known) or "it has none yet"
        raise Usage(f"the database knows no source '{name}'; {hint}")


def require_free(connection: Connection, name: str) -> None:
    """Raises Usage when `name` is no name for a source, or one that is in use."""
    if not _NAME.fullmatch(name) or name in _RESERVED:
        raise Usage(
            f"'{name}' cannot name a source: 1 to 64 of a-z 0-9 _ - and neither "
            f"{' nor '.join(_RESERVED)}"
        )
    found = select(sources.c.source).where(sources.c.source == name)
    if connection.execute(found).first() is not None:
        raise Usage(f"source '{name}' holds rows already; choose another name")


def rename(
    own: Held, tables: Sequence[Table], old: str, new: str, stop: threading.Event
) -> dict[str, int]:
    """Gives all rows of `old` to `new` in one transaction; `stop` takes it back (Stopped).

    Returns how many rows of each table moved. Raises Usage when `new` cannot be had.
    """
    tables = [table for table in tables if "source" in table.c and table is not sync_leases]
    copied = [table for table in tables if _is_led_to(table, tables)]
    moved: dict[str, int] = {}
    with (
        told_to_stop(stop),
        own.live.transaction() as writing,
        interruptible(writing.connection, stop),
    ):
        connection = writing.connection
        require_free(connection, new)
        for table in copied:
            moved[table.name] = _copy(connection, table, old, new)
        for table in tables:
            if table not in copied:
                mine = update(table).where(table.c.source == old)
                moved[table.name] = connection.execute(mine.values(source=new)).rowcount
        for table in reversed(copied):
            connection.execute(delete(table).where(table.c.source == old))
        _move_seats(connection, own, new)
        if stop.is_set():
            raise Stopped("stopped")
    return {name: count for name, count in moved.items() if count}


def move(own: Held, name: str, *, api: str, identity: Mapping[str, str], account: str) -> list[str]:
    """Lets `name` stand for another address of the same platform. Returns what was done.

    The position that was read up to, and holes in lists, mean nothing there: they are forgotten.
    The same goes for unfinished backfills: they are cancelled. Rows stay. Raises Usage when the
    platform is another.
    """
    with own.live.transaction() as writing:
        connection = writing.connection
        row = connection.execute(select(sources).where(sources.c.source == name)).one()
        if row.api != api:
            raise Usage(
                f"source '{name}' holds rows of {row.api}, schedules.yaml names {api}: one name "
                "cannot hold both; give the new one a name of its own"
            )
        before = json.loads(row.address)
        if before == dict(identity):
            return [f"it stands for {spoken(identity)} already; nothing was changed"]
        connection.execute(
            update(sources)
            .where(sources.c.source == name)
            .values(address=canonical(dict(identity)), account=account)
        )
        cursors = delete(sync_cursors).where(sync_cursors.c.source == name)
        holes = delete(unfinished).where(unfinished.c.source == name, unfinished.c.kind == "hole")
        done = [f"it stood for {spoken(before)}, now for {spoken(identity)}; its rows stay"]
        if connection.execute(cursors).rowcount:
            since = f"{row.since:%Y-%m-%d %H:%M} UTC" if row.since else "the beginning"
            done.append(f"its cursor was reset: the next sync reads from {since}")
        if count := connection.execute(holes).rowcount:
            done.append(f"its holes were forgotten: {count}")
        if count := backfills.cancel_unfinished(connection, name, writing.stamp):
            done.append(f"its unfinished backfills were cancelled: {count}")
        return done


def drop(own: Held, tables: Sequence[Table], name: str, stop: threading.Event) -> Iterator[int]:
    """Deletes all rows of `name`, whole records at a time, in small transactions.

    Yields the rows deleted by each. What vouches for the rows goes first and the name last, so
    that the same command goes on where it was stopped.
    """
    families = _families([table for table in tables if table not in (*_FIRST, *_LAST)])
    with own.live.transaction() as writing:
        gone = _delete_all(writing.connection, _FIRST, name)
    yield gone
    for family in families:
        yield from _drop_family(own, family, name, stop)
    with own.live.transaction() as writing:
        _require_seat(writing.connection, own.backfill)
        _delete_all(writing.connection, _LAST, name)


def spoken(identity: Mapping[str, str]) -> str:
    """What a name stands for, on one line."""
    return ", ".join(f"{key} {value}" for key, value in sorted(identity.items()))


def _is_led_to(table: Table, tables: Sequence[Table]) -> bool:
    """Whether rows of other tables name rows of this one by their source."""
    return any(key.column is table.c.source for other in tables for key in other.foreign_keys)


def _copy(connection: Connection, table: Table, old: str, new: str) -> int:
    """Parents must be there under the new name before their children can move to them."""
    names = [column.name for column in table.c]
    values = [
        literal(new, table.c.source.type) if name == "source" else table.c[name] for name in names
    ]
    mine = select(*values).where(table.c.source == old)
    return connection.execute(insert(table).from_select(names, mine)).rowcount


def _move_seats(connection: Connection, own: Held, new: str) -> None:
    """Both seats go along, free; a holder that was overtaken finds neither (LostSeat)."""
    for seat in (own.live, own.backfill):
        _require_seat(connection, seat)
        connection.execute(
            update(sync_leases)
            .where(sync_leases.c.source == seat.source, sync_leases.c.seat == seat.name)
            .values(source=new, token=seat.token + 1, holder=None, pid=None)
        )


def _require_seat(connection: Connection, seat: seats.Seat) -> None:
    token = select(sync_leases.c.token).where(
        sync_leases.c.source == seat.source, sync_leases.c.seat == seat.name
    )
    if connection.execute(token.with_for_update()).scalar_one_or_none() != seat.token:
        raise LostSeat(f"source '{seat.source}': another process took over its {seat.name} seat")


def _families(tables: Sequence[Table]) -> list[list[Table]]:
    """Each table that depends on no other, with all that depend on it; parents first."""
    families: dict[str, list[Table]] = {}
    root_of: dict[str, str] = {}
    for table in tables:
        above = next((key.column.table.name for key in table.foreign_keys), table.name)
        root = root_of[table.name] = root_of.get(above, above)
        families.setdefault(root, []).append(table)
    return list(families.values())


def _delete_all(connection: Connection, tables: Sequence[Table], name: str) -> int:
    return sum(
        connection.execute(delete(table).where(table.c.source == name)).rowcount for table in tables
    )


def _drop_family(
    own: Held, family: Sequence[Table], name: str, stop: threading.Event
) -> Iterator[int]:
    root = family[0]
    key = next(column for column in root.primary_key if column.name != "source")
    after: ColumnElement[bool] = true()
    while True:
        if stop.is_set():
            raise Stopped("stopped; the same command goes on")
        with own.live.transaction() as writing:
            mine = and_(root.c.source == name, after)
            ahead = select(key).where(mine).order_by(key).limit(1).offset(_BATCH - 1)
            last: Any = writing.connection.execute(ahead).scalar_one_or_none()
            gone = _delete_up_to(writing.connection, family, key.name, name, last)
        yield gone
        if last is None:
            return
        after = key > last


def _delete_up_to(
    connection: Connection, family: Sequence[Table], key: str, name: str, last: Any
) -> int:
    """Deletes the source's rows with keys up to `last` (None: all), children first."""
    root = family[0]
    gone = 0
    for table in reversed(family):
        own = table if "source" in table.c else root
        which = [own.c.source == name]
        if last is not None:
            which.append(own.c[key] <= last)
        where = and_(*which)
        if own is not table:
            where = table.c[key].in_(select(root.c[key]).where(where))
        gone += connection.execute(delete(table).where(where)).rowcount
    return gone
