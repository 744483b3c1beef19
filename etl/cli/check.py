"""`etl check`: a line for everything that a pass needs, with the mend for what is wrong."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from etl.cli.frame import App, worst_of
from etl.errors import EtlError

if TYPE_CHECKING:
    from etl.check import Finding
    from etl.db import Database

_COLOURS = {"ok": "green", "note": "yellow", "wrong": "red"}


@click.command(short_help="Is everything there that a sync needs?")
@click.argument("source", nargs=-1)
@click.pass_obj
def check(app: App, /, source: tuple[str, ...]) -> int:
    """Looks at the configuration, the database and each SOURCE (all if none is named): whether it
    answers, takes the credentials, and what a first sync would cost. Copies nothing.

    Exit code 1: something does not answer; 2: the configuration is wrong.

    \b
    Example:
      etl check graph
    """
    from etl import check as checks  # noqa: PLC0415 - not for --help
    from etl.clock import Clock  # noqa: PLC0415

    told = _Told()
    try:
        config = app.settings
    except EtlError as error:
        told.tell([checks.wrong("configuration", error)])
        return told.exit_code
    told.tell(checks.check_schedules(config))
    chosen = source or config.source_names
    with app.stoppable() as stop, _opened(app, told) as database:
        if database is not None:
            told.tell(checks.check_database(database, checks.resolved(config, chosen)))
        told.tell(checks.check_sources(config, chosen, database, stop, Clock()))
    return app.exit_code(told.exit_code)


class _Told:
    """Prints findings and remembers the worst."""

    def __init__(self) -> None:
        self._codes: list[int] = []

    @property
    def exit_code(self) -> int:
        return worst_of(self._codes)

    def tell(self, findings: Iterable[Finding]) -> None:
        for finding in findings:
            mark = click.style(f"{finding.mark:<5}", fg=_COLOURS[finding.mark])
            lines = finding.says.splitlines()
            click.echo("\n".join(f"{mark}  {finding.what}: {line}" for line in lines))
            self._codes.append(finding.exit_code)


@contextmanager
def _opened(app: App, told: _Told) -> Iterator[Database | None]:
    """The database as it is; None, and a line, when there is none or it cannot be opened."""
    from etl.check import Finding, wrong  # noqa: PLC0415 - not for --help
    from etl.cli.db import is_missing  # noqa: PLC0415
    from etl.db import open_database  # noqa: PLC0415

    try:
        url, schema = app.address()
        missing = is_missing(url)
        database = None if missing else open_database(url, schema=schema, stop=app.stop)
    except EtlError as error:
        told.tell([wrong("database", error)])
        yield None
        return
    if database is None:
        told.tell([Finding("ok", "database", f"{url}: not there yet; the first sync makes it")])
        yield None
        return
    try:
        yield database
    finally:
        database.close()
