"""Walks over lists that move: nothing is lost, nothing comes twice, every walk ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.errors import TooLarge, Transient
from etl.paging import Listing, Seen, Step, Walk

SIZE = 10


@dataclass
class Moving:
    """A list, newest first, that changes as told before each page it answers.

    `moves`: what happens before a fetch, one entry each: ("in", n) new items at the head,
    ("out", place, n) items deleted. `lie` is added to the total, None: it gives none.
    """

    items: list[str]
    moves: list[tuple[int, ...]] = field(default_factory=list)
    clamp: int = 10**6
    lie: Callable[[int, int], int | None] = lambda total, _: total
    repeats: bool = False
    blank: set[int] = field(default_factory=set)
    """Rows that are counted but never listed."""
    heavy: set[str] = field(default_factory=set)
    """Items that make a page too large."""
    asked: list[tuple[int, int]] = field(default_factory=list)
    present: set[str] = field(default_factory=set)
    """What was there all the time."""

    def __post_init__(self) -> None:
        self.present = set(self.items)

    def fetch(self, page: int, size: int) -> Listing[str]:
        if self.moves and self.asked:
            self._move(self.moves.pop(0))
        self.asked.append((page, size))
        size = min(size, self.clamp)
        start = (page - 1) * size
        if self.repeats and self.items and start >= len(self.items):
            start = (len(self.items) - 1) // size * size
        rows = range(start, min(start + size, len(self.items)))
        listed = [self.items[row] for row in rows if row not in self.blank]
        if self.heavy.intersection(listed):
            raise TooLarge("too large")
        return Listing(listed, self.lie(len(self.items), len(listed)))

    def _move(self, move: tuple[int, ...]) -> None:
        come, place, go = move
        self.items[:0] = [f"new {len(self.asked)}.{n}" for n in range(come)]
        place = place % (len(self.items) + 1)
        self.present.difference_update(self.items[place : place + go])
        del self.items[place : place + go]


def items(count: int) -> list[str]:
    return [f"item {n}" for n in range(count)]


def walked(moving: Moving, **options: int) -> tuple[Walk[str], list[str]]:
    walk = Walk(moving.fetch, str, options.pop("size", SIZE), **options)
    return walk, [item for step in walk for item in step.new]


def assert_whole(moving: Moving, found: list[str]) -> None:
    assert len(found) == len(set(found)), "an item was handed out twice"
    assert moving.present <= set(found), "an item was lost"


moves = st.lists(
    st.one_of(
        st.tuples(st.integers(0, 4), st.just(0), st.just(0)),
        st.tuples(st.just(0), st.integers(0, 60), st.integers(0, 25)),
    ),
    max_size=25,
)


@settings(deadline=None, max_examples=300)
@given(count=st.integers(0, 75), moves=moves, clamp=st.integers(1, 12), repeats=st.booleans())
def test_a_list_that_moves_loses_nothing(
    count: int, moves: list[tuple[int, ...]], clamp: int, repeats: bool
) -> None:
    moving = Moving(items(count), moves, clamp, repeats=repeats)
    _, found = walked(moving)
    assert_whole(moving, found)
    assert len(moving.asked) < 40 + 12 * (count + 100) // min(clamp, SIZE)


LIES = {
    "none": lambda total, page: None,
    "zero": lambda total, page: 0,
    "of the page": lambda total, page: page,
    "less": lambda total, page: max(0, total - 7),
    "more": lambda total, page: total + 7,
    "far more": lambda total, page: total + 10**9,
}


@settings(deadline=None, max_examples=300)
@given(
    count=st.integers(0, 75),
    clamp=st.integers(1, 12),
    lie=st.sampled_from(sorted(LIES)),
    repeats=st.booleans(),
    blank=st.sets(st.integers(0, 75), max_size=20),
)
def test_a_total_that_lies_costs_nothing_but_pages(
    count: int, clamp: int, lie: str, repeats: bool, blank: set[int]
) -> None:
    blank = blank if lie in ("none", "more", "far more") else set()  # two lies may agree
    moving = Moving(items(count), [], clamp, lie=LIES[lie], repeats=repeats, blank=blank)
    moving.present = {name for n, name in enumerate(moving.items) if n not in blank}
    longest = _longest_run(blank, count) // min(clamp, SIZE)
    _, found = walked(moving)
    assert len(found) == len(set(found))
    if longest < 2 and 0 not in blank:  # an empty first page of total 0 is an empty list
        assert moving.present <= set(found)


def _longest_run(blank: set[int], count: int) -> int:
    runs, length = [0], 0
    for row in range(count):
        length = length + 1 if row in blank else 0
        runs.append(length)
    return max(runs)


def test_a_proven_walk_asks_for_each_page_once_and_for_one_more() -> None:
    moving = Moving(items(35))
    walk, found = walked(moving)
    assert found == items(35)
    assert moving.asked == [(n, 10) for n in range(1, 6)]
    assert (walk.doubt, walk.settled, walk.total, walk.distinct) == (None, True, 35, 35)


def test_an_empty_list_is_proven_by_one_page() -> None:
    moving = Moving([])
    walk, found = walked(moving)
    assert (found, moving.asked, walk.settled, walk.doubt) == ([], [(1, 10)], True, None)


def test_a_single_page_is_confirmed_by_one_more() -> None:
    moving = Moving(items(4))
    _, found = walked(moving)
    assert (found, moving.asked) == (items(4), [(1, 10), (2, 10)])


def test_deletions_in_what_was_read_are_caught_up_at_once() -> None:
    """The benchmark's case: dlt and Airbyte lost 138 of 832 here."""
    moving = Moving(items(832), [(0, 0, 0), (0, 0, 138)])
    walk, found = walked(moving, size=100)
    assert_whole(moving, found)
    assert walk.settled
    assert walk.doubt is None
    assert len(moving.asked) <= 20


