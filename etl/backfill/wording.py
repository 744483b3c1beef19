"""The lines that a backfill says of itself."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from zoneinfo import ZoneInfo

from etl.backfill.planning import spoken
from etl.errors import EtlError
from etl.ledger.backfills import Backfill
from etl.passes import Configured
from etl.redact import masked
from etl.units import Since

_BARE = re.compile(r"\d{4}-?\d{2}-?\d{2}", re.ASCII)
_TYPED = re.compile(r"--(?:since|until) (.*?)(?= --|$)")
_SHOWN = 3


def beginning(backfill: Backfill, configured: Configured, windows: int) -> str:
    """`backfill 12: 2024-01-01 … 2026-11-22 18:40 UTC, 200 windows`."""
    range_ = span(backfill.since, backfill.until, backfill.arguments, configured)
    return f"backfill {backfill.backfill_id}: {range_}, {counted(windows, 'window')}"


def going_on(backfill: Backfill, configured: Configured, done: int, windows: int) -> str:
    """`going on with backfill 12: …, 113 of 200 windows done`."""
    range_ = span(backfill.since, backfill.until, backfill.arguments, configured)
    return (
        f"going on with backfill {backfill.backfill_id}: {range_}, {done} of {windows} windows done"
    )


def span(since: datetime | None, until: datetime, arguments: str, configured: Configured) -> str:
    """Both ends in UTC; bare dates, as typed in `arguments`, in the source's zone as well."""
    ends = f"{spoken(since) if since else 'the beginning'} … {spoken(until)} UTC"
    name = getattr(configured.settings, "time_zone", "UTC")
    typed = [Since.parse(end) for end in _TYPED.findall(arguments) if _BARE.fullmatch(end)]
    if name == "UTC" or not typed:
        return ends
    zone = ZoneInfo(name)
    there = [f"{end.resolve(until).astimezone(zone):%Y-%m-%d %H:%M}" for end in typed]
    return f"{ends} (in {name} {' … '.join(there)})"


def left_out(pruned_before: datetime) -> str:
    """Why a backfill begins later than it was asked to."""
    return (
        f"what is older than {spoken(pruned_before)} UTC was pruned and is left out; "
        "--restore fetches it"
    )


def failures(backfill: Backfill, windows: int, failed: Mapping[int, EtlError]) -> str:
    """What is to be done about windows that stayed failed."""
    shown = [f"window {n}: {masked(str(failed[n]))}" for n in sorted(failed)[:_SHOWN]]
    more = f"; {len(failed) - _SHOWN} more" if len(failed) > _SHOWN else ""
    return (
        f"{len(failed)} of {counted(windows, 'window')} failed ({'; '.join(shown)}{more}); the "
        f"others are done; to try again: etl backfills retry {backfill.backfill_id}"
    )


def counted(number: int, what: str) -> str:
    """`1 window`, `1,200 windows`."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"
