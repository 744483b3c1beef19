"""Every error that `etl` raises on purpose, named by what the caller does next.

EtlError                 anything that ends a command with one clear line
├── Usage                the command or the configuration is wrong: mend it          exit 2
│   └── Migrated         other tables than at the start: end the process             exit 2
├── SeatTaken            another living process holds the source: come back later    exit 3
├── Claimed              another process has fired this schedule: do nothing         exit 0
├── LostSeat             this process was overtaken: write nothing more, end the run exit 1
├── Stopped              told to stop: roll back, close the run, leave               exit 130/143
└── SourceFailed         a source cannot be read or written now                      exit 1
    ├── Transient        may work later: ask again, within the limits of `http`
    ├── Refused          will not work however often it is asked: end the run
    │   ├── Gone         this one thing is no longer there: go on without it
    │   ├── TooLarge     the answer is beyond `max_body`: ask for less
    │   └── BadRequest   this one question was refused: ask it in another form
    ├── Unauthorized     the credentials are not accepted: renew once, then end the run
    ├── Malformed        the answer cannot be read; transient at first, failed when it stays
    └── DatabaseTrouble  the database cannot take it: nothing of the batch was written

`kind` is what `sync_runs.error_kind` keeps. Messages say where, what came, and what to do;
they pass through `redact` before anybody sees them.
"""

from __future__ import annotations

from typing import ClassVar


class EtlError(Exception):
    """Ends a command with one clear line and `exit_code`."""

    exit_code: ClassVar[int] = 1


class Usage(EtlError):
    """The command or the configuration is wrong; the message names the place and the mend."""

    exit_code = 2


class Migrated(Usage):
    """The database was migrated while this process ran; nothing more may be written."""


class SeatTaken(EtlError):
    """Another living process holds this seat of the source; its lease ends in `free_in_s`."""

    exit_code = 3

    def __init__(self, message: str, *, free_in_s: float = 0.0) -> None:
        super().__init__(message)
        self.free_in_s = free_in_s


class Claimed(EtlError):
    """Another process has fired this schedule already."""

    exit_code = 0


class LostSeat(EtlError):
    """Somebody else took this process's seat; what it still holds must not be written."""


class Stopped(EtlError):
    """The stop event was set (SIGTERM, SIGINT); `exit_code` follows the signal at the edge."""

    exit_code = 130


class SourceFailed(EtlError):
    """A source cannot be read or written now."""

    kind: ClassVar[str] = "transient"


class Transient(SourceFailed):
    """May work later. `retry_after_s` is the platform's own wish, None when it said nothing."""

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Refused(SourceFailed):
    """Permanent: the same call will fail again."""

    kind = "refused"


class Gone(Refused):
    """The one thing that was asked for is not there (any more)."""


class TooLarge(Refused):
    """The body is larger than `max_body`; ask for a smaller page."""


class BadRequest(Refused):
    """The platform refuses this question (a parameter, a limit); another form may do."""


class Unauthorized(SourceFailed):
    """The credentials are not accepted."""

    kind = "unauthorized"


class Malformed(SourceFailed):
    """The body is empty, HTML, or JSON that cannot be read."""

    kind = "malformed"


class DatabaseTrouble(SourceFailed):
    """The database refused or went away; the batch in hand was rolled back."""

    kind = "database"
