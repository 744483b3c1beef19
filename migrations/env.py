"""Runs Alembic in one locked transaction, on the connection of `etl.migrate` or a new one.

`alembic check` and `alembic revision` in a checkout use ETL_DATABASE_URL (sqlite:///etl.db).
"""

from __future__ import annotations

import importlib
import os
import pkgutil

from alembic import context
from alembic.operations.ops import MigrationScript
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection
from sqlalchemy.schema import SchemaItem

import etl.ledger.tables
import etl.sources
from etl.db import open_database
from etl.migrate import VERSION_TABLE, head, locked
from etl.schema import metadata

for module in pkgutil.iter_modules(etl.sources.__path__):
    tables = ".tables" if module.ispkg else ""
    importlib.import_module(f"etl.sources.{module.name}{tables}")


def run(connection: Connection) -> None:
    """Runs what Alembic was asked for; the transaction is the caller's."""
    ours = set(metadata.tables) | _described(connection)

    def is_ours(
        _item: SchemaItem, name: str | None, kind: str, _reflected: bool, _other: SchemaItem | None
    ) -> bool:
        return kind != "table" or name in ours

    context.configure(
        connection=connection,
        target_metadata=metadata,
        version_table=VERSION_TABLE,
        include_object=is_ours,
        process_revision_directives=_number,
        transactional_ddl=connection.dialect.name in ("sqlite", "postgresql"),
    )
    context.run_migrations()


def _number(
    _context: MigrationContext,
    _revision: object,
    directives: list[MigrationScript],
) -> None:
    """Numbers a new migration: `alembic revision -m "jobs queue"` makes 0007_jobs_queue.py."""
    for script in directives:
        script.rev_id = f"{int(head()) + 1:04}"


def _described(connection: Connection) -> set[str]:
    """Tables that earlier migrations made: one that the models lack is a difference."""
    dictionary = metadata.tables["data_dictionary"]
    if not connection.dialect.has_table(connection, dictionary.name):
        return set()
    return set(connection.execute(dictionary.select()).scalars())


def main() -> None:
    """Uses the connection it was given; otherwise opens the database of the environment."""
    given = context.config.attributes.get("connection")
    if given is not None:
        run(given)
        return
    database = open_database(os.environ.get("ETL_DATABASE_URL", "sqlite:///etl.db"))
    try:
        with locked(database) as connection:
            run(connection)
    finally:
        database.close()


main()
