"""What a test leaves behind holds none of the secrets that its configurations knew.

`Watch` learns the secrets (of every `Secret`, login, database URL and simulator) and looks for
them, also as URLs, headers, JSON and pages carry them, in the log lines, the output, the pages
that were fetched, the files in `tmp_path` (but for the configurations) and the database.
"""

from __future__ import annotations

import base64
import contextlib
import html
import json
import logging
import urllib.parse
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import inspect, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from etl import redact
from etl.cli.logs import JsonFormatter
from etl.db import Database, open_database
from etl.errors import EtlError
from etl.simulator import Credentials, Simulator

REPORT: pytest.StashKey[pytest.TestReport] = pytest.StashKey()
"""How the test itself ended, with what it printed."""

_SECRET_FIELDS = ("password", "token", "secret_key")
_SHORTEST = 4  # as `redact`: shorter ones are not masked
_SHORTEST_ENCODED = 8  # the middle of the base64 of a shorter one is a word of ordinary texts
_MOST = 8 << 20  # of one file or table
_PAGE = 4096  # of a SQLite file
_CONFIGURATIONS = (".yaml", ".yml")
_ROWS = "SELECT * FROM {} LIMIT 1000"


@cache
def forms(secret: str) -> frozenset[bytes]:
    """`secret` as it may appear in a text: as it is, or as something encoded it."""
    raw = secret.encode("utf-8", "surrogatepass")
    texts = {
        secret,
        urllib.parse.quote(raw, safe=""),
        urllib.parse.quote_plus(raw),
        repr(secret)[1:-1],
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        html.escape(secret),
    }
    found = {form.encode("utf-8", "surrogatepass") for form in texts}
    if len(raw) >= _SHORTEST_ENCODED:
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            found |= {_middle(encode, raw, before) for before in range(3)}
    return frozenset(found)


