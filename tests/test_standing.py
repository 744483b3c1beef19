"""What a backfill shows: at 80 and at 120 columns, as a plain line, as a summary."""

from __future__ import annotations

import io
import threading
from types import SimpleNamespace
from typing import Any, cast

import pytest
from http_kit import START, FakeClock
from rich.console import Console
from sync_kit import sources

from etl.backfill import Standing
from etl.cli import progress
from etl.cli.standing import Lines, line, picture, summary
from etl.db import Database
from etl.engine import Pass
from etl.http import Api
from etl.passes import Surroundings
from etl.simulator import Simulator, World
from etl.store import Tally
from etl.sync import sync
from etl.units import Rate


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def under_way(clock: FakeClock, rate: str = "35/10s", slower: str | None = None) -> Standing:
    """A backfill of 200 windows, 100 of which were done before; after 60 s 13 more are."""
    api = SimpleNamespace(requests=1000, in_flight=8, rates=(Rate.parse(rate),))
    tally = Tally(read=40_000, written=39_000, rejected=2)
    standing = Standing(
        "backfill 12 graph",
        cast("Pass", SimpleNamespace(api=api, tally=tally)),
        windows=200,
        done=100,
        slower=Rate.parse(slower) if slower else None,
        monotonic=clock.monotonic,
    )
    for number in range(1, 14):
        standing.reached(number, None)
        standing.ended(number, done=True)
    standing.came(34_112)
    clock.advance(50)
    _ = standing.a_second
    api.requests += 34
    clock.advance(10)
    return standing


def drawn(standing: Standing, width: int) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=width, color_system=None).print(picture(standing))
    return out.getvalue().splitlines()


@pytest.mark.parametrize("width", [80, 120])
def test_a_terminal_shows_two_lines_that_fit(clock: FakeClock, width: int) -> None:
    above, below = drawn(under_way(clock), width)
    assert above.startswith("backfill 12 graph ━")
    assert above.endswith("113/200 windows 6:42 left")
    assert len(above) == width
    assert below == "  34,112 records · 34 of 35/10s requests · 8 in flight · 2 rejected"


def test_windows_under_way_count_for_what_they_have_read(clock: FakeClock) -> None:
    standing = under_way(clock)
    standing.reached(20, 0.5)
    assert standing.share == pytest.approx(113.5 / 200)
    standing.ended(20, done=False)
    assert "1 failed" in line(standing)
    standing.again()
    assert "failed" not in line(standing)


def test_a_plain_line_says_the_same(clock: FakeClock) -> None:
    assert line(under_way(clock)) == (
        "backfill 12 graph: 113 of 200 windows, 34,112 records, 34 of 35/10s requests, "
        "8 in flight, 2 rejected, 6:42 left"
    )


def test_the_strictest_rate_is_shown(clock: FakeClock) -> None:
    assert "of 20/10s requests" in line(under_way(clock, slower="20/10s"))
    assert "requests/s" in line(under_way(clock, rate="none"))


def test_the_summary_says_what_was_done(clock: FakeClock) -> None:
    assert summary(under_way(clock)) == (
        "backfill 12 graph: 113 of 200 windows done, 34,112 records read, 39,000 rows written, "
        "2 rejected, 1,034 requests in 1:00"
    )


def test_lines_come_by_themselves(clock: FakeClock, capsys: pytest.CaptureFixture[str]) -> None:
    standing, said = under_way(clock), threading.Event()
    share = type(standing).share

    class Telling(Standing):
        @property
        def share(self) -> float:
            said.set()
            return cast("float", share.fget(self))  # type: ignore[attr-defined]

    standing.__class__ = Telling
    with Lines(every_s=0.01) as lines:
        lines.watches(standing)
        assert said.wait(10)
    assert "113 of 200 windows" in capsys.readouterr().err


def test_a_sync_shows_its_row_before_anything_is_committed() -> None:
    live = progress.Live()
    api: Any = SimpleNamespace(requests=0)
    live("graph", Tally(), cast("Api", api), None)
    api.requests = 17  # nobody told the display
    out = io.StringIO()
    Console(file=out, width=100, color_system=None).print(live._progress.get_renderable())
    assert "graph" in out.getvalue()
    assert "17 requests" in out.getvalue()


def test_a_pass_is_told_of_before_it_has_read_anything(database: Database) -> None:
    told: list[int] = []
    with Simulator(World.empty(START)) as sim:
        around = Surroundings(
            database, threading.Event(), lambda _, __, api, ___: told.append(api.requests)
        )
        assert sync(sources(sim)["graph"], around).error is None
    assert told[0] == 0
