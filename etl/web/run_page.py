"""The page of one run: what it did, what it cost, how it ended, and what it left behind."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from etl.db import Database
from etl.errors import EtlError
from etl.status import Run
from etl.status.one_run import Trace, neighbours, read_run, trace
from etl.status.words import span
from etl.web import parts
from etl.web.html import Element, Node, tag
from etl.web.page import Frame, shell


class Told(NamedTuple):
    """What the ledger knows of a run; `run` is None when it knows none of that number."""

    run_id: int
    run: Run | None = None
    before: int | None = None
    after: int | None = None
    left: Trace = Trace()


def tell(database: Database, run_id: int) -> Told | EtlError:
    """Reads one run; an error on purpose is the answer then."""
    try:
        with database.reading() as connection:
            run = read_run(connection, run_id)
            if run is None:
                return Told(run_id)
            return Told(run_id, run, *neighbours(connection, run), trace(connection, run))
    except EtlError as error:
        return error


def made(frame: Frame, told: Told, now: datetime) -> Element:
    """The page."""
    run = told.run
    if run is None:
        missing = tag("h1", parts.mark("quiet"), f"There is no run {told.run_id}", class_="quiet")
        why = tag("p", "The ledger forgets runs after ", tag("code", "keep_runs"), ".")
        back = tag("p", tag("a", "All sources", href="/"))
        return shell(frame, f"no run {told.run_id} · etl", now, missing, why, back)
    look = parts.tone(run.status)
    title = f"run {run.run_id}: {run.source} {run.status} · etl"
    overall = tag("h1", parts.mark(look), f"Run {run.run_id}: {run.mode} of {run.source} ",
                  run.status if run.status != "running" else "runs", class_=look)  # fmt: skip
    return shell(
        frame,
        title,
        now,
        overall,
        _ways(told, run),
        _error(run),
        tag("div", _course(run, now), _rows(run), _cost(run, now), class_="cards three"),
        _left(told.left),
    )


def _ways(told: Told, run: Run) -> Element:
    """To the runs of the same source before and after, and back."""
    return tag(
        "nav",
        tag("a", "All sources", href="/"),
        parts.run_link(told.before, f"← run {told.before}") if told.before else None,
        parts.run_link(told.after, f"run {told.after} →") if told.after else None,
        aria_label=f"Runs of {run.source}",
        class_="ways",
    )


def _error(run: Run) -> Node:
    if run.error is None:
        return None
    kind = f" ({run.error_kind})" if run.error_kind else ""
    return tag(
        "div",
        tag("p", tag("strong", f"Why it {run.status}"), kind),
        tag("p", run.error, class_="said"),
        class_="alert wide",
    )


def _section(title: str, *inside: Node) -> Element:
    key = title.lower().replace(" ", "-")
    return tag("section", tag("h2", title, id=key), *inside, class_="card", aria_labelledby=key)


def _course(run: Run, now: datetime) -> Element:
    return _section(
        "Course",
        parts.figures(
            [
                ("Status", parts.badge(run.status), None),
                ("Took", span(run.duration_s(now)), None),
                ("Began (UTC)", parts.stamp(run.started_at), None),
                ("Ended (UTC)", parts.stamp(run.finished_at), None),
                ("Due at (UTC)", parts.stamp(run.scheduled_for), None),
                ("Started by", run.triggered_by, None),
                ("Host and process", f"{run.host}, {run.pid}", None),
                ("Release", run.version, None),
            ]
        ),
    )


def _rows(run: Run) -> Element:
    return _section(
        "Rows",
        parts.figures(
            [
                ("Read", f"{run.rows_read:,}", None),
                ("Written", f"{run.rows_written:,}", None),
                ("Unchanged", f"{run.rows_unchanged:,}", None),
                ("Rejected", f"{run.rows_rejected:,}", "bad" if run.rows_rejected else None),
            ]
        ),
    )


def _cost(run: Run, now: datetime) -> Element:
    took_s = run.duration_s(now)
    rate = f"{run.requests / took_s:,.1f}/s" if took_s >= 0.1 else "–"
    return _section(
        "Cost",
        parts.figures(
            [
                ("Requests", f"{run.requests:,}", None),
                ("Of these, again", f"{run.retries:,}", None),
                ("Request rate", rate, None),
                ("Bytes read", _size(run.bytes_read), None),
            ]
        ),
    )


def _left(left: Trace) -> Node:
    made: list[Node] = []
    if left.changes:
        rows = ((kind, status, f"{count:,}") for kind, status, count in left.changes)
        caption = "Changes of status that it observed"
        made.append(
            _section("Changes of status", parts.table(caption, ("of", "now", "times#"), rows))
        )
    if left.rejects:
        lines = ((str(number), id_ or "–", reason) for number, id_, reason in left.rejects)
        columns = ("reject", "upstream id", "reason")
        note = ("Open ones that it saw last; ", tag("code", "etl rejects show ID"), " shows one.")
        made.append(
            _section(
                "Rejects",
                parts.table("Records that it rejected", columns, lines),
                tag("p", note, class_="small"),
            )
        )
    if left.checks:
        proofs = (
            (
                parts.day(check.since, "the beginning"),
                parts.day(check.until, "now"),
                parts.badge(check.verdict),
                check.reason or "",
            )
            for check in left.checks
        )
        columns_ = ("from", "to", "verdict", "why")
        made.append(_section("Completeness", parts.table("What it compared", columns_, proofs)))
    return tag("div", made, class_="cards") if made else None


def _size(count: int) -> str:
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            return f"{size:,.0f} {unit}" if unit == "B" else f"{size:,.1f} {unit}"
        size /= 1024
    return ""
