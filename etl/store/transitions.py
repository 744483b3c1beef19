"""Keeps each observed change of a status in `status_changes`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert

from etl.ledger.tables import status_changes
from etl.schema import DataTable
from etl.store.children import Owns, Row
from etl.store.held import Held
from etl.values import FINAL


def note_transitions(  # noqa: PLR0913 - one row of the table needs all of this
    connection: Connection,
    table: DataTable,
    name: str,
    held: Held,
    rows: Mapping[Owns, Sequence[Row]],
    stamp: datetime,
    run_id: int,
) -> None:
    """One row for each status that moved, and for the first sight of something unfinished."""
    place = table.fields.index("status")
    changes: dict[tuple[Any, ...], dict[str, Any]] = {}
    for owns, part in rows.items():
        if owns is not None and "status" not in owns:
            continue
        for row in part:
            key = row[: len(table.key)]
            before = held.row(table, key)
            old, new = before["status"] if before else None, row[place]
            if old == new or (old is None and _is_final(table, row, new)):
                continue
            changes[key] = {
                "source": name,
                "kind": table.kind,
                **_names(table, key),
                "old_status": old,
                "new_status": new,
                "observed_at": stamp,
                "run_id": run_id,
            }
    if changes:
        connection.execute(insert(status_changes), list(changes.values()))


def _is_final(table: DataTable, row: Row, status: str) -> bool:
    """`unknown` is the last word on what has ended."""
    ended = row[table.fields.index("finished_at")] is not None
    return status in FINAL or (status == "unknown" and ended)


def _names(table: DataTable, key: tuple[Any, ...]) -> dict[str, Any]:
    values = dict(zip(table.key, key, strict=True))
    return {
        "id": str(key[0]),
        "part_id": values[table.part[0]] if table.part else None,
        "ordinal": values[table.part[1]] if len(table.part) > 1 else None,
    }