@pytest.mark.parametrize(
    "moves",
    [
        [(0, 0, 0), (0, 0, 25)],
        [(0, 3, 1)],
        [(0, 3, 1), (1, 0, 0)],
        [(0, 3, 5), (2, 0, 0), (0, 1, 1)],
    ],
)
def test_one_walk_is_enough_for_what_slips_between_two_pages(moves: list[tuple[int, ...]]) -> None:
    moving = Moving(items(60), moves)
    _, found = walked(moving, walks=1)
    assert_whole(moving, found)


def test_what_came_cannot_hide_what_went() -> None:
    """A job comes and another goes between two answers: totals and counts are as they should be."""
    moving = Moving(items(3), [(0, 0, 1), (1, 2, 1)], clamp=1)
    _, found = walked(moving)
    assert_whole(moving, found)


def test_a_deletion_before_every_page_does_not_stop_the_walk() -> None:
    moving = Moving(items(300), [(0, 0, 1)] * 500)
    _, found = walked(moving)
    assert_whole(moving, found)
    assert len(moving.asked) < 150


def test_insertions_at_the_head_come_in_the_same_walk() -> None:
    moving = Moving(items(40), [(0, 0, 0), (3, 0, 0), (0, 0, 0), (2, 0, 0)])
    walk, found = walked(moving)
    assert set(found) == set(moving.items)
    assert (walk.settled, walk.doubt) == (True, None)


def test_an_empty_page_in_the_middle_is_asked_again_and_then_passed() -> None:
    moving = Moving(items(40), blank=set(range(10, 20)))
    walk, found = walked(moving)
    assert found == items(10) + items(40)[20:]
    assert moving.asked[:4] == [(1, 10), (2, 10), (2, 10), (3, 10)]
    assert walk.settled
    assert walk.doubt == "the list gives a total of 40 and 30 distinct items; two walks agree"


def test_a_page_that_is_empty_for_a_moment_is_read_when_asked_again() -> None:
    moving = Moving(items(25))
    hidden = iter([False, True])

    def fetch(page: int, size: int) -> Listing[str]:
        listing = moving.fetch(page, size)
        return Listing([], listing.total) if next(hidden, False) else listing

    walk = Walk(fetch, str, SIZE)
    assert [item for step in walk for item in step.new] == items(25)
    assert walk.doubt is None


