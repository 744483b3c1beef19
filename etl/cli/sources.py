"""`etl sources`: the names, what they stand for, and what becomes of them."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from etl.cli.confirming import confirm
from etl.cli.frame import App

if TYPE_CHECKING:
    from sqlalchemy import RowMapping

    from etl.db import Database

_EVERY_S = 5.0
_YES = click.option("--yes", is_flag=True, help="Do not ask.")


@click.group(short_help="The names and what they stand for.", invoke_without_command=True)
@click.pass_context
def sources(context: click.Context, /) -> None:
    """The names of sources: what they stand for, and how to change that.

    A name is an identity: every row of a source carries it. Without a command: list.
    """
    if context.invoked_subcommand is None:
        context.invoke(list_)


@sources.command("list", short_help="All names, in the database and in the configuration.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "json"]),
    default="table",
    show_default=True,
    help="How rows are printed.",
)
@click.pass_obj
def list_(app: App, /, form: str = "table") -> None:
    """Every name with its platform, its address, whether schedules.yaml has it, and its last use.

    \b
    Example:
      etl sources list --format json
    """
    from etl.cli.printing import show  # noqa: PLC0415 - not for --help

    with app.opened() as database:
        held = _held(database)
    configured = _configured(app)
    rows: list[tuple[Any, ...]] = [
        (
            name,
            row["api"],
            _address(row),
            "configured" if name in configured else "not configured",
            row["last_used_at"],
        )
        for name, row in held.items()
    ]
    rows += [(n, api, None, "configured", None) for n, api in configured.items() if n not in held]
    show(("source", "api", "address", "configured", "last_used_at"), sorted(rows), form)


@sources.command(short_help="Give all rows of one name to another.")
@click.argument("old")
@click.argument("new")
@click.pass_obj
def rename(app: App, /, old: str, new: str) -> None:
    """Gives all rows of the source OLD the name NEW, in one transaction. Rename it in
    schedules.yaml as well.

    \b
    Example:
      etl sources rename quality quality_beijing
    """
    from etl.catalog import tables_of_sources  # noqa: PLC0415 - not for --help
    from etl.clock import Clock  # noqa: PLC0415
    from etl.ledger import renaming  # noqa: PLC0415

    configured = _configured(app)
    with app.stoppable() as stop, app.opened() as database:
        with database.reading() as connection:
            renaming.require_known(connection, old)
            renaming.require_free(connection, new)
        with renaming.held(database, old, Clock()) as own:
            moved = renaming.rename(own, tables_of_sources(), old, new, stop)
    click.echo(f"{old} is now {new}: {sum(moved.values()):,} rows in {len(moved)} tables")
    if old in configured:
        click.echo(f"{app.config} still names {old}: rename it there too")


@sources.command(short_help="Accept that a name stands for another address.")
@click.argument("name")
@click.pass_obj
def move(app: App, /, name: str) -> None:
    """Accepts that schedules.yaml points NAME at another address of the same platform. Its rows
    stay, its cursor is reset: the next sync reads everything anew. Its unfinished backfills are
    cancelled.

    \b
    Example:
      etl sources move quality
    """
    from etl.clock import Clock  # noqa: PLC0415 - not for --help
    from etl.ledger import renaming  # noqa: PLC0415

    chosen = app.settings.source(name)
    source, settings = chosen.source, chosen.settings
    account = source.platform(settings).account
    identity = source.identity(settings)
    with (
        app.stoppable(),
        app.opened() as database,
        renaming.held(database, name, Clock()) as own,
    ):
        done = renaming.move(own, name, api=source.api, identity=identity, account=account)
    for line in done:
        click.echo(f"{name}: {line}")


@sources.command(short_help="Delete all rows of a name.")
@click.argument("name")
@_YES
@click.pass_obj
def drop(app: App, /, name: str, yes: bool) -> None:
    """Deletes all rows of the source NAME, whole records at a time. Stopped at any moment, the
    same command goes on where it was.

    \b
    Example:
      etl sources drop quality --yes
    """
    from etl.catalog import tables_of_sources  # noqa: PLC0415 - not for --help
    from etl.clock import Clock  # noqa: PLC0415
    from etl.ledger import renaming  # noqa: PLC0415

    configured = _configured(app)
    with app.opened() as database:
        with database.reading() as connection:
            renaming.require_known(connection, name)
        what = f"this deletes all that the database holds of source '{name}'"
        confirm(f"{what} ({_address(_held(database)[name])})", yes=yes)
        with app.stoppable() as stop, renaming.held(database, name, Clock()) as own:
            gone, told_at = 0, time.monotonic()
            for count in renaming.drop(own, tables_of_sources(), name, stop):
                gone += count
                if time.monotonic() - told_at > _EVERY_S:
                    told_at = time.monotonic()
                    sys.stderr.write(f"{name}: {gone:,} rows deleted so far\n")
    click.echo(f"{name}: {gone:,} rows deleted")
    if name in configured:
        click.echo(f"{app.config} still names {name}: the next sync begins it anew")


def _configured(app: App) -> dict[str, str]:
    """Name and api of what schedules.yaml has; nothing when there is no such file."""
    if not Path(app.config).exists():
        return {}
    return {name: app.settings.api(name) for name in app.settings.source_names}


def _held(database: Database) -> dict[str, RowMapping]:
    from sqlalchemy import select  # noqa: PLC0415 - not for --help

    from etl.ledger import tables  # noqa: PLC0415

    with database.reading() as connection:
        found = connection.execute(select(tables.sources)).mappings().all()
    return {row["source"]: row for row in found}


def _address(row: RowMapping) -> str:
    from etl.ledger.renaming import spoken  # noqa: PLC0415 - not for --help

    return spoken(json.loads(row["address"]))
