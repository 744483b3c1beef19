"""Everything that may go wrong at a platform, at every kind of request, through the whole line.

Three ends are allowed. `mends`: the same pass or the next makes the tables equal those of an
undisturbed line. `fails`: the run says so in one line, and the next pass completes. `costs one`:
only that record is owed or rejected, its neighbours are written. Never is a secret left anywhere.

A pair of a trouble and a request is in the quick suite where it lies on one of the diagonals of
the table; the rest is `long`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from databases import Server
from hostile_kit import (
    ENDPOINTS,
    FRONT,
    LISTS,
    OWN,
    Line,
    opened_line,
    source_of,
    undisturbed,
)

from etl.ledger import rejects
from etl.redact import Secret
from etl.retry import retry
from etl.simulator import Fault, Simulator, World
from etl.simulator.setting import real_time
from etl.simulator.wire import Request
from etl.sources.explorer.reading import SAMPLE_ATTEMPTS
from etl.units import Duration

DIAGONAL = 8
QUIET = {"timeout": Duration(0.3)}


@dataclass(frozen=True)
class Trouble:
    """A fault to order. `kind`: what a run fails with that cannot do without the answer.

    `final`: asking again within the pass is in vain or forbidden.
    """

    order: Mapping[str, Any]
    kind: str = "transient"
    final: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)
    burst: int = 1

    def fault(self, when: Callable[[Request], bool], times: int | None, other: str) -> Fault:
        order = {**self.order}
        if order.get("retry_after") == "date":
            at = real_time() + timedelta(seconds=100)
            order["retry_after"] = format_datetime(at, usegmt=True)
        if order["kind"] == "redirect":
            order["location"] = other
        fault = Fault(when=when, times=times and times * self.burst, **order)
        if order.get("body") == "echo":
            fault.when = lambda request: when(request) and _echoed(fault, request)
        return fault


def _echoed(fault: Fault, request: Request) -> bool:
    """Gives back what was sent as credentials, as a debugging proxy may."""
    names = ("authorization", "cookie", "x-auth-token")
    sent = [request.headers.get(name, "") for name in names]
    fault.body = "\n".join([*sent, request.body.decode()])
    return True


def _throttled(retry_after: str | None) -> Mapping[str, Any]:
    return {"kind": "throttle", "retry_after": retry_after, "body": b"{}"}


TROUBLES: dict[str, Trouble] = {
    "429 with seconds": Trouble(_throttled("7")),
    "429 with a date": Trouble(_throttled("date")),
    "429 with garbage": Trouble(_throttled("soon")),
    "429 without a word": Trouble(_throttled(None)),
    "429 that names its limit": Trouble({"kind": "throttle"}),
    "429 with far too long a wait": Trouble(_throttled("100000"), final=True),
    "a burst of 503": Trouble({"kind": "status", "status": 503}, burst=4),
    "500 that echoes secrets": Trouble({"kind": "status", "status": 500, "body": "echo"}),
    "a reset": Trouble({"kind": "reset"}),
    "a reset in the body": Trouble({"kind": "reset_mid"}),
    "half a body": Trouble({"kind": "truncate"}),
    "a drip": Trouble({"kind": "drip"}, settings=QUIET),
    "silence": Trouble({"kind": "hang"}, settings=QUIET),
    "an empty 200": Trouble({"kind": "empty"}, "malformed"),
    "a login page with 200": Trouble({"kind": "html"}, "malformed"),
    "broken JSON": Trouble({"kind": "broken_json"}, "malformed"),
    "20,000 levels": Trouble({"kind": "nested"}, "malformed"),
    "a bomb": Trouble({"kind": "bomb", "size": 2}, "refused", final=True),
    "403": Trouble({"kind": "status", "status": 403, "body": "echo"}, "refused", final=True),
    "another host": Trouble({"kind": "redirect"}, "refused", final=True),
}


def pairs(endpoints: Iterable[str], *without: tuple[str, str], slow: bool = False) -> list[Any]:
    """Each trouble at each endpoint; off the diagonals `long`, as is what takes real time."""

    def quick(place: int, name: str) -> bool:
        return place % DIAGONAL == 0 and (slow or name not in _SLOW)

    return [
        pytest.param(endpoint, name, marks=() if quick(row + column, name) else _LONG)
        for row, endpoint in enumerate(endpoints)
        for column, name in enumerate(TROUBLES)
        if (endpoint, name) not in without
    ]


_SLOW = ("a drip", "silence", "429 that names its limit")
_LONG = pytest.mark.soak
_RECORDS = [name for name in ENDPOINTS if name not in FRONT]
_REJECTED = {
    (f"act2 {shape}{what}", "a bomb") for shape in ("", "doc ") for what in ("page", "result")
}
"""What is beyond max_body is rejected there, and comes back by `rejects retry` or with the page."""


@pytest.fixture
def line(
    servers: Callable[[str], Server], caplog: pytest.LogCaptureFixture, endpoint: str
) -> Iterator[Line]:
    """A served line into an empty database, at whose end no secret may be found anywhere."""
    caplog.set_level("DEBUG")
    made = opened_line(servers("sqlite").migrated(), endpoint)
    with made.sim:
        yield made
    made.database.close()
    made.assert_silent(caplog)


@pytest.fixture(scope="module")
def other() -> Iterator[str]:
    """Another host, which nobody may ever ask for anything."""
    with Simulator(World.empty()) as sim:
        yield f"{sim.url}/elsewhere"
        assert sim.requests == []


@pytest.fixture
def good(servers: Callable[[str], Server], endpoint: str) -> tuple[Any, ...]:
    """What an undisturbed line holds."""
    return _STATES.get(endpoint) or _STATES.setdefault(
        endpoint, undisturbed(servers("sqlite").migrated(), endpoint)
    )


_STATES: dict[str, tuple[Any, ...]] = {}


def assert_failed(line: Line, outcome: Any, kind: str) -> None:
    """One clear line, in the ledger too, of that kind."""
    run = line.run()
    assert (outcome.status, run["status"], run["error_kind"]) == ("failed", "failed", kind)
    assert run["error"] == str(outcome.error)
    assert run["error"].strip()
    assert "\n" not in run["error"]
    assert "Traceback" not in run["error"]


def assert_mends(line: Line, good: tuple[Any, ...]) -> None:
    """The next pass finds all that is missing."""
    line.sim.clear_faults()
    assert line.sync().error is None
    assert line.state() == good


def assert_neighbours(line: Line, good: tuple[Any, ...], own: object) -> None:
    """All executions are as they should be, `own` excepted, which is at least there."""
    for name, rows in line.data().items():
        apart = {key: row for key, row in rows.items() if key[1] != own}
        assert apart == {key: row for key, row in good[0][name].items() if key[1] != own}
    assert {key[1] for rows in line.data().values() for key in rows} == {
        key[1] for rows in good[0].values() for key in rows
    }


@pytest.mark.parametrize(("endpoint", "trouble"), pairs(ENDPOINTS, *_REJECTED, slow=True))
def test_a_trouble_that_passes_is_mended(
    line: Line, good: tuple[Any, ...], endpoint: str, trouble: str, other: str
) -> None:
    ordered = TROUBLES[trouble]
    fault = line.sim.fault(ordered.fault(ENDPOINTS[endpoint].matches, 1, other))
    outcome = line.sync(**ordered.settings)
    assert fault.hits == ordered.burst
    if not ordered.final:
        assert outcome.error is None
        if line.state() != good:
            assert ordered.burst > SAMPLE_ATTEMPTS
            assert endpoint == "explorer sample"  # tried less often than others, then owed
            assert_mends(line, good)
        return
    if endpoint in FRONT and not (trouble == "a bomb" and endpoint in LISTS):
        assert_failed(line, outcome, ordered.kind)
    assert_mends(line, good)


@pytest.mark.parametrize(("endpoint", "trouble"), pairs(sorted(FRONT), *_REJECTED))
def test_a_trouble_that_stays_where_nothing_goes_without_fails_the_run(
    line: Line, good: tuple[Any, ...], endpoint: str, trouble: str, other: str
) -> None:
    ordered = TROUBLES[trouble]
    line.sim.fault(ordered.fault(ENDPOINTS[endpoint].matches, None, other))
    assert_failed(line, line.sync(**ordered.settings), ordered.kind)
    assert line.rows() == 0
    assert_mends(line, good)


EVERYWHERE: dict[str, str | None] = {
    "explorer detail": "transient",
    "explorer sample": None,
    "act2 record": "",
    "act2 doc record": "",
    "act2 result": None,
    "act2 doc result": None,
}
"""What a run fails with when all requests of the kind do: None: not at all, "": the trouble's."""


