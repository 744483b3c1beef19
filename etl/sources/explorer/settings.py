"""What an Explorer source needs in schedules.yaml, and what its name stands for."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import msgspec

from etl.redact import Secret
from etl.source import Settings

PREFIX = "/api-open/v1"
PAGE_SIZE = 100
"""Jobs asked for at once unless `page_size` is set; a server that clamps it is understood."""


class Login(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who logs in at Explorer; `address` and `port` are the graph service's, not Explorer's."""

    username: str
    password: Secret
    address: str
    port: int = 9669


class ExplorerSettings(Settings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One Explorer, with a ready token or with a login."""

    url: str
    token: Secret | None = None
    login: Login | None = None
    sample_limit: int = 100

    def __post_init__(self) -> None:
        """Raises ValueError with what came and what would be right."""
        if (self.token is None) == (self.login is None):
            came = "neither" if self.token is None else "both"
            raise ValueError(
                "needs token: or login: (username, password, address, port), "
                f"exactly one of them; came: {came}"
            )
        for name, number in (("sample_limit", self.sample_limit), ("page_size", self.jobs_a_page)):
            if number < 1:
                raise ValueError(f"{name} must be 1 or more, not {number}")

    @property
    def base_url(self) -> str:
        """`url` without the prefix that the calls add, and without a slash at its end."""
        return self.url.strip().rstrip("/").removesuffix(PREFIX).rstrip("/")

    @property
    def jobs_a_page(self) -> int:
        return PAGE_SIZE if self.page_size is None else self.page_size


def identity(settings: ExplorerSettings) -> Mapping[str, str]:
    """What the source's name stands for; it must not change under the rows."""
    return {"url": settings.base_url}


def account(settings: ExplorerSettings) -> str:
    """Names who asks: sources of one Explorer and one user share its limits."""
    who = [settings.base_url.lower()]
    if settings.login is not None:
        login = settings.login
        who += ["login", login.username, login.address, str(login.port)]
    elif settings.token is not None:
        who += ["token", settings.token.reveal()]
    return hashlib.sha256("\n".join(who).encode("utf-8", "surrogatepass")).hexdigest()
