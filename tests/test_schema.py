"""The tables keep every value exactly, alike on every database, and say what they mean."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import databases
import pytest
from sqlalchemy import Connection, String, insert, inspect, select, text
from sqlalchemy.dialects.mysql.reserved_words import RESERVED_WORDS_MYSQL
from sqlalchemy.exc import StatementError

from etl.db import Database
from etl.errors import DatabaseTrouble
from etl.ledger import tables
from etl.ledger.views import VIEWS
from etl.schema import metadata
from etl.sources.act2.tables import HOST_RESULTS, JOB_RECORDS
from etl.sources.dataarts.tables import QUALITY_INSTANCES
from etl.sources.explorer.tables import JOBS, SAMPLE_ROWS, TASKS
from etl.values import canonical, parse, repaired

DATA = (JOBS, TASKS, SAMPLE_ROWS, JOB_RECORDS, HOST_RESULTS, QUALITY_INSTANCES)
T = datetime(2026, 2, 28, 23, 59, 59, 999_999, tzinfo=UTC)
SQLITE_RESERVED = """
    add all alter and as autoincrement between case check collate commit constraint create default
    deferrable delete distinct drop else escape except exists foreign from group having if in index
    insert intersect into is isnull join limit not nothing notnull null on or order primary
    references returning select set table then to transaction union unique update using values
    when where
