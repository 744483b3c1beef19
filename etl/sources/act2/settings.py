"""What an Act2 source needs in schedules.yaml, and what its name stands for."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from etl.redact import Secret
from etl.source import Settings

PAGE_SIZE = 20
"""Records on a page: small, since a page carries all output of all its hosts."""


class Act2Settings(Settings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One Act2 master. `time_zone` is for times that carry none."""

    url: str
    username: str | None = None
    password: Secret | None = None
    time_zone: str = "UTC"

    def __post_init__(self) -> None:
        """Raises ValueError with what came and what would be right."""
        try:
            ZoneInfo(self.time_zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(
                f"time_zone: {self.time_zone!r} is no IANA time zone; write one like Asia/Shanghai"
            ) from None
        if (self.username is None) != (self.password is None):
            missing = "password" if self.password is None else "username"
            raise ValueError(f"username and password belong together; {missing} is missing")
        if self.page_size is not None and self.page_size < 1:
            raise ValueError(f"page_size must be 1 or more, not {self.page_size}")

    @property
    def base_url(self) -> str:
        """`url` without a slash at its end."""
        return self.url.rstrip("/")

    @property
    def zone(self) -> ZoneInfo:
        """The zone of times that carry none."""
        return ZoneInfo(self.time_zone)

    @property
    def records_a_page(self) -> int:
        """Records asked for at once."""
        return self.page_size or PAGE_SIZE


def identity(settings: Act2Settings) -> Mapping[str, str]:
    """What the source's name stands for; it must not change under the rows."""
    return {"url": settings.base_url}


def account(settings: Act2Settings) -> str:
    """Names the user at this origin: sources of one user share one budget."""
    address = urlsplit(settings.base_url)
    who = (f"{address.scheme}://{address.netloc}".lower(), settings.username or "")
    return hashlib.sha256("\n".join(who).encode("utf-8", "surrogatepass")).hexdigest()
