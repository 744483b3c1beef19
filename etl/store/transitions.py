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
    place, end = table.fields.index("status"), table.fields.index("finished_at")
    width, held_rows = len(table.key), held.rows.get(table.name, {})
    changes: dict[tuple[Any, ...], dict[str, Any]] = {}
    for owns, part in rows.items():
        if owns is not None and "status" not in owns:
            continue
        for row in part:
            key, new = row[:width], row[place]
            before = held_rows.get(key)
            old = before["status"] if before else None
            if old == new or (old is None and _is_final(new, row[end])):
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


def _is_final(status: str, ended: datetime | None) -> bool:
    """`unknown` is the last word on what has ended."""
    return status in FINAL or (status == "unknown" and ended is not None)


def _names(table: DataTable, key: tuple[Any, ...]) -> dict[str, Any]:
    values = dict(zip(table.key, key, strict=True))
    return {
        "id": str(key[0]),
        "part_id": values[table.part[0]] if table.part else None,
        "ordinal": values[table.part[1]] if len(table.part) > 1 else None,
    }