"""

INDEXES = {
    "jobs": {
        *(("created_at",), ("started_at",), ("workflow_id", "created_at")),
        *(("status", "finished_at"), ("source", "changed_at")),
    },
    "tasks": {("status", "finished_at"), ("source", "changed_at")},
    "job_records": {
        *(("started_at",), ("script_hash", "started_at")),
        *(("status", "finished_at"), ("source", "changed_at")),
    },
    "host_results": {
        *(("started_at",), ("host_id", "started_at")),
        *(("status", "started_at"), ("source", "changed_at")),
    },
    "quality_instances": {
        *(("started_at",), ("source", "task_id", "started_at")),
        *(("status", "finished_at"), ("source", "changed_at")),
    },
    "status_changes": {("source", "kind", "id"), ("observed_at",)},
    "sync_runs": {("source", "started_at"), ("source", "status", "started_at")},
    "rejected_records": {("source", "resolved_at")},
}
UNIQUE = {
    "sync_runs": {("source", "mode", "scheduled_for")},
    "rejected_records": {("source", "stream", "fingerprint")},
}


def put_record(connection: Connection, **values: Any) -> None:
    common = {"source": "s", "status": "unknown", "text_repaired": False}
    stamps = {"first_synced_at": T, "changed_at": T}
    row = {**common, **stamps, "record_id": "r", **values}
    connection.execute(insert(JOB_RECORDS.table).values(row))


def kept(database: Database, **values: Any) -> tuple[Any, ...]:
    """What the database gives back for the columns of one job record."""
    with database.writing() as connection:
        put_record(connection, **values)
    with database.reading() as connection:
        return tuple(connection.execute(select(*(JOB_RECORDS.table.c[n] for n in values))).one())


@pytest.mark.parametrize(
    "moment",
    [
        T,
        datetime(2026, 3, 1, 7, 59, 59, 1, tzinfo=timezone(timedelta(hours=8))),
        datetime(1970, 1, 1, tzinfo=UTC),
        datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    ],
)
def test_a_moment_comes_back_in_utc_to_the_microsecond(
    every_database: Database, moment: datetime
) -> None:
    (found,) = kept(every_database, started_at=moment)
    assert found == moment
    assert found.tzinfo is UTC


def test_a_naive_moment_is_refused(every_database: Database) -> None:
    naive = T.replace(tzinfo=None)
    with pytest.raises((StatementError, DatabaseTrouble, ValueError), match="naive datetime"):
        kept(every_database, started_at=naive)


def test_moments_are_sorted_and_compared_as_moments(every_database: Database) -> None:
    earlier = datetime(2026, 3, 1, 7, tzinfo=timezone(timedelta(hours=8)))
    with every_database.writing() as connection:
        for name, at in (("late", T), ("early", earlier), ("none", None)):
            put_record(connection, record_id=name, started_at=at)
    column = JOB_RECORDS.table.c
    with every_database.reading() as connection:
        query = select(column.record_id).where(column.started_at < T)
        assert connection.execute(query).scalars().all() == ["early"]


@pytest.mark.parametrize(
    "raw",
    [
        b'{"n": 1234567890123456789012, "m": -9223372036854775808, "f": 0.1, "z": -0.0}',
        b'{"large": 1e22, "whole": 1e16, "one": 1.0, "small": 1.5e-7, "huge": 1e999, "not": NaN}',
        b'["\\u0000 nul", "\\ud800 lone", "\xf0\x9f\x98\x80", "\\\\ \\" \\n", "%s :x"]',
        b'{"b": [], "a": {"": null, "B": true}, "\xc3\xa9": ""}',
        b'"plain"',
    ],
)
def test_json_comes_back_as_the_same_canonical_text(every_database: Database, raw: bytes) -> None:
    value = canonical(parse(raw))
    assert kept(every_database, parameters=value) == (value,)


def test_no_json_is_sql_null(every_database: Database) -> None:
    assert kept(every_database, parameters=None, extra=None) == (None, None)
    with every_database.reading() as connection:
        query = "SELECT COUNT(*) FROM job_records WHERE parameters IS NULL AND extra IS NULL"
        assert connection.execute(text(query)).scalar() == 1


@pytest.mark.parametrize(
    "words",
    [
        "",
        " \t\r\n trailing  ",
        "\N{GRINNING FACE} 中文 e\u0301 \ufeff \x1b[31m \x7f",
        "'; DROP TABLE jobs; -- \\ \\' %s %(x)s :y ?",
        repaired("a\x00b\ud800c")[0],
        "long " * 1_000_000,
    ],
)
def test_text_comes_back_as_it_was(every_database: Database, words: str) -> None:
    assert kept(every_database, script=words) == (words,)


def test_numbers_and_flags_come_back_as_they_were(every_database: Database) -> None:
    found = kept(every_database, timeout_s=2**63 - 1, host_expected_count=2**31 - 1)
    assert found == (2**63 - 1, 2**31 - 1)
    with every_database.writing() as connection:
        put_record(connection, record_id="x", timeout_s=-(2**63), text_repaired=True)
    with every_database.reading() as connection:
        query = select(JOB_RECORDS.table.c.text_repaired).order_by(JOB_RECORDS.table.c.timeout_s)
        flags = connection.execute(query).scalars().all()
    assert flags == [True, False]
    assert all(type(flag) is bool for flag in flags)


KEYS = ["a", "A", "a ", "á", "a\u0301", "ａ", " a", "a" * 255, "\N{GRINNING FACE}" * 255, "ß", "ss"]


def test_keys_are_told_apart_byte_by_byte(every_database: Database) -> None:
    with every_database.writing() as connection:
        for key in KEYS:
            put_record(connection, record_id=key, script=key)
    column = JOB_RECORDS.table.c
    with every_database.reading() as connection:
        for key in KEYS:
            query = select(column.script).where(column.record_id == key)
            assert connection.execute(query).scalars().all() == [key]
        found = connection.execute(select(column.record_id).order_by(column.record_id)).scalars()
        assert found.all() == sorted(KEYS)


def test_an_empty_host_id_is_a_key(every_database: Database) -> None:
    row = {"source": "s", "record_id": "r", "ordinal": 1, "status": "unknown"}
    stamps = {"output_cut": False, "text_repaired": False, "first_synced_at": T, "changed_at": T}
    with every_database.writing() as connection:
        put_record(connection)
        for host in ("", " "):
            connection.execute(insert(HOST_RESULTS.table).values(**row, **stamps, host_id=host))
    with every_database.reading() as connection:
        found = connection.execute(select(HOST_RESULTS.table.c.host_id)).scalars().all()
    assert sorted(found) == ["", " "]


def test_a_part_without_its_whole_is_refused(every_database: Database) -> None:
    stamps = {"text_repaired": False, "first_synced_at": T, "changed_at": T}
    with (
        pytest.raises(DatabaseTrouble, match=r"(?i)foreign key"),
        every_database.writing() as connection,
    ):
        connection.execute(
            insert(TASKS.table).values(source="s", job_id=1, task_id="t", status="failed", **stamps)
        )


def test_a_firing_is_claimed_once_and_runs_by_hand_are_many(every_database: Database) -> None:
    counted = ("requests", "retries", "bytes_read", "pid", "rows_read", "rows_written")
    zeros = dict.fromkeys((*counted, "rows_unchanged", "rows_rejected"), 0)
    run: dict[str, Any] = {
        "source": "s",
        "mode": "sync",
        "triggered_by": "schedule",
        "status": "running",
    }
    run |= {"started_at": T, "version": "1", "host": "h", **zeros}
    statement = insert(tables.sync_runs)
    with every_database.writing() as connection:
        for _ in range(2):
            connection.execute(statement.values(**run))
        first = connection.execute(statement.values(**run, scheduled_for=T)).inserted_primary_key
        assert first is not None
        assert first[0] > 0
    with (
        pytest.raises(DatabaseTrouble, match=r"(?i)unique|duplicate"),
        every_database.writing() as connection,
    ):
        connection.execute(statement.values(**run, scheduled_for=T))


def test_the_dictionary_says_what_the_comments_say(every_database: Database) -> None:
    declared = {
        (table.name, column): comment
        for table in metadata.tables.values()
        for column, comment in [("", table.comment), *((c.name, c.comment) for c in table.columns)]
    }
    of_views = {(view.name, column) for view in VIEWS for column in ("", *view.c.keys())}
    with every_database.reading() as connection:
        rows = connection.execute(select(tables.data_dictionary))
        found = {(row.table_name, row.column_name): row.meaning for row in rows}
    assert {key: found[key] for key in declared} == declared
    assert set(found) == set(declared) | of_views
    assert all(found.values())


def test_every_table_says_first_whose_it_is() -> None:
    owners = ("Explorer's ", "Act2's ", "DataArts' ", "The ledger's ")
    for table in metadata.tables.values():
        assert table.comment is not None
        assert table.comment.startswith(owners), table.name


@pytest.mark.parametrize("every_database_url", databases.SERVERS, indirect=True)
def test_servers_carry_the_comments(every_database: Database) -> None:
    inspector = inspect(every_database.engine)
    for table in metadata.tables.values():
        assert inspector.get_table_comment(table.name)["text"] == table.comment
        found = {column["name"]: column["comment"] for column in inspector.get_columns(table.name)}
        assert found == {column.name: column.comment for column in table.columns}


def test_every_name_can_be_written_without_quotes(every_database: Database) -> None:
    relations = {table.name: table.c.keys() for table in metadata.tables.values()}
    relations |= {view.name: view.c.keys() for view in VIEWS}
    with every_database.reading() as connection:
        for name, columns in relations.items():
            for column in columns:
                query = f"SELECT {column} FROM {name} WHERE {column} IS NULL ORDER BY {column}"
                connection.execute(text(query))


def test_no_name_is_a_reserved_word(every_database: Database) -> None:
    """MariaDB has no list of its own; there the test above decides."""
    reserved = {*SQLITE_RESERVED.split(), *(word.lower() for word in RESERVED_WORDS_MYSQL)}
    if every_database.dialect == "postgresql":
        with every_database.reading() as connection:
            query = text("SELECT word FROM pg_get_keywords() WHERE catcode IN ('R', 'T')")
            reserved |= set(connection.execute(query).scalars())
    assert {"rank", "row_number", "cursor", "trigger", "system"} <= reserved
    names = {name for table in metadata.tables.values() for name in (table.name, *table.c.keys())}
    names |= {name for view in VIEWS for name in (view.name, *view.c.keys())}
    assert not names & reserved


def test_the_indexes_are_those_of_the_design(every_database: Database) -> None:
    inspector = inspect(every_database.engine)
    for table in metadata.tables.values():
        indexes = inspector.get_indexes(table.name)
        plain = {tuple(index["column_names"]) for index in indexes if not index["unique"]}
        assert plain == INDEXES.get(table.name, set()), table.name
        constraints = inspector.get_unique_constraints(table.name)
        unique = {tuple(constraint["column_names"]) for constraint in constraints}
        assert unique == UNIQUE.get(table.name, set()), table.name


def test_indexed_text_is_short() -> None:
    for table in metadata.tables.values():
        indexed = [*table.primary_key.columns, *(c for i in table.indexes for c in i.columns)]
        for column in indexed:
            kind = column.type
            assert not isinstance(kind, String) or kind.length is not None, column
            assert "TEXT" not in str(kind), column


def test_constraints_and_indexes_have_names(every_database: Database) -> None:
    inspector = inspect(every_database.engine)
    for table in metadata.tables.values():
        for foreign in inspector.get_foreign_keys(table.name):
            assert foreign["name"] == f"fk_{table.name}_{foreign['referred_table']}"
        for index in inspector.get_indexes(table.name):
            assert index["name"].startswith((f"ix_{table.name}_", f"uq_{table.name}_"))  # type: ignore[union-attr]


def test_the_ledger_does_not_hang_on_its_runs() -> None:
    for table in metadata.tables.values():
        assert all(key.column.table.name != "sync_runs" for key in table.foreign_keys)


def test_every_data_row_can_be_followed() -> None:
    for data in DATA:
        names = set(data.table.c.keys())
        followed = {"extra", "text_repaired", "first_synced_at", "changed_at"}
        assert names & followed == (set() if data.lean else followed)
        assert ("upstream_gone_at" in names) is data.gone
