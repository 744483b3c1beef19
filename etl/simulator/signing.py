"""Checks an SDK-HMAC-SHA256 signature, from the published rules and not from the vendor's code.

The canonical request is: method, path (each segment encoded, a slash at the end), sorted query,
the signed headers, their names, the hash of the body. The key signs its hash and X-Sdk-Date.
"""

import hashlib
import hmac
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, unquote

from etl.simulator.wire import Request

ALGORITHM = "SDK-HMAC-SHA256"
MAX_SKEW = timedelta(minutes=15)
_HEADER = re.compile(
    ALGORITHM + r" Access=(?P<access>[^,]+), ?SignedHeaders=(?P<names>[^,]+), ?"
    r"Signature=(?P<signature>[0-9a-f]{64})"
)


@dataclass(slots=True, frozen=True)
class Signed:
    """What an Authorization header claims."""

    access: str
    names: tuple[str, ...]
    signature: str


def parse(header: str) -> Signed | None:
    """The claim of an Authorization header; None if it is not of this algorithm."""
    match = _HEADER.fullmatch(header.strip())
    if match is None:
        return None
    return Signed(match["access"], tuple(match["names"].split(";")), match["signature"])


def fault_of(request: Request, signed: Signed, secret: str, now: datetime) -> str | None:
    """Why the signature is not accepted; None if it is."""
    missing = [name for name in signed.names if name not in request.headers]
    if missing or "x-sdk-date" not in signed.names or "host" not in signed.names:
        return "the signed headers are incomplete"
    date = request.headers["x-sdk-date"]
    try:
        at = datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        return "X-Sdk-Date cannot be read"
    if abs(now - at) > MAX_SKEW:
        return "the request has expired"
    if not hmac.compare_digest(signature(request, signed.names, secret), signed.signature):
        return "verify aksk signature fail"
    return None


def signature(request: Request, names: tuple[str, ...], secret: str) -> str:
    """What the key must have made of this request."""
    canonical = canonical_request(request, names).encode()
    digest = hashlib.sha256(canonical).hexdigest()
    text = f"{ALGORITHM}\n{request.headers['x-sdk-date']}\n{digest}"
    return hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()


def canonical_request(request: Request, names: tuple[str, ...]) -> str:
    """The six parts, a line each (the headers: a line each and an empty one)."""
    path = "/".join(_encode(part) for part in unquote(request.target.split("?")[0]).split("/"))
    query = "&".join(f"{_encode(name)}={_encode(value)}" for name, value in sorted(request.query))
    headers = "".join(f"{name}:{_sent(request.headers[name])}\n" for name in names)
    body = request.headers.get("x-sdk-content-sha256") or hashlib.sha256(request.body).hexdigest()
    path = path if path.endswith("/") else path + "/"
    return "\n".join((request.method, path, query, headers, ";".join(names), body))


def _encode(text: str) -> str:
    return quote(text, safe="~")


def _sent(value: str) -> str:
    """Header bytes are UTF-8 to the signer; they were read as Latin-1."""
    return value.strip().encode("latin-1").decode("utf-8", "replace")
