"""What each connection is told, so that all databases behave alike.

Times are UTC, text is compared byte by byte, bad values are refused and not bent, writing
transactions see what is committed, and one that its process forgot ends by itself.
"""

from __future__ import annotations

import time
from math import ceil
from typing import Any

from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import OperationalError

from etl.db.stopping import Stopping
from etl.db.trouble import retriable
from etl.errors import Stopped, Usage
from etl.spool import SpooledText

READING = "etl_reading"
"""Execution option of a connection whose transaction only reads."""

_BUSY_S = 0.1
"""How long one try for the SQLite file waits; between two tries the process looks up."""
_RECOVERY_S = 5.0
"""How long anything else waits: for one who recovers the file after a crash, or folds it up."""
_LOCK_MARGIN_S = 5.0
"""A lock is waited for a little longer than a forgotten transaction may hold it."""

_COLLATIONS = {"mariadb": "utf8mb4_nopad_bin", "mysql": "utf8mb4_0900_bin"}

_OLDEST = {
    "sqlite": (3, 37),
    "postgresql": (13,),
    "mariadb": (10, 6),
    "mysql": (8, 0, 17),
}


def check_version(connection: Connection) -> None:
    """Refuses servers that lack what the tables and views need. Raises Usage."""
    dialect = connection.dialect
    found = dialect.server_version_info or ()
    oldest = _OLDEST[dialect.name]
    if tuple(found[: len(oldest)]) < oldest:
        have, need = (".".join(map(str, version)) for version in (found, oldest))
        raise Usage(f"database: {dialect.name} {have} is too old; {need} or later is needed")


def prepare(engine: Engine, *, schema: str | None, lease_s: float, stopping: Stopping) -> None:
    """Sets up every connection of `engine`, and how its transactions begin."""
    kind = engine.dialect.name
    if kind == "sqlite":
        event.listen(engine, "connect", lambda c, _: _connect_sqlite(c), insert=True)
        event.listen(engine, "begin", lambda c: _begin_sqlite(c, lease_s, stopping))
        return
    if kind == "postgresql":
        settings = _settings_postgresql(schema, lease_s)
        event.listen(engine, "connect", lambda c, _: _set_config(c, settings), insert=True)
        event.listen(engine, "connect", lambda c, _: _take_spooled(c))
        event.listen(engine, "begin", _begin_postgresql)
        return
    collation = f"SET NAMES utf8mb4 COLLATE {_COLLATIONS[kind]}"
    statements = _statements_mysql(kind, lease_s)
    event.listen(engine, "connect", lambda c, _: _execute(c, *statements), insert=True)
    event.listen(engine, "connect", lambda c, _: _take_any_time(c), insert=True)  # before them
    event.listen(engine, "connect", lambda c, _: _execute(c, collation))  # after the dialect's own
    event.listen(engine, "begin", _begin_mysql)


def _reads(connection: Connection) -> bool:
    return bool(connection.get_execution_options().get(READING))


def _connect_sqlite(connection: Any) -> None:
    connection.isolation_level = None  # transactions begin where `_begin_sqlite` says
    for pragma in (
        f"busy_timeout = {_RECOVERY_S * 1000:.0f}",
        "journal_mode = WAL",
        "synchronous = NORMAL",  # in WAL a kill costs nothing, a power cut at most the last commits
        "foreign_keys = ON",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection, lease_s: float, stopping: Stopping) -> None:
    reads = _reads(connection)
    if connection.info.get(READING, False) is not reads:
        connection.exec_driver_sql(f"PRAGMA query_only = {int(reads)}")
        connection.info[READING] = reads
    if reads:
        connection.exec_driver_sql("BEGIN")
        return
    connection.exec_driver_sql(f"PRAGMA busy_timeout = {_BUSY_S * 1000:.0f}")
    give_up_at = time.monotonic() + lease_s
    while True:
        try:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        except OperationalError as error:
            late = time.monotonic() >= give_up_at
            if stopping.over or (late and stopping.told):
                raise Stopped("stopped while waiting for the database") from error
            if late or not retriable(error):
                raise
        else:
            break
    connection.exec_driver_sql(f"PRAGMA busy_timeout = {_RECOVERY_S * 1000:.0f}")


def _settings_postgresql(schema: str | None, lease_s: float) -> dict[str, str]:
    settings = {
        "TimeZone": "UTC",
        "default_transaction_isolation": "read committed",
        "idle_in_transaction_session_timeout": f"{ceil(lease_s * 1000)}ms",
        "lock_timeout": f"{ceil((lease_s + _LOCK_MARGIN_S) * 1000)}ms",
        "client_min_messages": "warning",
    }
    if schema is not None:
        quoted = schema.replace('"', '""')
        settings["search_path"] = f'"{quoted}"'
    return settings


def _set_config(connection: Any, settings: dict[str, str]) -> None:
    connection.autocommit = True
    parts = ", ".join(["set_config(%s, %s, false)"] * len(settings))
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {parts}", [text for item in settings.items() for text in item])
    connection.autocommit = False


def _take_spooled(connection: Any) -> None:
    """psycopg asks a dumper; sqlite3 asks the text itself, PyMySQL takes its `str`."""
    from psycopg.adapt import Dumper  # noqa: PLC0415 - only where PostgreSQL is

    class SpooledDumper(Dumper):
        oid = 0  # unknown: the column says that it is text, as for any str

        def dump(self, obj: SpooledText) -> bytearray:
            return obj.utf8()

    connection.adapters.register_dumper(SpooledText, SpooledDumper)


def _begin_postgresql(connection: Connection) -> None:
    if _reads(connection):
        connection.exec_driver_sql(
            "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY; "
            "SET LOCAL idle_in_transaction_session_timeout = 0"
        )


def _statements_mysql(kind: str, lease_s: float) -> tuple[str, ...]:
    idle = max(1, ceil(lease_s))
    forgotten = "idle_write_transaction_timeout" if kind == "mariadb" else "wait_timeout"
    return (
        "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
        f"SET time_zone = '+00:00', sql_mode = 'TRADITIONAL', {forgotten} = {idle}, "
        f"innodb_lock_wait_timeout = {ceil(idle + _LOCK_MARGIN_S)}",
    )


def _take_any_time(connection: Any) -> None:
    """PyMySQL bounds the handshake by what bounds every answer, which a query must not have."""
    connection._read_timeout = None


def _execute(connection: Any, *statements: str) -> None:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def _begin_mysql(connection: Connection) -> None:
    if _reads(connection):
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        connection.exec_driver_sql("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
