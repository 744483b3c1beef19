"""How a row is declared: once, as a NamedTuple whose annotations carry the column.

    class Job(NamedTuple):
        job_id: Annotated[int, key(BigInteger(), "Explorer's number of the job.")]
        name: Annotated[str | None, column(LongText(), "The job's name.")]

    JOBS = data_table("jobs", Job, "Explorer's jobs: …", parent=None)

The type checker knows the fields, the writer receives plain tuples, Alembic sees the table.
Types here give the same content on every database (DESIGN 6, Databases and Values).
"""

from __future__ import annotations

import typing
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

from msgspec import Struct, field
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    TypeDecorator,
)
from sqlalchemy.types import TypeEngine

NAMING = {
    "pk": "pk_%(table_name)s",
    "fk": "fk_%(table_name)s_%(referred_table_name)s",
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
}
metadata = MetaData(naming_convention=NAMING)
"""Migrations make the tables, with the options of each server; naming them here too would import
MySQL's dialect wherever a table is."""


class Instant(TypeDecorator[datetime]):
    """A moment: aware UTC in Python, `timestamptz` on PostgreSQL, microseconds everywhere."""

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "postgresql":
            from sqlalchemy.dialects import postgresql  # noqa: PLC0415 - SQLite starts without

            return postgresql.TIMESTAMP(timezone=True)
        if dialect.name in ("mysql", "mariadb"):
            from sqlalchemy.dialects import mysql  # noqa: PLC0415 - as above

            return mysql.DATETIME(fsp=6)
        return DateTime()

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"a naive datetime came to the database: {value!r}")
        value = value.astimezone(UTC)
        return value if dialect.name == "postgresql" else value.replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class JsonText(TypeDecorator[str]):
    """Canonical JSON as text in Python (`values.canonical`); `jsonb` on PostgreSQL."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "postgresql":
            from sqlalchemy.dialects import postgresql  # noqa: PLC0415 - as above

            return postgresql.JSONB()
        if dialect.name in ("mysql", "mariadb"):
            from sqlalchemy.dialects import mysql  # noqa: PLC0415 - as above

            return mysql.LONGTEXT()
        return Text()

    # On PostgreSQL the text travels as it is: psycopg sends it untyped, the server parses it.
    def bind_processor(self, _dialect: Dialect) -> None:
        return None

    def result_processor(self, dialect: Dialect, _coltype: object) -> Any:
        from etl.values import canonical  # noqa: PLC0415 - only PostgreSQL hands out parsed JSON

        if dialect.name != "postgresql":
            return None
        return lambda value: None if value is None else canonical(value)


class LongText(TypeDecorator[str]):
    """Text of any length: LONGTEXT on MySQL and MariaDB, TEXT elsewhere."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name in ("mysql", "mariadb"):
            from sqlalchemy.dialects import mysql  # noqa: PLC0415 - as above

            return mysql.LONGTEXT()
        return Text()


class SpoolableText(LongText):
    """Text that may come as an `etl.spool.SpooledText`."""

    cache_ok = True


def exact_text(length: int) -> String:
    """Short text that is compared and sorted byte by byte on every database."""
    return String(length).with_variant(String(length, collation="C"), "postgresql")


class ColumnSpec(NamedTuple):
    """What an annotation says of its column."""

    type: TypeEngine[Any]
    comment: str
    is_key: bool
    nullable: bool = True


def column(type_: TypeEngine[Any], comment: str) -> ColumnSpec:
    """A nullable column of a data table."""
    return ColumnSpec(type_, comment, False)


def key(type_: TypeEngine[Any], comment: str) -> ColumnSpec:
    """A part of the primary key, after `source`."""
    return ColumnSpec(type_, comment, True)


KEY_LENGTH = 255
SOURCE = exact_text(64)
STATUS = exact_text(16)

Replace = Literal["merge", "named", "never_fewer"]
"""What rows of a table that an answer does not name mean:
`merge`: nothing (an execution); `named`: the answer names all of them, the others are gone
upstream (tasks); `never_fewer`: they come in groups, and a group with fewer rows than the
database holds is not believed (host results, sample rows).
"""


