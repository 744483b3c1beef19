"""What a platform does where its documents are silent, or lie: one switch each, off unless said.

A `Quirks` may be changed while a simulator serves; the next request sees the change.
Sources of truth: the [?] marks of the platforms' documents, and the [live] answers.
"""

from dataclasses import dataclass
from typing import Literal

Window = Literal["inclusive", "exclusive", "half_open"]
"""Whether the ends of a time interval belong to it; half_open holds its beginning only."""

Order = Literal["asc", "desc"]


@dataclass(slots=True)
class Quirks:
    """Every default is the plain, well-behaved answer of the documents' samples."""

    # Explorer
    explorer_version: Literal["3.2", "3.3"] = "3.3"
    """3.2 takes base64 of `user:password`, 3.3 base64 of the JSON array; each refuses the other."""
    explorer_cookie: Literal["plain", "stray", "secure"] = "plain"
    """stray: a '#' among the attributes; secure: `Secure; SameSite=None`, as over TLS."""
    explorer_session_limit: int | None = None
    """So many logins are served, then every login is refused with "too many sessions"."""
    explorer_page_size_max: int | None = None
    """A larger pageSize is silently clamped to it."""
    explorer_capitals: bool = True
    """`Page` and `PageSize`, as published; else lower-case, as one draft has them."""
    explorer_null_items: bool = False
    """An empty page is `items: null`."""
    explorer_null_tasks: bool = False
    """Listed jobs carry `tasks: null`, as older servers write."""
    explorer_ignores: Literal["nothing", "filter", "order", "window"] = "nothing"
    """The part of `filter` that the server does not know."""
    explorer_window: Window = "inclusive"
    explorer_errors_as_200: bool = False
    """A failure comes with HTTP 200, so only its `code` tells."""
    explorer_none: Literal["null", "zero", "empty", "absent", "go", "go_ms"] = "null"
    """How a time that has not come is written: null, 0, "", no key, Go's zero time as text,
    or (go_ms) Go's zero time in milliseconds for jobs and as text for tasks."""
    explorer_detail_null_tasks: bool = False
    """A detail has `tasks: null`."""
    explorer_sample_max: int | None = None
    """A larger `limit` of sample_result is refused with 40004001."""
    explorer_null_sample: bool = False
    """An empty sample is `items: null`."""
    explorer_sample_of_unfinished: Literal["error", "empty", "null"] = "error"
    """What a task without a result answers to sample_result."""
    explorer_sample_error: int = 40004000
    """The code of that error."""

    # Act2
    act2_shape: Literal["live", "doc"] = "live"
    act2_order: Order = "asc"
    """The live server lists oldest first; the order of the documented shape is unknown."""
    act2_auth: Literal["none", "basic", "forbidden"] = "none"
    """basic: HTTP Basic without a challenge; forbidden: the shipped policy, 403 for every GET."""
    act2_unordered: bool = False
    """The list has no order at all; a new record may stand anywhere."""
    act2_doc_item: Literal["whole", "no_times", "id"] = "whole"
    """What a documented page tells of a record: all of its detail, no times, or its id alone."""
    act2_time_format: Literal["rfc3339", "plain"] = "rfc3339"
    """plain: `YYYY-MM-DD HH:MM:SS` without a zone (the documented shape gives no format)."""
    act2_zero_row_times: bool = False
    """A row without an end shows the zero time rather than an empty text."""
    act2_reshuffle: bool = False
    """The rows of a record come in another order at every reading."""
    act2_doc_result: Literal["auto", "object", "array"] = "auto"
    """The documented /result is one object; auto: an array where a record has several rows."""
    act2_page_size_max: int | None = None
    """A larger pageSize is silently clamped to it."""

    # DataArts
    dataarts_window: Window = "inclusive"
    dataarts_ignores_window: bool = False
    dataarts_refuses_window: Literal["nothing", "lone", "every"] = "nothing"
    """lone: start_time and end_time go together; every: they are unknown, which is an error."""
    dataarts_limit_default: int = 10
    dataarts_limit_max: int = 100
    dataarts_limit_over: Literal["error", "clamp"] = "error"
    """What a limit above the maximum does."""
    dataarts_offset: Literal["rows", "pages", "pages from 1"] = "rows"
    dataarts_order: Order = "desc"
    dataarts_none: Literal["null", "absent", "zero"] = "null"
    """The end_time of a running instance."""
    dataarts_prefix: Literal["APIG", "APIGW", "APIC"] = "APIGW"
    """The prefix of the gateway's error codes."""
    dataarts_rate_limit: tuple[int, float] | None = None
    """(calls, seconds) of one user, a sliding window; the published limit is (40, 10.0)."""
    dataarts_retry_after: str | None = None
    """The text of Retry-After with that 429; None: no such header."""
    dataarts_bad_attempts: int = 5
    """More bad AK/SK attempts than these within five minutes lock the key for five minutes."""
    iam_token_lifetime_s: float = 24 * 3600.0
    iam_token_bytes: int = 3600
    """The length of a token: several KB in one response header."""

    # every list
    beyond_end: Literal["empty", "repeat"] = "empty"
    """repeat: a page past the end is the last page once more."""
