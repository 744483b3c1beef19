"""The quarantine: records that could not be stored, kept whole with the reason."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence, Set
from datetime import datetime

from msgspec import Struct
from msgspec.structs import fields
from sqlalchemy import Connection, func, insert, or_, select, update

from etl.ledger.entries import Reject
from etl.ledger.tables import rejected_records
from etl.redact import masked
from etl.values import Json, canonical, repaired

PAYLOAD_BYTES = 2**20
_CHUNK = 500


class Kept(Struct, frozen=True):
    """One row of the quarantine."""

    reject_id: int
    source: str
    stream: str
    upstream_id: str | None
    reason: str
    payload: str
    first_seen_at: datetime
    last_seen_at: datetime
    seen_count: int
    resolution: str | None
    note: str | None

    @property
    def execution_id(self) -> str | None:
        """The execution to ask for: a rejected part names it before its own id."""
        return None if self.upstream_id is None else self.upstream_id.partition("/")[0]


_T = rejected_records.c


def fingerprint(upstream_id: str | None, payload: Json) -> str:
    """SHA-256 of the key, or of the payload where there is none: one reject is one row."""
    text = f"id {upstream_id}" if upstream_id is not None else f"payload {canonical(payload)}"
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def keep(  # noqa: PLR0913 - one row of the table needs all of this
    connection: Connection,
    source: str,
    stream: str,
    rejects: Iterable[Reject],
    *,
    run_id: int,
    now: datetime,
) -> int:
    """Stores `rejects`, each once however often it comes; returns how many came."""
    came = 0
    for reject in rejects:
        came += 1
        _keep_one(connection, source, stream, reject, run_id, now)
    return came


def _keep_one(  # noqa: PLR0913 - one row of the table needs all of this
    connection: Connection, source: str, stream: str, reject: Reject, run_id: int, now: datetime
) -> None:
    id_ = reject.name
    mark = fingerprint(id_, reject.payload)
    values = {
        "upstream_id": None if id_ is None else repaired(id_)[0][:255],
        "reason": masked(repaired(reject.reason)[0]),
        "payload": _payload(reject.payload),
        "run_id": run_id,
        "last_seen_at": now,
    }
    where = (_T.source == source, _T.stream == stream, _T.fingerprint == mark)
    held = connection.execute(
        select(_T.reject_id, _T.seen_count, _T.resolution).where(*where)
    ).one_or_none()
    if held is None:
        connection.execute(
            insert(rejected_records).values(
                source=source,
                stream=stream,
                fingerprint=mark,
                first_seen_at=now,
                seen_count=1,
                **values,
            )
        )
        return
    if held.resolution == "written":
        values |= {"resolved_at": None, "resolution": None}
    connection.execute(
        update(rejected_records)
        .where(_T.reject_id == held.reject_id)
        .values(seen_count=held.seen_count + 1, **values)
    )


def kept(
    connection: Connection,
    source: str | None = None,
    ids: Sequence[int] | None = None,
    *,
    open_only: bool,
) -> list[Kept]:
    """The quarantine, oldest first: of one source, of some ids, or all."""
    statement = select(*(_T[field.name] for field in fields(Kept))).order_by(_T.reject_id)
    if source is not None:
        statement = statement.where(_T.source == source)
    if ids is not None:
        statement = statement.where(_T.reject_id.in_(ids))
    if open_only:
        statement = statement.where(_T.resolved_at.is_(None))
    return [Kept(*row) for row in connection.execute(statement)]


def dismiss(connection: Connection, ids: Sequence[int], note: str, *, now: datetime) -> None:
    """Closes rejects by hand; they are not shown again, however often they come."""
    connection.execute(
        update(rejected_records)
        .where(_T.reject_id.in_(ids))
        .values(resolved_at=now, resolution="dismissed", note=masked(note))
    )


def reopen(connection: Connection, ids: Sequence[int]) -> None:
    """Takes back that these were dismissed."""
    for start in range(0, len(ids), _CHUNK):
        connection.execute(
            update(rejected_records)
            .where(
                _T.reject_id.in_(ids[start : start + _CHUNK]),
                _T.resolution == "dismissed",
            )
            .values(resolved_at=None, resolution=None)
        )


def unwritten(connection: Connection, source: str) -> set[int]:
    """The numbers of those that are open or dismissed."""
    statement = select(_T.reject_id).where(
        _T.source == source, or_(_T.resolution.is_(None), _T.resolution != "written")
    )
    return set(connection.execute(statement).scalars())


def any_open(connection: Connection, source: str) -> bool:
    statement = select(_T.reject_id).where(_T.source == source, _T.resolved_at.is_(None)).limit(1)
    return connection.execute(statement).first() is not None


def resolve(
    connection: Connection, source: str, stream: str, read: Mapping[str, Set[str]], *, now: datetime
) -> None:
    """The records of `read` were read; of their rejects, those not named again are `written`."""
    where = (_T.source == source, _T.stream == stream, _T.resolved_at.is_(None))
    parts = connection.execute(
        select(_T.reject_id, _T.upstream_id).where(*where, _T.upstream_id.like("%/%"))
    )
    well = [
        row.reject_id
        for row in parts
        if row.upstream_id not in read.get(row.upstream_id.partition("/")[0], {row.upstream_id})
    ]
    marks = [fingerprint(id_, None) for id_, again in read.items() if id_ not in again]
    for column, values in ((_T.reject_id, well), (_T.fingerprint, marks)):
        for start in range(0, len(values), _CHUNK):
            connection.execute(
                update(rejected_records)
                .where(*where, column.in_(values[start : start + _CHUNK]))
                .values(resolved_at=now, resolution="written")
            )


def open_count(connection: Connection, source: str) -> int:
    statement = select(func.count()).where(_T.source == source, _T.resolved_at.is_(None))
    return int(connection.execute(statement).scalar_one())


def _payload(payload: Json) -> str:
    text = masked(canonical(payload))
    if len(text.encode()) <= PAYLOAD_BYTES:
        return text
    return canonical({"cut": text.encode()[: PAYLOAD_BYTES // 2].decode("utf-8", "ignore")})
