"""`etl status`: how every source stands, in the terminal."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from etl.cli.frame import App
from etl.errors import Usage

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from etl.status import Expected, SourceStatus, Status

_COLOURS = {"fresh": "green", "STALE": "red", "never": "red"}
_MOST_REASONS = 3


@click.command(short_help="How every source stands.")
@click.option("--json", "as_json", is_flag=True, help="The facts for programs, as one object.")
@click.pass_obj
def status(app: App, /, as_json: bool) -> int:
    """Each source: is it fresh, its last success, its next run by the schedule, its last run; then
    what is unfinished, in quarantine, being filled back or not proven, and the last error. It
    reads the database only: no daemon need run, and no token is needed.

    Exit code 1: a configured source is not fresh.

    \b
    Examples:
      etl status
      etl status --json
    """
    found = _read(app)
    if not found.sources:
        raise Usage(
            f"{app.config}: sources: none is configured; `etl init` writes an example with all"
        )
    if as_json:
        import json  # noqa: PLC0415 - not for --help

        from etl.status import document  # noqa: PLC0415

        sys.stdout.write(json.dumps(document(found), indent=2, ensure_ascii=False) + "\n")
    else:
        for line in _table(found):
            click.echo(line)
        for one in found.sources:
            for line in _remarks(one):
                click.echo(f"{one.source}: {line}")
    return 1 if found.stale else 0


def _read(app: App) -> Status:
    from datetime import UTC, datetime  # noqa: PLC0415 - not for --help

    from etl.status import expected, read  # noqa: PLC0415

    due: Sequence[Expected] | None = expected(app.outline, datetime.now(UTC))
    if not Path(app.config).exists():  # what the ledger remembers of the schedules must do
        due = None
    with app.opened() as database, database.reading() as connection:
        return read(connection, due, datetime.now(UTC))


def _table(found: Status) -> Iterator[str]:
    header = ("source", "api", "state", "last success", "next run", "last run")
    lines = [header, *(_cells(one, found.now) for one in found.sources)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(header))]
    for number, line in enumerate(lines):
        cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=True)]
        if number and line[2] in _COLOURS:
            cells[2] = click.style(cells[2], fg=_COLOURS[line[2]])
        text = "  ".join(cells).rstrip()
        yield text if number else click.style(text, bold=True)


def _cells(one: SourceStatus, now: datetime) -> tuple[str, ...]:
    from etl.status.words import ago, ahead, span  # noqa: PLC0415 - not for --help

    run = one.last_run
    last = "none"
    if run is not None and run.status == "running":
        last = f"{run.mode} runs since {span(run.duration_s(now))}"
    elif run is not None and run.finished_at is None:  # nobody knows when
        last = f"{run.mode} {run.status}"
    elif run is not None:
        last = f"{run.mode} {run.status}, {span(run.duration_s(now))}"
    upcoming = ahead(one.next_run_at, now) if one.configured else ""
    return one.source, one.api, state(one), ago(one.last_success_at, now), upcoming, last


def state(one: SourceStatus) -> str:
    """One word for how it stands, or why nothing can be said."""
    if not one.configured:
        return "not configured"
    if one.last_success_at is None:
        return "never"
    return {True: "fresh", False: "STALE", None: "no schedule"}[one.fresh]


def _remarks(one: SourceStatus) -> Iterator[str]:
    """What else is to be known of a source, a line each; nothing when all is well."""
    from etl.status.words import ago, counted, span  # noqa: PLC0415 - not for --help

    if one.fresh is False and one.stale_after_s is not None and one.last_success_at is not None:
        yield (
            f"the last success is {span(one.freshness_s or 0)} old; "
            f"it may be {span(one.stale_after_s)}"
        )
    if one.unfinished:
        kinds = ", ".join(f"{each.asked:,} {each.kind}" for each in one.owed if each.asked)
        yield f"{one.unfinished:,} unfinished, asked for again ({kinds})"
    if one.given_up:
        yield f"{one.given_up:,} given up: they did not end within give_up_after"
    if one.rejects:
        yield f"{counted(one.rejects, 'reject')}; see etl rejects list"
        yield from (f"  {each.rejects:,} × {each.reason}" for each in one.reasons[:_MOST_REASONS])
    for each in one.backfills:
        if each.status != "done":
            failed = each.windows["failed"]
            yield (
                f"backfill {each.backfill_id} {each.status}: {each.done} of "
                f"{counted(each.total, 'window')} done{f', {failed} failed' if failed else ''}"
            )
    if any(one.verdicts()[each] for each in ("incomplete", "unproven")):
        yield "completeness: " + ", ".join(
            f"{count} {verdict}" for verdict, count in one.verdicts().items() if count
        )
    if one.last_error is not None and _matters(one):
        yield f"last error, {ago(one.last_error_at, one.now)}: {one.last_error}"


def _matters(one: SourceStatus) -> bool:
    """No sync has succeeded since the last error."""
    after = one.last_success_at
    return after is None or one.last_error_at is None or one.last_error_at > after
