"""Brings the tables to this release, once, under a lock, wherever the package is installed.

On SQLite and PostgreSQL an upgrade is one transaction with the record that it ran. MySQL and
MariaDB commit every step by itself; there an interrupted upgrade is repeated from its last
recorded migration.
Alembic is imported only where something is migrated: commands start without it.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, column, inspect, select, table, text

from etl.db import Database
from etl.errors import DatabaseTrouble, Usage

if TYPE_CHECKING:
    from alembic.config import Config

VERSION_TABLE = "etl_version"
_VERSION = table(VERSION_TABLE, column("version_num"))
_LOCK_WAIT_S = 600
_NUMBERED = re.compile(r"(\d{4})_\w+\.py")

extra_locations: list[Path] = []
"""Directories with further migrations, for a platform that lives outside of this package."""


def location() -> Path:
    """The directory of env.py and versions/: in a wheel beside the code, else in the checkout."""
    package = Path(__file__).resolve().parent.parent
    for place in (package / "_migrations", package.parent / "migrations"):
        if (place / "env.py").is_file():
            return place
    raise Usage(f"etl: the migrations are missing beside {package}; install etl again")


def revisions() -> list[str]:
    """The numbers of all migrations, oldest first: a file's name begins with its revision."""
    places = [location() / "versions", *extra_locations]
    names = (_NUMBERED.fullmatch(path.name) for place in places for path in place.iterdir())
    return sorted(name[1] for name in names if name)


def head() -> str:
    """The revision that this release needs."""
    return revisions()[-1]


def current(database: Database) -> str | None:
    """The revision of the database; None when it has none of our tables yet."""
    with database.reading() as connection:
        return _current(connection)


def require_room(database: Database) -> None:
    """Makes sure that the first upgrade can make its tables. Raises Usage for a foreign table of
    one of our names."""
    with database.reading() as connection:
        _refuse_foreign(database, connection)


def upgrade(database: Database, revision: str = "head") -> None:
    """Migrates up to `revision`. Two processes at once: one migrates, the other waits and goes on.

    Raises Usage for a foreign table of one of our names and for a database of a newer release.
    """
    from alembic import command  # noqa: PLC0415 - costs 100 ms, which `status` should not pay

    with locked(database) as connection:
        found = _current(connection)
        _refuse_newer(database, found)
        _refuse_foreign(database, connection)
        command.upgrade(_config(connection), revision)


def downgrade(database: Database, revision: str) -> None:
    """Migrates down to `revision` (`base`: nothing is left). Rows of dropped tables are lost.

    Raises Usage for an unknown revision.
    """
    from alembic import command  # noqa: PLC0415 - as above

    if revision not in ("base", *revisions()):
        raise Usage(f"revision {revision!r} is unknown; known: base, {', '.join(revisions())}")
    with locked(database) as connection:
        _refuse_newer(database, _current(connection))
        command.downgrade(_config(connection), revision)


def check(database: Database) -> None:
    """Proves that the tables are those that the code declares. Raises Usage with what differs."""
    from alembic import command  # noqa: PLC0415 - as above
    from alembic.util import CommandError  # noqa: PLC0415

    require_head(database)
    with locked(database) as connection:
        try:
            command.check(_config(connection))
        except CommandError as error:
            raise Usage(f"database {database.name}: {error}") from None


def require_head(database: Database) -> None:
    """Makes sure that the database has the tables of this release.

    An empty one is migrated. Raises Usage, with the command to run, for one that is behind or
    ahead or that holds a foreign table of one of our names.
    """
    found = current(database)
    if found is None:
        upgrade(database)
    if found in (None, head()):
        database.revision = head()
        return
    _refuse_newer(database, found)
    raise Usage(
        f"database {database.name} is at revision {found}, this release needs {head()}; "
        "run: etl db upgrade"
    )


@contextmanager
def locked(database: Database) -> Iterator[Connection]:
    """A writing transaction that no other migration of this database runs beside."""
    with database.writing() as connection:
        lock = "etl migrations " + hashlib.sha256(_place(connection).encode()).hexdigest()[:16]
        if database.dialect == "postgresql":
            connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
            connection.execute(text(f"SET LOCAL lock_timeout = '{_LOCK_WAIT_S}s'"))
            connection.execute(
                text("SELECT pg_advisory_xact_lock(hashtext(:lock))"), {"lock": lock}
            )
            yield connection
        elif database.dialect in ("mysql", "mariadb"):
            with _named_lock(connection, lock):
                yield connection
        else:
            yield connection


@contextmanager
def _named_lock(connection: Connection, lock: str) -> Iterator[None]:
    """A lock of the session: it outlives the commits that DDL makes by itself."""
    wait = {"lock": lock, "wait_s": _LOCK_WAIT_S}
    if connection.execute(text("SELECT GET_LOCK(:lock, :wait_s)"), wait).scalar() != 1:
        raise DatabaseTrouble("database: another process has been migrating it for ten minutes")
    try:
        yield
    finally:
        with contextlib.suppress(Exception):  # a lost connection has lost the lock too
            connection.execute(text("SELECT RELEASE_LOCK(:lock)"), {"lock": lock})


def _place(connection: Connection) -> str:
    """Names the database or schema on its server: locks of MySQL are the whole server's."""
    return f"{connection.engine.url.database} {connection.dialect.default_schema_name}"


def _has_version_table(connection: Connection) -> bool:
    return connection.dialect.has_table(connection, VERSION_TABLE)


def _current(connection: Connection) -> str | None:
    if not _has_version_table(connection):
        return None
    found: str | None = connection.execute(select(_VERSION)).scalar()
    return found


def _refuse_newer(database: Database, found: str | None) -> None:
    if found is not None and found not in revisions():
        raise Usage(
            f"database {database.name} is at revision {found}, which this release (up to "
            f"{head()}) does not know: install the newer release of etl"
        )


def _refuse_foreign(database: Database, connection: Connection) -> None:
    if _has_version_table(connection):
        return
    inspector = inspect(connection)
    present = {*inspector.get_table_names(), *inspector.get_view_names()}
    foreign = sorted(present & set(_created(_config(connection))))
    if foreign:
        raise Usage(
            f"database {database.name} holds tables that are not of etl but have its names: "
            f"{', '.join(foreign)}; use another database, or database_schema on PostgreSQL"
        )


def _created(config: Config) -> Sequence[str]:
    from alembic.script import ScriptDirectory  # noqa: PLC0415 - as above

    scripts = ScriptDirectory.from_config(config).walk_revisions()
    return [name for script in scripts for name in script.module.CREATES]


def _config(connection: Connection) -> Config:
    from alembic.config import Config  # noqa: PLC0415 - as above

    config = Config(attributes={"connection": connection}, stdout=io.StringIO())
    places = [location() / "versions", *extra_locations]
    config.set_main_option("script_location", _plain(location()))
    config.set_main_option("path_separator", "newline")
    config.set_main_option("version_locations", "\n".join(_plain(place) for place in places))
    return config


def _plain(path: Path) -> str:
    """ConfigParser would read a percent sign in a path."""
    return str(path).replace("%", "%%")
