"""Addresses: what counts as the same origin, and how a URL is shown without its secrets."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import SplitResult, quote, urlencode, urlsplit

from etl.errors import Usage
from etl.redact import MASK, masked

_PORTS = {"http": 80, "https": 443}
_SENSITIVE = re.compile(
    r"(?<=[?&])([^=&]*(?:token|passw|secret|key|signature|credential|auth|session)[^=&]*)=[^&]*",
    re.IGNORECASE,
)
_SAFE_IN_PATH = "/%:@!$&'()*+,;=~"
_PLAIN = re.compile(r"[A-Za-z0-9/_.~-]*")
_PLAIN_QUERY = re.compile(
    r"[A-Za-z0-9_.~-]+=[A-Za-z0-9_.~-]*(?:&[A-Za-z0-9_.~-]+=[A-Za-z0-9_.~-]*)*"
)
_SHOWN = 300


class Origin(NamedTuple):
    """Scheme, host and port: credentials never leave it."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == _PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}"

    @property
    def is_loopback(self) -> bool:
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def origin_of(url: str) -> Origin:
    """The origin of an http(s) URL. Raises Usage naming `url` and what would be right."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise _wrong(url) from None
    if parts.scheme not in _PORTS or not parts.hostname or not _is_host(parts):
        raise _wrong(url)
    return Origin(parts.scheme, parts.hostname, _PORTS[parts.scheme] if port is None else port)


def root_of(url: str) -> str:
    """Everything before the path, as it is written."""
    end = url.find("/", len("https://"))
    return url if end < 0 else url[:end]


def base_of(url: str) -> str:
    """`url` as paths are appended to it. Raises Usage for a user, a query, a fragment."""
    origin_of(url)
    parts = urlsplit(url)
    if "@" in parts.netloc:
        raise Usage(f"url: {shown(url)} holds a user; set username: and password: instead")
    if parts.query or parts.fragment:
        raise Usage(f"url: {shown(url)} holds a query; write only scheme, host, port and path")
    return url.rstrip("/")


def target(path: str, params: Mapping[str, str | int] | None) -> str:
    """Path and query as they are sent. `%` stays: quote segments that may hold `/` or `%`."""
    quoted = path if _PLAIN.fullmatch(path) else quote(path, safe=_SAFE_IN_PATH)
    if not params:
        return quoted
    plain = "&".join([f"{name}={value}" for name, value in params.items()])
    if not _PLAIN_QUERY.fullmatch(plain):
        plain = urlencode(params, quote_via=quote)
    return f"{quoted}?{plain}"


def shown(url: str) -> str:
    """`url` for messages: no user, no value of a query name that speaks of secrets."""
    scheme, separator, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    if "@" in host:
        host = f"{MASK}@{host.rpartition('@')[2]}"
    text = masked(_SENSITIVE.sub(rf"\1={MASK}", f"{scheme}{separator}{host}{slash}{path}"))
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _is_host(parts: SplitResult) -> bool:
    return not re.search(r"[\s\x00-\x20\\]", parts.netloc)


def _wrong(url: str) -> Usage:
    return Usage(f"url: {shown(url)!r} is no address; write it as https://host:port")
