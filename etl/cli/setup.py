"""`etl init` and `etl simulate`: what one needs before there is anything to sync."""

from __future__ import annotations

import errno
from pathlib import Path

import click

from etl.cli.frame import App
from etl.errors import Usage

_PORT = 8765


@click.command(short_help="Write a commented schedules.yaml.")
@click.option("--force", is_flag=True, help="Overwrite a file that is there.")
@click.pass_obj
def init(app: App, /, force: bool) -> None:
    """Writes a commented schedules.yaml with every setting (--config names another file).

    \b
    Example:
      etl init
    """
    from etl.config import template  # noqa: PLC0415 - not for --help

    path = Path(app.config)
    try:
        with path.open("w" if force else "x", encoding="utf-8") as file:
            file.write(template())
    except FileExistsError:
        raise Usage(f"{path} is there already; to overwrite it add --force") from None
    except OSError as error:
        raise Usage(f"{path} cannot be written: {error.strerror}") from None
    click.echo(f"{path} is written. Next: put your sources in, then run: {_command(path)} check")


def _command(path: Path) -> str:
    return "etl" if str(path) == "schedules.yaml" else f"etl --config {path}"


@click.command(short_help="Only the simulators.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=_PORT,
    show_default=True,
    help="Where to listen on 127.0.0.1; 0 takes a free port.",
)
@click.option("--seed", default=1, show_default=True, help="Another seed, other executions.")
@click.pass_obj
def simulate(app: App, /, port: int, seed: int) -> None:
    """Serves simulators of all three platforms on loopback, to try things against, until it is
    stopped.

    \b
    Example:
      etl simulate --port 8765
    """
    from etl.simulator import serve  # noqa: PLC0415 - not for --help

    with app.stoppable() as stop:
        try:
            serve(port, seed, None, stop, click.echo)
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
            why = "is in use" if error.errno == errno.EADDRINUSE else "is not for you"
            raise Usage(
                f"port {port} of 127.0.0.1 {why}; choose another with --port, 0 for a free one"
            ) from None
