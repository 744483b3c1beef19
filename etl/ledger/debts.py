"""`unfinished`: what is owed, when it is asked again, and when it is given up (DESIGN 6, Debts)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from msgspec import Struct
from sqlalchemy import Connection, RowMapping, delete, func, insert, select, update

from etl.db.among import among
from etl.ledger.entries import Debt
from etl.ledger.tables import unfinished
from etl.values import canonical

_LONGEST = timedelta(hours=1)
_T = unfinished.c


class Terms(Struct, frozen=True):
    """How a source's debts are asked again: at least `interval` apart, at most an hour, until
    `give_up_after` from their first sight."""

    interval: timedelta
    give_up_after: timedelta


class Words:
    """What pages say of debts, one after the other: of each the last word counts."""

    def __init__(self) -> None:
        self._said: dict[str, dict[tuple[str, str], Debt | None]] = {}

    def hear(self, debts: Iterable[Debt], settled: Iterable[tuple[str, str]]) -> None:
        for debt in debts:
            self._said.setdefault(debt.id, {})[debt.kind, debt.id] = debt
        for key in settled:
            self._said.setdefault(key[1], {})[key] = None

    def forget(self, id_: str) -> None:
        """A record that was read whole says itself what it owes."""
        self._said.pop(id_, None)

    def __bool__(self) -> bool:
        return bool(self._said)

    @property
    def owed(self) -> list[Debt]:
        return [debt for debt in self._last() if isinstance(debt, Debt)]

    @property
    def settled(self) -> list[tuple[str, str]]:
        return [key for key in self._last() if not isinstance(key, Debt)]

    def _last(self) -> Iterator[Debt | tuple[str, str]]:
        return (debt or key for words in self._said.values() for key, debt in words.items())


def replace(  # noqa: PLR0913 - which debts, and when
    connection: Connection,
    source: str,
    ids: Sequence[str],
    debts: Iterable[Debt],
    changed: Mapping[str, datetime],
    *,
    terms: Terms,
    now: datetime,
) -> None:
    """Makes `debts` the only ones of the records `ids`; `changed` tells when each last changed."""
    held = _held(connection, source, ids)
    wanted = {(debt.kind, debt.id): debt for debt in debts}
    settle(connection, source, [key for key in held if key not in wanted])
    for key, debt in wanted.items():
        _owe(connection, source, debt, held.get(key), changed.get(debt.id), terms, now)


def add(
    connection: Connection, source: str, debts: Iterable[Debt], *, terms: Terms, now: datetime
) -> None:
    """Adds or keeps debts that belong to no record (a hole)."""
    wanted = list(debts)
    held = _held(connection, source, [debt.id for debt in wanted])
    for debt in wanted:
        _owe(connection, source, debt, held.get((debt.kind, debt.id)), None, terms, now)


def settle(connection: Connection, source: str, keys: Iterable[tuple[str, str]]) -> None:
    """Strikes out debts by (kind, id)."""
    for kind, id_ in keys:
        connection.execute(
            delete(unfinished).where(_T.source == source, _T.kind == kind, _T.id == id_)
        )


def due(
    connection: Connection, source: str, *, now: datetime, every: bool, limit: int
) -> list[Debt]:
    """At most `limit` debts that are due, the oldest due first; `every`: due or not.

    Debts seen first at `now` or later (in this very pass) are left for the next one.
    """
    statement = select(_T.kind, _T.id, _T.reason, _T.hint).where(
        _T.source == source, _T.given_up_at.is_(None), _T.first_seen_at < now
    )
    if not every:
        statement = statement.where(_T.next_due_at <= now)
    statement = statement.order_by(_T.next_due_at, _T.kind, _T.id).limit(limit)
    return [_debt(row) for row in connection.execute(statement)]


def of_kind(connection: Connection, source: str, kind: str) -> list[Debt]:
    """All debts of one kind, given up or not."""
    statement = (
        select(_T.kind, _T.id, _T.reason, _T.hint)
        .where(_T.source == source, _T.kind == kind)
        .order_by(_T.id)
    )
    return [_debt(row) for row in connection.execute(statement)]


def open_ids(connection: Connection, source: str, ids: Sequence[str]) -> set[str]:
    """Those of `ids` that stand in `unfinished`, given up or not."""
    found: set[str] = set()
    for one_of_them in among(connection, _T.id, ids):
        statement = select(_T.id).where(_T.source == source, one_of_them)
        found.update(connection.execute(statement).scalars())
    return found


def counts(connection: Connection, source: str) -> tuple[int, int]:
    """(still asked, given up)."""
    statement = select(func.count(), func.count(_T.given_up_at)).where(_T.source == source)
    total, given_up = connection.execute(statement).one()
    return total - given_up, given_up


def _held(
    connection: Connection, source: str, ids: Sequence[str]
) -> dict[tuple[str, str], RowMapping]:
    found: dict[tuple[str, str], RowMapping] = {}
    for one_of_them in among(connection, _T.id, ids):
        statement = select(unfinished).where(_T.source == source, one_of_them)
        for row in connection.execute(statement).mappings():
            found[row["kind"], row["id"]] = row
    return found


def _owe(  # noqa: PLR0913 - one row of the table needs all of this
    connection: Connection,
    source: str,
    debt: Debt,
    held: RowMapping | None,
    changed_at: datetime | None,
    terms: Terms,
    now: datetime,
) -> None:
    first_seen_at = held["first_seen_at"] if held else now
    hint = canonical(debt.hint) if debt.hint else None
    moved = held is None or (held["reason"], held["hint"]) != (debt.reason, hint)
    since = max(filter(None, (changed_at, now if moved else held and held["changed_at"])))
    wait = min(_LONGEST, max((now - since) / 10, terms.interval))
    over = now - first_seen_at > terms.give_up_after
    values = {
        "next_due_at": now + wait,
        "attempts": held["attempts"] + 1 if held else 0,
        "reason": debt.reason[:1000],
        "hint": hint,
        "changed_at": since,
        "given_up_at": (held and held["given_up_at"]) or (now if over else None),
    }
    if held is None:
        connection.execute(
            insert(unfinished).values(
                source=source, kind=debt.kind, id=debt.id, first_seen_at=first_seen_at, **values
            )
        )
    else:
        connection.execute(
            update(unfinished)
            .where(_T.source == source, _T.kind == debt.kind, _T.id == debt.id)
            .values(**values)
        )


def _debt(row: Any) -> Debt:
    return Debt(row.kind, row.id, row.reason, json.loads(row.hint) if row.hint else {})
