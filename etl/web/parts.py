"""Pieces of which the pages are made."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from etl.status.words import ago, ahead
from etl.web.html import Element, Node, svg, tag

_MARKS = {
    "good": "M3.5 8.5l3 3 6-7",
    "bad": "M8 3v6M8 12v1",
    "busy": "M8 4v4l3 2",
    "quiet": "M4 8h8",
}
_TONES = {
    **dict.fromkeys(("succeeded", "done", "complete", "fresh"), "good"),
    **dict.fromkeys(("failed", "crashed", "killed", "incomplete", "stale", "never"), "bad"),
    "running": "busy",
}


def tone(word: str) -> str:
    """good, bad, busy or quiet: how a status looks."""
    return _TONES.get(word, "quiet")


def badge(word: str, look: str | None = None) -> Element:
    """A status as a word with a mark: never told by colour alone."""
    look = look or tone(word)
    return tag("span", mark(look), word, class_=f"badge {look}")


def mark(look: str) -> Element:
    """The small sign of a tone."""
    line = svg("path", d=_MARKS[look], fill="none")
    return svg("svg", line, class_=f"mark {look}", viewBox="0 0 16 16", **{"aria-hidden": "true"})


def stamp(moment: datetime | None) -> Node:
    """`2026-11-22 22:47:03`, UTC; a dash for None."""
    if moment is None:
        return "–"
    return tag("time", f"{moment:%Y-%m-%d %H:%M:%S}", datetime=f"{moment:%Y-%m-%dT%H:%M:%SZ}")


def day(moment: datetime | None, otherwise: str) -> Node:
    """The date; the time too where it is not midnight."""
    if moment is None:
        return otherwise
    text = f"{moment:%Y-%m-%d}" if f"{moment:%H%M%S}" == "000000" else f"{moment:%Y-%m-%d %H:%M}"
    return tag("time", text, datetime=f"{moment:%Y-%m-%dT%H:%M:%SZ}")


def since(moment: datetime | None, now: datetime) -> Node:
    """`3 min ago`, with the moment behind it."""
    return _relative(moment, ago(moment, now))


def until(moment: datetime | None, now: datetime) -> Node:
    """`in 3 min`, with the moment behind it."""
    return _relative(moment, ahead(moment, now))


def _relative(moment: datetime | None, text: str) -> Node:
    if moment is None:
        return text
    exact = f"{moment:%Y-%m-%d %H:%M:%S} UTC"
    return tag("time", text, datetime=f"{moment:%Y-%m-%dT%H:%M:%SZ}", title=exact)


def run_link(run_id: int | None, text: Node | None = None) -> Node:
    """A link to the page of a run."""
    if run_id is None:
        return "–"
    return tag("a", text if text is not None else f"run {run_id}", href=f"/runs/{run_id}")


def table(caption: str, columns: Sequence[str], rows: Iterable[Sequence[Node]]) -> Element:
    """A table that scrolls in itself on narrow screens. A column whose label ends in `#` holds
    numbers."""
    right = ["num" if label.endswith("#") else None for label in columns]
    head = (
        tag("th", label.rstrip("#"), scope="col", class_=look)
        for label, look in zip(columns, right, strict=True)
    )
    body = (
        tag("tr", (tag("td", c, class_=k) for c, k in zip(row, right, strict=True))) for row in rows
    )
    made = tag("table", tag("thead", tag("tr", head)), tag("tbody", body))
    return tag("div", made, class_="scroll", role="region", aria_label=caption, tabindex=0)


def details(key: str, summary: Node, *inside: Node, opened: bool = False) -> Element:
    """Something to unfold; `key` is how the page remembers that it was, when it refreshes."""
    return tag("details", tag("summary", summary), *inside, id=key, open=opened)


def figures(pairs: Iterable[tuple[str, Node, str | None]]) -> Element:
    """Labels with their values; the third says how a value looks."""
    return tag(
        "dl",
        (
            tag("div", tag("dt", label), tag("dd", value, class_=look))
            for label, value, look in pairs
        ),
        class_="figures",
    )


def bar(share: float, look: str) -> Element:
    """How much of something, 0 to 1; the words beside it say the same."""
    width = round(100 * min(1.0, max(0.0, share)), 1)
    return svg(
        "svg",
        svg("rect", class_="track", width=100, height=6),
        svg("rect", class_=look, width=width, height=6),
        class_="bar",
        viewBox="0 0 100 6",
        preserveAspectRatio="none",
        **{"aria-hidden": "true"},
    )
