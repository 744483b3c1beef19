"""What all commands share: the global options, the stop event, the database, the last line."""

from __future__ import annotations

import errno
import gc
import importlib
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from etl.errors import EtlError, Stopped
from etl.redact import masked

if TYPE_CHECKING:
    from types import FrameType

    from etl.config import Config
    from etl.db import Database

DEFAULT_CONFIG = "schedules.yaml"
DEFAULT_LEASE_S = 30.0
NUMBER = click.IntRange(0, 2**63 - 1)
"""What a row of the ledger is called by: no database holds a larger one."""


class FlatGroup(click.Group):
    """A group whose commands are found by name in modules that are imported when needed."""

    def __init__(self, *args: Any, modules: Mapping[str, str], **more: Any) -> None:
        super().__init__(*args, **more)
        self._modules = modules

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(self._modules)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        place = self._modules.get(cmd_name)
        if place is None:
            return super().get_command(ctx, cmd_name)
        command: click.Command = getattr(importlib.import_module(place), cmd_name)
        return command

    def make_context(self, *args: Any, **more: Any) -> click.Context:
        with output_may_end():  # of --help and --version
            return super().make_context(*args, **more)
        raise click.exceptions.Exit(0)

    def invoke(self, ctx: click.Context) -> Any:
        with output_may_end():
            return super().invoke(ctx)
        return 0

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self._modules and not args[0].startswith("-"):
            ctx.fail(f"no command '{args[0]}'{_did_you_mean(args[0], self._modules)}")
        return super().resolve_command(ctx, args)


@contextmanager
def output_may_end() -> Iterator[None]:
    """A reader of stdout that went away (`| head`) ends the block without a word; a full disk is
    an EtlError."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        _to_nowhere()
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        _to_nowhere()
        raise EtlError(f"the output cannot be written: {error.strerror}") from None


def _to_nowhere() -> None:
    """The interpreter flushes stdout once more at its end."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _did_you_mean(word: str, known: Mapping[str, str]) -> str:
    import difflib  # noqa: PLC0415 - only for a mistake

    close = difflib.get_close_matches(word, known, 1)
    return f"; did you mean '{close[0]}'?" if close else "; see etl --help"


@dataclass
class App:
    """The global options, and what is made from them once."""

    config: str
    database: str | None
    log_format: str
    verbose: int
    log_level: tuple[str, ...] = ()
    stop: threading.Event = field(default_factory=threading.Event)
    signal_number: int = 0

    def __post_init__(self) -> None:
        from etl.cli.logs import set_up  # noqa: PLC0415 - not for --help

        _current[:] = [self]
        set_up(self.log_format, self.verbose, self.log_level)

    @cached_property
    def settings(self) -> Config:
        """The configuration file, its shape checked; raises Usage."""
        from etl.config import load  # noqa: PLC0415 - not for --help

        return load(Path(self.config), os.environ)

    @cached_property
    def outline(self) -> Config:
        """Names, schedules and where the database is; imports no platform, resolves no secret.
        The default file need not be there. Raises Usage."""
        from etl.config import load  # noqa: PLC0415 - not for --help

        if "settings" in self.__dict__:
            return self.settings
        required = self.config != DEFAULT_CONFIG
        return load(Path(self.config), os.environ, required=required, outline=True)

    @contextmanager
    def stoppable(self) -> Iterator[threading.Event]:
        """SIGTERM and SIGINT set the event that every wait watches; a second one ends at once."""

        def told(number: int, _: FrameType | None) -> None:
            if self.stop.is_set():
                os._exit(128 + number)
            self.signal_number = number
            self.stop.set()

        before = {n: signal.signal(n, told) for n in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield self.stop
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def opened(self, *, migrated: bool = True, leased: bool = False) -> Iterator[Database]:
        """The database, at the revision of this release (`migrated`), closed at the end.

        `leased`: for passes, whose forgotten transactions end with the shortest lease.
        """
        from etl.db import open_database  # noqa: PLC0415 - imports SQLAlchemy
        from etl.migrate import require_head  # noqa: PLC0415

        gc.freeze()  # what was imported stays: it is never looked through for rubbish
        gc.set_threshold(*_OBJECTS_BETWEEN_LOOKS)
        if leased:
            _share_arenas()
        url, schema = self.address()
        lease_s = self.settings.shortest_lease_s if leased else DEFAULT_LEASE_S
        database = open_database(url, schema=schema, lease_s=lease_s, stop=self.stop)
        try:
            if migrated:
                require_head(database)
            yield database
        finally:
            database.close()

    def address(self) -> tuple[str, str | None]:
        """(URL, schema): option, environment, file, default. A file need not be there."""
        return self.outline.database_url(self.database), self.outline.database_schema

    def exit_code(self, worst: int) -> int:
        """`worst`, or 128 + the signal that stopped the command."""
        return 128 + self.signal_number if self.signal_number else worst


def worst_of(codes: list[int]) -> int:
    """Of several results 2 wins over 1 over 3 (DESIGN 6, Exit codes)."""
    return next((code for code in (2, 1, 3) if code in codes), 0)


def finish(error: EtlError) -> int:
    """Prints the one line of an error; returns its exit code."""
    app = _app()
    if isinstance(error, Stopped):
        print_error("stopped")
        return app.exit_code(error.exit_code) if app else error.exit_code
    print_error(masked(str(error)))
    return error.exit_code


def finish_usage(error: click.ClickException) -> int:
    """Prints what was wrong with the words of a command, and how it is used; returns the exit
    code."""
    app = _app()
    if app is not None and app.log_format == "json":
        print_error(masked(error.format_message()))
    else:
        error.show()
    return 2


def print_error(text: str) -> None:
    """A line for people on stderr; one JSON object a line with `--log-format json`."""
    app = _app()
    if app is not None and app.log_format == "json":
        import logging  # noqa: PLC0415 - set up by App

        logging.getLogger("etl").error(text)
        return
    sys.stderr.write(f"etl: {text}\n")


def _app() -> App | None:
    return _current[-1] if _current else None


_current: list[App] = []


def _share_arenas() -> None:
    """glibc keeps freed memory apart for every thread that had some; two heaps do for all."""
    import ctypes  # noqa: PLC0415 - only passes need it

    with suppress(OSError, AttributeError, TypeError):  # another C library
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 2)


_M_ARENA_MAX = -8
"""From glibc's malloc.h."""

_OBJECTS_BETWEEN_LOOKS = 100_000, 20, 100
"""Rows make many objects and hardly any rubbish that needs to be looked for."""
