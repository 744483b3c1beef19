"""An answer or two that lie, at any place of a reading, lose nothing: on every kind of server.

Two pages in a row that show what was asked for before are left out: nothing tells them from a list.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from dataarts_kit import NOW, filled, scanned, simulator, span

from etl.simulator import Fault

EVERY = timedelta(minutes=10)
CALLS = 9
LIES: list[tuple[Any, int]] = [
    ("page_size", 1),
    ("page_size", 2),
    ("empty_page", 0),
    ("repeat_page", 0),
    ("total", 1),
    ("total", -1),
]
SERVERS = [
    {"dataarts_order": order, "dataarts_offset": offset, "beyond_end": beyond}
    for order in ("asc", "desc")
    for offset in ("rows", "pages")
    for beyond in ("empty", "repeat")
]


@pytest.mark.parametrize("ignores", [True, False], ids=["no windows", "windows"])
@pytest.mark.parametrize("server", SERVERS, ids=lambda one: " ".join(one.values()))
@pytest.mark.parametrize("times", [1, 2])
def test_lies_lose_nothing(server: dict[str, Any], ignores: bool, times: int) -> None:
    lost = []
    for count, held in ((12, 0), (24, 8), (37, 20)):
        for kind, size in LIES:
            for after in range(CALLS if times == 1 or kind != "repeat_page" else 0):
                world = filled(count, EVERY)
                instances = sorted(world.dataarts.instances(), key=lambda one: one.start)
                position = {"started_at": instances[held].start}
                wanted = {one.id for one in instances[held:]}
                with simulator(world, dataarts_ignores_window=ignores, **server) as sim:
                    sim.fault(Fault(kind, platform="dataarts", times=times, after=after, size=size))
                    read = scanned(sim, span(position), page_size=4, overlap=0)
                if missing := wanted - read.rows.keys():
                    lost.append((count, held, kind, size, after, len(missing), len(read.doubts)))
    assert lost == []


@pytest.mark.parametrize("server", SERVERS, ids=lambda one: " ".join(one.values()))
@pytest.mark.parametrize("times", [1, 2])
def test_lies_lose_nothing_of_what_lies_amid_a_long_list(
    server: dict[str, Any], times: int
) -> None:
    lost = []
    for since, until in ((40, 50), (0, 9)):
        world = filled(85, EVERY)
        instances = sorted(world.dataarts.instances(), key=lambda one: one.start)
        begin, end = (NOW - timedelta(minutes=1) - EVERY * (84 - n) for n in (since, until))
        wanted = {one.id for one in instances[since:until]}
        for kind, size in LIES:
            for after in range(14 if times == 1 or kind != "repeat_page" else 0):
                with simulator(world, dataarts_ignores_window=True, **server) as sim:
                    sim.fault(Fault(kind, platform="dataarts", times=times, after=after, size=size))
                    asked = span(None, begin if since else None, end, fresh=True)
                    read = scanned(sim, asked, page_size=4)
                if missing := wanted - read.rows.keys():
                    lost.append((since, until, kind, size, after, len(missing)))
    assert lost == []


@pytest.mark.parametrize("after", range(2, 8))
def test_what_was_asked_for_again_tells_whether_the_old_has_come(after: int) -> None:
    """The probes are of what is old: shown twice where the new is, they hide it, were it not for
    the second answer."""
    world = filled(63, EVERY)
    instances = sorted(world.dataarts.instances(), key=lambda one: one.start)
    wanted = {one.id for one in instances[42:]}
    with simulator(world, dataarts_ignores_window=True, dataarts_order="desc") as sim:
        sim.fault(Fault("repeat_page", platform="dataarts", times=2, after=after))
        read = scanned(sim, span({"started_at": instances[42].start}), page_size=3, overlap=0)
    assert wanted <= read.rows.keys()