def test_a_total_that_is_too_high_is_worth_one_more_walk_that_agrees() -> None:
    moving = Moving(items(25), lie=LIES["more"])
    walk, found = walked(moving)
    assert found == items(25)
    assert walk.settled
    assert walk.doubt == "the list gives a total of 32 and 25 distinct items; two walks agree"


def test_walks_that_never_agree_stay_unsettled() -> None:
    names = iter(range(10**6))

    def fetch(page: int, size: int) -> Listing[str]:
        return Listing([f"{next(names)}"] if page == 1 else [], 5)

    walk = Walk(fetch, str, SIZE)
    assert len([item for step in walk for item in step.new]) == 3
    assert not walk.settled
    assert walk.doubt == "the list gives a total of 5 and 1 distinct items"


def test_a_list_without_an_end_ends() -> None:
    walk = Walk(lambda page, size: Listing([f"{page}.{n}" for n in range(size)], None), str, SIZE)
    walk = Walk(walk._fetch, str, SIZE, max_fetches=50)
    assert sum(len(step.new) for step in walk) == 500
    assert (walk.settled, walk.doubt) == (False, "the list does not end")


def test_a_list_that_ignores_the_page_number_ends() -> None:
    asked = []

    def fetch(page: int, size: int) -> Listing[str]:
        asked.append(page)
        return Listing(items(size), 832)

    walk = Walk(fetch, str, SIZE)
    assert [item for step in walk for item in step.new] == items(10)
    assert len(asked) < 40


@settings(deadline=None, max_examples=200)
@given(
    count=st.integers(1, 60),
    clamp=st.integers(1, 12),
    heavy=st.sets(st.integers(0, 59), max_size=4),
)
def test_an_item_that_is_too_large_costs_that_item(count: int, clamp: int, heavy: set[int]) -> None:
    names = {f"item {n}" for n in heavy if n < count}
    moving = Moving(items(count), clamp=clamp, heavy=names)
    walk, found = walked(moving)
    assert sorted(found) == sorted(set(items(count)) - names)
    assert walk.settled
    assert walk.skipped == len(names)
    if names:
        assert walk.doubt == f"{len(names)} listed items are beyond max_body even alone"


def test_after_a_large_item_the_pages_grow_again() -> None:
    moving = Moving(items(400), heavy={"item 13"})
    walked(moving, size=64)
    assert moving.asked[-1][1] > 16


def test_what_the_fetch_raises_ends_the_walk() -> None:
    def fetch(page: int, size: int) -> Listing[str]:
        raise Transient("away")

    with pytest.raises(Transient, match="away"):
        list(Walk(fetch, str, SIZE))


def test_a_step_tells_the_page_the_place_and_the_progress() -> None:
    steps = list(Walk(Moving(items(15)).fetch, str, SIZE))
    assert steps[1] == Step(items(15)[10:], items(15)[10:], 10, 15, 1.0)
    assert steps[0].progress == pytest.approx(10 / 15)


def test_seen_answers_what_is_new_and_what_this_walk_had_not_met() -> None:
    with Seen() as seen:
        assert seen.add(["a", "b", "b"], 1, 1) == ({"a", "b"}, 2)
        assert seen.add(["b", "c"], 1, 2) == ({"c"}, 1)
        assert seen.add(["c", "d"], 2, 3) == ({"d"}, 2)
        assert seen.met_before("b", 1, 2)
        assert not seen.met_before("b", 1, 1)
        assert not seen.met_before("b", 2, 9)
        assert len(seen) == 4


@pytest.mark.parametrize("told", [0, 1], ids=["nothing is ever listed", "after the first page"])
def test_a_list_that_answers_nothing_but_too_large_ends(told: int) -> None:
    asked: list[int] = []

    def fetch(page: int, size: int) -> Listing[str]:
        asked.append(page)
        if len(asked) > told:
            raise TooLarge("too large")
        return Listing(items(size), 3 * size)

    with pytest.raises(TooLarge):
        list(Walk(fetch, str, SIZE))
    assert len(asked) < 100


def test_items_too_large_at_the_head_cost_no_more_than_themselves() -> None:
    moving = Moving(items(30), heavy=set(items(7)))
    walk, found = walked(moving)
    assert set(found) == set(items(30)) - moving.heavy
    assert walk.skipped == 7
