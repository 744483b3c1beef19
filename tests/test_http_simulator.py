"""Every fault of the simulator, met with nothing but this client: one costs one retry, no more."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import requests
from http_kit import opened

from etl.errors import Malformed, Refused, SourceFailed, TooLarge, Transient
from etl.http import Login
from etl.simulator import Credentials, Fault, Simulator, World

JOBS = "/api-open/v1/jobs"


class Session:
    """The ready token of the simulated Explorer."""

    max_in_flight: int | None = None

    def apply(self, request: requests.PreparedRequest) -> None:
        request.headers["Cookie"] = f"explorer_token={Credentials().explorer_token}"

    def renew(self, login: Login) -> bool:
        return False


@pytest.fixture(scope="module")
def running() -> Iterator[Simulator]:
    world = World.empty(datetime(2026, 11, 22, 12, tzinfo=UTC))
    for _ in range(12):
        world.explorer.create()
    with Simulator(world) as simulator:
        yield simulator


@pytest.fixture
def sim(running: Simulator) -> Iterator[Simulator]:
    running.clear_log()
    yield running
    running.clear_faults()


PASSING: dict[str, tuple[dict[str, Any], type[SourceFailed]]] = {
    "status": ({"status": 503}, Transient),
    "throttle": ({"retry_after": "3"}, Transient),
    "empty": ({}, Malformed),
    "html": ({}, Malformed),
    "broken_json": ({}, Malformed),
    "nested": ({}, Malformed),
    "reset": ({}, Transient),
    "reset_mid": ({}, Transient),
    "truncate": ({}, Transient),
    "drip": ({"seconds": 0.02}, Transient),
    "hang": ({"seconds": 1.0}, Transient),
}


@pytest.mark.parametrize("kind", PASSING)
def test_a_fault_that_passes_costs_one_retry(kind: Any, sim: Simulator) -> None:
    options, _ = PASSING[kind]
    sim.fault(Fault(kind, path=JOBS, **options))
    with opened(sim.url, Session(), timeout=0.3) as api:
        assert api.get(JOBS).content["data"]["total"] == 12
        assert (api.requests, api.retries, len(sim.requests)) == (2, 1, 2)


@pytest.mark.parametrize("kind", PASSING)
def test_a_fault_that_stays_has_a_name(kind: Any, sim: Simulator) -> None:
    options, error = PASSING[kind]
    sim.fault(Fault(kind, path=JOBS, times=None, **options))
    with opened(sim.url, Session(), timeout=0.3) as api:
        with pytest.raises(SourceFailed) as raised:
            api.get(JOBS, attempts=2)
        assert type(raised.value) is error
        assert api.requests == 2


@pytest.mark.parametrize(
    ("kind", "options", "error"),
    [
        ("redirect", {"location": "http://localhost:1/login"}, Refused),
        ("bomb", {"size": 8}, TooLarge),
        ("status", {"status": 403}, Refused),
    ],
)
def test_a_fault_that_no_retry_can_mend(
    kind: Any, options: dict[str, Any], error: type[SourceFailed], sim: Simulator
) -> None:
    sim.fault(Fault(kind, path=JOBS, times=None, **options))
    with opened(sim.url, Session(), max_body=2**20) as api:
        with pytest.raises(error):
            api.get(JOBS)
        assert (api.requests, api.retries) == (1, 0)


@pytest.mark.parametrize("kind", ["gzip", "invalid_utf8", "delay"])
def test_what_is_only_unusual_is_read(kind: Any, sim: Simulator) -> None:
    sim.fault(Fault(kind, path=JOBS, times=None))
    with opened(sim.url, Session()) as api:
        assert len(api.get(JOBS).content["data"]["items"]) == 10
        assert (api.requests, api.retries) == (1, 0)


def test_a_burst_of_errors_is_outlasted_by_all(sim: Simulator) -> None:
    sim.fault(Fault("status", path=JOBS, status=502, times=4))
    with opened(sim.url, Session()) as api:
        futures = api.map(lambda number: api.get(f"{JOBS}/{number}"), range(1, 13))
        assert [future.exception(10) for future in futures] == [None] * 12
        assert (api.requests, api.retries) == (16, 4)
