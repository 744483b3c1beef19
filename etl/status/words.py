"""Durations and counts as people say them."""

from __future__ import annotations

from datetime import datetime

_UNITS = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"))


def span(seconds: float) -> str:
    """`0.4 s`, `12 s`, `3 min`, `2 h 5 min`, `4 d 3 h`: two units at most."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    whole = round(seconds / 60) * 60 if seconds < 86400 else round(seconds / 3600) * 3600
    parts = []
    for size, unit in _UNITS:
        count, whole = divmod(whole, int(size))
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])


def ago(moment: datetime | None, now: datetime) -> str:
    """`3 min ago`; `never` for None."""
    if moment is None:
        return "never"
    seconds = (now - moment).total_seconds()
    return "just now" if seconds < 1 else f"{_distance(seconds)} ago"


def ahead(moment: datetime | None, now: datetime) -> str:
    """`in 3 min`; `not scheduled` for None."""
    if moment is None:
        return "not scheduled"
    seconds = (moment - now).total_seconds()
    return "now" if seconds < 1 else f"in {_distance(seconds)}"


def counted(number: int, noun: str) -> str:
    """`1 reject`, `1,204 rejects`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _distance(seconds: float) -> str:
    """Tenths of a second tell nothing of a distance in time."""
    return f"{seconds:.0f} s" if seconds < 59.5 else span(seconds)
