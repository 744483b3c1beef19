"""`etl prune`: what must not be kept for ever."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from etl.cli.frame import App, print_error
from etl.cli.sync import exit_code
from etl.redact import masked

if TYPE_CHECKING:
    from etl.prune import Pruned


@click.command(short_help="Deletes old executions, whole.")
@click.argument("source")
@click.option(
    "--older-than",
    required=True,
    metavar="D",
    help="What is listed before then goes: a date, a date-time, or 365d.",
)
@click.option("--dry-run", is_flag=True, help="Only count.")
@click.pass_obj
def prune(app: App, /, source: str, older_than: str, dry_run: bool) -> int:
    """Deletes the executions of SOURCE that are older, with all below them, in small transactions.
    What is unfinished stays. Rejects of what goes, and those last seen before then, go too.

    Nothing of it is fetched back: not by sync, not by verify --repair, and by a backfill only with
    --restore. It asks the platform nothing and needs no credentials.

    \b
    Example:
      etl prune scripts --older-than 365d --dry-run
    """
    from etl.cli.progress import display  # noqa: PLC0415 - not for --help
    from etl.cli.verify import moment  # noqa: PLC0415
    from etl.passes import Surroundings  # noqa: PLC0415
    from etl.prune import prune as prune_one  # noqa: PLC0415

    before = moment("--older-than", older_than, datetime.now(UTC))
    assert before is not None  # noqa: S101 - the option is required
    configured = app.settings.unasked(source)
    with (
        app.stoppable() as stop,
        app.opened(leased=True) as database,
        display(app.log_format) as shown,
    ):
        around = Surroundings(database, stop, shown)
        pruned = prune_one(configured, around, before=before, dry_run=dry_run)
    error = pruned.outcome.error
    if error is not None and pruned.outcome.status != "stopped":
        print_error(masked(f"{source}: {error}"))
    if error is None or pruned.executions:
        click.echo(_told(pruned, dry_run=dry_run))
    return app.exit_code(exit_code(pruned.outcome))


def _told(pruned: Pruned, *, dry_run: bool) -> str:
    border = f"{pruned.before:%Y-%m-%d %H:%M} UTC"
    kept = f"; {pruned.kept_unfinished:,} unfinished stay" if pruned.kept_unfinished else ""
    if dry_run:
        return (
            f"{pruned.outcome.source}: {pruned.executions:,} executions before {border} would be "
            f"deleted{kept}"
        )
    return (
        f"{pruned.outcome.source}: {pruned.executions:,} executions before {border} deleted, "
        f"{pruned.rows:,} rows in all{kept}"
    )
