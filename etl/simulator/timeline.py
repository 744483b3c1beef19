"""An ordered list of executions that may be a million long and change while it is paged.

Two halves, merged by time: a *generated* one, computed from its index on demand and never kept,
and the *kept* one, of objects that were added or touched. A touched generated item moves over.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

IdT = TypeVar("IdT", bound=str | int)
IdT_contra = TypeVar("IdT_contra", bound=str | int, contravariant=True)
ItemT = TypeVar("ItemT")
ItemT_co = TypeVar("ItemT_co", covariant=True)


class Generated(Protocol[ItemT_co, IdT_contra]):
    """A long list that exists only as functions of the index; times rise strictly."""

    def __len__(self) -> int:
        """How many there are."""

    def at(self, index: int) -> ItemT_co:
        """The item, made anew at each call, always the same."""

    def time(self, index: int) -> int:
        """Its time, without making the item."""

    def index(self, item_id: IdT_contra) -> int | None:
        """Where an id stands; None if it was never generated."""


class Timeline(Generic[ItemT, IdT]):
    """Oldest first; equal times in the order of adding."""

    def __init__(self, generated: Generated[ItemT, IdT] | None = None) -> None:
        """Starts with the generated half only, or empty."""
        self._generated = generated
        self._gone: list[int] = []
        self._keys: list[tuple[int, int]] = []
        self._items: list[ItemT] = []
        self._by_id: dict[IdT, tuple[tuple[int, int], ItemT]] = {}
        self._next = 0
        self._merged: list[int] | None = None

    def __len__(self) -> int:
        """Generated and kept items together."""
        return self._survivors() + len(self._items)

    def __iter__(self) -> Iterator[ItemT]:
        """All of them, oldest first."""
        return (self._at(place) for place in range(len(self)))

    def add(self, item_id: IdT, time: int, item: ItemT) -> None:
        """Puts an item at its place; an id may be there only once."""
        if self.get(item_id) is not None:
            raise ValueError(f"{item_id!r} is already there")
        key = (time, self._next)
        self._next += 1
        place = bisect_left(self._keys, key)
        self._keys.insert(place, key)
        self._items.insert(place, item)
        self._by_id[item_id] = (key, item)
        self._merged = None

    def get(self, item_id: IdT) -> ItemT | None:
        """The item, or None; a generated one is a copy whose changes are lost."""
        if (kept := self._by_id.get(item_id)) is not None:
            return kept[1]
        index = self._generated_index(item_id)
        return None if index is None or self._generated is None else self._generated.at(index)

    def own(self, item_id: IdT) -> ItemT:
        """The item itself, to be changed; raises KeyError when there is none."""
        if (kept := self._by_id.get(item_id)) is not None:
            return kept[1]
        index = self._generated_index(item_id)
        if index is None or self._generated is None:
            raise KeyError(item_id)
        item, time = self._generated.at(index), self._generated.time(index)
        insort(self._gone, index)
        self.add(item_id, time, item)
        return item

    def remove(self, item_id: IdT) -> None:
        """Takes an item away; raises KeyError when there is none."""
        if (kept := self._by_id.pop(item_id, None)) is not None:
            place = bisect_left(self._keys, kept[0])
            del self._keys[place], self._items[place]
        elif (index := self._generated_index(item_id)) is not None:
            insort(self._gone, index)
        else:
            raise KeyError(item_id)
        self._merged = None

    def before(self, time: int) -> int:
        """How many are older than `time` (ms): the place where it would begin."""
        return self._survivors_before(time) + bisect_left(self._keys, (time, -1))

    def page(self, span: range, offset: int, limit: int, *, newest_first: bool) -> list[ItemT]:
        """`limit` items after `offset` of the places in `span`, read from either end."""
        if newest_first:
            stop = max(span.start, span.stop - offset)
            places = range(max(span.start, stop - limit), stop)
            return self._slice(places)[::-1]
        start = min(span.stop, span.start + offset)
        return self._slice(range(start, min(span.stop, start + limit)))

    def _slice(self, places: range) -> list[ItemT]:
        if self._generated is None:
            return self._items[places.start : places.stop]
        return [self._at(place) for place in places]

    def _at(self, place: int) -> ItemT:
        if self._generated is None:
            return self._items[place]
        merged = self._merged_places()
        older = bisect_left(merged, place)
        if older < len(merged) and merged[older] == place:
            return self._items[older]
        survivor = place - older
        gone = self._gone
        lost = bisect_right(range(len(gone)), survivor, key=lambda at: gone[at] - at)
        return self._generated.at(survivor + lost)

    def _merged_places(self) -> list[int]:
        if self._merged is None:
            times = (time for time, _ in self._keys)
            self._merged = [self._survivors_before(t) + n for n, t in enumerate(times)]
        return self._merged

    def _survivors(self) -> int:
        return 0 if self._generated is None else len(self._generated) - len(self._gone)

    def _survivors_before(self, time: int) -> int:
        generated = self._generated
        if generated is None:
            return 0
        place = bisect_left(range(len(generated)), time, key=generated.time)
        return place - bisect_left(self._gone, place)

    def _generated_index(self, item_id: IdT) -> int | None:
        if self._generated is None or (index := self._generated.index(item_id)) is None:
            return None
        place = bisect_left(self._gone, index)
        return None if place < len(self._gone) and self._gone[place] == index else index
