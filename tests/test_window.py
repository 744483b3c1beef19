"""The arithmetic of a shared budget: strict whatever processes and clocks do."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from etl.errors import DatabaseTrouble
from etl.ledger.process import this_process
from etl.ledger.window import SECOND, Holder, Window
from etl.units import Rate

ME = this_process()
ELSEWHERE = replace(ME, host="elsewhere")
NOW = 1_800_000_000 * SECOND
RATE = Rate(35, 10)


def holder(rate: Rate = RATE, slots: int = 0, seen_at: int = NOW) -> Holder:
    return Holder(ELSEWHERE, [rate], slots, seen_at)


def window(**holders: Holder) -> Window:
    return Window(holders=holders)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 400), st.integers(1, 5), st.integers(0, 900)),
        max_size=60,
    ),
    st.integers(1, 9),
)
def test_no_window_ever_holds_more_than_the_rate(
    draws: list[tuple[int, int, int, int]], count: int
) -> None:
    """Each draw: of which process, how many ms after the last one, how many slots, how long their
    calls take. A call may be received at any moment until it has arrived, which its process
    tells with its next draw.
    """
    rate, now = Rate(count, 1.0), NOW
    shared = Window()
    arrivals: list[tuple[int, int, bool]] = []  # (process, arrives at, told)
    for process, pause_ms, wanted, takes_ms in draws:
        now += pause_ms * 1000
        shared = Window.parse(shared.text())
        mine = [at for who, at, told in arrivals if who == process and not told and at <= now]
        arrivals = [(w, at, told or (w == process and at <= now)) for w, at, told in arrivals]
        held = sum(who == process and not told for who, _, told in arrivals)
        me = f"process {process}"
        shared.holders[me] = Holder(ME, [rate], held, now)
        shared.tidy(now, me)
        shared.add(mine, [rate], now)
        granted, look_at = shared.draw(wanted, now, live=True)
        shared.holders[me].slots += granted
        assert granted >= wanted or look_at > now
        assert sum(at > now - SECOND for _, at, _ in arrivals) + granted <= count
        arrivals += [(process, now + takes_ms * 1000, False)] * granted


def test_a_slot_is_free_again_one_window_after_its_arrival() -> None:
    shared = window(a=holder(Rate(2, 10)))
    shared.add([NOW - 4 * SECOND, NOW], [Rate(2, 10)], NOW)
    assert shared.draw(1, NOW, live=True)[0] == 0
    assert shared.draw(1, NOW + 6 * SECOND, live=True)[0] == 0
    assert shared.draw(1, NOW + 6 * SECOND + SECOND // 10, live=True)[0] == 1


def test_much_room_is_drawn_in_blocks_and_little_one_by_one() -> None:
    assert window(a=holder()).draw(1, NOW, live=True)[0] == 5
    assert window(a=holder(), b=holder(slots=30)).draw(1, NOW, live=True)[0] == 1
    assert window(a=holder(), b=holder(slots=30)).draw(8, NOW, live=True)[0] == 5


def test_the_strictest_rate_of_all_holders_counts() -> None:
    shared = window(a=holder(), b=holder(Rate(3, 60)))
    assert shared.draw(8, NOW, live=True)[0] == 3


def test_what_counts_for_a_longer_window_is_not_forgotten_with_its_holder() -> None:
    shared = window(a=holder(Rate(3, 60)))
    shared.tidy(NOW, "a")
    shared.add([NOW] * 3, [Rate(3, 60)], NOW)
    later = NOW + 30 * SECOND
    shared.holders = {"b": holder(seen_at=later)}
    shared.tidy(later, "b")
    shared.holders["a"] = holder(Rate(3, 60), seen_at=later)
    assert shared.draw(1, later, live=True)[0] == 0


def test_what_a_silent_process_held_counts_as_sent_now() -> None:
    later = NOW + 61 * SECOND
    shared = window(a=holder(seen_at=later), silent=holder(slots=35))
    shared.tidy(later - 2 * SECOND, "a")
    assert "silent" in shared.holders
    shared.tidy(later, "a")
    assert list(shared.holders) == ["a"]
    assert shared.draw(1, later, live=True)[0] == 0
    assert shared.draw(35, later + 11 * SECOND, live=True)[0] == 35


def test_what_a_dead_process_held_counts_as_sent_now() -> None:
    dead = Holder(replace(ME, started="1"), [RATE], 35, NOW)
    shared = window(a=holder(), dead=dead)
    shared.tidy(NOW, "a")
    assert list(shared.holders) == ["a"]
    assert shared.draw(1, NOW, live=True)[0] == 0


def test_a_database_clock_set_back_costs_one_window_at_most() -> None:
    shared = window(a=holder(), b=holder(slots=1))
    shared.add([NOW] * 34, [RATE], NOW)
    shared.live_until = NOW
    before = NOW - 3600 * SECOND
    shared.tidy(before, "a")
    shared.add([], [RATE], before)
    later = before + 11 * SECOND
    shared.tidy(later, "a")
    assert shared.draw(34, later, live=True)[0] == 34
    assert shared.live_until < later + 2 * SECOND


def test_a_backfill_waits_while_a_live_process_waits_in_vain() -> None:
    shared = window(live=holder(slots=35), backfill=holder())
    assert shared.draw(2, NOW, live=True)[0] == 0
    shared.holders["live"].slots = 0
    granted, look_at = shared.draw(2, NOW, live=False)
    assert granted == 0
    assert shared.draw(2, look_at, live=False)[0] >= 2


def test_a_backfill_leaves_room() -> None:
    assert window(a=holder()).draw(99, NOW, live=False)[0] == 34
    assert window(a=holder(Rate(2, 10))).draw(99, NOW, live=False)[0] == 2


def test_the_row_stays_short_at_a_high_rate() -> None:
    fast = Rate(100_000, 10)
    shared = window(a=holder(fast))
    shared.add(range(NOW - 10 * SECOND, NOW, 100), [fast], NOW)
    assert shared.draw(1, NOW, live=True)[0] == 0
    assert len(shared.text()) < 6000


@pytest.mark.parametrize("text", ["", "[]", '{"sent": 1}'])
def test_a_row_that_cannot_be_read_is_said_so(text: str) -> None:
    with pytest.raises(DatabaseTrouble, match="delete its row"):
        Window.parse(text)
