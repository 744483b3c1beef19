"""What `check` says of a workspace: how much there is, and what a first sync would cost."""

from __future__ import annotations

import math

from etl.http import Api
from etl.sources.dataarts.listing import Lister, Window
from etl.sources.dataarts.settings import DataArtsSettings
from etl.units import Rate


def ping(api: Api, settings: DataArtsSettings) -> str:
    """One call (two if the first sync does not go back to the beginning)."""
    lister = Lister(api, settings)
    found = lister.first(Window(None, None))
    told = _instances(found.count)
    if settings.since is not None:
        since = settings.since.resolve(found.asked_at)
        found = lister.first(Window(since, None))
        told = f"{told}, {_instances(found.count)} since {since:%Y-%m-%d}"
    if found.count is None:
        return told
    calls = math.ceil(found.count / lister.step) or 1
    return f"{told}; a first sync asks {calls:,} times{_time(calls, settings.rate)}"


def _instances(count: int | None) -> str:
    return "an untold number of instances" if count is None else f"{count:,} instances"


def _time(calls: int, rate: Rate) -> str:
    """How long so many calls take at the rate limit."""
    if rate.unlimited:
        return ""
    seconds = max(0.0, calls / rate.count - 1) * rate.window_s
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f", about {seconds / length:.0f} {unit} at {rate}"
    return f", about {math.ceil(seconds)} s at {rate}"