@pytest.mark.parametrize(("endpoint", "trouble"), pairs(_RECORDS, *_REJECTED))
def test_a_trouble_at_every_record_fails_the_run_or_is_owed(
    line: Line, good: tuple[Any, ...], endpoint: str, trouble: str, other: str
) -> None:
    ordered = TROUBLES[trouble]
    line.sim.fault(ordered.fault(ENDPOINTS[endpoint].matches, None, other))
    outcome = line.sync(**ordered.settings)
    kind = EVERYWHERE[endpoint]
    if outcome.error is not None:
        assert kind is not None or ordered.final
        assert_failed(line, outcome, kind or ordered.kind)
    else:
        assert kind is None or ordered.final
        assert len(line.owed()) >= len(good[1])
    assert_mends(line, good)


_OF_ALL = {(name, "429 with far too long a wait") for name in _RECORDS}
"""Such an answer is not one record's trouble: it holds everybody back."""


@pytest.mark.parametrize(("endpoint", "trouble"), pairs(_RECORDS, *_REJECTED, *_OF_ALL))
def test_a_trouble_that_stays_with_one_record_costs_that_record(
    line: Line, good: tuple[Any, ...], endpoint: str, trouble: str, other: str
) -> None:
    ordered, place = TROUBLES[trouble], ENDPOINTS[endpoint]
    fault = line.sim.fault(ordered.fault(place.of_one, None, other))
    outcome = line.sync(**ordered.settings)
    assert fault.hits
    if outcome.error is not None:
        assert ordered.final
        assert_failed(line, outcome, ordered.kind)
    else:
        assert str(place.one) in {id_ for _, id_ in line.owed()}
        assert_neighbours(line, good, place.one)
    assert_mends(line, good)


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_bytes_that_are_not_utf8_cost_no_more_than_their_record(
    line: Line, good: tuple[Any, ...], endpoint: str
) -> None:
    fault = line.sim.fault(Fault("invalid_utf8", when=ENDPOINTS[endpoint].matches))
    assert line.sync().error is None
    assert fault.hits == 1
    assert line.rejected() == 0
    spoilt = {
        key[1]
        for name, rows in line.data().items()
        for key, row in rows.items()
        if row != good[0][name][key]
    }
    assert len(spoilt) <= 1
    assert {name: set(rows) for name, rows in line.data().items()} == {
        name: set(rows) for name, rows in good[0].items()
    }