class DataTable(Struct, frozen=True, eq=False):
    """One data table: its row type, its SQLAlchemy table and the rules for writing it."""

    name: str
    row: type[Any]
    table: Table
    key: tuple[str, ...]
    """Primary key without `source`, in order; the first columns are the parent's key."""
    parent: DataTable | None = None
    replace: Replace = "merge"
    group: tuple[str, ...] = ()
    """For `never_fewer`: the key columns that name a group."""
    lean: bool = False
    """No extra, changed_at, …: followed through the parent (sample_rows)."""
    gone: bool = False
    """Has `upstream_gone_at`."""
    part: tuple[str, ...] = ()
    """The key columns that become status_changes.part_id and .ordinal."""
    kind: str = ""
    """The kind in status_changes and unfinished; empty for a table without a status."""
    counted_in: str = ""
    """The parent's column that holds the number of rows stored here."""
    expected_in: str = ""
    """The parent's column that tells how many rows there are to be here, fewer is a hole."""
    described_by: tuple[str, ...] = ()
    """The parent's columns that describe a group: its row count and its digest. The group is
    written as a set: only when the digest moved, and smaller only when the parent ran anew."""
    fields: tuple[str, ...] = field(default=())
    """The row's fields, in the order of its tuples."""

    @property
    def listed_by(self) -> str:
        """Of a table of executions: the column with the time that the platform lists by."""
        return "created_at" if "created_at" in self.fields else "started_at"


def data_table(  # noqa: PLR0913 - a declaration: every argument is one line of the contract
    name: str,
    row: type[Any],
    comment: str,
    *,
    kind: str = "",
    parent: DataTable | None = None,
    replace: Replace = "merge",
    group: tuple[str, ...] = (),
    part: tuple[str, ...] = (),
    counted_in: str = "",
    expected_in: str = "",
    described_by: tuple[str, ...] = (),
    lean: bool = False,
    gone: bool = False,
    indexes: tuple[tuple[str, ...], ...] = (),
) -> DataTable:
    """Declares a data table from its row type, with the columns that every data table has."""
    specs = _specs(row)
    keys = tuple(name for name, spec in specs.items() if spec.is_key)
    columns = [Column("source", SOURCE, nullable=False, comment="Your name for the source.")]
    columns += [
        Column(n, _exact(s.type), nullable=s.nullable, comment=s.comment, autoincrement=False)
        for n, s in specs.items()
        if n != "text_repaired"
    ]
    if not lean:
        columns += _common(gone)
    constraints: list[Any] = [PrimaryKeyConstraint("source", *keys)]
    if parent is not None:
        above = ("source", *parent.key)
        constraints.append(
            ForeignKeyConstraint(above, [f"{parent.name}.{column}" for column in above])
        )
    made = Table(
        name,
        metadata,
        *columns,
        *constraints,
        *(Index(None, *names) for names in indexes),
        comment=comment,
        sqlite_with_rowid=not lean,
    )
    return DataTable(
        name=name,
        row=row,
        table=made,
        key=keys,
        parent=parent,
        replace=replace,
        group=group,
        lean=lean,
        gone=gone,
        part=part,
        kind=kind,
        counted_in=counted_in,
        expected_in=expected_in or counted_in or next(iter(described_by), ""),
        described_by=described_by,
        fields=tuple(specs),
    )


def _exact(type_: TypeEngine[Any]) -> TypeEngine[Any]:
    return exact_text(type_.length or KEY_LENGTH) if type(type_) is String else type_


def _specs(row: type[Any]) -> dict[str, ColumnSpec]:
    hints = typing.get_type_hints(row, include_extras=True)
    return {
        name: hint.__metadata__[0]._replace(nullable=type(None) in typing.get_args(hint.__origin__))
        for name, hint in hints.items()
    }


def _common(gone: bool) -> list[Column[Any]]:
    columns: list[Column[Any]] = [
        Column(
            "text_repaired",
            Boolean(create_constraint=False),
            nullable=False,
            comment="A text held U+0000 or a lone surrogate; stored as U+2400 or U+FFFD.",
        ),
        Column("first_synced_at", Instant(), nullable=False, comment="When this row came here."),
        Column(
            "changed_at",
            Instant(),
            nullable=False,
            comment="When this row's content last changed here; follow it source by source.",
        ),
    ]
    if gone:
        columns.append(
            Column(
                "upstream_gone_at",
                Instant(),
                comment="When a proven listing of the platform no longer held it; NULL if it does.",
            )
        )
    return columns


EXTRA = column(JsonText(), "Fields of the platform that have no column (JSON); NULL if none.")
REPAIRED = column(Boolean(create_constraint=False), "")
BIG = BigInteger()
WHOLE = Integer()
