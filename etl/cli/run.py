"""`etl run`: the daemon."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from etl.cli.frame import App, finish

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from etl.config import Config
    from etl.daemon.notify import Systemd
    from etl.daemon.service import Daemon, Watched
    from etl.daemon.state import DaemonState
    from etl.db import Database

_log = logging.getLogger("etl.daemon")
_TURN_S = 0.5
"""A signal or a further try that a pass has asked for is noticed after so long at the latest."""
_LOOK_AT_FILE_S = 2.0
_LONGEST_WAIT_S = 30.0


class _Listen(click.ParamType[tuple[str, int]]):
    """HOST:PORT; a port alone is one of the loopback."""

    name = "HOST:PORT"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, int]:
        if isinstance(value, tuple):
            return value[0], value[1]
        host, _, port = value.rpartition(":")
        if not port.isdecimal() or int(port) > 65535:
            self.fail(f"{value!r} is no address; write 127.0.0.1:8080", param, ctx)
        return host.strip("[]") or "127.0.0.1", int(port)


@click.command(short_help="The daemon: fires the schedules, for months.")
@click.option(
    "--listen",
    type=_Listen(),
    metavar="HOST:PORT",
    envvar="ETL_LISTEN",
    help="Serve status page, health and metrics there. [env: ETL_LISTEN; default: nowhere]",
)
@click.option(
    "--reload-on-change",
    is_flag=True,
    envvar="ETL_RELOAD_ON_CHANGE",
    help="Reload the configuration when its file changes; SIGHUP always does. "
    "[env: ETL_RELOAD_ON_CHANGE]",
)
@click.pass_obj
def run(app: App, /, listen: tuple[str, int] | None, reload_on_change: bool) -> int:
    """Runs what schedules.yaml schedules, until SIGTERM or SIGINT.

    First it catches up with what is overdue. Several daemons may share a PostgreSQL or MariaDB;
    what one leaves behind the others take over. A broken configuration is refused, and the old one
    goes on.

    \b
    Example:
      etl run --listen 127.0.0.1:8080
    """
    from etl.daemon.notify import Systemd  # noqa: PLC0415 - not for --help

    _talkative(app)
    systemd = Systemd()
    _ = app.settings  # its mistakes are told before anything is waited for
    with app.stoppable() as stop, _hangups() as reload_asked, ExitStack() as closing:
        database = _open(app, stop, systemd, closing)
        if database is None:
            return 0
        wanted = _Wanted(listen, reload_on_change, reload_asked)
        code, stuck = _serve(app, stop, database, systemd, wanted)
    if stuck:
        _log.warning("still at work: %s; their seats expire by themselves", ", ".join(stuck))
        sys.stderr.flush()
        os._exit(code)
    return code


class _Wanted:
    """The options of the command, and the wish that SIGHUP is."""

    def __init__(
        self,
        listen: tuple[str, int] | None,
        reload_on_change: bool,
        reload_asked: threading.Event,
    ) -> None:
        self.listen = listen
        self.reload_on_change = reload_on_change
        self.reload_asked = reload_asked


def _talkative(app: App) -> None:
    """A daemon tells that it started, what changed and what failed; a quiet hour nothing."""
    logger = logging.getLogger("etl.daemon")
    if logger.level == logging.NOTSET and not app.verbose and not app.log_level:
        logger.setLevel(logging.INFO)


def _open(app: App, stop: threading.Event, systemd: Systemd, closing: ExitStack) -> Database | None:
    """The database, waited for while it is away; None when the process is to stop meanwhile."""
    from etl.db import retriable  # noqa: PLC0415 - not for --help
    from etl.errors import DatabaseTrouble, Stopped  # noqa: PLC0415

    wait_s = 1.0
    while True:
        try:
            return closing.enter_context(app.opened(leased=True))
        except Stopped:
            return None
        except DatabaseTrouble as error:
            if not retriable(error):
                raise
            _log.warning("waiting for the database: %s", error)
        systemd.waiting("waiting for the database", wait_s + _LONGEST_WAIT_S)
        if stop.wait(wait_s):
            return None
        wait_s = min(2 * wait_s, _LONGEST_WAIT_S)


def _serve(
    app: App, stop: threading.Event, database: Database, systemd: Systemd, wanted: _Wanted
) -> tuple[int, list[str]]:
    """Runs the daemon to its end: exit code, and the sources that would not end."""
    from etl.daemon.service import Daemon, Watched  # noqa: PLC0415 - not for --help
    from etl.daemon.state import DaemonState  # noqa: PLC0415
    from etl.passes import Surroundings  # noqa: PLC0415

    state = DaemonState()
    around = Surroundings(database, stop, lambda *_: None)
    # It looks at the file before the daemon reads it: no change falls between the two.
    watched = Watched(Path(app.config)) if wanted.reload_on_change else None
    page = _Page(wanted.listen, database, state) if wanted.listen else _Nothing()
    daemon = Daemon(_loading(app), around, state, page.observe)
    daemon.reload_asked = wanted.reload_asked
    with page.show(daemon) as address:
        if address is not None:
            _log.info("listening on %s, port %d", *address)
        daemon.start()
        systemd.ready()
        _turn(daemon, stop, systemd, watched)
        systemd.stopping()
        stuck = daemon.close()
    if daemon.ended_by is not None:
        return finish(daemon.ended_by), stuck
    _log.info("stopped")
    return 0, stuck


def _loading(app: App) -> Callable[[], Config]:
    """Reads the configuration as it is now, and tells when it names another database, which a
    running process does not change to."""
    from etl.config import load  # noqa: PLC0415 - not for --help

    at_start = app.address()

    def loaded() -> Config:
        config = load(Path(app.config), os.environ)
        if (config.database_url(app.database), config.database_schema) != at_start:
            _log.warning("the database stays the one of the start; another needs a restart")
        return config

    return loaded


def _turn(daemon: Daemon, stop: threading.Event, systemd: Systemd, watched: Watched | None) -> None:
    """The main loop: fires, reloads, and tells the watchdog that it still turns."""
    from etl.clock import Clock  # noqa: PLC0415 - not for --help

    clock = Clock()
    alive_at = looked_at = clock.monotonic()
    while not stop.is_set():
        now = clock.monotonic()
        if systemd.watchdog_s is not None and now >= alive_at:
            systemd.alive()
            alive_at = now + systemd.watchdog_s
        if watched is not None and now - looked_at >= _LOOK_AT_FILE_S:
            looked_at = now
            if watched.changed():
                daemon.reload_asked.set()
        wait_s = daemon.turn()
        clock.wait(stop, _TURN_S if wait_s is None else min(wait_s, _TURN_S))


@contextmanager
def _hangups() -> Iterator[threading.Event]:
    """SIGHUP sets the event: the configuration is reloaded, between two turns. It ends nothing,
    neither while the database is waited for nor at the end."""
    asked = threading.Event()
    if not hasattr(signal, "SIGHUP"):
        yield asked
        return
    before = signal.signal(signal.SIGHUP, lambda *_: asked.set())
    try:
        yield asked
    finally:
        signal.signal(signal.SIGHUP, before)


class _Nothing:
    """Without --listen nobody counts and nothing is shown."""

    def observe(self, *_: object) -> None:
        return

    def show(self, _: Daemon) -> AbstractContextManager[tuple[str, int] | None]:
        return nullcontext()


class _Page:
    """The status page, health and metrics."""

    def __init__(self, listen: tuple[str, int], database: Database, state: DaemonState) -> None:
        from etl.metrics import Metrics  # noqa: PLC0415 - only with --listen

        self._listen, self._database, self._state = listen, database, state
        self._metrics = Metrics()

    def observe(self, *told: Any) -> None:
        self._metrics.observe(*told)

    def show(self, daemon: Daemon) -> AbstractContextManager[tuple[str, int] | None]:
        from etl import web  # noqa: PLC0415 - only with --listen

        return web.serve(
            self._listen, self._database, lambda: daemon.config, self._state, self._metrics
        )