LIES: dict[str, Mapping[str, Any]] = {
    "a total too high": {"kind": "total", "size": 50, "times": None},
    "a total too low": {"kind": "total", "size": -4, "times": None},
    "the last page again": {"kind": "repeat_page", "after": 1},
    "an empty page in the middle": {"kind": "empty_page", "after": 1},
    "a page size that shrinks": {"kind": "page_size", "size": 2, "after": 1, "times": None},
}


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("endpoint", LISTS)
def test_a_list_that_lies_hides_nothing(
    line: Line, good: tuple[Any, ...], endpoint: str, lie: str
) -> None:
    line.sim.fault(Fault(when=ENDPOINTS[endpoint].matches, **LIES[lie]))
    assert line.sync().error is None
    assert line.state()[0] == good[0]
    assert len(line.sim.requests) < 100
    assert_mends(line, good)


@pytest.mark.parametrize("endpoint", ["explorer detail", "act2 record", "act2 doc record"])
def test_what_vanishes_between_list_and_detail_costs_no_neighbour(
    line: Line, good: tuple[Any, ...], endpoint: str
) -> None:
    place = ENDPOINTS[endpoint]

    def vanish(request: Request) -> bool:
        graphs, scripts = line.sim.world.explorer, line.sim.world.act2
        if place.of_one(request) and isinstance(place.one, int) and graphs.jobs.get(place.one):
            graphs.delete(place.one)
        if place.of_one(request) and isinstance(place.one, str) and scripts.records.get(place.one):
            scripts.delete(place.one)
        return False

    line.sim.fault(Fault("delay", when=vanish))
    assert line.sync().error is None
    assert_neighbours(line, good, place.one)
    assert line.rejected() == 0
    assert line.sync().error is None
    assert line.rows() > 0


