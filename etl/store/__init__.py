"""Writes records: whole, never older over newer, never poorer over richer (guarantee 8).

Everything here runs inside the writing transaction of a seat (see `etl.ledger.seats`), so what is
read as held cannot change before it is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection

from etl.schema import DataTable
from etl.source import Record
from etl.store.children import Children
from etl.store.held import Held, held_of, last_changes
from etl.store.tally import Tally, count_written
from etl.store.transitions import note_transitions
from etl.upsert import upsert

__all__ = ["Store", "Tally", "last_changes", "latest"]


class Store:
    """Writes the records of the source `name`; `tables` come parents first."""

    def __init__(self, tables: Sequence[DataTable], name: str) -> None:
        self._tables = tables
        self._name = name

    def write(
        self, connection: Connection, records: Sequence[Record], *, stamp: datetime, run_id: int
    ) -> Tally:
        """Writes `records` in one go; `stamp` is the transaction's `changed_at`.

        Records that were asked for before the database last learnt something about them are
        left out, count as unchanged and are named in `left_out`.
        """
        tally = Tally()
        tally.read = sum(len(p.rows) for r in records for p in r.parts)
        asked_last = latest(records)
        held = held_of(connection, self._tables, self._name, asked_last)
        current = [r for r in asked_last if not held.learnt_after(r.id, r.asked_at)]
        tally.left_out = {r.id for r in asked_last} - {r.id for r in current}
        children = Children(connection, self._name, held, current)
        children.settle()
        for table in self._tables:
            for owns, rows in children.rows_of(table).items():
                upsert(connection, table, rows, source=self._name, stamp=stamp, owns=owns)
            self._finish(connection, table, held, children, stamp, run_id, tally)
        return tally

    def _finish(  # noqa: PLR0913 - the steps of one write share all of this
        self,
        connection: Connection,
        table: DataTable,
        held: Held,
        children: Children,
        stamp: datetime,
        run_id: int,
        tally: Tally,
    ) -> None:
        written = count_written(connection, table, self._name, stamp, children)
        tally.add(table.name, written, children.read_of(table))
        if table.kind:
            note_transitions(
                connection, table, self._name, held, children.rows_of(table), stamp, run_id
            )
        children.remove_surplus(table)
        if table.replace == "named":
            tally.marked += children.mark_unnamed(table, stamp)


def latest(records: Sequence[Record]) -> list[Record]:
    """Each record once, as the answer tells it that was asked for last."""
    return list({record.id: record for record in sorted(records, key=_asked_at)}.values())


def _asked_at(record: Record) -> datetime:
    return record.asked_at
