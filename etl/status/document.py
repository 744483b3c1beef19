"""`etl status --json`: a documented schema that scripts depend on; keys may be added."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from msgspec.structs import asdict

from etl.redact import masked
from etl.status.facts import Run, SourceStatus, Status


def document(status: Status) -> dict[str, Any]:
    """The facts as JSON has them: times as ISO 8601 in UTC, durations in seconds."""
    return {
        "at": _plain(status.now),
        "sources": [_source(each) for each in status.sources],
    }


def _source(one: SourceStatus) -> dict[str, Any]:
    made: dict[str, Any] = {
        "source": one.source,
        "api": one.api,
        "configured": one.configured,
        "last_success_at": one.last_success_at,
        "copied_until": one.copied_until,
        "freshness_s": one.freshness_s,
        "stale_after_s": one.stale_after_s,
        "expected_every_s": one.expected_every_s,
        "fresh": one.fresh,
        "next_run_at": one.next_run_at,
        "last_run": None if one.last_run is None else _run(one.last_run, one.now),
        "unfinished": one.unfinished,
        "given_up": one.given_up,
        "rejects": one.rejects,
        "last_error": one.last_error,
        "last_error_at": one.last_error_at,
        "owed": [asdict(each) for each in one.owed],
        "reject_reasons": [asdict(each) for each in one.reasons],
        "last_24h": asdict(one.day),
        "backfills": [_backfill(asdict(each)) for each in one.backfills],
        "completeness": {**one.verdicts(), "checks": [_check(asdict(c)) for c in one.checks]},
    }
    return {key: _plain(value) for key, value in made.items()}


def _run(run: Run, now: datetime) -> dict[str, Any]:
    return {**_without_source(asdict(run)), "duration_s": run.duration_s(now)}


def _backfill(found: dict[str, Any]) -> dict[str, Any]:
    windows = found["windows"]
    return {**_without_source(found), "windows": {**windows, "total": sum(windows.values())}}


def _check(found: dict[str, Any]) -> dict[str, Any]:
    return _without_source(found)


def _without_source(found: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in found.items() if key != "source"}


def _plain(value: Any) -> Any:
    """What JSON can hold, with every known secret masked."""
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if isinstance(value, float):
        return round(value, 3)
    if isinstance(value, str):
        return masked(value)
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value
