"""What a DataArts source needs in schedules.yaml, and what its name stands for."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from urllib.parse import urlsplit

import msgspec

from etl.redact import Secret
from etl.source import Settings
from etl.units import Rate

MAX_LIMIT = 100
"""Instances in one answer, by the documents; what a larger `limit` does is nowhere said."""

DEFAULT_RATE = Rate(35, 10.0)
"""Below the 40 calls per 10 s that one user has."""


class Iam(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The user whose token IAM gives; `url` is `https://iam.<region>.myhuaweicloud.com`."""

    url: str
    domain: str
    username: str
    password: Secret


class DataArtsSettings(Settings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One workspace of one project, and exactly one way to authenticate."""

    url: str
    project_id: str
    workspace: str
    token: Secret | None = None
    iam: Iam | None = None
    access_key: str | None = None
    secret_key: Secret | None = None

    def __post_init__(self) -> None:
        """Raises ValueError with what came and what would be right."""
        if (self.access_key is None) != (self.secret_key is None):
            missing = "secret_key" if self.secret_key is None else "access_key"
            raise ValueError(f"access_key and secret_key belong together; {missing} is missing")
        ways = {"token": self.token, "iam": self.iam, "access_key": self.access_key}
        came = [name for name, value in ways.items() if value is not None]
        if len(came) != 1:
            raise ValueError(
                "one way to authenticate is needed: token, iam, or access_key with secret_key; "
                f"came: {' and '.join(came) or 'none'}"
            )
        if self.page_size is not None and self.page_size < 1:
            raise ValueError(f"page_size must be 1 to {MAX_LIMIT}, not {self.page_size}")

    @property
    def base_url(self) -> str:
        """`url` without a slash at its end."""
        return self.url.rstrip("/")

    @property
    def limit(self) -> int:
        """Instances asked for at once: `page_size`, never above 100."""
        return min(self.page_size or MAX_LIMIT, MAX_LIMIT)

    @property
    def rate(self) -> Rate:
        """The rate that holds: the configured one, else 35 calls per 10 s."""
        return self.rate_limit or DEFAULT_RATE


def identity(settings: DataArtsSettings) -> Mapping[str, str]:
    """What the source's name stands for; it must not change under the rows."""
    return {
        "url": settings.base_url,
        "project_id": settings.project_id,
        "workspace": settings.workspace,
    }


def account(settings: DataArtsSettings) -> str:
    """Names the user at this origin: ten workspaces of one user share one limit."""
    address = urlsplit(settings.base_url)
    who = [f"{address.scheme}://{address.netloc}".lower()]
    if settings.token is not None:
        who += ["token", settings.token.reveal()]
    elif settings.iam is not None:
        who += ["iam", settings.iam.url.rstrip("/"), settings.iam.domain, settings.iam.username]
    else:
        who += ["key", settings.access_key or ""]
    return hashlib.sha256("\n".join(who).encode("utf-8", "surrogatepass")).hexdigest()
