"""The commands. Each module of this package holds a few; they import what they need when called,
so that `etl --help` stays quick.

This is the edge: options and environment are parsed here, signals are turned into one stop event,
and every error on purpose leaves as one clear line and its exit code.
"""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path
from typing import Any

import click

from etl import __version__
from etl.cli.frame import App, FlatGroup, finish, finish_usage
from etl.errors import EtlError

_COMMANDS = {
    "demo": "etl.cli.demo",
    "init": "etl.cli.setup",
    "check": "etl.cli.check",
    "sync": "etl.cli.sync",
    "backfill": "etl.cli.backfill",
    "backfills": "etl.cli.backfill",
    "run": "etl.cli.run",
    "verify": "etl.cli.verify",
    "prune": "etl.cli.prune",
    "status": "etl.cli.status",
    "rejects": "etl.cli.rejects",
    "sources": "etl.cli.sources",
    "tables": "etl.cli.query",
    "sql": "etl.cli.query",
    "db": "etl.cli.db",
    "simulate": "etl.cli.setup",
}

_OBJECTS_OF_A_START = 300_000, 20, 100
"""Imports make many objects that stay; looking for rubbish among them cost a tenth of a start."""


def _version(context: click.Context, _: click.Parameter, value: bool) -> None:
    if not value or context.resilient_parsing:
        return
    from etl.cli.db import database_revision  # noqa: PLC0415 - imports SQLAlchemy

    url = context.params.get("database")
    click.echo(f"etl {__version__}, database {database_revision(context, url)}")
    context.exit()


@click.group(cls=FlatGroup, modules=_COMMANDS, context_settings={"max_content_width": 100})
@click.option(
    "--config",
    envvar="ETL_CONFIG",
    default="schedules.yaml",
    show_default=True,
    is_eager=True,
    metavar="FILE",
    help="The sources and schedules. [env: ETL_CONFIG]",
)
@click.option(
    "--database",
    envvar="ETL_DATABASE_URL",
    is_eager=True,
    metavar="URL",
    help="Where the tables live; before the file's. [env: ETL_DATABASE_URL; "
    "default: sqlite:///etl.db]",
)
@click.option(
    "--log-format",
    envvar="ETL_LOG_FORMAT",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="How log lines look; json: one object a line on stderr. [env: ETL_LOG_FORMAT]",
)
@click.option(
    "-v",
    "--verbose",
    envvar="ETL_VERBOSE",
    count=True,
    help="More log lines; twice for every request. [env: ETL_VERBOSE]",
)
@click.option(
    "--log-level",
    envvar="ETL_LOG_LEVEL",
    multiple=True,
    metavar="[MODULE=]LEVEL",
    help="debug, info, warning or error; of one module with its name before: etl.http=debug. "
    "Several with commas or again. [env: ETL_LOG_LEVEL]",
)
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    callback=_version,
    help="Release of etl and revision of the database.",
)
@click.pass_context
def cli(context: click.Context, /, **options: Any) -> None:
    """Keeps what job platforms did: Explorer's jobs, Act2's host outputs, DataArts' quality runs,
    copied over HTTP into tables that SQL can ask, and proven complete."""
    context.obj = App(**options)


def main() -> None:
    """The console script. Exit codes: 0 done, 1 a source failed, 2 wrong usage or configuration,
    3 another process holds the source, 130/143 stopped."""
    gc.set_threshold(*_OBJECTS_OF_A_START)
    if sys.stdout is None:  # closed by whoever started it
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - to the end
    try:
        code = cli.main(standalone_mode=False)
    except click.exceptions.Abort:
        code = 130
    except click.ClickException as error:
        code = finish_usage(error)
    except EtlError as error:
        code = finish(error)
    sys.exit(code if isinstance(code, int) else 0)
