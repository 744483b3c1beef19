"""`etl backfill` and `etl backfills`: history, window by window."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from etl.cli.frame import NUMBER, App, print_error
from etl.errors import Usage
from etl.redact import masked

if TYPE_CHECKING:
    from etl.backfill import Estimate, Order, Standing
    from etl.cli.standing import Shown
    from etl.db import Database
    from etl.ledger.backfills import Backfill, Counts
    from etl.units import Rate

_WORKERS = click.option(
    "--workers",
    type=click.IntRange(1, 64),
    default=2,
    show_default=True,
    help="Windows that are read at once; requests in flight are bounded by concurrency.",
)
_RATE = click.option(
    "--rate", metavar="20/10s", help="Ask more slowly than the account may, for this backfill."
)
_NEWEST = click.option("--newest-first", is_flag=True, help="The latest windows first.")


@click.command(short_help="Everything in a time range, read anew.")
@click.argument("source")
@click.option(
    "--since",
    required=True,
    metavar="D",
    help="From then on: a date, a date-time with or without zone (UTC), or 90d.",
)
@click.option("--until", metavar="D", help="Up to then, exclusive. [default: now]")
@click.option("--restart", is_flag=True, help="Do not go on with an unfinished one: begin again.")
@_NEWEST
@_WORKERS
@_RATE
@click.option("--dry-run", is_flag=True, help="Only say what would be done, and until when.")
@click.option("--restore", is_flag=True, help="Fetch what `etl prune` removed, too.")
@click.pass_obj
def backfill(app: App, /, source: str, **options: Any) -> int:
    """Reads everything that SOURCE lists in a time range anew, oldest first; what the platform
    says wins over what the tables hold.

    It is planned as windows of at most a month, or less where that costs little. Stopped, killed
    or failed at any moment, the same command goes on: finished windows are not read again. It
    runs beside `etl sync` and the daemon, which go first.

    \b
    Example:
      etl backfill graph --since 2024-01-01 --until 2025-01-01
      etl backfill quality --since 90d --rate 20/10s --dry-run
    """
    from etl.backfill import Order, Range  # noqa: PLC0415 - not for --help

    range_ = Range(options["since"], options["until"], options["restore"])
    order = Order(
        range_,
        restart=options["restart"],
        newest_first=options["newest_first"],
        workers=options["workers"],
    )
    slower = _rate(options["rate"])
    if options["dry_run"]:
        return _estimate(app, source, order, slower)
    range_.bounds(datetime.now(UTC), None)  # a mistake is told before anything is opened
    return _run(app, source, order, slower)


def _rate(text: str | None) -> Rate | None:
    from etl.units import Rate  # noqa: PLC0415 - not for --help

    try:
        return None if text is None else Rate.parse(text)
    except ValueError as error:
        raise Usage(f"--rate: {error}") from None


class _Watcher:
    """Says lines on stdout (as log lines with --log-format json), then hands over to a display."""

    def __init__(self, app: App, shown: Shown) -> None:
        self._app, self._shown = app, shown
        self.standing: Standing | None = None

    def says(self, line: str) -> None:
        if self._app.log_format == "json":
            logging.getLogger("etl.backfill").info(line)
            return
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()

    def watches(self, standing: Standing) -> None:
        self.standing = standing
        self._shown.watches(standing)


def _run(app: App, source: str, order: Order, slower: Rate | None) -> int:
    from etl.backfill import backfill as run  # noqa: PLC0415 - not for --help
    from etl.cli.standing import shown, summary  # noqa: PLC0415
    from etl.passes import Surroundings  # noqa: PLC0415

    configured = app.settings.source(source)
    with app.stoppable() as stop, app.opened(leased=True) as database:
        around = Surroundings(database, stop, lambda *_: None, slower=slower)
        with shown(app.log_format) as display:
            watcher = _Watcher(app, display)
            outcome = run(configured, order, around, watcher)
    if watcher.standing is not None:
        watcher.says(summary(watcher.standing))
    if outcome.error is None:
        return app.exit_code(0)
    if outcome.status != "stopped":
        print_error(masked(f"{source}: {outcome.error}"))
    elif watcher.standing is not None:
        watcher.says("stopped; the same command goes on")
    return app.exit_code(outcome.error.exit_code)


def _estimate(app: App, source: str, order: Order, slower: Rate | None) -> int:
    from etl.backfill import estimate  # noqa: PLC0415 - not for --help
    from etl.passes import Surroundings  # noqa: PLC0415

    configured = app.settings.source(source)
    with app.stoppable() as stop, app.opened() as database:
        around = Surroundings(database, stop, lambda *_: None, slower=slower)
        assert order.range is not None  # noqa: S101 - the command has one
        found = estimate(configured, order.range, around, restart=order.restart)
        for line in _said(found, around.clock.now()):
            click.echo(line)
    return app.exit_code(0)


def _said(found: Estimate, now: datetime) -> list[str]:
    from etl.backfill import finishing  # noqa: PLC0415 - not for --help

    held = found.held
    begun = f"would go on with backfill {held.backfill_id}" if held else "would begin a backfill"
    untold = "the platform does not say"
    at = finishing(found, now)
    return [
        *([found.left_out] if found.left_out else []),
        f"{begun}: {found.range}",
        f"  windows     {found.windows - found.done:,} to do of {found.windows:,}",
        f"  executions  {untold if found.executions is None else f'{found.executions:,}'}",
        f"  requests    {untold if found.requests is None else f'about {found.requests:,}'}",
        f"  done        {untold if at is None else f'about {at:%Y-%m-%d %H:%M:%S} UTC'}",
    ]


@click.group(invoke_without_command=True, short_help="Every backfill and its windows.")
@click.pass_context
def backfills(context: click.Context, /) -> None:
    """Every backfill with its windows done, failed and to do. Without a command: list.

    \b
    Example:
      etl backfills show 12
      etl backfills retry 12
    """
    if context.invoked_subcommand is None:
        context.invoke(list_)


_ID = click.argument("backfill_id", metavar="ID", type=NUMBER)


@backfills.command("list", short_help="All of them, the latest first.")
@click.pass_obj
def list_(app: App, /) -> None:
    """One line for each backfill.

    \b
    Example:
      etl backfills list
    """
    from etl.cli.printing import show as print_rows  # noqa: PLC0415 - not for --help
    from etl.ledger import backfills as ledger  # noqa: PLC0415

    with app.opened() as database:
        with database.reading() as connection:
            found = ledger.every(connection)
            counts = ledger.counts(connection, [one.backfill_id for one in found])
        states = [_state(database, one) for one in found]
    if not found:
        click.echo("there is no backfill yet")
        return
    print_rows(
        _LABELS,
        [
            _line(one, counts[one.backfill_id], state)
            for one, state in zip(found, states, strict=True)
        ],
    )


@backfills.command(short_help="One with all its windows.")
@_ID
@click.pass_obj
def show(app: App, /, backfill_id: int) -> None:
    """The backfill, then a line for each of its windows.

    \b
    Example:
      etl backfills show 12
    """
    from etl.backfill import known  # noqa: PLC0415 - not for --help
    from etl.cli.printing import show as print_rows  # noqa: PLC0415
    from etl.ledger import backfills as ledger  # noqa: PLC0415

    with app.opened() as database:
        one = known(database, backfill_id)
        with database.reading() as connection:
            counts = ledger.counts(connection, [backfill_id])[backfill_id]
            windows = ledger.windows(connection, backfill_id)
        state = _state(database, one)
    for name, value in zip(_LABELS, _line(one, counts, state), strict=True):
        click.echo(f"{name:>12}  {'' if value is None else value}")
    click.echo("")
    print_rows(
        ("window", "since", "until", "status", "rows_written", "error"),
        [(w.number, w.since, w.until, w.status, w.rows_written, w.error) for w in windows],
        wrap_last=True,
    )


@backfills.command(short_help="Try failed windows again, and go on.")
@_ID
@_NEWEST
@_WORKERS
@_RATE
@click.pass_obj
def retry(app: App, /, backfill_id: int, **options: Any) -> int:
    """Makes failed windows pending again and works what is not done.

    \b
    Example:
      etl backfills retry 12
    """
    from etl.backfill import Order, unfinished  # noqa: PLC0415 - not for --help

    slower = _rate(options["rate"])
    with app.opened() as database:
        source = unfinished(database, backfill_id).source
    order = Order(
        backfill_id=backfill_id,
        newest_first=options["newest_first"],
        workers=options["workers"],
    )
    return _run(app, source, order, slower)


@backfills.command(short_help="Give one up; what it brought stays.")
@_ID
@click.pass_obj
def cancel(app: App, /, backfill_id: int) -> None:
    """Marks the backfill as cancelled: the same command then begins a new one. Refused while the
    process that works on it lives: stop that first.

    \b
    Example:
      etl backfills cancel 12
    """
    from etl.backfill import cancel as give_up  # noqa: PLC0415 - not for --help
    from etl.clock import Clock  # noqa: PLC0415

    with app.stoppable(), app.opened() as database:
        one = give_up(database, backfill_id, Clock())
    click.echo(f"backfill {backfill_id} of {one.source} is cancelled; what it brought stays")


_LABELS = (
    *("id", "source", "arguments", "since", "until", "status", "done", "failed", "windows"),
    *("rows_written", "created_at", "finished_at"),
)


def _line(one: Backfill, counts: Counts, state: str) -> tuple[Any, ...]:
    return (
        one.backfill_id,
        one.source,
        one.arguments,
        _shown(one.since),
        _shown(one.until),
        state,
        counts.done,
        counts.failed,
        counts.windows,
        counts.rows_written,
        _shown(one.created_at),
        _shown(one.finished_at),
    )


def _state(database: Database, one: Backfill) -> str:
    """Its status; one whose process has died says so."""
    from etl.ledger import seats  # noqa: PLC0415 - not for --help

    if one.status != "running":
        return one.status
    with database.reading() as connection:
        return "running" if seats.is_held(connection, one.source, "backfill") else "killed"


def _shown(at: datetime | None) -> str | None:
    return None if at is None else f"{at:%Y-%m-%d %H:%M}"
