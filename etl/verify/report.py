"""What a verify found, for whoever must show it: one line a window, with the SQL that recounts it.

HTML (one file, nothing is fetched for it), CSV or JSON, by the file's name.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from msgspec import Struct

from etl.errors import Usage
from etl.passes import Configured
from etl.verify import recounting, report_page
from etl.verify.windows import Window

COLUMNS = (
    *("source", "api", "window", "since", "until", "verdict", "reason", "upstream_total"),
    *("upstream_ids", "database_ids", "missing", "differing", "short", "gone", "repaired"),
    *("marked", "database_unfinished", "rejected", "unlisted", "upstream_digest"),
    *("database_digest", "checked_at", "run_id", "count_sql", "lines_sql"),
)


class Line(Struct, frozen=True):
    """A window of one source, as a report tells it."""

    api: str
    window: Window
    count_sql: str
    lines_sql: str

    def values(self) -> dict[str, Any]:
        """By the names of COLUMNS."""
        own = {"api": self.api, "window": self.window.label}
        own |= {"count_sql": self.count_sql, "lines_sql": self.lines_sql}
        return {name: own[name] if name in own else getattr(self.window, name) for name in COLUMNS}


def lines(configured: Configured, windows: Sequence[Window], dialect: str) -> list[Line]:
    """The windows of one source with their SQL, in the words of `dialect`."""
    name, source = configured.name, configured.source
    table = source.tables[0]
    return [
        Line(
            source.api,
            window,
            recounting.count(table, name, window.range),
            recounting.lines(table, name, window.range, dialect),
        )
        for window in windows
    ]


class Report(Struct, frozen=True):
    """All that a report says. `failures`: sources whose verify did not reach its end, and why."""

    lines: Sequence[Line]
    failures: Mapping[str, str]
    made_at: datetime
    database: str
    version: str


def form_of(path: Path) -> str:
    """html, csv or json. Raises Usage for another suffix, for a folder, and for one that is not
    there: before anything is verified."""
    form = path.suffix.lower().lstrip(".")
    if form not in _FORMS:
        raise Usage(f"--report {path}: end its name in .html, .csv or .json")
    if not path.parent.is_dir():
        raise Usage(f"--report {path}: there is no folder {path.parent}")
    if path.is_dir():
        raise Usage(f"--report {path}: it is a folder; name a file")
    return form


def write(report: Report, path: Path) -> None:
    """Writes the whole file or nothing. Raises Usage when it cannot be written."""
    text = _FORMS[form_of(path)](report)
    beside = path.with_name(f".{path.name}.part")
    try:
        beside.write_text(text, encoding="utf-8", newline="")
        beside.replace(path)
    except OSError as error:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        raise Usage(f"--report {path}: cannot be written: {error.strerror}") from None


def _csv(report: Report) -> str:
    out = io.StringIO()
    made = csv.writer(out)
    made.writerow(COLUMNS)
    for line in report.lines:
        made.writerow([_plain(value) for value in line.values().values()])
    return out.getvalue()


def _json(report: Report) -> str:
    windows = [
        {**{n: _plain(v) for n, v in line.values().items()}, "examples": dict(line.window.examples)}
        for line in report.lines
    ]
    told = {
        "made_at": _plain(report.made_at),
        "database": report.database,
        "version": report.version,
        "windows": windows,
        "failures": dict(report.failures),
    }
    return json.dumps(told, ensure_ascii=False, indent=1) + "\n"


def _html(report: Report) -> str:
    return report_page.page(
        [(line.values(), line.window.examples) for line in report.lines],
        report.failures,
        made_at=f"{report.made_at:%Y-%m-%d %H:%M} UTC",
        database=report.database,
        version=report.version,
    )


def _plain(value: Any) -> Any:
    return value.isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else value


_FORMS: Mapping[str, Callable[[Report], str]] = {"csv": _csv, "html": _html, "json": _json}
