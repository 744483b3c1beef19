"""An answer that lies, at any place of a walk, loses no record: on every kind of server.

What it hides is found in that pass, as a hole that is owed, or by the next pass. Two lies in a row
are left out where they tell one story: two pages of the same wrong size.
"""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from act2_kit import NOW, PAGE, SHAPES, Held, asked, refreshed, scanned, served, simulator

from etl.simulator import Fault, Simulator, World

CALLS = 7
FIRST = NOW - timedelta(hours=5)
READ: dict[str, Any] = {"page_size": 4, "concurrency": 1, "time_zone": "Asia/Shanghai"}
LIES: list[tuple[Any, int]] = [
    ("page_size", 1),
    ("empty_page", 0),
    ("repeat_page", 0),
    ("total", 1),
    ("total", -1),
]
SERVERS: list[dict[str, Any]] = [
    {"counts": True, "beyond_end": "empty", "act2_page_size_max": None},
    {"counts": True, "beyond_end": "repeat", "act2_page_size_max": 3},
    {"counts": False, "beyond_end": "empty", "act2_page_size_max": None},
]
LISTS: list[tuple[int, int, set[int]]] = [
    (13, 0, set()),
    (9, 0, {3}),
    (13, 6, {2, 9}),
]
"""So many records, so many of them held already, and those that have no host rows."""


def is_page(request: Any) -> bool:
    return bool(request.path == PAGE)


def grown(world: World, since: int, count: int, bare: set[int]) -> None:
    for n in range(since, count):
        changes: dict[str, Any] = {"rows": []} if n in bare else {}
        served(world, f"r{n}", FIRST + timedelta(minutes=n), 1, **changes)


def uncounted(sim: Simulator) -> None:
    """The platform tells no totals."""
    answer = sim.act2.answer

    def answered(request: Any) -> Any:
        response = answer(request)
        if is_page(request):
            body = json.loads(response.body)
            page = body.get("content", body) or {}
            for name in ("TotalCount", "totalCount", "PageCount", "pageCount"):
                page.pop(name, None)
            response.body = json.dumps(body).encode()
        return response

    sim.act2.answer = answered  # type: ignore[method-assign]


def copied(held: Held) -> Held:
    return Held(dict(held.rows), dict(held.hosts), dict(held.debts), cursor=held.cursor)


def synced(sim: Simulator, before: Held, wanted: set[str]) -> Held:
    """A pass; what it missed is asked for again, and by a pass that is told no lies."""
    held = scanned(sim, copied(before), **READ)
    if wanted - held.rows.keys():
        sim.clear_faults()
        scanned(sim, refreshed(sim, held, **READ), **READ)
    return held


@pytest.mark.parametrize("server", SERVERS, ids=lambda one: "-".join(map(str, one.values())))
@pytest.mark.parametrize("shape", SHAPES, ids=lambda one: "-".join(one.values()))
def test_lies_lose_nothing(shape: dict[str, Any], server: dict[str, Any]) -> None:
    lost, quirks = [], {**shape, **server}
    counts = quirks.pop("counts")
    for count, old, bare in LISTS:
        world = World.empty(NOW)
        grown(world, 0, old, bare)
        with simulator(world, **quirks) as sim:
            if not counts:
                uncounted(sim)
            before = scanned(sim, **READ) if old else Held()
            grown(world, old, count, bare)
            sim.clear_log()
            wanted = set(synced(sim, before, set()).rows)
            calls = len(asked(sim, PAGE))
            assert len(wanted) == count - (len(bare) if shape["act2_shape"] == "live" else 0)
            for (kind, size), times in ((lie, times) for lie in LIES for times in (1, 2)):
                if (not counts and kind == "total") or (kind == "page_size" and times == 2):
                    continue
                for after in range(min(CALLS, calls + 1)):
                    sim.clear_faults()
                    sim.fault(Fault(kind, when=is_page, times=times, after=after, size=size))
                    if missing := wanted - synced(sim, before, wanted).rows.keys():
                        lost.append((count, old, kind, size, times, after, len(missing)))
    assert lost == []
