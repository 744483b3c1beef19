"""`etl rejects`: the quarantine."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from etl.cli.frame import NUMBER, App, print_error, worst_of
from etl.errors import Usage
from etl.redact import masked

if TYPE_CHECKING:
    from collections.abc import Sequence

    from etl.db import Database
    from etl.ledger.rejects import Kept


@click.group(invoke_without_command=True, short_help="Records that could not be stored.")
@click.pass_context
def rejects(context: click.Context) -> None:
    """The quarantine: records that could not be stored, whole, with the reason.

    \b
    Example:
      etl rejects retry
      etl rejects dismiss 12 --reason "a test record"
    """
    if context.invoked_subcommand is None:
        context.invoke(list_)


@rejects.command("list", short_help="Those that are open.")
@click.option("--all", "every", is_flag=True, help="Resolved and dismissed ones too.")
@click.pass_obj
def list_(app: App, /, every: bool = False) -> None:
    """One line for each record in quarantine."""
    from etl.cli.printing import show  # noqa: PLC0415 - not for --help
    from etl.ledger.rejects import kept  # noqa: PLC0415

    with app.opened() as database, database.reading() as connection:
        found = kept(connection, open_only=not every)
    if not found:
        click.echo("nothing is in quarantine")
        return
    show(_LABELS, [_line(reject) for reject in found], wrap_last=True)


@rejects.command(short_help="One, whole.")
@click.argument("reject_id", metavar="ID", type=NUMBER)
@click.pass_obj
def show(app: App, /, reject_id: int) -> None:
    """Why it was rejected, and the record as it came."""
    with app.opened() as database:
        (found,) = _named(database, [reject_id])
    for name, value in zip(_LABELS, _line(found), strict=True):
        _say(f"{name:>13}  {value}")
    _say(f"{'note':>13}  {found.note or ''}")
    payload = json.dumps(json.loads(found.payload), indent=2, ensure_ascii=False)
    click.echo("".join(c if c.isprintable() or c == "\n" else _escaped(c) for c in payload))


@rejects.command(short_help="Asks the platform again.")
@click.argument("reject_id", metavar="[ID]...", type=NUMBER, nargs=-1)
@click.pass_obj
def retry(app: App, /, reject_id: tuple[int, ...]) -> int:
    """Asks the platform again for the named records, all open ones if none is named, and resolves
    those that can be stored now. One that was dismissed and is named is open again. Exit code 1
    while something stays."""
    from etl.cli.progress import display  # noqa: PLC0415 - not for --help
    from etl.ledger.rejects import kept  # noqa: PLC0415
    from etl.passes import Surroundings  # noqa: PLC0415
    from etl.retry import retry as retry_one  # noqa: PLC0415

    codes = [0]
    with (
        app.stoppable() as stop,
        app.opened(leased=True) as database,
        display(app.log_format) as shown,
    ):
        if reject_id:
            found = _named(database, reject_id)
        else:
            with database.reading() as connection:
                found = kept(connection, open_only=True)
        around = Surroundings(database, stop, shown)
        names = set(app.settings.source_names) if found else set()
        codes += [_stranger(app, reject) for reject in found if reject.source not in names]
        known = [reject for reject in found if reject.source in names]
        for configured in (
            app.settings.select(dict.fromkeys(r.source for r in known)) if known else ()
        ):
            own = [reject for reject in known if reject.source == configured.name]
            retried = retry_one(configured, own, around)
            codes += [_report(reject, "resolved") for reject in retried.resolved]
            codes += [_report(reject, "stays") for reject in retried.staying]
            if retried.outcome.error is not None:
                print_error(masked(f"{configured.name}: {retried.outcome.error}"))
                codes.append(retried.outcome.error.exit_code)
    if not found:
        click.echo("nothing is in quarantine")
    return app.exit_code(worst_of(codes))


@rejects.command(short_help="Closes some by hand.")
@click.argument("reject_id", metavar="ID...", type=NUMBER, nargs=-1, required=True)
@click.option("--reason", required=True, metavar="TEXT", help="Why; it is kept.")
@click.pass_obj
def dismiss(app: App, /, reject_id: tuple[int, ...], reason: str) -> None:
    """Closes the named records: they are no longer shown, however often they come."""
    from etl.ledger.rejects import dismiss as dismiss_all  # noqa: PLC0415 - not for --help

    with app.opened() as database:
        _named(database, reject_id)
        with database.writing() as connection:
            dismiss_all(connection, reject_id, reason, now=datetime.now(UTC))
    click.echo(f"dismissed: {', '.join(map(str, reject_id))}")


def _escaped(character: str) -> str:
    """As JSON may write it, too: it must not reach a terminal as it is."""
    return json.dumps(character)[1:-1]


_LABELS = ("id", "source", "upstream_id", "seen", "last_seen_at", "state", "reason")


def _line(reject: Kept) -> tuple[object, ...]:
    return (
        reject.reject_id,
        reject.source,
        reject.upstream_id or "",
        reject.seen_count,
        f"{reject.last_seen_at:%Y-%m-%d %H:%M:%S}",
        reject.resolution or "open",
        reject.reason,
    )


def _report(reject: Kept, fate: str) -> int:
    why = "" if fate == "resolved" else _why_it_stays(reject)
    _say(f"{reject.reject_id} {reject.source} {reject.upstream_id or '-'}: {fate}{why}")
    return 0 if fate == "resolved" else 1


def _stranger(app: App, reject: Kept) -> int:
    """Nobody says where its platform is."""
    where = f"{app.config} names no such source"
    _say(f"{reject.reject_id} {reject.source} {reject.upstream_id or '-'}: stays: {where}")
    return Usage.exit_code


def _say(line: str) -> None:
    """What came from a platform must not reach a terminal as it is."""
    from etl.cli.printing import one_line  # noqa: PLC0415 - not for --help

    click.echo(one_line(line))


def _why_it_stays(reject: Kept) -> str:
    if reject.upstream_id is None:
        return ": it has no id to ask for; etl rejects dismiss closes it"
    return f": {reject.reason}"


def _named(database: Database, ids: Sequence[int]) -> list[Kept]:
    from etl.ledger.rejects import kept  # noqa: PLC0415 - not for --help

    with database.reading() as connection:
        found = kept(connection, ids=ids, open_only=False)
    missing = set(ids) - {reject.reject_id for reject in found}
    if missing:
        raise Usage(f"there is no reject {min(missing)}; see etl rejects list --all")
    return found
