"""Many things at once: in order, by readers that take turns, and never waiting for itself."""

from __future__ import annotations

from concurrent.futures import wait

import pytest
from hostile_server import HostileServer, answer
from http_kit import opened

from etl.errors import Gone
from etl.http import Api
from etl.http.hub import whose


def test_results_come_in_the_order_of_the_items() -> None:
    with HostileServer(answer()) as server, opened(server.url) as api:
        futures = api.map(lambda number: number * 2, range(100))
        assert [future.result(10) for future in futures] == list(range(0, 200, 2))


def test_an_error_stays_with_its_item() -> None:
    with (
        HostileServer(answer(), answer("", 404), answer()) as server,
        opened(server.url, concurrency=1) as api,
    ):
        futures = api.map(lambda number: api.get(f"/{number}").size, range(3))
        wait(futures, 10)
        assert [type(future.exception()) for future in futures] == [type(None), Gone, type(None)]


def test_map_within_map_does_not_wait_for_itself() -> None:
    """All readers map again at once: with a queue for both this would hang for ever."""
    readers: set[int] = set()

    def inner(api: Api, number: int) -> tuple[int, int]:
        return api.get(f"/{number}").size, whose()

    def outer(api: Api, number: int) -> list[tuple[int, int]]:
        readers.add(whose())
        while len(readers) < 4:
            api.get(f"/{number}")
        futures = api.map(lambda n: inner(api, n), range(3))
        assert all(future.done() for future in futures)
        results = [future.result(0) for future in futures]
        assert {reader for _, reader in results} == {whose()}
        return results

    with HostileServer(answer()) as server, opened(server.url, concurrency=2) as api:
        futures = api.map(lambda number: outer(api, number), range(4))
        assert all(len(future.result(10)) == 3 for future in futures)


def test_an_error_within_map_within_map_stays_with_its_item() -> None:
    def fail(number: int) -> int:
        if number == 1:
            raise ValueError("one")
        return number

    def outer(api: Api) -> list[object]:
        futures = api.map(fail, range(3))
        return [future.exception(0) or future.result(0) for future in futures]

    with HostileServer(answer()) as server, opened(server.url) as api:
        (future,) = api.map(lambda _: outer(api), [0])
        zero, one, two = future.result(10)
        assert (zero, two) == (0, 2)
        with pytest.raises(ValueError, match="one"):
            raise one  # type: ignore[misc]  # it is the error


def test_counters_count_across_threads() -> None:
    with HostileServer(answer()) as server, opened(server.url) as api:
        wait(api.map(lambda number: api.get(f"/{number}"), range(200)), 10)
        assert (api.requests, api.retries, api.bytes_read) == (200, 0, 200 * 12)
        assert len(server.seen) == 200
