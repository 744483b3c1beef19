"""Counts what came and what became of it: read = written + unchanged + rejected."""

from __future__ import annotations

from collections import Counter
from datetime import datetime

from msgspec import Struct, field
from sqlalchemy import Connection, func, select

from etl.schema import DataTable
from etl.store.children import Children


class Tally(Struct):
    """Rows meant for data tables, in one write or in a whole run."""

    read: int = 0
    written: int = 0
    rejected: int = 0
    by_table: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(table, "written" or "unchanged") -> rows."""
    marked: int = 0
    """Rows that were only marked: no longer named by their parent."""
    left_out: set[str] = field(default_factory=set)
    """Of one write: ids of records that the database had learnt about since they were asked for."""

    @property
    def unchanged(self) -> int:
        return self.read - self.written - self.rejected

    @property
    def changed(self) -> bool:
        """Something in the data tables is no longer what it was."""
        return self.written + self.marked > 0

    def add(self, table: str, written: int, read: int) -> None:
        self.written += written
        self.by_table[table, "written"] += written
        self.by_table[table, "unchanged"] += read - written

    def merge(self, other: Tally) -> None:
        """Adds the figures of `other`."""
        self.read += other.read
        self.written += other.written
        self.rejected += other.rejected
        self.marked += other.marked
        self.by_table.update(other.by_table)


def count_written(
    connection: Connection, table: DataTable, name: str, stamp: datetime, children: Children
) -> int:
    """Rows of `table` that this transaction changed: no other one has its stamp.

    A lean table has no stamp; its sets are written only when they changed, and then whole.
    """
    rows = children.rows_of(table)
    if table.lean:
        return sum(len(part) for part in rows.values())
    if not any(rows.values()):
        return 0
    columns = table.table.c
    statement = select(func.count()).where(columns.source == name, columns.changed_at == stamp)
    return int(connection.execute(statement).scalar_one())
