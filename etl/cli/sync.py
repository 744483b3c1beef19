"""`etl sync`: one pass now."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from etl.cli.frame import App, print_error, worst_of
from etl.redact import masked

if TYPE_CHECKING:
    from etl.passes import Outcome


@click.command(short_help="One incremental pass now.")
@click.argument("source", nargs=-1)
@click.pass_obj
def sync(app: App, /, source: tuple[str, ...]) -> int:
    """Copies what is new, and asks again for what is not final; all sources if none is named.

    \b
    Example:
      etl sync graph scripts
    """
    from etl.cli.progress import display  # noqa: PLC0415 - not for --help
    from etl.passes import Surroundings  # noqa: PLC0415
    from etl.sync import sync_all  # noqa: PLC0415

    chosen = app.settings.select(source)
    with (
        app.stoppable() as stop,
        app.opened(leased=True) as database,
        display(app.log_format) as shown,
    ):
        outcomes = sync_all(chosen, Surroundings(database, stop, shown))
    report(app, outcomes)
    return app.exit_code(worst_of([exit_code(outcome) for outcome in outcomes]))


def exit_code(outcome: Outcome) -> int:
    return 0 if outcome.error is None else outcome.error.exit_code


def report(app: App, outcomes: Sequence[Outcome]) -> None:
    """The closing table on stdout, and a line on stderr for each source that failed."""
    for outcome in outcomes:
        if outcome.error is not None and outcome.status != "stopped":
            print_error(masked(f"{outcome.source}: {outcome.error}"))
    if app.log_format == "json":
        return
    header = ("source", "status", "read", "written", "unchanged", "rejected", "requests",
              "retries", "seconds")  # fmt: skip
    lines = [header, *(_line(outcome) for outcome in outcomes)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(header))]
    for line in lines:
        cells = [
            cell.ljust(width) if place < 2 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        sys.stdout.write("  ".join(cells).rstrip() + "\n")


def _line(outcome: Outcome) -> tuple[str, ...]:
    tally = outcome.tally
    return (
        outcome.source,
        outcome.status,
        f"{tally.read:,}",
        f"{tally.written:,}",
        f"{tally.unchanged:,}",
        f"{tally.rejected:,}",
        f"{outcome.requests:,}",
        f"{outcome.retries:,}",
        f"{outcome.seconds:.1f}",
    )
