"""Log lines on stderr: one event a line, for people or for machines, secrets masked."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

from etl.redact import masked

_OWN = set(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


class TextFormatter(logging.Formatter):
    """`08:15:02 WARNING scripts: message`."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC)
        line = f"{at:%H:%M:%S} {record.levelname} {record.getMessage()}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return masked(line)


class JsonFormatter(logging.Formatter):
    """One JSON object a line: at, level, logger, message, and what the event carries."""

    def format(self, record: logging.LogRecord) -> str:
        event: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        event |= {k: v for k, v in record.__dict__.items() if k not in _OWN}
        if record.exc_info:
            event["traceback"] = self.formatException(record.exc_info)
        return masked(json.dumps(event, ensure_ascii=False, default=str))


def set_up(log_format: str, verbose: int) -> None:
    """Warnings, `-v` the course of things, `-vv` every request."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    level = (logging.WARNING, logging.INFO, logging.DEBUG)[min(verbose, 2)]
    logging.getLogger("etl").setLevel(level)
    # A lost connection is told by `etl.db` in one line; the pool adds a traceback of the driver's.
    logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)
