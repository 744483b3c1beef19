"""What migrations are written with: each step can be repeated, and describes what it makes.

MySQL and MariaDB commit every DDL statement by itself, so a migration that was interrupted there
is run again from its start: a step that was done already is passed over.
What a table, view or column means goes into its comment and into `data_dictionary`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import Any

import sqlalchemy as sa
from alembic import context, op
from sqlalchemy.dialects import mysql, postgresql
from sqlalchemy.schema import SchemaItem
from sqlalchemy.types import TypeEngine

from etl.errors import Usage

OPTIONS: dict[str, Any] = {
    "mysql_engine": "InnoDB",
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_0900_bin",
    "mariadb_engine": "InnoDB",
    "mariadb_charset": "utf8mb4",
    "mariadb_collate": "utf8mb4_nopad_bin",
}
_MYSQL = ("mysql", "mariadb")

BIG = sa.BigInteger()
WHOLE = sa.Integer()
SECONDS: sa.Double[float] = sa.Double()
FLAG = sa.Boolean(create_constraint=False)
LONG = sa.Text().with_variant(mysql.LONGTEXT(), *_MYSQL)
JSON = LONG.with_variant(postgresql.JSONB(), "postgresql")
TIME = (
    sa.DateTime()
    .with_variant(postgresql.TIMESTAMP(timezone=True), "postgresql")
    .with_variant(mysql.DATETIME(fsp=6), *_MYSQL)
)


def text(length: int) -> sa.String:
    """Short text that is compared byte by byte."""
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def must(name: str, type_: TypeEngine[Any], comment: str) -> sa.Column[Any]:
    """A column that is never NULL."""
    return sa.Column(name, type_, nullable=False, autoincrement=False, comment=comment)


def may(name: str, type_: TypeEngine[Any], comment: str) -> sa.Column[Any]:
    """A column that may be NULL."""
    return sa.Column(name, type_, nullable=True, comment=comment)


def number(name: str, comment: str) -> sa.Column[Any]:
    """A key that the database counts up."""
    type_ = BIG.with_variant(sa.Integer(), "sqlite")
    return sa.Column(name, type_, nullable=False, autoincrement=True, comment=comment)


def stamps(*, gone: bool = False) -> list[sa.Column[Any]]:
    """The last columns of every data table; `gone` for what a listing can prove away."""
    columns = [
        must(
            "text_repaired",
            FLAG,
            "A text held U+0000 or a lone surrogate; stored as U+2400 or U+FFFD.",
        ),
        must("first_synced_at", TIME, "When this row came here."),
        must(
            "changed_at",
            TIME,
            "When this row's content last changed here; follow it source by source.",
        ),
    ]
    if gone:
        columns.append(
            may(
                "upstream_gone_at",
                TIME,
                "When a proven listing of the platform no longer held it; NULL if it does.",
            )
        )
    return columns


def create_table(
    name: str, comment: str, *items: SchemaItem, sqlite_with_rowid: bool = True
) -> None:
    """Creates a table and describes it. Raises Usage for somebody else's table of that name."""
    if not _passed_over(name):
        op.create_table(
            name, *items, comment=comment, sqlite_with_rowid=sqlite_with_rowid, **OPTIONS
        )
    columns = [item for item in items if isinstance(item, sa.Column)]
    describe(name, comment, {column.name: column.comment or "" for column in columns})


def create_index(table: str, *columns: str) -> None:
    """An index with the name that the project's convention gives it."""
    name = f"ix_{table}_{'_'.join(columns)}"
    if not (_repeats() and name in {index["name"] for index in _inspect().get_indexes(table)}):
        op.create_index(name, table, columns)


def drop_table(name: str) -> None:
    """Drops a table with its indexes, and its description."""
    op.drop_table(name, if_exists=True)
    forget(name)


def create_view(name: str, comment: str, columns: Mapping[str, str], query: str) -> None:
    """Creates a view, or replaces it in place; `columns` maps each one, in order, to its meaning.

    The query is in the database's own words (`etl.migrate.words`).
    """
    dialect = op.get_bind().dialect.name
    named = f"{name} ({', '.join(columns)})"
    if dialect == "sqlite":
        _run(f"DROP VIEW IF EXISTS {name}")
        _run(f"CREATE VIEW {named} AS {query.strip()}")
    elif dialect == "postgresql":
        _run(f"CREATE OR REPLACE VIEW {named} AS {_collated(columns, query)}")
        _comment_view(name, comment, columns)
    else:
        _run(f"CREATE OR REPLACE VIEW {named} AS {query.strip()}")
    describe(name, comment, columns)


def union(branches: Iterable[str]) -> str:
    """One query of the rows of several, which name their columns alike."""
    return "\nUNION ALL\n".join(branches)


def earlier(revision: str) -> ModuleType:
    """An older migration: a new platform adds its branch to the views that were written there."""
    script = context.script.get_revision(revision)
    return script.module


def drop_view(name: str) -> None:
    """Drops a view and its description."""
    _run(f"DROP VIEW IF EXISTS {name}")
    forget(name)


def describe(name: str, comment: str, columns: Mapping[str, str]) -> None:
    """Writes the rows of `data_dictionary` for one table or view, in place of older ones."""
    forget(name)
    op.bulk_insert(
        _DICTIONARY,
        [
            {"table_name": name, "column_name": column, "meaning": meaning}
            for column, meaning in {"": comment, **columns}.items()
        ],
    )


def forget(name: str) -> None:
    """Takes a table or view out of `data_dictionary`, if that is there."""
    if _inspect().has_table(_DICTIONARY.name):
        op.execute(_DICTIONARY.delete().where(_DICTIONARY.c.table_name == name))


_DICTIONARY = sa.table(
    "data_dictionary",
    sa.column("table_name", sa.String),
    sa.column("column_name", sa.String),
    sa.column("meaning", sa.Text),
)


def _run(statement: str) -> None:
    """Sends a statement as it is: no parameter is looked for in it."""
    op.get_bind().exec_driver_sql(statement, execution_options={"no_parameters": True})


def _repeats() -> bool:
    """Whether an interrupted migration leaves its first steps behind."""
    return op.get_bind().dialect.name in _MYSQL


def _inspect() -> sa.Inspector:
    return sa.inspect(op.get_bind())


def _passed_over(name: str) -> bool:
    if not _inspect().has_table(name):
        return False
    if not _repeats():
        raise Usage(f"database: a table {name!r} is there already and is not of etl; rename it")
    return True


def _collated(columns: Mapping[str, str], query: str) -> str:
    """All texts compared byte by byte: a view keeps its collation when branches are added."""
    names = ", ".join(columns)
    _run(f"CREATE TEMPORARY VIEW etl_shape ({names}) AS {query}")
    shape = sa.text(
        "SELECT attname FROM pg_attribute"
        " WHERE attrelid = 'pg_temp.etl_shape'::regclass AND attcollation <> 0"
    )
    texts = set(op.get_bind().execute(shape).scalars())
    _run("DROP VIEW etl_shape")
    collated = (f'q.{name} COLLATE "C"' if name in texts else f"q.{name}" for name in columns)
    return f"SELECT {', '.join(collated)} FROM ({query}) AS q ({names})"  # noqa: S608 - our own


def _comment_view(name: str, comment: str, columns: Mapping[str, str]) -> None:
    _run(f"COMMENT ON VIEW {name} IS {_quoted(comment)}")
    for column, meaning in columns.items():
        _run(f"COMMENT ON COLUMN {name}.{column} IS {_quoted(meaning)}")


def _quoted(text_: str) -> str:
    return "'" + text_.replace("'", "''") + "'"
