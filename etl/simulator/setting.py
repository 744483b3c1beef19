"""What the three platforms' servers have in common: a request in, an answer out."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Literal, NamedTuple

from etl.simulator.credentials import Credentials
from etl.simulator.quirks import Quirks
from etl.simulator.state import State
from etl.simulator.wire import Request

Name = Literal["explorer", "act2", "dataarts", "iam", ""]


class Setting(NamedTuple):
    """What every platform's server is made from; `wall` is real time, for tokens and signatures."""

    world: State
    quirks: Quirks
    credentials: Credentials
    wall: Callable[[], datetime]


def real_time() -> datetime:
    """The wall clock."""
    return datetime.now(UTC)


def platform_of(request: Request) -> Name:
    """Whose request it is, by its path; they do not collide."""
    path = request.path
    if path.startswith("/api-open/v1/"):
        return "explorer"
    if path.startswith("/api/v1/"):
        return "act2"
    if path.startswith("/v3/"):
        return "iam"
    return "dataarts" if path.startswith("/v2/") else ""


def int64(text: str | None) -> int | None:
    """A whole number as servers parse it; None where there is none."""
    try:
        return int(text, 10) if text and text.strip() == text and "_" not in text else None
    except ValueError:
        return None


def window(quirk: str, since: int | None, until: int | None) -> tuple[int | None, int | None]:
    """The bounds as a half-open interval [since, until) of milliseconds."""
    if since is not None and quirk == "exclusive":
        since += 1
    if until is not None and quirk == "inclusive":
        until += 1
    return since, until


def last_page_offset(offset: int, limit: int, total: int) -> int:
    """The offset itself, or that of the last page when it lies past the end."""
    return offset if offset < total or not total else (total - 1) // limit * limit
