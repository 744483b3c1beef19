"""A fourth platform as a stranger would add it: one module that holds a SOURCE."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any

import msgspec

from etl.errors import Refused
from etl.http import Api, Platform
from etl.redact import Secret
from etl.source import Debt, Listed, Page, Settings, Source, Span


class Login(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    username: str
    password: Secret
    address: str = "graphd"
    port: int = 9669


class FourthSettings(Settings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    url: str
    workspace: str | None = None
    token: Secret | None = None
    login: Login | None = None
    time_zone: str = "UTC"
    sample_limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 100
    threshold: float = 0.5
    workflows: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if (self.token is None) == (self.login is None):
            raise ValueError("give either token or login")


def _platform(settings: FourthSettings) -> Platform:
    raise Refused("the fourth platform exists only on paper")


def _identity(settings: FourthSettings) -> Mapping[str, str]:
    return {"url": settings.url}


def _scan(api: Api, settings: FourthSettings, span: Span) -> Iterator[Page]:
    return iter(())


def _refresh(
    api: Api, settings: FourthSettings, debts: Iterable[Debt], span: Span
) -> Iterator[Page]:
    return iter(())


def _inventory(api: Api, settings: Any, span: Span) -> Iterator[Sequence[Listed]]:
    return iter(())


SOURCE = Source(
    api="fourth",
    stream="things",
    settings=FourthSettings,
    tables=(),
    platform=_platform,
    identity=_identity,
    scan=_scan,
    refresh=_refresh,
    inventory=_inventory,
)
