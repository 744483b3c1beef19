"""Where the database is: URLs as people write them, with the drivers of the project's extras."""

from __future__ import annotations

import importlib
from pathlib import Path

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from etl import redact
from etl.errors import Usage

_DRIVERS = {
    "sqlite": ("sqlite+pysqlite", "sqlite3", ""),
    "postgresql": ("postgresql+psycopg", "psycopg", "postgresql"),
    "mysql": ("mysql+pymysql", "pymysql", "mysql"),
    "mariadb": ("mysql+pymysql", "pymysql", "mysql"),
}
_SECRET_OPTIONS = ("password", "passwd", "sslpassword", "ssl_key_password")


def address(text: str) -> URL:
    """The URL to open for `text`; its password is registered as a secret.

    `postgres://`, `postgresql://`, `mysql://`, `mariadb://` and `sqlite:///path` are known.
    Raises Usage, with the pip line where a driver is missing.
    """
    try:
        url = make_url(text.replace("postgres://", "postgresql://", 1))
    except (ArgumentError, ValueError):
        raise Usage(
            "database: the URL cannot be read; write sqlite:///etl.db, "
            "postgresql://user:password@host/name or mysql://user:password@host/name "
            "(percent-encode special characters of the password)"
        ) from None
    _hide(url)
    kind, _, driver = url.drivername.partition("+")
    if kind not in _DRIVERS:
        raise Usage(f"database: {kind!r} is not supported; use sqlite, postgresql, mysql, mariadb")
    drivername, module, extra = _DRIVERS[kind]
    ours = drivername.partition("+")[2]
    if driver not in ("", ours):
        raise Usage(f"database: driver {driver!r} is not supported; write {kind}:// ({ours})")
    try:
        importlib.import_module(module)
    except ImportError:
        raise Usage(
            f"database: {kind}:// needs the driver {module}: pip install 'etl[{extra}]'"
        ) from None
    url = url.set(drivername=drivername)
    return _file(url) if kind == "sqlite" else url


def shown(url: URL) -> str:
    """The URL for people: without driver, password and options."""
    kind = url.get_dialect().name
    bare = URL.create(kind, url.username, None, url.host, url.port, url.database)
    return bare.render_as_string()


def _hide(url: URL) -> None:
    if url.password:
        redact.known(str(url.password))
    for name in _SECRET_OPTIONS:
        value = url.query.get(name)
        if isinstance(value, str):
            redact.known(value)


def _file(url: URL) -> URL:
    """An absolute path, so that a later change of directory opens no other file."""
    if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
        raise Usage("database: SQLite needs a file that stays: sqlite:///etl.db")
    path = Path(url.database).absolute()
    if not path.parent.is_dir():
        raise Usage(f"database: {path}: the directory does not exist")
    return url.set(database=str(path))
