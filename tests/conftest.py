"""Fixtures for all tests: databases that are real, migrated and empty.

`database`, `database_url`: SQLite, or the server of ETL_TEST_DATABASE.
`every_database`, `every_database_url`: the test runs on SQLite, PostgreSQL and MariaDB.
`blank_database_url`, `every_blank_database_url`: the same without tables.

On the servers the tests of `_AT_ONCE` are run before each commit; all others are `long` there, as
are four in five of the tables of lies.

With ETL_TEST_DATABASE only the tests that it moves are run: the others would repeat what the run
without it shows, those of `every_database` on all three kinds.
"""

from __future__ import annotations

import compileall
import itertools
import os
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import databases
import pytest
import secrecy
from hypothesis import HealthCheck, settings

import etl
from etl import redact
from etl.db import Database, open_database
from etl.http import Api
from etl.http.hub import hub

settings.register_profile(
    "steady", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("steady")

_MOVED = {"database", "database_url", "blank_database_url"}


_SERVERS = set(databases.KINDS) - {"sqlite"}
_AT_ONCE = {"test_db", "test_schema", "test_store", "test_upsert", "test_views"}


def pytest_configure(config: pytest.Config) -> None:
    """Compiles `etl` for the many processes that the tests start, as its installation would."""
    if not hasattr(config, "workerinput"):
        compileall.compile_dir(Path(etl.__file__).parent, quiet=1)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out what ETL_TEST_DATABASE does not move; marks what takes long on the servers."""
    for item in items:
        if item.path.stem not in _AT_ONCE and _on_a_server(item):
            item.add_marker(pytest.mark.long)
    for _, lies in itertools.groupby(items, _table_of_lies):
        for number, item in enumerate(lies):
            if number % 5 and _table_of_lies(item):
                item.add_marker(pytest.mark.long)
    if not os.environ.get("ETL_TEST_DATABASE"):
        return
    moved = [item for item in items if _MOVED & set(getattr(item, "fixturenames", ()))]
    config.hook.pytest_deselected(items=[item for item in items if item not in moved])
    items[:] = moved


def _table_of_lies(item: pytest.Item) -> str:
    return item.path.stem if item.path.stem.endswith("_lies") else ""


def _on_a_server(item: pytest.Item) -> bool:
    spec = getattr(item, "callspec", None)
    return spec is not None and not _SERVERS.isdisjoint(map(str, spec.params.values()))


@pytest.fixture(autouse=True)
def _secrets_of_one_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """The password of one test is an ordinary word in the next one's messages."""
    monkeypatch.setattr(redact, "_known", redact._known)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Keeps what the test printed, for `_nothing_shows_a_secret`."""
    report = yield
    if call.when == "call":
        item.stash[secrecy.REPORT] = report
    return report


@pytest.fixture(autouse=True)
def _nothing_shows_a_secret(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, _secrets_of_one_test: None
) -> Iterator[None]:
    """Whatever a test is about: the secrets of its configurations are nowhere in what it left."""
    if request.node.get_closest_marker("shows_secrets") is not None:
        yield
        return
    with secrecy.watching(monkeypatch) as watch:
        yield
    found = watch.found(request.node)
    assert not found, "a secret is to be seen; see tests/secrecy.py"


@pytest.fixture(scope="session")
def servers() -> Iterator[Callable[[str], databases.Server]]:
    """Starts a server at its first use; all are closed at the end of the session."""
    started: dict[str, databases.Server] = {}

    def get(kind: str) -> databases.Server:
        if kind not in started:
            started[kind] = databases.default() if kind == "default" else databases.start(kind)
        return started[kind]

    yield get
    for server in started.values():
        server.close()


@pytest.fixture
def database_url(servers: Callable[[str], databases.Server]) -> str:
    """A migrated database without rows, for commands that are run as processes."""
    return servers("default").migrated()


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A migrated database without rows, opened."""
    yield from _opened(database_url)


@pytest.fixture
def blank_database_url(servers: Callable[[str], databases.Server]) -> str:
    """A database without tables."""
    return servers("default").blank()


@pytest.fixture(params=databases.KINDS)
def every_database_url(
    request: pytest.FixtureRequest, servers: Callable[[str], databases.Server]
) -> str:
    """`database_url` on each kind of database in turn."""
    return servers(request.param).migrated()


@pytest.fixture
def every_database(every_database_url: str) -> Iterator[Database]:
    """`database` on each kind of database in turn."""
    yield from _opened(every_database_url)


@pytest.fixture(params=databases.KINDS)
def every_blank_database_url(
    request: pytest.FixtureRequest, servers: Callable[[str], databases.Server]
) -> str:
    """`blank_database_url` on each kind of database in turn."""
    return servers(request.param).blank()


@pytest.fixture
def every_blank_database(every_blank_database_url: str) -> Iterator[Database]:
    """A database without tables on each kind in turn, opened."""
    yield from _opened(every_blank_database_url)


def _opened(url: str) -> Iterator[Database]:
    opened = open_database(url)
    yield opened
    opened.close()


@pytest.fixture(params=["by a thread", "by a reader"])
def either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """`Api.get` asks in the thread of the test, and then as a reader of the pool does."""
    if request.param == "by a thread":
        return
    get = Api.get

    def by_a_reader(api: Api, *arguments: Any, **named: Any) -> Any:
        if hub() is not None:
            return get(api, *arguments, **named)
        (future,) = api.map(lambda _: get(api, *arguments, **named), [None])
        return future.result()

    monkeypatch.setattr(Api, "get", by_a_reader)
