"""The only door to the database: one engine, writing transactions and consistent readings.

    database = open_database("sqlite:///etl.db")
    with database.writing() as connection: ...   # all or nothing; BEGIN IMMEDIATE on SQLite
    with database.reading() as connection: ...   # one snapshot; writing is refused

Errors of the drivers leave these blocks as DatabaseTrouble (or Usage while opening).
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, pool, text
from sqlalchemy.exc import SQLAlchemyError

from etl.db.address import address, shown
from etl.db.retrying import Persistence
from etl.db.session import READING, check_version, prepare
from etl.db.stopping import Stopping
from etl.db.trouble import retriable, translated
from etl.errors import DatabaseTrouble, Stopped, Usage

__all__ = ["Database", "Persistence", "open_database", "retriable"]

_CONNECT_S = 8  # a stop is obeyed within ten seconds, in the middle of this too
_LOOK_S = 0.1
_POOL = {"pool_size": 8, "max_overflow": 24, "pool_timeout": 60, "pool_pre_ping": True}


class Database:
    """An opened database; safe to use from many threads, each in its own transaction.

    `dialect` is sqlite, postgresql, mysql or mariadb, as the server says, not the URL.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        schema: str | None,
        lease_s: float,
        stop: threading.Event | None = None,
    ) -> None:
        self.engine = engine
        self.dialect: str = engine.dialect.name
        self.schema = schema
        self.lease_s = lease_s
        self.name = shown(engine.url)
        """The URL for people: without driver, password and options."""
        self.revision: str | None = None
        """Of its tables when this process proved them; None: it did not."""
        self._file: tuple[int, int] | None = None
        self._turn = threading.Lock() if self.dialect == "sqlite" else None
        self._stopping = Stopping(stop)
        prepare(engine, schema=schema, lease_s=lease_s, stopping=self._stopping)

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction for writing: committed at the end of the block, rolled back by any error.

        On SQLite the threads of a process take turns, and wait for other processes for at most
        `lease_s`. On servers a transaction that idles for `lease_s` is ended by the server.
        Raises DatabaseTrouble; Stopped when the process was told to stop and waits in vain.
        """
        self._prove_file()
        with self._errors(), self._alone(), self.engine.begin() as connection:
            if self._turn is not None:
                yield connection
                return
            with self._stopping.watched(connection):
                yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A read-only transaction that sees one moment, however long it lasts.

        Raises DatabaseTrouble, for an attempt to write too.
        """
        self._prove_file()
        with self._errors(), self.engine.connect() as plain:
            connection = plain.execution_options(**{READING: True})
            with connection.begin():
                yield connection

    def close(self) -> None:
        """Closes the connections; the last to leave a SQLite file folds its WAL away."""
        self._stopping.close()
        self.engine.dispose()

    @contextmanager
    def _errors(self, *, opening: bool = False) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, sqlite3.Error) as error:
            raise translated(error, self.name, opening=opening) from error

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """SQLite lets waiting writers poll; in one process they queue instead."""
        if self._turn is None:
            yield
            return
        give_up_at = time.monotonic() + self.lease_s
        while not self._turn.acquire(timeout=_LOOK_S):
            if self._stopping.over:
                raise Stopped("stopped while waiting for the database")
            if time.monotonic() > give_up_at:
                raise DatabaseTrouble(
                    f"database {self.name}: another pass of this process writes, or waits for the "
                    "file, for too long"
                )
        try:
            yield
        finally:
            self._turn.release()

    def _open(self) -> None:
        """Connects once: what is wrong with name, password or version is said at the start."""
        with self._errors(opening=True), self.engine.begin() as connection:
            check_version(connection)
            if self.schema is not None:
                _make_schema(connection, self.schema)
        self._file = self._look_at_file()

    def _prove_file(self) -> None:
        """SQLite goes on with an open file wherever it is: nobody else would see what is written.
        Raises DatabaseTrouble."""
        if self._file is not None and self._look_at_file() != self._file:
            raise DatabaseTrouble(
                f"database {self.name}: the file was moved, removed or replaced while it was in "
                "use; put it back, or start this process again"
            )

    def _look_at_file(self) -> tuple[int, int] | None:
        """Which file bears the name now; None: there is none, or a server has it."""
        if self._turn is None or self.engine.url.database is None:
            return None
        try:
            found = os.stat(self.engine.url.database)
        except OSError:
            return None
        return found.st_dev, found.st_ino


def open_database(
    url: str,
    *,
    schema: str | None = None,
    lease_s: float = 30.0,
    stop: threading.Event | None = None,
) -> Database:
    """Opens the database at `url` and connects once.

    `schema` (PostgreSQL only) is where the tables live; it is made if it is missing. `stop`, once
    set, soon ends every wait of a writing transaction (Stopped).
    Raises Usage for a wrong URL, a missing driver, a wrong name or password, a server that is too
    old; DatabaseTrouble for a server that does not answer (then `retriable` is true).
    """
    where = address(url)
    if schema is not None and where.get_dialect().name != "postgresql":
        raise Usage("database_schema: only PostgreSQL has schemas; leave it out")
    if where.get_dialect().name == "mysql":
        where = _true_kind(where)
    database = Database(_engine(where), schema=schema, lease_s=lease_s, stop=stop)
    try:
        database._open()
    except BaseException:
        database.close()
        raise
    return database


def _engine(url: URL) -> Engine:
    if url.get_dialect().name == "sqlite":
        return create_engine(url, poolclass=pool.QueuePool, hide_parameters=True, **_POOL)
    arguments: dict[str, Any] = {"connect_timeout": _CONNECT_S}
    if url.get_dialect().name != "postgresql":
        arguments["read_timeout"] = _CONNECT_S  # of the handshake; `prepare` ends it
    return create_engine(url, connect_args=arguments, hide_parameters=True, **_POOL)


def _true_kind(url: URL) -> URL:
    """`mysql://` is written for MariaDB too: the server tells which it is."""
    bounds = {"connect_timeout": _CONNECT_S, "read_timeout": _CONNECT_S}
    probe = create_engine(url, poolclass=pool.NullPool, connect_args=bounds)
    try:
        with probe.connect() as connection:
            is_mariadb = connection.dialect.is_mariadb  # type: ignore[attr-defined]  # MySQL's
    except SQLAlchemyError as error:
        raise translated(error, shown(url), opening=True) from error
    finally:
        probe.dispose()
    return url.set(drivername="mariadb+pymysql") if is_mariadb else url


def _make_schema(connection: Connection, schema: str) -> None:
    found = connection.execute(
        text("SELECT 1 FROM pg_namespace WHERE nspname = :schema"), {"schema": schema}
    )
    if found.first() is None:
        quoted = connection.dialect.identifier_preparer.quote_identifier(schema)
        connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {quoted}"))
