"""One source on the status page."""

from __future__ import annotations

from etl.status import Run, SourceStatus
from etl.status.facts import Backfill, Check
from etl.status.words import counted, span
from etl.web import parts
from etl.web.chart import chart
from etl.web.facts import RUNS
from etl.web.html import Element, Node, tag

_MOST_REASONS = 50
_TABLED_RUNS = 20


def card(one: SourceStatus) -> Element:
    """How one source stands."""
    word, look = state(one)
    return tag(
        "section",
        tag(
            "div",
            tag("h2", one.source, id=f"source-{one.source}"),
            tag("span", one.api, class_="api"),
            parts.badge(word, look),
            class_="head",
        ),
        _freshness(one),
        _error(one),
        chart(one.runs, one.now, RUNS),
        _figures(one),
        [_open_backfill(each, one) for each in one.backfills if each.status != "done"],
        _proofs(one),
        tag("div", _unfoldable(one), class_="more"),
        class_=f"card {look}",
        aria_labelledby=f"source-{one.source}",
    )


def state(one: SourceStatus) -> tuple[str, str]:
    """One word for how it stands, and its look."""
    if not one.configured:
        return "not configured", "quiet"
    if one.last_success_at is None:
        return "never copied", "bad"
    if one.fresh is None:
        return "no schedule", "quiet"
    return ("fresh", "good") if one.fresh else ("stale", "bad")


def _freshness(one: SourceStatus) -> Node:
    """The age of the last success, beside what it may be."""
    age = [
        tag("div", tag("dt", "Last success"), tag("dd", parts.since(one.last_success_at, one.now))),
        tag("div", tag("dt", "Next run"), tag("dd", _next(one))),
    ]
    rows: list[Node] = [tag("dl", age, class_="pulse")]
    if one.stale_after_s and one.freshness_s is not None and one.configured:
        rows.append(
            tag(
                "p",
                parts.bar(one.freshness_s / one.stale_after_s, "good" if one.fresh else "bad"),
                tag("span", f"{span(one.freshness_s)} old, stale after {span(one.stale_after_s)}"),
                class_="age",
            )
        )
    return rows


def _next(one: SourceStatus) -> Node:
    if not one.configured:
        return "none"
    if one.next_run_at is None:
        return "not scheduled"
    every = f", every {span(one.expected_every_s)}" if one.expected_every_s else ""
    return [parts.until(one.next_run_at, one.now), tag("small", every)]


def _error(one: SourceStatus) -> Node:
    """The last error, while no sync has succeeded since."""
    if one.last_error is None or not _matters(one):
        return None
    return tag(
        "div",
        tag(
            "p",
            tag("strong", "Last error"),
            ", ",
            parts.since(one.last_error_at, one.now),
            ", ",
            parts.run_link(one.last_error_run_id),
        ),
        tag("p", one.last_error, class_="said"),
        class_="alert",
    )


def _matters(one: SourceStatus) -> bool:
    after = one.last_success_at
    return after is None or one.last_error_at is None or one.last_error_at > after


def _figures(one: SourceStatus) -> Element:
    today = one.day
    return parts.figures(
        [
            ("Unfinished", f"{one.unfinished:,}", None),
            ("Given up", f"{one.given_up:,}", "bad" if one.given_up else None),
            ("Rejects", f"{one.rejects:,}", "bad" if one.rejects else None),
            ("Runs in 24 h", f"{today.runs:,}", None),
            ("Failed in 24 h", f"{today.failed:,}", "bad" if today.failed else None),
            ("Written in 24 h", f"{today.rows_written:,}", None),
        ]
    )


def _open_backfill(each: Backfill, one: SourceStatus) -> Element:
    share = each.done / each.total if each.total else 0.0
    failed = each.windows["failed"]
    return tag(
        "div",
        tag(
            "p",
            tag("strong", f"Backfill {each.backfill_id}"),
            " ",
            parts.badge(each.status),
            " ",
            parts.day(each.since, "the beginning"),
            " … ",
            parts.day(each.until, "now"),
        ),
        parts.bar(share, "bad" if each.status == "failed" else "busy"),
        tag(
            "p",
            f"{each.done:,} of {counted(each.total, 'window')} done ({share:.0%})",
            f", {failed:,} failed" if failed else None,
            f", {counted(each.rows_written, 'row')} written, begun ",
            parts.since(each.created_at, one.now),
            class_="small",
        ),
        tag("p", each.error, class_="said") if each.error else None,
        class_="backfill",
    )


