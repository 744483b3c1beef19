"""Prunes: what is older than a moment goes, whole executions with all below them.

What is unfinished or owed stays. In small transactions: stopped at any moment, the same command
goes on where it was. `sources.pruned_before` is raised first, so that nothing is fetched back.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from msgspec import Struct
from msgspec.structs import replace
from sqlalchemy import (
    ColumnElement,
    Connection,
    String,
    and_,
    cast,
    delete,
    func,
    or_,
    select,
    update,
)

from etl.engine import Pass
from etl.errors import EtlError, Stopped, Usage
from etl.http import Login, Platform, judge_status
from etl.ledger.seats import Writing
from etl.ledger.tables import completeness, rejected_records, sources, status_changes, unfinished
from etl.passes import Configured, Outcome, Surroundings, run_pass
from etl.schema import DataTable
from etl.source import Settings, Source, Span
from etl.values import FINAL

_AT_ONCE = 200
"""Executions that go in one transaction."""
_LOOKED_UP = 10_000
"""Keys that are looked up together."""


class Pruned(Struct):
    """How the pass ended, and what went (or would go). `before` is in UTC."""

    outcome: Outcome
    before: datetime
    executions: int = 0
    rows: int = 0
    """Of all tables, executions included; 0 in a dry run, which counts executions alone."""
    kept_unfinished: int = 0
    """Old enough, but not final or still owed."""


def prune(
    configured: Configured, around: Surroundings, *, before: datetime, dry_run: bool = False
) -> Pruned:
    """Deletes the executions of one source that are listed before `before`.

    Asks the platform nothing and needs no credentials.
    """
    pruned = Pruned(Outcome(configured.name), before)
    if before > around.clock.now():
        pruned.outcome.ended_by(Usage(f"--older-than {before:%Y-%m-%d %H:%M} UTC is still to come"))
        return pruned
    if dry_run:
        return _counted(configured, around, before)

    def work(one: Pass, _: Span) -> None:
        one.write(lambda writing: _raise_border(writing, one.seat.source, before))
        pruned.kept_unfinished = _read(around, configured, before, keeping=True)
        for ids in _oldest(around, configured, before):
            gone = one.write(partial(_delete, configured=configured, before=before, ids=ids))
            pruned.executions += gone[0]
            pruned.rows += gone[1]
            one.observer(configured.name, one.tally, one.api, None)
            if one.stop.is_set():
                raise Stopped("told to stop")
        one.write(lambda writing: _forget_rejects(writing, one.seat.source, before))

    try:
        pruned.outcome = run_pass(_silent(configured, around), around, "prune", work)
    except EtlError as error:
        pruned.outcome.ended_by(error)
    return pruned


def _counted(configured: Configured, around: Surroundings, before: datetime) -> Pruned:
    """What would go."""
    return Pruned(
        Outcome(configured.name),
        before,
        executions=_read(around, configured, before, keeping=False),
        kept_unfinished=_read(around, configured, before, keeping=True),
    )


def _read(around: Surroundings, configured: Configured, before: datetime, *, keeping: bool) -> int:
    table = configured.source.tables[0]
    chosen = _kept if keeping else _prunable
    statement = select(func.count()).where(chosen(table, configured.name, before))
    with around.database.reading() as connection:
        return int(connection.execute(statement).scalar_one())


def _old(table: DataTable, name: str, before: datetime) -> ColumnElement[bool]:
    columns = table.table.c
    return and_(columns.source == name, columns[table.listed_by] < before)


def _is_open(table: DataTable) -> ColumnElement[bool]:
    """Not final, or still owed: given up is given up."""
    columns = table.table.c
    ended = columns.get("finished_at")
    over: ColumnElement[bool] = columns.status.in_(sorted(FINAL))
    if ended is not None:
        over = or_(over, and_(columns.status == "unknown", ended.is_not(None)))
    debts = select(unfinished.c.id).where(
        unfinished.c.source == columns.source, unfinished.c.given_up_at.is_(None)
    )
    return or_(~over, cast(columns[table.key[0]], String(255)).in_(debts))


def _prunable(table: DataTable, name: str, before: datetime) -> ColumnElement[bool]:
    return and_(_old(table, name, before), ~_is_open(table))


def _kept(table: DataTable, name: str, before: datetime) -> ColumnElement[bool]:
    return and_(_old(table, name, before), _is_open(table))


def _raise_border(writing: Writing, name: str, before: datetime) -> None:
    """From now on it is copied from there on; findings about what was checked before are moot,
    since no later check can cover it."""
    c, proof = sources.c, completeness.c
    writing.connection.execute(
        delete(completeness).where(
            proof.source == name,
            or_(proof.since < before, and_(proof.since.is_(None), proof.until.is_not(None))),
            proof.verdict != "complete",
        )
    )
    writing.connection.execute(
        update(sources)
        .where(c.source == name, or_(c.pruned_before.is_(None), c.pruned_before < before))
        .values(pruned_before=before)
    )


def _oldest(
    around: Surroundings, configured: Configured, before: datetime
) -> Iterator[Sequence[Any]]:
    """Keys of what may go, oldest first, as many as go at once; until nothing is left."""
    table = configured.source.tables[0]
    columns, key = table.table.c, table.key[0]
    statement = (
        select(columns[key])
        .where(_prunable(table, configured.name, before))
        .order_by(columns[table.listed_by], columns[key])
        .limit(_LOOKED_UP)
    )
    while True:
        with around.database.reading() as connection:
            found = list(connection.execute(statement).scalars())
        if not found:
            return
        for start in range(0, len(found), _AT_ONCE):
            yield found[start : start + _AT_ONCE]


def _delete(
    writing: Writing, *, configured: Configured, before: datetime, ids: Sequence[Any]
) -> tuple[int, int]:
    """(executions, rows) that went in this transaction: those of `ids` that still may."""
    connection, name, tables = writing.connection, configured.name, configured.source.tables
    columns, key = tables[0].table.c, tables[0].key[0]
    still = select(columns[key]).where(columns[key].in_(ids), _prunable(tables[0], name, before))
    ids = list(connection.execute(still).scalars())
    rows = 0
    for table in reversed(tables):
        own = table.table.c
        gone = delete(table.table).where(own.source == name, own[key].in_(ids))
        rows += connection.execute(gone).rowcount
    _forget(connection, name, tables, [str(id_) for id_ in ids])
    return len(ids), rows


def _forget(
    connection: Connection, name: str, tables: Sequence[DataTable], ids: Sequence[str]
) -> None:
    """What the ledger knows of executions that went: status changes, debts that were given up,
    rejects of them and of their parts, which hold output and could be fetched back."""
    kinds = [table.kind for table in tables if table.kind]
    changes = status_changes.c
    connection.execute(
        delete(status_changes).where(
            changes.source == name, changes.kind.in_(kinds), changes.id.in_(ids)
        )
    )
    owed = unfinished.c
    connection.execute(delete(unfinished).where(owed.source == name, owed.id.in_(ids)))
    rejects, gone = rejected_records.c, set(ids)
    parts = connection.execute(
        select(rejects.reject_id, rejects.upstream_id).where(
            rejects.source == name, rejects.upstream_id.like("%/%")
        )
    )
    of_parts = [row.reject_id for row in parts if row.upstream_id.partition("/")[0] in gone]
    for ours in (rejects.upstream_id.in_(ids), rejects.reject_id.in_(of_parts)):
        connection.execute(delete(rejected_records).where(rejects.source == name, ours))


def _forget_rejects(writing: Writing, name: str, before: datetime) -> None:
    """Rejected records hold output too: those last seen before the border go."""
    c = rejected_records.c
    writing.connection.execute(
        delete(rejected_records).where(c.source == name, c.last_seen_at < before)
    )


class _Silent(Struct, frozen=True):
    """A source whose platform cannot be asked."""

    name: str
    source: Source
    settings: Settings
    expected_every_s: float | None
    stale_after_s: float | None


def _silent(configured: Configured, around: Surroundings) -> Configured:
    """The source with nobody's credentials; its account stays what it was. Raises Usage."""
    c = sources.c
    with around.database.reading() as connection:
        found = connection.execute(select(c.account).where(c.source == configured.name)).first()
    if found is None:
        raise Usage(f"the database holds nothing of source '{configured.name}'; nothing to prune")
    platform = Platform("http://127.0.0.1", found.account or "", _Nobody(), judge_status)
    return _Silent(
        configured.name,
        replace(configured.source, platform=lambda _: platform),
        configured.settings,
        configured.expected_every_s,
        configured.stale_after_s,
    )


class _Nobody:
    """Credentials that are never used."""

    max_in_flight: int | None = None

    def apply(self, request: object) -> None:
        raise AssertionError(f"a prune asks nothing: {request}")

    def renew(self, login: Login) -> bool:  # noqa: ARG002 - Credentials' signature
        return False
