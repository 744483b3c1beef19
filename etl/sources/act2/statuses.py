"""Act2's words for a status, in the vocabulary of all sources."""

from __future__ import annotations

from etl.values import FINAL

_UNDER_WAY = {"doing": "running", "init": "pending"}
_RESULTS = {
    "success": "succeeded",
    "fail": "failed",
    "timeout": "timed_out",
    "cancelled": "cancelled",
    "canceled": "cancelled",
}


def record_status(execute: str | None, result: str | None) -> str:
    """The status for Act2's two words, in any case; older rows are in capitals."""
    word = _plain(execute)
    if word in _UNDER_WAY:
        return _UNDER_WAY[word]
    return _RESULTS.get(_plain(result), "unknown") if word in ("done", "") else "unknown"


def is_over(execute: str | None, result: str | None) -> bool:
    """Whether a record runs no more; the answers of its hosts may still come."""
    return _plain(execute) == "done" or record_status(execute, result) in FINAL


def host_status(word: str | None, *, running: bool) -> str:
    """The status for an agent's word, any text; "" is a host that has not answered."""
    if not _plain(word):
        return "running" if running else "unknown"
    return _RESULTS.get(_plain(word), "unknown")


def _plain(word: str | None) -> str:
    return (word or "").strip().lower()
