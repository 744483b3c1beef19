"""`etl demo`: see it work, without any platform."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from etl.cli.frame import App, worst_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from etl.demo import Answer

_TABLES = ("jobs", "tasks", "sample_rows", "job_records", "host_results", "quality_instances")


@click.command(short_help="The main job in one minute, against bundled simulators.")
@click.option("--file", default="etl-demo.db", show_default=True, help="The SQLite file it makes.")
@click.option("--seed", default=7, show_default=True, help="Another seed, another world.")
@click.option(
    "--now",
    type=click.DateTime(["%Y-%m-%dT%H:%M", "%Y-%m-%d"]),
    help="The world's time in UTC; default: this minute.",
)
@click.pass_obj
def demo(app: App, /, file: str, seed: int, now: datetime | None) -> int:
    """Starts simulators of all three platforms on loopback, migrates a new SQLite file, syncs
    twice over real HTTP, and asks the tables a few real questions."""
    from etl import demo as work  # noqa: PLC0415 - not for --help
    from etl.cli.progress import display  # noqa: PLC0415
    from etl.cli.sync import exit_code, report  # noqa: PLC0415

    path = Path(file)
    work.make_room(path)
    moment = now.replace(tzinfo=UTC) if now else work.default_now()
    url = f"sqlite:///{path}"
    with (
        app.stoppable() as stop,
        display(app.log_format) as shown,
        work.filled(url, now=moment, seed=seed, stop=stop, observer=shown) as (database, passes),
    ):
        for step in passes:
            sys.stdout.write(f"\n{step.title}\n")
            report(app, step.outcomes)
        if not stop.is_set():
            _tell(work.counted(database, _TABLES), list(work.answers(database, moment)), url)
    return app.exit_code(worst_of([exit_code(o) for step in passes for o in step.outcomes]))


def _tell(counts: Mapping[str, int], answers: Sequence[Answer], url: str) -> None:
    """What arrived, and what can be asked of it."""
    from etl.cli.printing import show  # noqa: PLC0415 - not for --help

    sys.stdout.write("\nwhat arrived\n")
    show(("table", "rows"), list(counts.items()))
    for answer in answers:
        sys.stdout.write(f"\n{answer.question}\n\n{_indented(answer.sql)}\n\n")
        show(answer.columns, answer.rows)
    query = "SELECT * FROM executions LIMIT 5"
    sys.stdout.write(
        f'\nAsk more: etl --database {url} sql "{query}"\n'
        "What each table and column means: etl tables; your own platforms: etl init\n"
    )


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())
