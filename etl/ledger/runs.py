"""`sync_runs`: one row for each pass, with what it cost and how it ended."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Protocol

from msgspec import Struct
from sqlalchemy import Connection, insert, update

from etl import __version__
from etl.ledger.process import this_process
from etl.ledger.tables import sync_runs
from etl.redact import masked

_T = sync_runs.c

LIVE_MODES = ("sync", "verify", "prune", "retry")
CRASHED = "the process ended without closing the run"
BACKFILL_MODES = ("backfill",)


class Traffic(Protocol):
    """What `http` counts."""

    @property
    def requests(self) -> int: ...
    @property
    def retries(self) -> int: ...
    @property
    def bytes_read(self) -> int: ...


class Rows(Protocol):
    """What the store counts."""

    @property
    def read(self) -> int: ...
    @property
    def written(self) -> int: ...
    @property
    def unchanged(self) -> int: ...
    @property
    def rejected(self) -> int: ...


class Run(Struct):
    """A pass under way."""

    run_id: int
    source: str
    started_at: datetime
    bytes_read: int = 0

    def save(self, connection: Connection, traffic: Traffic, rows: Rows) -> None:
        """Writes the figures so far, in the transaction that writes the rows."""
        connection.execute(
            update(sync_runs).where(_T.run_id == self.run_id).values(**_figures(traffic, rows))
        )

    def close(  # noqa: PLR0913 - the last line of the pass
        self,
        connection: Connection,
        status: str,
        now: datetime,
        traffic: Traffic | None,
        rows: Rows,
        error: Exception | None = None,
    ) -> None:
        """`status`: succeeded, failed or stopped."""
        values: dict[str, Any] = {"status": status, "finished_at": now}
        if traffic is not None:
            values |= _figures(traffic, rows)
        if error is not None:
            values["error"] = masked(str(error))[:2000]
            values["error_kind"] = getattr(error, "kind", "transient")
        connection.execute(update(sync_runs).where(_T.run_id == self.run_id).values(**values))


def open_run(  # noqa: PLR0913 - one row of the table needs all of this
    connection: Connection,
    source: str,
    mode: str,
    *,
    triggered_by: str,
    now: datetime,
    scheduled_for: datetime | None = None,
) -> Run:
    """Begins a run, in the seat that its mode belongs to.

    Whoever holds that seat knows that any other run of it which still stands as running is dead.
    """
    modes = BACKFILL_MODES if mode in BACKFILL_MODES else LIVE_MODES
    connection.execute(
        update(sync_runs)
        .where(_T.source == source, _T.status == "running", _T.mode.in_(modes))
        .values(status="crashed", finished_at=now, error=CRASHED)
    )
    me = this_process()
    made = connection.execute(
        insert(sync_runs).values(
            source=source,
            mode=mode,
            triggered_by=triggered_by,
            scheduled_for=scheduled_for,
            status="running",
            started_at=now,
            requests=0,
            retries=0,
            bytes_read=0,
            rows_read=0,
            rows_written=0,
            rows_unchanged=0,
            rows_rejected=0,
            version=__version__,
            host=me.host,
            pid=me.pid,
        )
    )
    key = made.inserted_primary_key
    assert key is not None  # noqa: S101 - an insert of one row has a key
    return Run(int(key[0]), source, now)


def _figures(traffic: Traffic, rows: Rows) -> dict[str, int]:
    return {
        "requests": traffic.requests,
        "retries": traffic.retries,
        "bytes_read": traffic.bytes_read,
        "rows_read": rows.read,
        "rows_written": rows.written,
        "rows_unchanged": rows.unchanged,
        "rows_rejected": rows.rejected,
    }
