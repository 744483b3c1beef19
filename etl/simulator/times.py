"""Times as the three platforms write them: milliseconds, RFC 3339 with an offset, plain text."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

Now = Callable[[], datetime]

SHANGHAI = timezone(timedelta(hours=8))
"""The zone of the samples: +08:00, without summer time."""

GO_ZERO = "0001-01-01T00:00:00Z"
GO_ZERO_MS = -62135596800000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)


def ms(at: datetime) -> int:
    """Epoch milliseconds, exactly: no float on the way."""
    return (at - _EPOCH) // _MS


def from_ms(at: int) -> datetime:
    """The moment of so many epoch milliseconds, in UTC."""
    return _EPOCH + at * _MS


def rfc3339(at: datetime, zone: timezone = SHANGHAI) -> str:
    """Go's time.RFC3339: whole seconds and the zone's offset."""
    return at.astimezone(zone).replace(microsecond=0).isoformat()


def plain(at: datetime, zone: timezone = SHANGHAI) -> str:
    """`YYYY-MM-DD HH:MM:SS`, the zone left to the reader."""
    return at.astimezone(zone).strftime("%Y-%m-%d %H:%M:%S")
