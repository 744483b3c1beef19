"""What the platform lists beside what the database holds, for one window, in a temporary file.

Its memory does not grow with them: both sides live in SQLite, which sorts them too.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from etl.source import Debt, Listed
from etl.values import canonical

_TABLES = """
CREATE TABLE listed (id TEXT PRIMARY KEY, status TEXT, hint TEXT);
CREATE TABLE held (id TEXT PRIMARY KEY, status TEXT, final INTEGER, marked INTEGER, late INTEGER)
    WITHOUT ROWID;
CREATE TABLE elsewhere (id TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE short (id TEXT, what TEXT, PRIMARY KEY (id, what)) WITHOUT ROWID;
CREATE TABLE quarantined (id TEXT PRIMARY KEY, dismissed INTEGER) WITHOUT ROWID;
CREATE TABLE asked (id TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE wanted (place INTEGER PRIMARY KEY, id TEXT, hint TEXT);
CREATE TABLE gone (number INTEGER, id TEXT, PRIMARY KEY (number, id)) WITHOUT ROWID;
"""
_OF_A_WINDOW = ("listed", "held", "elsewhere", "short", "quarantined", "asked", "wanted")

MISSING = """SELECT l.id FROM listed l LEFT JOIN held h ON h.id = l.id
    WHERE h.id IS NULL AND l.id NOT IN (SELECT id FROM elsewhere)"""
BACK = """SELECT l.id FROM listed l JOIN held h ON h.id = l.id
    WHERE h.marked AND l.status = h.status"""
CHANGED = """SELECT l.id FROM listed l JOIN held h ON h.id = l.id
    WHERE l.status <> h.status OR h.marked
    UNION SELECT id FROM elsewhere"""
SHORT = """SELECT DISTINCT id FROM short WHERE id IN (SELECT id FROM listed)
    AND id NOT IN (SELECT id FROM quarantined WHERE dismissed)"""
DIFFERING = f"{CHANGED} UNION {SHORT}"
GONE = """SELECT h.id FROM held h LEFT JOIN listed l ON l.id = h.id
    WHERE l.id IS NULL AND NOT h.marked"""
REJECTED = "SELECT id FROM quarantined WHERE id IN (SELECT id FROM listed)"
ACCEPTED = """SELECT l.id FROM listed l JOIN quarantined q ON q.id = l.id
    LEFT JOIN held h ON h.id = l.id
    WHERE q.dismissed AND h.id IS NULL AND l.id NOT IN (SELECT id FROM elsewhere)"""
MOVED_ON = """SELECT l.id FROM listed l JOIN held h ON h.id = l.id
    WHERE l.status <> h.status AND NOT h.final AND NOT h.marked"""
UNFINISHED = "SELECT id FROM held WHERE NOT final AND NOT marked"
LISTED = "SELECT id FROM listed"
HELD = "SELECT id FROM held WHERE NOT marked"


class Row(NamedTuple):
    """An execution that the database holds. `marked`: as gone upstream; `late`: it changed here
    after the listing had begun."""

    id: str
    status: str
    final: bool
    marked: bool
    late: bool


class Sheet:
    """Both sides of one window after the other; a context manager that removes its file."""

    def __init__(self) -> None:
        # "" is a private file that SQLite removes itself; small ones never reach the disk.
        self._file = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._file.executescript("PRAGMA journal_mode = OFF; PRAGMA temp_store = FILE;" + _TABLES)

    def __enter__(self) -> Sheet:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def clear(self, *tables: str) -> None:
        """Forgets `tables`; all that belongs to one window if none is named."""
        for table in tables or _OF_A_WINDOW:
            self._file.execute(f"DELETE FROM {table}")  # noqa: S608 - our own names

    def add_listed(self, lines: Sequence[Listed], plain: set[str]) -> None:
        """Notes lines of the platform; hints only of those that are not `plain`."""
        self._insert(
            "INSERT INTO listed VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE"
            " SET status = excluded.status, hint = COALESCE(excluded.hint, hint)",
            [(x.id, x.status, None if x.id in plain else canonical(dict(x.hint))) for x in lines],
        )

    def add_held(self, rows: Iterable[Row]) -> None:
        """Notes rows of the database."""
        self._insert("INSERT OR REPLACE INTO held VALUES (?, ?, ?, ?, ?)", rows)

    def add(self, table: str, rows: Iterable[Sequence[Any]], columns: int = 1) -> None:
        """Notes `rows` in one of the smaller tables."""
        marks = ", ".join("?" * columns)
        self._insert(f"INSERT OR IGNORE INTO {table} VALUES ({marks})", rows)  # noqa: S608

    def drop_listed(self, ids: Sequence[str]) -> None:
        """Takes lines back."""
        self._insert("DELETE FROM listed WHERE id = ?", [(id_,) for id_ in ids])

    def among(self, table: str, ids: Sequence[str]) -> set[str]:
        """Those of `ids` that are in `table`."""
        found = self._file.execute(
            f"SELECT id FROM {table} WHERE id IN (SELECT value FROM json_each(?))",  # noqa: S608
            (json.dumps(ids),),
        )
        return {id_ for (id_,) in found}

    def follow(self) -> None:
        """What was asked for, or learnt, after it had been listed: the later word counts."""
        later = "SELECT id FROM held WHERE (late OR id IN (SELECT id FROM asked)) AND NOT marked"
        self._file.execute(
            "INSERT INTO listed SELECT id, status, NULL FROM held"  # noqa: S608 - our own words
            f" WHERE id IN ({later}) ON CONFLICT (id) DO UPDATE SET status = excluded.status"
        )

    def want(self, query: str, limit: int | None = None) -> int:
        """Puts what `query` finds on the list of what is to be fetched, in the listing's order."""
        self.clear("wanted")
        self._file.execute(
            f"INSERT INTO wanted (id, hint) SELECT id, hint FROM listed WHERE id IN ({query})"  # noqa: S608
            " ORDER BY rowid LIMIT ?",
            (-1 if limit is None else limit,),
        )
        return self.count("SELECT id FROM wanted")

    def wanted(self, kind: str, reason: str, size: int) -> Iterator[list[Debt]]:
        """What is to be fetched, `size` at a time."""
        last = 0
        while True:
            found = self._file.execute(
                "SELECT place, id, hint FROM wanted WHERE place > ? ORDER BY place LIMIT ?",
                (last, size),
            ).fetchall()
            if not found:
                return
            last = found[-1][0]
            yield [Debt(kind, id_, reason, json.loads(hint or "{}")) for _, id_, hint in found]

    def count(self, query: str) -> int:
        """How many ids `query` finds."""
        number: int = self._file.execute(f"SELECT COUNT(*) FROM ({query})").fetchone()[0]  # noqa: S608
        return number

    def examples(self, query: str, limit: int) -> list[str]:
        """The first few ids that `query` finds."""
        found = self._file.execute(f"SELECT id FROM ({query}) ORDER BY id LIMIT ?", (limit,))  # noqa: S608
        return [id_ for (id_,) in found]

    def ids(self, query: str, size: int) -> Iterator[list[str]]:
        """All ids that `query` finds, `size` at a time."""
        last = ""
        first = True
        while True:
            found = self._file.execute(
                f"SELECT id FROM ({query}) WHERE id > ? OR ? ORDER BY id LIMIT ?",  # noqa: S608
                (last, first, size),
            ).fetchall()
            if not found:
                return
            last, first = found[-1][0], False
            yield [id_ for (id_,) in found]

    def digest(self, table: str) -> str:
        """SHA-256 over the lines `id status`, sorted by their bytes, each with a line feed."""
        where = "WHERE NOT marked" if table == "held" else ""
        made = hashlib.sha256()
        lines = self._file.execute(
            f"SELECT id || ' ' || status || char(10) AS line FROM {table} {where} ORDER BY line"  # noqa: S608
        )
        for (line,) in lines:
            made.update(line.encode())
        return made.hexdigest()

    def unmark(self, ids: Sequence[str]) -> None:
        """These are no longer marked as gone."""
        self._insert("UPDATE held SET marked = 0 WHERE id = ?", [(id_,) for id_ in ids])

    def keep_gone(self, number: int) -> int:
        """Remembers what is gone of the window `number` until the sweep is over."""
        self._file.execute(f"INSERT INTO gone SELECT ?, id FROM ({GONE})", (number,))  # noqa: S608
        return self.count(f"SELECT id FROM gone WHERE number = {int(number)}")  # noqa: S608

    def _insert(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        with self._at_once():
            self._file.executemany(statement, rows)

    @contextmanager
    def _at_once(self) -> Iterator[None]:
        self._file.execute("BEGIN")
        try:
            yield
        finally:
            self._file.execute("COMMIT")
