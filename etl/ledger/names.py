"""`sources`: a source's name is an identity, and what it stands for must not change unnoticed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select, update

from etl.errors import Usage
from etl.ledger.insertion import insert_once
from etl.ledger.tables import sources
from etl.values import canonical

_T = sources.c


def register(  # noqa: PLR0913 - one row of the table needs all of this
    connection: Connection,
    name: str,
    *,
    api: str,
    identity: Mapping[str, str],
    account: str,
    since: datetime | None,
    expected_every_s: float | None,
    stale_after_s: float | None,
    now: datetime,
) -> datetime | None:
    """Writes the source down at its first use, and proves at each later one that the name still
    stands for the same platform. Returns from when on it is copied: the `since` that was fixed at
    the first sync, or what has been pruned since.

    Raises Usage when the configuration points a known name elsewhere.
    """
    known = select(sources).where(_T.source == name)
    held = connection.execute(known).one_or_none()
    changing: dict[str, Any] = {
        "account": account,
        "expected_every_s": expected_every_s,
        "stale_after_s": stale_after_s,
        "last_used_at": now,
    }
    if held is None:  # or another process writes it down at this very moment
        insert_once(
            connection,
            sources,
            source=name,
            api=api,
            address=canonical(dict(identity)),
            since=since,
            first_used_at=now,
            **changing,
        )
        held = connection.execute(known).one()
    require_same(name, held.api, json.loads(held.address), api, identity)
    connection.execute(update(sources).where(_T.source == name).values(**changing))
    return max(filter(None, (held.since, held.pruned_before)), default=None)


def prove(connection: Connection, name: str, api: str, identity: Mapping[str, str]) -> None:
    """Raises Usage when the configuration points a known name elsewhere; writes nothing."""
    held = connection.execute(select(sources).where(_T.source == name)).one_or_none()
    if held is not None:
        require_same(name, held.api, json.loads(held.address), api, identity)


def pruned_before(connection: Connection, name: str) -> datetime | None:
    """Executions older than this were pruned, and are not fetched again."""
    statement = select(_T.pruned_before).where(_T.source == name)
    moment: datetime | None = connection.execute(statement).scalar_one_or_none()
    return moment


def require_same(
    name: str, held_api: str, held: Mapping[str, str], api: str, identity: Mapping[str, str]
) -> None:
    """Raises Usage with both sides and the mend."""
    mend = f"give it a new name, or run: etl sources move {name}"
    if held_api != api:
        raise Usage(
            f"source '{name}' holds rows of {held_api}; schedules.yaml now names {api}: "
            "give it a new name"
        )
    for key in sorted({*held, *identity}):
        if held.get(key) != identity.get(key):
            raise Usage(
                f"source '{name}' holds rows of {key} {held.get(key)}; "
                f"schedules.yaml now names {identity.get(key)}: {mend}"
            )