def _proofs(one: SourceStatus) -> Node:
    """Completeness: a square for each stretch of time, and the count in words."""
    if not one.checks:
        return None
    told = ", ".join(f"{count:,} {verdict}" for verdict, count in one.verdicts().items() if count)
    squares = (
        tag("span", class_=f"cell {check.verdict}", title=_span_of(check)) for check in one.checks
    )
    return tag(
        "div",
        tag("p", tag("strong", "Completeness"), f": {told}"),
        tag("div", squares, class_="cells", aria_hidden="true"),
        class_="proofs",
    )


def _span_of(check: Check) -> str:
    begins = "the beginning" if check.since is None else f"{check.since:%Y-%m-%d}"
    ends = "now" if check.until is None else f"{check.until:%Y-%m-%d}"
    return f"{begins} … {ends}: {check.verdict}"


def _unfoldable(one: SourceStatus) -> list[Node]:
    key = one.source
    made: list[Node] = []
    if one.runs:
        shown = one.runs[:_TABLED_RUNS]
        made.append(parts.details(f"runs-{key}", "Last runs", _runs(one, shown)))
    if one.owed:
        made.append(parts.details(f"owed-{key}", f"Unfinished ({one.unfinished:,})", _owed(one)))
    if one.reasons:
        made.append(parts.details(f"rejects-{key}", f"Rejects ({one.rejects:,})", _rejects(one)))
    if one.checks:
        made.append(parts.details(f"checks-{key}", "Completeness by time", _checks(one)))
    done = [each for each in one.backfills if each.status == "done"]
    if done:
        told = f"Backfills done this week ({len(done)})"
        made.append(parts.details(f"backfills-{key}", told, _backfills(one, done)))
    return made


def _runs(one: SourceStatus, runs: tuple[Run, ...]) -> Element:
    return parts.table(
        f"Last runs of {one.source}",
        ("run", "what", "status", "began (UTC)", "took#", "written#", "unchanged#", "requests#"),
        (
            (
                parts.run_link(run.run_id, str(run.run_id)),
                run.mode,
                parts.badge(run.status),
                parts.stamp(run.started_at),
                span(run.duration_s(one.now)),
                f"{run.rows_written:,}",
                f"{run.rows_unchanged:,}",
                f"{run.requests:,}",
            )
            for run in runs
        ),
    )


def _owed(one: SourceStatus) -> Element:
    return parts.table(
        f"What {one.source} owes",
        ("what", "asked for#", "given up#", "oldest"),
        (
            (each.kind, f"{each.asked:,}", f"{each.given_up:,}",
             parts.since(each.oldest_at, one.now))
            for each in one.owed
        ),
    )  # fmt: skip


def _rejects(one: SourceStatus) -> list[Node]:
    shown = one.reasons[:_MOST_REASONS]
    left = len(one.reasons) - len(shown)
    return [
        parts.table(
            f"Why records of {one.source} were rejected",
            ("records#", "reason", "last seen"),
            (
                (f"{each.rejects:,}", each.reason, parts.since(each.last_seen_at, one.now))
                for each in shown
            ),
        ),
        tag("p", f"and {left:,} more reasons", class_="small") if left else None,
        tag("p", tag("code", "etl rejects list"), " shows each of them", class_="small"),
    ]


def _checks(one: SourceStatus) -> Element:
    return parts.table(
        f"What of {one.source} is proven",
        ("from", "to", "verdict", "missing#", "differing#", "gone#", "checked", "why"),
        (
            (
                parts.day(each.since, "the beginning"),
                parts.day(each.until, "now"),
                parts.badge(each.verdict),
                *(("–" if n is None else f"{n:,}")
                  for n in (each.missing, each.differing, each.gone)),
                parts.since(each.checked_at, one.now),
                each.reason or "",
            )
            for each in reversed(one.checks)
        ),
    )  # fmt: skip


def _backfills(one: SourceStatus, done: list[Backfill]) -> Element:
    return parts.table(
        f"Backfills of {one.source}",
        ("backfill", "from", "to", "windows#", "written#", "done"),
        (
            (
                str(each.backfill_id),
                parts.day(each.since, "the beginning"),
                parts.day(each.until, "now"),
                f"{each.total:,}",
                f"{each.rows_written:,}",
                parts.since(each.finished_at, one.now),
            )
            for each in done
        ),
    )
