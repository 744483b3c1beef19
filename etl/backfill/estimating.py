"""What a backfill would do and how long it would take: asks a little and writes nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime, timedelta

from msgspec import Struct

from etl.backfill.planning import Bounds, Range, cut
from etl.backfill.wording import left_out
from etl.backfill.wording import span as spoken_span
from etl.db import Persistence
from etl.http import Api, open_api
from etl.ledger import backfills, budget, names
from etl.ledger.backfills import Backfill, Window
from etl.memory import DatabaseMemory
from etl.passes import Configured, Surroundings
from etl.source import Outlook, Span
from etl.units import Rate

_ROOM = 20 / 19
"""A backfill leaves a twentieth of the rate to whoever comes."""
_WHOLE = Outlook(None, 0.0, math.inf, by_time=False)
"""Nothing is known of the list: it is read as one window."""


class Estimate(Struct, frozen=True):
    """`held`: the backfill that it would go on with. None: the platform does not say."""

    range: str
    held: Backfill | None
    windows: int
    done: int
    executions: int | None
    requests: int | None
    seconds: float | None
    left_out: str | None = None
    """Why it would begin later than it was asked to."""


def look(configured: Configured, api: Api, span: Span) -> Outlook:
    """What the platform says of the span."""
    ask = configured.source.outlook
    return _WHOLE if ask is None else ask(api, configured.settings, span)


def estimate(
    configured: Configured, range_: Range, around: Surroundings, *, restart: bool = False
) -> Estimate:
    """Raises Usage as the backfill would, and what the platform makes of the questions."""
    settings, platform = configured.settings, configured.source.platform(configured.settings)
    held, windows, bounds = _ledger(configured, range_, around, restart=restart)
    with open_api(
        platform,
        settings,
        stop=around.stop,
        clock=around.clock,
        accounts=budget.accounts(around.database, "backfill", around.slower),
    ) as api:
        began = around.clock.monotonic()
        outlook = look(configured, api, _span(configured, bounds, around))
        each_s = (around.clock.monotonic() - began) / max(1, api.requests)
    windows = windows or cut(bounds, outlook)
    requests = None if outlook is _WHOLE else _requests(outlook, windows)
    rates = [settings.rate_limit or platform.rate_limit, around.slower]
    return Estimate(
        spoken_span(bounds.since, bounds.until, str(range_), configured),
        held,
        len(windows),
        sum(window.status == "done" for window in windows),
        outlook.executions,
        requests,
        requests and _seconds(requests, rates, each_s / settings.concurrency),
        None if bounds.pruned_before is None else left_out(bounds.pruned_before),
    )


def _ledger(
    configured: Configured, range_: Range, around: Surroundings, *, restart: bool
) -> tuple[Backfill | None, Sequence[Window], Bounds]:
    source, name = configured.source, configured.name
    with around.database.reading() as connection:
        names.prove(connection, name, source.api, source.identity(configured.settings))
        held = None if restart else backfills.unfinished(connection, name, str(range_))
        if held is None or held.since is None:
            pruned_before = names.pruned_before(connection, name)
            return None, (), range_.bounds(around.clock.now(), pruned_before)
        return (
            held,
            backfills.windows(connection, held.backfill_id),
            Bounds(held.since, held.until),
        )


def _span(configured: Configured, bounds: Bounds, around: Surroundings) -> Span:
    persistence = Persistence(configured.settings.lease, around.clock, around.stop)
    memory = DatabaseMemory(around.database, configured.source, configured.name, persistence)
    return Span(bounds.since, bounds.until, None, around.clock.now(), memory, fresh=True)


def _requests(outlook: Outlook, windows: Sequence[Window]) -> int:
    """Calls of the windows that are to do; empty ones before the oldest execution cost nothing."""
    full = [w for w in windows if outlook.oldest is None or w.until > outlook.oldest]
    todo = sum(window.status != "done" for window in full)
    whole = outlook.requests + outlook.each_window * max(0, len(full) - 1)
    return math.ceil(whole * todo / len(full)) if full else 0


def _seconds(requests: int, rates: Sequence[Rate | None], each_s: float) -> float:
    """By the rates; without one, by how quickly the platform has just answered."""
    limits = [rate for rate in rates if rate is not None and not rate.unlimited]
    needed = [max(0.0, requests * _ROOM - r.count) / r.count * r.window_s for r in limits]
    return max([requests * each_s, *needed])


def finishing(estimated: Estimate, now: datetime) -> datetime | None:
    """When it would be done, if it began now; None where no calendar reaches, too."""
    if estimated.seconds is None:
        return None
    try:
        return now + timedelta(seconds=estimated.seconds)
    except OverflowError:
        return None