def _middle(encode: Callable[[bytes], bytes], raw: bytes, before: int) -> bytes:
    """What `raw` is in the base64 of a longer text (user:password), `before` bytes into a group."""
    encoded = encode(bytes(before) + raw)
    return encoded[-(-before * 8 // 6) : (before + len(raw)) * 8 // 6]


class Watch(logging.Handler):
    """The secrets that were known while a test ran, and the texts that came of it."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(JsonFormatter())
        self.simulators: list[Simulator] = []
        self.made: list[redact.Secret] = []
        self._known_before = set(redact._known)
        self._secrets: set[str] = set()
        self._texts: list[tuple[str, str]] = []
        self._learn_from(Credentials())

    def knows(self, secret: str) -> None:
        if len(secret) >= _SHORTEST:
            self._secrets.add(secret)

    def saw(self, where: str, seen: str) -> None:
        """A text that the test has fetched or printed."""
        if seen:
            self._texts.append((where, seen))

    def emit(self, record: logging.LogRecord) -> None:
        self.saw("a log line", self.format(record))

    def found(self, item: pytest.Item) -> list[str]:
        """Where a secret is to be seen, and how it begins."""
        self._learn_all(item)
        looked_for = {form for secret in self._secrets for form in forms(secret)}
        if not looked_for:
            return []
        return [
            f"{where}: …{seen[max(0, seen.index(form) - 40) :][: 40 + len(form)]!r}"
            for where, seen in self._left_by(item, looked_for)
            for form in looked_for
            if form in seen
        ]

    def _learn_from(self, accepted: Credentials) -> None:
        for name in (field.name for field in fields(Credentials)):
            if name.endswith(_SECRET_FIELDS):
                self.knows(getattr(accepted, name))

    def _learn_all(self, item: pytest.Item) -> None:
        """What is known now: passwords may have been changed, tokens given, files read again."""
        given = (each for each in _given(item).values() if isinstance(each, Simulator))
        for simulator in (*self.simulators, *given):
            self._learn_from(simulator.credentials)
            for token in simulator.gateway._tokens:
                self.knows(token)
        for secret in self.made:
            self.knows(secret.reveal())
        for known in set(redact._known) - self._known_before:
            self.knows(known)

    def _left_by(self, item: pytest.Item, looked_for: set[bytes]) -> Iterator[tuple[str, bytes]]:
        report = item.stash.get(REPORT, None)
        printed = [("what it printed", report.capstdout + report.capstderr)] if report else []
        for where, seen in (*self._texts, *printed):
            yield where, seen.encode("utf-8", "surrogatepass")
        given = _given(item)
        if isinstance(given.get("tmp_path"), Path):
            sources = {form.strip() for form in looked_for}  # of configurations: ${file:…}
            for name, held in _files(given["tmp_path"]):
                if held.strip() not in sources:
                    yield name, held
        for url in {_url(*each) for each in given.items()} - {""}:
            yield from _tables(url)


def _given(item: pytest.Item) -> dict[str, Any]:
    """The fixtures of the test."""
    return getattr(item, "funcargs", {})


def _url(name: str, fixture: object) -> str:
    """The URL of a database that the test was given, else an empty text."""
    if isinstance(fixture, Database):
        return fixture.engine.url.render_as_string(hide_password=False)
    return str(fixture) if name.endswith("database_url") else ""


def _files(directory: Path) -> Iterator[tuple[str, bytes]]:
    for path in directory.rglob("*"):
        if path.suffix not in _CONFIGURATIONS and path.is_file() and not path.is_symlink():
            yield from _file(path)


def _file(path: Path) -> Iterator[tuple[str, bytes]]:
    with contextlib.suppress(OSError), path.open("rb") as file:
        held = file.read(_MOST)
        if held.startswith(b"SQLite format 3\0"):
            held = b"".join(page for page in _pages(held) if page not in _known_pages(path.parent))
        yield path.name, held


def _pages(held: bytes) -> Iterable[bytes]:
    return (held[at : at + _PAGE] for at in range(0, len(held), _PAGE))


@cache
def _known_pages(directory: Path) -> frozenset[bytes]:
    """Those of the migrated file that the tests' databases are copies of."""
    template = directory / "template.db"
    return frozenset(_pages(template.read_bytes())) if template.is_file() else frozenset()


def _tables(url: str) -> Iterator[tuple[str, bytes]]:
    where = make_url(url)
    if where.get_backend_name() == "sqlite":
        for tail in ("", "-wal"):
            yield from _file(Path(f"{where.database}{tail}"))
        return
    with contextlib.suppress(EtlError, SQLAlchemyError):  # the test may have made it unusable
        database = open_database(url, lease_s=1)
        try:
            with database.reading() as connection:
                for name in inspect(connection).get_table_names():
                    if name != "data_dictionary":
                        rows = connection.execute(text(_ROWS.format(name))).all()
                        yield f"table {name}", repr(rows)[:_MOST].encode("utf-8", "replace")
        finally:
            database.close()


_watching: list[Watch] = []


def saw(where: str, seen: str) -> None:
    """A kit has fetched a page, or run a command."""
    for watch in _watching:
        watch.saw(where, seen)


def given(env: Mapping[str, str]) -> None:
    """A process is started with these variables."""
    for watch in _watching:
        for name, value in env.items():
            if name.lower().endswith(_SECRET_FIELDS):
                watch.knows(value)


@contextlib.contextmanager
def watching(monkeypatch: pytest.MonkeyPatch) -> Iterator[Watch]:
    """Learns the secrets of what is made meanwhile."""
    watch = Watch()
    start, make = Simulator.start, redact.Secret.__init__

    def started(simulator: Simulator) -> Simulator:
        watch.simulators.append(simulator)
        return start(simulator)

    def made(secret: redact.Secret, given: str, reread: Callable[[], str] | None = None) -> None:
        watch.knows(given)
        watch.made.append(secret)
        make(secret, given, reread)

    monkeypatch.setattr(Simulator, "start", started)
    monkeypatch.setattr(redact.Secret, "__init__", made)
    logging.getLogger().addHandler(watch)
    _watching.append(watch)
    try:
        yield watch
    finally:
        _watching.remove(watch)
        logging.getLogger().removeHandler(watch)
