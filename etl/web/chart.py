"""The last runs of a source as a small drawing: how long each took, what it wrote, how it ended."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime

from etl.status import Run
from etl.status.words import counted, span
from etl.web.html import Element, Node, svg, tag
from etl.web.parts import tone

_STEP, _WIDE = 10, 7
_ABOVE, _BELOW = 56, 26
_LEAST = 2.0
_FAILED = ("failed", "crashed")


def chart(runs: Sequence[Run], now: datetime, places: int) -> Node:
    """`runs`, the latest first, in a drawing with room for `places`, the latest at the right.

    Bars upwards are durations, downwards rows written; both grow as the square root, so that a
    long first load leaves the others visible. A run that failed is a column of full height.
    """
    if not runs:
        return tag("p", "No run yet.", class_="none")
    ended = [run.duration_s(now) for run in runs if run.finished_at is not None]
    longest = max(ended, default=0.0)  # one that hangs would make dwarfs of all others
    most = max(run.rows_written for run in runs)
    width = places * _STEP
    first = places - len(runs)
    drawn = (
        _column(run, (first + place) * _STEP, now, longest, most)
        for place, run in enumerate(reversed(runs))
    )
    ground = svg("rect", class_="ground", x=0, y=_ABOVE, width=width, height=1)
    picture = svg(
        "svg",
        ground,
        drawn,
        class_="chart",
        viewBox=f"0 0 {width} {_ABOVE + 1 + _BELOW}",
        preserveAspectRatio="none",
        **{"aria-hidden": "true", "focusable": "false"},
    )
    return tag("figure", picture, tag("figcaption", _legend(runs, longest, most)))


def _legend(runs: Sequence[Run], longest: float, most: int) -> Node:
    failed = sum(run.status in _FAILED for run in runs)
    return [
        tag("span", "▲ ", tag("b", span(longest)), " longest", class_="key"),
        tag("span", "▼ ", tag("b", f"{most:,}"), " most rows written", class_="key"),
        tag(
            "span",
            tag("b", f"{failed:,}"),
            f" of the last {counted(len(runs), 'run')} failed",
            class_="key bad" if failed else "key",
        ),
    ]


def _column(run: Run, x: int, now: datetime, longest: float, most: int) -> Element:
    up = _height(run.duration_s(now), longest, _ABOVE - 2)
    down = _height(run.rows_written, most, _BELOW)
    failed = run.status in _FAILED
    look = tone(run.status)
    return svg(
        "a",
        svg("title", _told(run, now)),
        svg(
            "rect",
            class_="hit failed" if failed else "hit",
            x=x,
            y=0,
            width=_STEP,
            height=_ABOVE + 1 + _BELOW,
        ),
        svg("rect", class_=look, x=x + 1.5, y=_ABOVE - up, width=_WIDE, height=up),
        svg("rect", class_="rows", x=x + 1.5, y=_ABOVE + 1, width=_WIDE, height=down)
        if run.rows_written
        else None,
        href=f"/runs/{run.run_id}",
        tabindex=-1,
    )


def _height(value: float, top: float, room: int) -> float:
    if top <= 0:
        return _LEAST
    return round(min(room, max(_LEAST, room * math.sqrt(value / top))), 1)


def _told(run: Run, now: datetime) -> str:
    return (
        f"run {run.run_id}: {run.mode} {run.status}, {span(run.duration_s(now))}, "
        f"{counted(run.rows_written, 'row')} written, {run.started_at:%Y-%m-%d %H:%M:%S} UTC"
    )
