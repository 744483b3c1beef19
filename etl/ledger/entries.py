"""What a reader hands to the ledger: what it could not keep, must ask again, or could not prove."""

from __future__ import annotations

import hashlib
from datetime import datetime

from msgspec import Struct, field

from etl.values import Json, canonical


class Reject(Struct, frozen=True):
    """One record (or one row of a record) that cannot be stored; it is kept whole.

    `upstream_id` is None when the record has no usable key. `payload` is the raw JSON value with
    what must never be stored already taken out (`parameters.password`).
    `part`: a row of the record `upstream_id`, without a key of its own; several may be bad.
    """

    upstream_id: str | None
    reason: str
    payload: Json
    part: bool = False

    @property
    def name(self) -> str | None:
        """What tells it from other rejects: the key, that of a part followed by a digest."""
        if self.upstream_id is None or not self.part:
            return self.upstream_id
        digest = hashlib.sha256(canonical(self.payload).encode("utf-8", "replace")).hexdigest()
        return f"{self.upstream_id}/{digest[:12]}"


class Debt(Struct, frozen=True):
    """Something that must be asked again: unfinished, failing, settling, or a hole.

    `kind` and `id` name it in `unfinished`; `hint` is what `refresh` needs to ask again.
    """

    kind: str
    id: str
    reason: str
    hint: dict[str, Json] = field(default_factory=dict)


class Doubt(Struct, frozen=True):
    """A walk that could not prove itself; becomes an `unproven` row of `completeness`."""

    reason: str
    since: datetime | None = None
    until: datetime | None = None
    upstream_total: int | None = None
    upstream_ids: int | None = None
    unlisted: int = 0
    """Counted by the platform, listed nowhere."""
