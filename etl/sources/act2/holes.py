"""Holes: pages that count more records than they list. They are owed until they close.

A record without host rows is counted but never listed, so nobody knows its id; it may show up
later on a page that the walk has long passed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from etl.source import Debt
from etl.sources.act2.book import Book, View
from etl.sources.act2.position import Order
from etl.values import Json

HOLE = "hole"


def hole(view: View, order: Order) -> Debt:
    """The debt of a page with something missing; its id names the page.

    Counted from the young end, a page's number changes with every new record: then its oldest
    rank names it, and one record that stays invisible may be owed under several names.
    """
    place = f"{view.size}:{view.number}" if order != "desc" else f"{view.size}@{view.lo}"
    hint: dict[str, Json] = {
        "order": order,
        "size": view.size,
        "lo": view.lo,
        "hi": view.hi,
        "missing": view.missing,
    }
    shown = view.hi - view.lo - view.missing
    reason = f"page {view.number} of {view.size} lists {shown} of {view.hi - view.lo} records"
    return Debt(HOLE, place, reason, hint)


class Holes:
    """The holes that are owed already, so that each is told once; `anew`: again, as it is now."""

    def __init__(self, owed: Iterable[Debt], *, anew: bool = False) -> None:
        self._owed = {debt.id: debt for debt in owed}
        self._anew = anew

    def changes(
        self, view: View, order: Order
    ) -> tuple[tuple[Debt, ...], tuple[tuple[str, str], ...]]:
        """(new or changed debts, settled ones) that a page brings."""
        seen = hole(view, order)
        held = self._owed.get(seen.id)
        if not view.missing:
            if held is None:
                return (), ()
            del self._owed[seen.id]
            return (), ((HOLE, seen.id),)
        if held is not None and held.hint == seen.hint and not self._anew:
            return (), ()
        self._owed[seen.id] = seen
        return (seen,), ()


def reopened(book: Book, debt: Debt) -> Iterator[View]:
    """The page or pages where a hole is, read again.

    Raises KeyError or TypeError for a hint that `hole` did not write.
    """
    hint = debt.hint
    book.order, book.size, lo, hi = hint["order"], hint["size"], hint["lo"], hint["hi"]
    book.asked, book.total = book.size, max(book.total, hi)
    if book.order == "desc" and _is_uncounted(book):
        book.measure(book.number_of(lo))
    rank = lo
    while rank < hi:
        step = book.open(rank)
        yield from step.views
        if step.hi <= rank:
            return
        rank = step.hi


def _is_uncounted(book: Book) -> bool:
    """Whether the platform tells no total, from which the pages of a falling list are numbered."""
    first = book.ask(1)
    if book.counts:
        book.shelf = {1: first}
    return not book.counts
