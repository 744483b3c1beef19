"""How far a walk has come, and by what it knows that the list has not moved since.

Records are numbered by *rank*, 0 the oldest, whichever end the list begins at: a rank stays the
same while records are added at the young end. A window is a stretch of ranks with the ids that
were seen there. When a record turns up behind the walk, all later ones move up one rank, and no
window after it fits any more: the walk goes back to the last that does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import Literal

from msgspec import Struct

from etl.values import Json

Order = Literal["asc", "desc", "none"]
"""none: by no time that is told; ranks count from the list's beginning, as in asc."""

_DIGITS = 10
_NEAREST = 3
"""So many of the youngest windows are all kept; of older ones ever fewer."""


class Window(Struct, frozen=True):
    """Ranks [lo, hi) and the ids seen there, shortened; `missing` ranks showed nothing."""

    lo: int
    hi: int
    missing: int
    ids: frozenset[str]

    def overlap(self, other: Window) -> int:
        """How many ranks both cover."""
        return max(0, min(self.hi, other.hi) - max(self.lo, other.lo))

    def agrees(self, other: Window) -> bool:
        """Whether both can have been read from the same list: where they cover the same ranks
        they show the same records, but for those that one of them missed."""
        ranks = self.overlap(other)
        common = len(self.ids & other.ids)
        return ranks - self.missing - other.missing <= common <= ranks

    @property
    def tells(self) -> bool:
        """Whether so little is missing that it could not have moved unnoticed."""
        return self.missing * 4 <= self.hi - self.lo

    def same_ranks(self, other: Window) -> bool:
        return (self.lo, self.hi) == (other.lo, other.hi)


def short(record_id: str) -> str:
    """An id shortened to 40 bits: windows are compared often and kept in the cursor."""
    return hashlib.sha256(record_id.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]


def fits(held: Window, seen: Window, known: Callable[[set[str]], bool]) -> bool:
    """Whether `seen` proves that nothing moved below `held`.

    Where the pages do not begin at the same ranks any more, only windows without holes can tell.
    Where they do, a hole may have closed: then it shows a record that nobody has seen, whereas a
    neighbour that moved into it is `known` (by its shortened id) to the database.
    """
    if not held.overlap(seen) or not held.agrees(seen):
        return False
    if not held.same_ranks(seen):
        return not held.missing and not seen.missing
    fresh = set(seen.ids - held.ids)
    return held.ids <= seen.ids and not (fresh and known(fresh))


class Position(Struct, frozen=True):
    """Everything of rank `begin` … `rank` is complete, or a hole that is owed.

    `asked` is the page size that was asked for, `size` the one that came; `measured` says that
    the platform's total is none or lies. `windows` are whole pages, oldest first.
    """

    order: Order
    asked: int
    size: int
    total: int
    begin: int
    rank: int
    measured: bool
    windows: tuple[Window, ...]

    def to_json(self) -> dict[str, Json]:
        """The cursor."""
        return {
            "order": self.order,
            "asked": self.asked,
            "size": self.size,
            "total": self.total,
            "begin": self.begin,
            "rank": self.rank,
            "measured": self.measured,
            "windows": [[w.lo, w.missing, "".join(sorted(w.ids))] for w in self.windows],
        }

    @classmethod
    def from_json(cls, cursor: dict[str, Json]) -> Position:
        """Raises KeyError, TypeError or ValueError for what `to_json` did not write."""
        size = cursor["size"]
        windows = tuple(
            Window(lo, lo + size, missing, frozenset(_parts(ids)))
            for lo, missing, ids in cursor["windows"]
        )
        return cls(
            order=cursor["order"],
            asked=cursor["asked"],
            size=size,
            total=cursor["total"],
            begin=cursor["begin"],
            rank=cursor["rank"],
            measured=cursor["measured"],
            windows=windows,
        )


def _parts(ids: str) -> Iterable[str]:
    return (ids[at : at + _DIGITS] for at in range(0, len(ids), _DIGITS))


def thinned(windows: Iterable[Window], size: int) -> list[Window]:
    """The youngest few, and of the older ones one for each doubling of the distance."""
    ordered = list(windows)
    end = ordered[-1].hi if ordered else 0
    older, nearest = ordered[:-_NEAREST], ordered[-_NEAREST:]
    kept: dict[int, Window] = {}
    for window in older:
        kept.setdefault(((end - window.lo) // size).bit_length(), window)
    return [*kept.values(), *nearest]
