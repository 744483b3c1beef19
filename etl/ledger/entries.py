"""What a reader hands to the ledger: what it could not keep, must ask again, or could not prove."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from etl.values import Json


@dataclass(frozen=True, slots=True)
class Reject:
    """One record (or one row of a record) that cannot be stored; it is kept whole.

    `upstream_id` is None when the record has no usable key. `payload` is the raw JSON value with
    what must never be stored already taken out (`parameters.password`).
    """

    upstream_id: str | None
    reason: str
    payload: Json


@dataclass(frozen=True, slots=True)
class Debt:
    """Something that must be asked again: unfinished, failing, settling, or a hole.

    `kind` and `id` name it in `unfinished`; `hint` is what `refresh` needs to ask again.
    """

    kind: str
    id: str
    reason: str
    hint: dict[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Doubt:
    """A walk that could not prove itself; becomes an `unproven` row of `completeness`."""

    reason: str
    since: datetime | None = None
    until: datetime | None = None
    upstream_total: int | None = None
    upstream_ids: int | None = None
    unlisted: int = 0
    """Counted by the platform, listed nowhere."""
