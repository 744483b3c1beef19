"""`upstream_gone_at`: set where a proven listing no longer holds a row, taken back when it does.

Guarded (DESIGN 6, Ledger): a platform that suddenly lists little or nothing marks nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial

from sqlalchemy import update

from etl.engine import Pass
from etl.ledger.seats import Writing
from etl.schema import DataTable
from etl.verify import held
from etl.verify import sheet as s
from etl.verify.sheet import Sheet
from etl.verify.windows import Window

_CHUNK = 500
_FEW = 3
"""So many rows may vanish at once, whatever share of all they are."""


def clear_returned(one: Pass, sheet: Sheet) -> int:
    """What is listed again, as it was, is no longer gone. Returns how many there were."""
    table, cleared = one.source.tables[0], 0
    for ids in sheet.ids(s.BACK, _CHUNK):
        cleared += one.write(partial(_set, table=table, name=one.seat.source, ids=ids, gone=False))
        sheet.unmark(ids)
    one.tally.marked += cleared
    return cleared


def unguarded(
    windows: Sequence[Window], gone: Mapping[int, int], share: float, *, holes: int
) -> tuple[list[int], str | None]:
    """(the windows whose gone rows may be marked, why not all of them may).

    `gone` counts them by the window's place in `windows`. `holes`: records that the platform
    counts and lists nowhere; any of what is gone may be one of them.
    """
    vanished, all_rows = sum(gone.values()), sum(window.database_ids for window in windows)
    if not vanished:
        return [], None
    if holes:
        return [], f"nothing is marked as gone while {holes:,} holes are open"
    if vanished >= all_rows:
        return [], "all would be gone: nothing is marked"
    if vanished > _FEW and vanished > share * all_rows:
        return [], (
            f"{vanished:,} of {all_rows:,} would be gone, more than max_gone_share ({share:.0%}): "
            "nothing is marked"
        )
    good = [
        place
        for place in gone
        if windows[place].verdict != "unproven" and not _lists_nothing(windows[place])
    ]
    return good, None


def _lists_nothing(window: Window) -> bool:
    return window.upstream_ids == 0 and window.database_ids > _FEW


def mark(one: Pass, sheet: Sheet, place: int, began: datetime) -> int:
    """Marks what is gone of one window, but for what has changed since its listing began."""
    table, marked = one.source.tables[0], 0
    if not table.gone:
        return 0
    query = f"SELECT id FROM gone WHERE number = {int(place)}"  # noqa: S608 - a number
    for ids in sheet.ids(query, _CHUNK):
        marked += one.write(
            partial(_set, table=table, name=one.seat.source, ids=ids, gone=True, before=began)
        )
    one.tally.marked += marked
    return marked


def _set(  # noqa: PLR0913 - whose rows, and to what
    writing: Writing,
    *,
    table: DataTable,
    name: str,
    ids: Sequence[str],
    gone: bool,
    before: datetime | None = None,
) -> int:
    columns = table.table.c
    marked = columns.upstream_gone_at
    where = [columns.source == name, columns[table.key[0]].in_(held.keys(table, ids))]
    where.append(marked.is_(None) if gone else marked.is_not(None))
    if before is not None:
        where.append(columns.changed_at <= before)
    at = writing.stamp if gone else None
    statement = update(table.table).where(*where)
    hit = writing.connection.execute(
        statement.values(upstream_gone_at=at, changed_at=writing.stamp)
    )
    writing.changed = writing.changed or hit.rowcount > 0
    return hit.rowcount
