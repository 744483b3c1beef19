"""`sync_cursors`: everything up to here is complete."""

from __future__ import annotations

import json
from datetime import datetime

from sqlalchemy import Connection, insert, select, update

from etl.ledger.tables import sync_cursors
from etl.values import Json, canonical

_T = sync_cursors.c


def load(connection: Connection, source: str, stream: str) -> dict[str, Json] | None:
    """The position as the source wrote it last; None before the first."""
    statement = select(_T.position).where(_T.source == source, _T.stream == stream)
    text = connection.execute(statement).scalar_one_or_none()
    if text is None:
        return None
    position: dict[str, Json] = json.loads(text)
    return position


def advance(
    connection: Connection, source: str, stream: str, position: dict[str, Json], now: datetime
) -> None:
    """Moves the cursor, in the transaction that writes what it speaks of."""
    values = {"position": canonical(position), "updated_at": now}
    moved = connection.execute(
        update(sync_cursors).where(_T.source == source, _T.stream == stream).values(**values)
    )
    if moved.rowcount == 0:
        connection.execute(insert(sync_cursors).values(source=source, stream=stream, **values))
