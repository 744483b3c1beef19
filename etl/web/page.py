"""The status page, and the frame that all pages have."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from etl import __version__
from etl.status import Status
from etl.status.words import counted
from etl.web import parts
from etl.web.card import card
from etl.web.facts import Facts
from etl.web.html import Element, Node, tag

REFRESH_S = 15


class Frame(NamedTuple):
    """What every page tells. `mark` changes with the style, so that browsers take the new one."""

    mark: str
    database: str
    started_at: datetime


def shell(frame: Frame, title: str, now: datetime, overall: Node, *main: Node) -> Element:
    """A whole page around `main`. It refreshes by script, or without one by the browser."""
    return tag(
        "html",
        tag(
            "head",
            tag("meta", charset="utf-8"),
            tag("meta", name_="viewport", content="width=device-width, initial-scale=1"),
            tag("meta", name_="color-scheme", content="light dark"),
            tag("title", title),
            tag("link", rel="icon", href="/icon.svg"),
            tag("link", rel="stylesheet", href=f"/style.css?{frame.mark}"),
            tag("script", src=f"/refresh.js?{frame.mark}", defer=True),
            tag("noscript", tag("meta", http_equiv="refresh", content=REFRESH_S)),
        ),
        tag(
            "body",
            _top(now, overall),
            tag("main", *main, id="main", data_every=REFRESH_S),
            _foot(frame, now),
        ),
        lang="en",
    )


def _top(now: datetime, overall: Node) -> Element:
    return tag(
        "header",
        tag("a", "etl", href="/", class_="brand"),
        tag("div", overall, id="overall"),
        tag(
            "p",
            "as of ",
            tag("span", parts.stamp(now), " UTC", id="as-of"),
            tag("button", "Pause", type="button", id="pause", hidden=True),
            class_="as-of",
        ),
        tag("p", "The page cannot be refreshed: etl does not answer.", id="away", hidden=True),
    )


def _foot(frame: Frame, now: datetime) -> Element:
    return tag(
        "footer",
        tag("p", f"etl {__version__} · ", frame.database, " · started ",
            parts.since(frame.started_at, now)),
        tag("p", tag("a", "metrics", href="/metrics"), " · ", tag("a", "ready", href="/readyz"),
            " · ", tag("a", "health", href="/healthz")),
    )  # fmt: skip


def status_page(frame: Frame, facts: Facts, *, running: bool) -> Element:
    """All sources; why nothing can be said of them, when that is so."""
    warning = None if running else _warning("The scheduler does not run: nothing is synced.")
    if facts.status is None:
        overall = tag("h1", parts.mark("bad"), "The database is away", class_="bad")
        told = tag(
            "div",
            tag("p", facts.problem or "", class_="said"),
            tag("p", "Freshness, runs and counts are in the database; this page shows them again "
                     "as soon as it answers. Runs that fail meanwhile are tried again."),
            class_="alert wide",
        )  # fmt: skip
        return shell(frame, "database away · etl", facts.now, overall, warning, told)
    word, look = _overall(facts.status)
    title = f"{'✓' if look == 'good' else '✗'} {word} · etl"
    overall = tag("h1", parts.mark(look), word, class_=look)
    cards = [card(one) for one in facts.status.sources]
    if not cards:
        cards = [tag("p", "No source is configured: ", tag("code", "etl init"), " writes an "
                          "example of each.", class_="none")]  # fmt: skip
    return shell(frame, title, facts.now, overall, warning, tag("div", cards, class_="cards"))


def _warning(text: str) -> Element:
    return tag("div", tag("p", tag("strong", text)), class_="alert wide")


def _overall(status: Status) -> tuple[str, str]:
    """What a glance should tell."""
    known = [one for one in status.sources if one.configured]
    stale = len(status.stale)
    if not known:
        return "No source is configured", "quiet"
    if stale:
        verb = "is" if stale == 1 else "are"
        return f"{stale} of {counted(len(known), 'source')} {verb} not fresh", "bad"
    if all(one.fresh for one in known):
        return ("All sources are fresh" if len(known) > 1 else "The source is fresh"), "good"
    return "No source is stale", "good"
