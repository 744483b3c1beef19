"""`etl verify`: the copy beside the platform's own listing."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from etl.cli.frame import App, print_error, worst_of
from etl.cli.sync import exit_code
from etl.redact import masked

if TYPE_CHECKING:
    from etl.config.model import Configured
    from etl.db import Database
    from etl.verify import Plan, Verified

_LABELS = ("source", "window", "listed", "held", "missing", "differing", "gone", "verdict")


@click.command(short_help="Compares the copy with the platform's own listing.")
@click.argument("source", nargs=-1)
@click.option(
    "--since",
    metavar="D",
    help="From then on: a date, a date-time, or 90d. [default: what has been copied]",
)
@click.option("--until", metavar="D", help="Up to then, exclusive. [default: the last sync]")
@click.option(
    "--repair",
    is_flag=True,
    help="Fetch what is missing or differs, and mark what is no longer listed.",
)
@click.option(
    "--report",
    metavar="FILE",
    help="Write it down: .html (a page that prints), .csv or .json.",
)
@click.option(
    "--dry-run", is_flag=True, help="Only say which windows, and about how many requests."
)
@click.pass_obj
def verify(  # noqa: PLR0913 - a command: every option is one argument
    app: App,
    /,
    source: tuple[str, ...],
    since: str | None,
    until: str | None,
    repair: bool,
    report: str | None,
    dry_run: bool,
) -> int:
    """Compares ids and statuses, month by month, and the rows below each execution with its own
    count of them. Exit code 1 while something is found that is not mended.

    What the platform lists cheaply costs a request for each page; act2 has no such list and costs
    one more for each record. What is unfinished and has moved on since is asked for again first.

    \b
    Example:
      etl verify graph --since 90d --repair
      etl verify --report completeness.html
    """
    from etl.errors import Usage  # noqa: PLC0415 - not for --help
    from etl.verify.report import form_of  # noqa: PLC0415

    now = datetime.now(UTC)
    bounds = moment("--since", since, now), moment("--until", until, now)
    path = None if report is None else Path(report)
    if path is not None:
        form_of(path)
        if dry_run:
            raise Usage("--report writes down what was found, and --dry-run looks for nothing")
    chosen = app.settings.select(source)
    with app.stoppable(), app.opened(leased=True) as database:
        plans = _plans(database, chosen, bounds, now)
        if dry_run:
            for each in plans:
                click.echo(_planned(each, whole=True))
            return 0
        return _run(app, database, chosen, plans, bounds, repair, path)


def moment(option: str, text: str | None, now: datetime) -> datetime | None:
    """What an option means. Raises Usage."""
    from etl.errors import Usage  # noqa: PLC0415 - not for --help
    from etl.units import Since  # noqa: PLC0415

    try:
        return None if text is None else Since.parse(text).resolve(now)
    except ValueError as error:
        raise Usage(f"{option}: {error}") from None


Bounds = tuple[datetime | None, datetime | None]


def _plans(
    database: Database, chosen: Sequence[Configured], bounds: Bounds, now: datetime
) -> list[Plan]:
    from etl.verify import plan  # noqa: PLC0415 - not for --help

    since, until = bounds
    with database.reading() as connection:
        return [plan(connection, one, since=since, until=until, now=now) for one in chosen]


def _planned(plan: Plan, *, whole: bool) -> str:
    if not plan.windows:
        return f"{plan.source}: {plan.why_not}"
    noun = "window" if len(plan.windows) == 1 else "windows"
    lines = [f"{plan.source}: {len(plan.windows)} {noun}, about {plan.requests:,} requests"]
    for (since, until), executions, requests in plan.windows if whole else ():
        begin = "the beginning" if since is None else f"{since:%Y-%m-%d %H:%M}"
        lines.append(
            f"  {begin} … {until:%Y-%m-%d %H:%M}: {executions:,} held, about {requests:,} requests"
        )
    return "\n".join(lines)


def _run(  # noqa: PLR0913 - all that the command was told
    app: App,
    database: Database,
    chosen: Sequence[Configured],
    plans: Sequence[Plan],
    bounds: Bounds,
    repair: bool,
    path: Path | None,
) -> int:
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - not for --help

    from etl.cli.progress import display  # noqa: PLC0415
    from etl.passes import Surroundings  # noqa: PLC0415
    from etl.verify import verify as verify_one  # noqa: PLC0415

    for plan in plans:
        _say(app, _planned(plan, whole=False))
    since, until = bounds
    with display(app.log_format) as shown, ThreadPoolExecutor(len(chosen)) as pool:
        around = Surroundings(database, app.stop, shown)
        done = list(
            pool.map(
                lambda one: verify_one(one, around, since=since, until=until, repair=repair), chosen
            )
        )
    _show(app, done)
    if path is not None:
        _write(database, chosen, done, path)
    return app.exit_code(worst_of([_code(each) for each in done]))


def _code(verified: Verified) -> int:
    return exit_code(verified.outcome) or int(not verified.proven)


def _say(app: App, line: str, level: int = logging.INFO) -> None:
    from etl.cli.printing import one_line  # noqa: PLC0415 - not for --help

    if app.log_format == "json":
        logging.getLogger("etl.verify").log(level, line)
    else:
        sys.stderr.write(f"{one_line(line)}\n")


def _show(app: App, done: Sequence[Verified]) -> None:
    """A line a window, then a few examples of what was found: among JSON logs these alone tell."""
    from etl.cli.printing import show  # noqa: PLC0415 - not for --help

    for each in done:
        error = each.outcome.error
        if error is not None and each.outcome.status != "stopped":
            print_error(masked(f"{each.outcome.source}: {error}"))
    windows = [window for each in done for window in each.windows]
    if app.log_format != "json" and windows:
        rows = [
            (w.source, w.label, w.upstream_ids, w.database_ids, w.missing, w.differing, w.gone,
             w.verdict)
            for w in windows
        ]  # fmt: skip
        show(_LABELS, rows)
    for w in windows:
        level = logging.INFO if w.verdict == "complete" else logging.WARNING
        if w.reason is not None:
            _say(app, f"{w.source} {w.label}: {w.reason}", level)
        for kind, ids in w.examples.items():
            more = ", …" if getattr(w, kind) > len(ids) else ""
            _say(app, f"{w.source} {w.label}: {kind}: {', '.join(ids)}{more}", level)


def _write(
    database: Database, chosen: Sequence[Configured], done: Sequence[Verified], path: Path
) -> None:
    from etl import __version__  # noqa: PLC0415 - not for --help
    from etl.verify.report import Report, lines, write  # noqa: PLC0415

    made = [
        line
        for one, each in zip(chosen, done, strict=True)
        for line in lines(one, each.windows, database.dialect)
    ]
    failures = {e.outcome.source: masked(str(e.outcome.error)) for e in done if e.outcome.error}
    write(Report(made, failures, datetime.now(UTC), database.name, __version__), path)
