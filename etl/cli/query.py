"""`etl sql` and `etl tables`: what the tables mean, and what they say."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any

import click

from etl.cli.frame import App

if TYPE_CHECKING:
    from sqlalchemy import Connection, Inspector

_FORMAT = click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "json"]),
    default="table",
    show_default=True,
    help="How rows are printed.",
)
_NO_PART_OF_A_TYPE = re.compile(r"(?<=INT)\(\d+\)|\s*(CHARACTER SET|COLLATE).*")
"""Display widths, character sets and collations."""


@click.command(short_help="A read-only query.")
@click.argument("query")
@_FORMAT
@click.pass_obj
def sql(app: App, /, query: str, form: str) -> None:
    """Runs one statement that only reads and prints its rows as they come; QUERY `-` is read from
    stdin.

    Times are UTC: `2026-01-31 08:00:00` in a table, with T and Z in CSV and JSON. On SQLite, which
    has no times, a column is one by its name: let an alias end in `_at`. JSON columns are texts.
    In CSV NULL is empty and an empty text is "".

    \b
    Examples:
      etl sql "SELECT * FROM failures ORDER BY started_at DESC LIMIT 20"
      etl sql --format csv - <last_night.sql >last_night.csv
    """
    from etl.cli.printing import show  # noqa: PLC0415 - not for --help
    from etl.query import asked  # noqa: PLC0415

    statement = sys.stdin.read() if query == "-" else query
    with (
        app.stoppable() as stop,
        app.opened() as database,
        asked(database, statement, stop) as answer,
    ):
        show(answer.columns, answer.rows, form)


@click.command(short_help="The data dictionary.")
@click.argument("name", required=False)
@_FORMAT
@click.pass_obj
def tables(app: App, /, name: str | None, form: str) -> None:
    """What each table and view holds; with a NAME, what each of its columns holds.

    \b
    Examples:
      etl tables
      etl tables host_results
    """
    from etl.cli.printing import show  # noqa: PLC0415 - not for --help

    with app.opened() as database, database.reading() as connection:
        rows = _all(connection) if name is None else _one(connection, name)
    columns = ["name", "kind"] if name is None else ["column", "type", "key"]
    show([*columns, "meaning"], rows, form, wrap_last=True)


def _all(connection: Connection) -> list[tuple[str, ...]]:
    """Data tables, then views, then the ledger."""
    from sqlalchemy import inspect, select  # noqa: PLC0415 - not for --help

    from etl.ledger import tables as ledger  # noqa: PLC0415

    views = set(inspect(connection).get_view_names())
    t = ledger.data_dictionary.c
    found = connection.execute(select(t.table_name, t.meaning).where(t.column_name == "")).all()
    rows = [(name, "view" if name in views else "table", meaning) for name, meaning in found]
    return sorted(rows, key=lambda row: (hasattr(ledger, row[0]), row[1], row[0]))


def _one(connection: Connection, name: str) -> list[tuple[str, ...]]:
    """The columns of a table or view, in its own order."""
    from sqlalchemy import inspect, select  # noqa: PLC0415 - not for --help

    from etl.errors import Usage  # noqa: PLC0415
    from etl.hints import did_you_mean  # noqa: PLC0415
    from etl.ledger.tables import data_dictionary  # noqa: PLC0415

    t = data_dictionary.c
    known = connection.execute(select(t.table_name).distinct()).scalars().all()
    if name not in known:
        raise Usage(f"there is no table or view {name!r}; {did_you_mean(name, known)}")
    meant = select(t.column_name, t.meaning).where(t.table_name == name)
    meanings = dict(iter(connection.execute(meant)))
    inspector = inspect(connection)
    keys = _keys(inspector, name)
    return [
        (
            column["name"],
            _type(connection, column["type"]),
            keys.get(column["name"], ""),
            meanings.get(column["name"], ""),
        )
        for column in inspector.get_columns(name)
    ]


def _keys(inspector: Inspector, name: str) -> dict[str, str]:
    """`primary`, or the table that a column leads to; both where it is both."""
    if name in inspector.get_view_names():
        return {}
    keys = dict.fromkeys(inspector.get_pk_constraint(name)["constrained_columns"], "primary")
    for foreign in inspector.get_foreign_keys(name):
        for column in foreign["constrained_columns"]:
            mark = f"→ {foreign['referred_table']}"
            keys[column] = f"{keys[column]} {mark}" if column in keys else mark
    return keys


def _type(connection: Connection, type_: Any) -> str:
    """The database's own word for a type; empty for a view's expression on SQLite."""
    from sqlalchemy.types import NullType  # noqa: PLC0415 - not for --help

    if isinstance(type_, NullType):
        return ""
    compiled: str = type_.compile(dialect=connection.dialect)
    return _NO_PART_OF_A_TYPE.sub("", compiled)
