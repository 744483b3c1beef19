"""Windows: no gap, at most a month, empty ones for nothing, and no more than they are worth."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.backfill.estimating import finishing
from etl.backfill.planning import MOST, PRICE, Bounds, cut
from etl.ledger.backfills import Window
from etl.source import Outlook

NOW = datetime(2026, 11, 22, 18, 40, 7, 123, tzinfo=UTC)
MONTH = timedelta(days=31)
moments = st.integers(0, 1_795_000_000).map(lambda at: datetime.fromtimestamp(at, UTC))


def months(windows: list[Window]) -> set[str]:
    return {f"{window.since:%Y-%m}" for window in windows if window.since}


@given(moments, moments, st.floats(0, 1e6), st.floats(1, 1e4), st.booleans(), st.none() | moments)
def test_windows_cover_the_range_without_a_gap(
    one: datetime,
    other: datetime,
    requests: float,
    each: float,
    by_time: bool,
    oldest: datetime | None,
) -> None:
    since, until = sorted((one, other))
    if since == until:
        return
    windows = cut(Bounds(since, until), Outlook(None, requests, each, by_time, oldest))
    assert (windows[0].since, windows[-1].until) == (since, until)
    assert [w.number for w in windows] == list(range(1, len(windows) + 1))
    assert all(a.until == b.since for a, b in pairwise(windows))
    for window in windows:
        assert window.since is not None
        assert window.since < window.until
        assert not by_time or window.until - window.since <= MONTH
        if window.status == "done":
            assert by_time
            assert oldest is not None
            assert window.until <= oldest, "nothing is taken for read that may hold something"
    if not by_time:
        assert len(windows) <= max(1, min(MOST, PRICE * requests / each))


def test_a_month_is_a_calendar_month_of_utc() -> None:
    windows = cut(Bounds(datetime(2026, 1, 15, tzinfo=UTC), NOW), Outlook(0, 0, 2))
    assert [f"{w.since:%m-%d}" for w in windows][:3] == ["01-15", "02-01", "03-01"]
    assert len(windows) == 11


def test_a_dense_history_is_cut_as_far_as_a_twentieth_of_its_calls_pays() -> None:
    bounds = Bounds(NOW - timedelta(days=20), NOW)
    for requests, least, most in ((100, 1, 3), (2_000, 50, 52), (1_000_000, 200, 202)):
        windows = cut(bounds, Outlook(1, requests, 2))
        assert least <= len(windows) <= most, requests


def test_a_list_that_cannot_be_filtered_is_cut_only_as_often_as_it_pays() -> None:
    bounds = Bounds(datetime(2020, 1, 1, tzinfo=UTC), NOW)
    assert len(cut(bounds, Outlook(1, 4_000, 1_000, by_time=False))) == 1
    assert len(cut(bounds, Outlook(1, 400_000, 502, by_time=False))) == 39


def test_months_before_the_first_execution_are_done_at_once() -> None:
    oldest = datetime(2026, 10, 8, 3, 17, tzinfo=UTC)
    windows = cut(Bounds(datetime(1970, 1, 1, tzinfo=UTC), NOW), Outlook(9, 9, 2, oldest=oldest))
    todo = [window for window in windows if window.status == "pending"]
    assert len(windows) == 684
    assert months(todo) == {"2026-10", "2026-11"}
    assert todo[0].since == datetime(2026, 10, 8, 3, tzinfo=UTC)


def test_nothing_known_is_one_window() -> None:
    nothing = Outlook(None, 0.0, math.inf, by_time=False)
    assert len(cut(Bounds(datetime(1970, 1, 1, tzinfo=UTC), NOW), nothing)) == 1


@pytest.mark.parametrize("seconds", [None, 90.0])
def test_the_finishing_time_is_by_the_clock(seconds: float | None) -> None:
    from etl.backfill import Estimate  # noqa: PLC0415 - beside its only test

    assert finishing(Estimate("", None, 1, 0, None, None, 1e15), NOW) is None, "a list that lies"
    estimated = Estimate("", None, 1, 0, None, None, seconds)
    wanted = None if seconds is None else NOW + timedelta(seconds=seconds)
    assert finishing(estimated, NOW) == wanted
