"""Asks before something is lost."""

from __future__ import annotations

import sys

import click

from etl.errors import Usage


def confirm(what: str, *, yes: bool) -> None:
    """Goes on after `--yes`, or after a y on a terminal. Raises Usage elsewhere, Abort for a no."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise Usage(f"{what}; to go on without being asked, add --yes")
    click.confirm(f"{what}. Go on?", abort=True, err=True)
