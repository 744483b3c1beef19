"""`etl db`: the tables' revision, and how to change it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from etl.cli.confirming import confirm
from etl.cli.frame import App, print_error
from etl.errors import EtlError, Usage

if TYPE_CHECKING:
    from etl.db import Database


@click.group(short_help="The tables' migrations.")
def db() -> None:
    """Migrates the database: the project's own Alembic migrations, wherever it is installed."""


@db.command(short_help="Migrate up.")
@click.argument("revision", default="head")
@click.pass_obj
def upgrade(app: App, /, revision: str) -> None:
    """Brings the tables up to REVISION, or to this release.

    \b
    Example:
      etl db upgrade
    """
    from etl import migrate  # noqa: PLC0415 - imports SQLAlchemy

    with app.opened(migrated=False) as database:
        before = migrate.current(database)
        wanted = migrate.head() if revision == "head" else _known(revision)
        if before is not None and before in migrate.revisions() and before > wanted:
            raise Usage(
                f"database {database.name} is at revision {before}, later than {wanted}; "
                f"to go back run: etl db downgrade {wanted}"
            )
        migrate.upgrade(database, wanted)
        _tell(database, before)


@db.command(short_help="Migrate down; data goes.")
@click.argument("revision")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def downgrade(app: App, /, revision: str, yes: bool) -> None:
    """Takes the tables back to REVISION (`base`: none is left). The rows of tables and columns
    that go are lost.

    \b
    Example:
      etl db downgrade 0001 --yes
    """
    from etl import migrate  # noqa: PLC0415 - imports SQLAlchemy

    with app.opened(migrated=False) as database:
        before = migrate.current(database)
        if revision != "base" and (before is None or _known(revision) > before):
            raise Usage(
                f"database {database.name} is at revision {before or 'none'}, earlier than "
                f"{revision}; to go up run: etl db upgrade {revision}"
            )
        if before not in (None, revision):
            confirm(f"this takes {database.name} from {before} to {revision}; rows go", yes=yes)
            migrate.downgrade(database, revision)
        _tell(database, before)


@db.command(short_help="The revision of the database.")
@click.pass_obj
def current(app: App, /) -> None:
    """Prints the revision of the database and whether it is this release's; `none`: no tables.

    \b
    Example:
      etl db current
    """
    from etl import migrate  # noqa: PLC0415 - imports SQLAlchemy

    with app.opened(migrated=False) as database:
        found = migrate.current(database)
    head = migrate.head()
    click.echo(f"{found} (head)" if found == head else f"{found or 'none'} (head is {head})")


@db.command(short_help="Do the tables match the code?")
@click.pass_obj
def check(app: App, /) -> int:
    """Compares the tables with those that this release declares. Exit code 1: they differ; 2: the
    database is behind or ahead.

    \b
    Example:
      etl db check
    """
    from etl import migrate  # noqa: PLC0415 - imports SQLAlchemy

    with app.opened(migrated=False) as database:
        if migrate.current(database) is None:
            raise Usage(f"database {database.name} has no tables yet; run: etl db upgrade")
        migrate.require_head(database)
        try:
            migrate.check(database)
        except Usage as error:
            print_error(str(error))
            return 1
        click.echo(f"database {database.name}: the tables are those of revision {migrate.head()}")
    return 0


def database_revision(context: click.Context, url: str | None) -> str:
    """The revision for `--version`; `none` without a database. Makes nothing, raises nothing."""
    from etl.db import open_database  # noqa: PLC0415 - imports SQLAlchemy
    from etl.migrate import current as found  # noqa: PLC0415

    options = {name: context.params.get(name) for name in ("log_format", "verbose")}
    app = App(
        config=context.params["config"],
        database=url,
        log_format=options["log_format"] or "text",
        verbose=options["verbose"] or 0,
    )
    try:
        address, schema = app.address()
        if is_missing(address):
            return "none"
        database = open_database(address, schema=schema)
        try:
            return found(database) or "none"
        finally:
            database.close()
    except EtlError as error:
        return f"unknown: {error}"


def is_missing(url: str) -> bool:
    """Whether `url` is a SQLite file that is not there; opening it would make it."""
    from etl.db.address import address  # noqa: PLC0415 - imports SQLAlchemy

    where = address(url)
    return where.get_backend_name() == "sqlite" and not Path(where.database or "").exists()


def _known(revision: str) -> str:
    from etl import migrate  # noqa: PLC0415 - imports SQLAlchemy

    if revision not in migrate.revisions():
        known = ", ".join(["base", *migrate.revisions(), "head"])
        raise Usage(f"there is no revision {revision!r}; known: {known}")
    return revision


def _tell(database: Database, before: str | None) -> None:
    from etl import migrate  # noqa: PLC0415 - imports SQLAlchemy

    after = migrate.current(database)
    if after == before:
        click.echo(f"database {database.name} is at revision {after or 'none'} already")
    else:
        click.echo(f"database {database.name}: {before or 'none'} → {after or 'none'}")
