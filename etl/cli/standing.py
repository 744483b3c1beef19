"""What a backfill shows while it works: two lines on a terminal that are drawn anew four times a
second, elsewhere a plain line every few seconds, nothing beside JSON logs."""

from __future__ import annotations

import sys
import threading
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from etl.backfill import Standing

_EVERY_S = 5.0
_A_SECOND = 4


class Shown(Protocol):
    """Shows one backfill from `watches` to the end of the block."""

    def __enter__(self) -> Shown: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def watches(self, standing: Standing) -> None: ...


def shown(log_format: str) -> Shown:
    """The display that fits where stderr goes."""
    if log_format == "json":
        return Silent()
    return Live() if sys.stderr.isatty() else Lines()


class Silent:
    """Shows nothing: the log lines speak."""

    standing: Standing | None = None

    def __enter__(self) -> Silent:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def watches(self, standing: Standing) -> None:
        self.standing = standing


class Lines(Silent):
    """A line every few seconds, whether something was written meanwhile or not."""

    def __init__(self, every_s: float = _EVERY_S) -> None:
        self._every_s = every_s
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def watches(self, standing: Standing) -> None:
        self.standing = standing
        self._thread = threading.Thread(target=self._tell, args=(standing,), daemon=True)
        self._thread.start()

    def _tell(self, standing: Standing) -> None:
        while not self._over.wait(self._every_s):
            sys.stderr.write(f"{line(standing)}\n")


class Live(Silent):
    """Two lines, drawn anew."""

    def __init__(self, console: Console | None = None) -> None:
        from rich.console import Console  # noqa: PLC0415 - only for a terminal
        from rich.live import Live as Drawn  # noqa: PLC0415

        self._drawn = Drawn(
            get_renderable=self._render,
            console=console or Console(stderr=True),
            refresh_per_second=_A_SECOND,
            transient=True,
        )

    def __exit__(self, *_: object) -> None:
        self._drawn.stop()

    def watches(self, standing: Standing) -> None:
        self.standing = standing
        self._drawn.start()

    def _render(self) -> RenderableType:
        return "" if self.standing is None else picture(self.standing)


def picture(standing: Standing) -> RenderableType:
    """Title, bar, windows and time left; under it what comes, and how fast."""
    from rich.console import Group  # noqa: PLC0415 - only for a terminal
    from rich.progress_bar import ProgressBar  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    above = Table.grid(padding=(0, 1), expand=True)
    for ratio in (None, 1, None, None):
        above.add_column(ratio=ratio, no_wrap=True)
    above.add_row(
        Text(standing.title, style="bold"),
        ProgressBar(total=1.0, completed=standing.share),
        f"{standing.done:,}/{standing.windows:,} windows",
        Text(_left(standing) or f"{_span(standing.seconds)} so far", style="cyan"),
    )
    below = Text("  " + " · ".join(_figures(standing)), no_wrap=True, overflow="ellipsis")
    return Group(above, below)


def line(standing: Standing) -> str:
    """All of it on one plain line."""
    left = _left(standing)
    figures = [f"{standing.done:,} of {standing.windows:,} windows", *_figures(standing)]
    return f"{standing.title}: {', '.join([*figures, *([left] if left else [])])}"


def summary(standing: Standing) -> str:
    """What a run of the backfill did, once it is over."""
    return (
        f"{standing.title}: {standing.done:,} of {standing.windows:,} windows done, "
        f"{standing.records:,} records read, {standing.rows_written:,} rows written, "
        f"{standing.rejected:,} rejected, {standing.requests:,} requests "
        f"in {_span(standing.seconds)}"
    )


def _figures(standing: Standing) -> list[str]:
    figures = [f"{standing.records:,} records", _rate(standing), f"{standing.in_flight} in flight"]
    if standing.rejected:
        figures.append(f"{standing.rejected:,} rejected")
    if standing.failed:
        figures.append(f"{standing.failed:,} failed")
    return figures


def _rate(standing: Standing) -> str:
    """What was asked of late, beside what may be."""
    allowed = standing.allowed
    if allowed is None:
        return f"{standing.a_second:.0f} requests/s"
    return f"{standing.a_second * allowed.window_s:.0f} of {allowed} requests"


def _left(standing: Standing) -> str | None:
    left_s = standing.left_s
    return None if left_s is None else f"{_span(left_s)} left"


def _span(seconds: float) -> str:
    """`0:07`, `12:40`, `3:05:00`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
