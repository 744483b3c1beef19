"""Log lines on stderr: one event a line, for people or for machines, secrets masked.

Every line of a pass carries its source and run, and the attempt where there was more than one.
"""

from __future__ import annotations

import io
import json
import logging
import sys
import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from types import TracebackType

from etl.context import facts
from etl.errors import Usage
from etl.redact import masked

_log = logging.getLogger("etl")

_OWN = set(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
_SAID = ("source", "run", "attempt")
_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


class TextFormatter(logging.Formatter):
    """`08:15:02 WARNING scripts: run 12: message`, whatever the message holds on one line."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC)
        about = "".join(
            f"{event}: " if name == "source" else f"{name} {event}: "
            for name, event in _about(record).items()
        )
        line = masked(f"{record.levelname} {about}{record.getMessage()}")
        if record.exc_info:
            line += " | " + masked(self.formatException(record.exc_info))
        return f"{at:%H:%M:%S} " + masked(" | ".join(filter(None, line.splitlines())))


class JsonFormatter(logging.Formatter):
    """One JSON object a line: at, level, logger, message, and what the event carries."""

    def format(self, record: logging.LogRecord) -> str:
        event: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": masked(record.getMessage()),
        }
        event |= _about(record)
        event |= {k: v for k, v in record.__dict__.items() if k not in _OWN and k not in _SAID}
        if record.exc_info:
            event["traceback"] = masked(self.formatException(record.exc_info))
        return masked(json.dumps(event, ensure_ascii=False, default=_shown))


def _shown(thing: object) -> str:
    return masked(str(thing))


def _about(record: logging.LogRecord) -> Mapping[str, object]:
    """What the line is about: as it says itself, else as its thread knows."""
    known = {**facts(), **record.__dict__}
    return {name: known[name] for name in _SAID if name in known}


def levels(texts: Sequence[str]) -> dict[str, int]:
    """`debug`, `etl.http=debug`, several in one text with commas between: logger to level.

    Raises Usage with what would be right.
    """
    found: dict[str, int] = {}
    for item in (part.strip() for text in texts for part in text.split(",")):
        name, _, level = item.rpartition("=")
        if level.lower() not in _LEVELS:
            raise Usage(
                f"--log-level: {item!r} is no level; write debug, info, warning or error, "
                "for one module etl.http=debug"
            )
        found[name.strip() or "etl"] = _LEVELS[level.lower()]
    return found


def set_up(log_format: str, verbose: int, wanted: Sequence[str] = ()) -> None:
    """Warnings, `-v` the course of things, `-vv` every request; then the levels `wanted`."""
    if log_format == "json" and isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr.reconfigure(encoding="utf-8")  # JSON is UTF-8, whatever the terminal is
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    _hear_last_words()
    chosen = levels(wanted)
    for name in [n for n in logging.root.manager.loggerDict if n.startswith("etl.")]:
        logging.getLogger(name).setLevel(logging.NOTSET)
    logging.getLogger("etl").setLevel(
        (logging.WARNING, logging.INFO, logging.DEBUG)[min(verbose, 2)]
    )
    # A lost connection is told by `etl.db` in one line; the pool adds a traceback of the driver's.
    logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)
    for name, level in chosen.items():
        logging.getLogger(name).setLevel(level)


def _hear_last_words() -> None:
    """What nobody catches, in whatever thread, and Python's own warnings are log lines as well:
    one event a line, masked. A hook that somebody else has put in place stays."""
    logging.captureWarnings(capture=True)
    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = _died
    if threading.excepthook is threading.__excepthook__:
        threading.excepthook = _thread_died
    if sys.unraisablehook is sys.__unraisablehook__:
        sys.unraisablehook = _ignored


def _died(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    _log.error("a mistake in etl", exc_info=(kind, error, trace))


def _thread_died(told: threading.ExceptHookArgs) -> None:
    if told.exc_value is not None and not isinstance(told.exc_value, SystemExit):
        name = "a thread" if told.thread is None else f"thread {told.thread.name}"
        _log.error("%s: a mistake in etl", name, exc_info=told.exc_value)


def _ignored(told: sys.UnraisableHookArgs) -> None:
    _log.error("ignored in %r", told.object, exc_info=told.exc_value)