@pytest.mark.parametrize("endpoint", ["explorer list", "explorer detail", "dataarts instances"])
@pytest.mark.parametrize("after", [1, 2])
def test_a_session_that_ends_in_the_middle_costs_one_login(
    line: Line, good: tuple[Any, ...], endpoint: str, after: int
) -> None:
    when = ENDPOINTS[endpoint].matches
    fault = line.sim.fault(Fault("expire", when=when, after=after))
    assert line.sync().error is None
    assert fault.hits == 1
    assert line.state() == good
    assert _logins(line) == 2


def _logins(line: Line) -> int:
    return sum(logged.method == "POST" for logged in line.sim.requests)


@pytest.mark.parametrize("after", [0, 2])
@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_a_401_that_stays_ends_the_run_after_two_logins_at_most(
    line: Line, good: tuple[Any, ...], endpoint: str, after: int
) -> None:
    order: dict[str, Any] = {"status": 401, "body": "{}", "times": None, "after": after}
    fault = line.sim.fault(Fault("status", when=ENDPOINTS[endpoint].matches, **order))
    outcome = line.sync()
    if not fault.hits:  # it was asked no more often than was well
        assert outcome.error is None
        assert line.state() == good
        return
    assert_failed(line, outcome, "unauthorized")
    assert _logins(line) <= 2
    assert_mends(line, good)


SIGNED = {"access_key": OWN.access_key, "secret_key": Secret(OWN.secret_key)}


@pytest.mark.parametrize("endpoint", ["dataarts instances"])
@pytest.mark.parametrize("after", [0, 3])
def test_a_key_that_is_refused_is_tried_twice_at_most(
    line: Line, good: tuple[Any, ...], endpoint: str, after: int
) -> None:
    order: dict[str, Any] = {"status": 401, "times": None, "after": after}
    fault = line.sim.fault(Fault("status", platform="dataarts", **order))
    assert_failed(line, line.sync(concurrency=8, page_size=1, **SIGNED), "unauthorized")
    assert fault.hits <= 2
    line.sim.clear_faults()
    assert line.sync(**SIGNED).error is None
    assert line.state() == good


@pytest.mark.parametrize("endpoint", ["act2 page", "act2 doc page", "act2 doc result"])
def test_a_bomb_at_act2_is_rejected_and_comes_back(
    line: Line, good: tuple[Any, ...], endpoint: str
) -> None:
    line.sim.fault(Fault("bomb", size=2, when=ENDPOINTS[endpoint].matches, times=None))
    assert line.sync().error is None
    assert line.rejected() > 0
    line.sim.clear_faults()
    assert line.sync().error is None
    with line.database.reading() as connection:
        kept = rejects.kept(connection, "act2", open_only=True)
    retried = retry(source_of(line.sim, "act2"), kept, line.around())
    assert retried.outcome.error is None
    assert line.data() == good[0]
