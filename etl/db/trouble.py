"""What a driver's error means: mend it, try again, or give up; one clear line, no secret."""

from __future__ import annotations

import sqlite3

from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from etl.errors import DatabaseTrouble, EtlError, Usage
from etl.redact import masked

_LONGEST = 300

_RETRIABLE_STATES = ("08", "40001", "40P01", "55P03", "57P", "53300", "25P03")
"""SQLSTATE: connection lost, serialization, deadlock, lock timeout, server going down or full,
idle transaction ended."""
_RETRIABLE_NUMBERS = {
    1020, 1040, 1053, 1152, 1158, 1159, 1160, 1161, 1205, 1213, 1927,
    2002, 2003, 2006, 2013, 2055, 4031,
}  # fmt: skip
"""MySQL and MariaDB: the same, and 1927 (connection killed), 4031 (idle session ended)."""
_USAGE_NUMBERS = {1044, 1045, 1049, 1130, 1698, 2059}
"""Access denied, unknown database, host not allowed, unknown way to authenticate."""
_USAGE_STATES = ("28", "3D000", "3F000", "42501")
_USAGE_WORDS = ("authentication failed", "does not exist", "no pg_hba.conf entry")
"""psycopg gives no SQLSTATE for a refused connection, only the server's words."""
_USAGE_SQLITE = {
    sqlite3.SQLITE_CANTOPEN: "is there such a folder, and may this user read and write in it?",
    sqlite3.SQLITE_NOTADB: "name another file",
    sqlite3.SQLITE_READONLY: "this user must be able to write the file and in its folder, even to "
    "read: SQLite keeps what was written last in files beside it",
}
"""And what to do about it."""
_RETRIABLE_SQLITE = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


def retriable(error: BaseException) -> bool:
    """Whether the same transaction may work when it is tried again.

    True for a lost connection, a lock that was not granted, a deadlock, a serialization failure
    and a server that is full or going down. Takes a driver's, SQLAlchemy's or the project's error.
    """
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, PoolTimeout):
            return True
        if isinstance(found, DBAPIError):
            return found.connection_invalidated or _retriable_driver(found.orig)
        if isinstance(found, sqlite3.Error):
            return _retriable_driver(found)
        found = found.__cause__
    return False


def translated(error: SQLAlchemyError | sqlite3.Error, where: str, *, opening: bool) -> EtlError:
    """The project's error for a driver's; `where` is the database for people.

    While opening, a wrong name, password or file is Usage; otherwise DatabaseTrouble.
    """
    origin = error.orig if isinstance(error, DBAPIError) else error
    line = masked(f"database {where}: {_line(origin or error)}")
    if opening and not retriable(error) and _usage(origin):
        mend = _USAGE_SQLITE[_sqlite_code(origin)] if isinstance(origin, sqlite3.Error) else ""
        return Usage(f"{line}; {mend}" if mend else line)
    return DatabaseTrouble(line)


def _retriable_driver(error: BaseException | None) -> bool:
    if isinstance(error, sqlite3.Error):
        return _sqlite_code(error) in _RETRIABLE_SQLITE
    number = _number(error)
    if number is not None:
        return number in _RETRIABLE_NUMBERS
    state = getattr(error, "sqlstate", None)
    if isinstance(state, str):
        return state.startswith(_RETRIABLE_STATES)
    kinds = {kind.__name__ for kind in type(error).__mro__}  # psycopg's ConnectionTimeout is one
    return "OperationalError" in kinds and not _usage(error)


def _usage(error: BaseException | None) -> bool:
    if isinstance(error, sqlite3.Error):
        return _sqlite_code(error) in _USAGE_SQLITE
    number = _number(error)
    if number is not None:
        return number in _USAGE_NUMBERS
    state = getattr(error, "sqlstate", None)
    if isinstance(state, str):
        return state.startswith(_USAGE_STATES)
    return any(words in str(error) for words in _USAGE_WORDS)


def _sqlite_code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _number(error: BaseException | None) -> int | None:
    """The error number of MySQL and MariaDB."""
    first = error.args[0] if error is not None and error.args else None
    return first if isinstance(first, int) else None


def _line(error: BaseException) -> str:
    """The server's message without its details, which may hold whole rows."""
    number = _number(error)
    if number is not None and len(error.args) > 1:
        return f"{_short(str(error.args[1]))} ({number})"
    primary = getattr(getattr(error, "diag", None), "message_primary", None)
    return _short(primary or str(error)) or type(error).__name__


def _short(text: str) -> str:
    return " ".join(text.split())[:_LONGEST]
