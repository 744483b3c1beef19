"""The README tells the truth: its queries, its answers, its commands, its settings."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import databases
import msgspec
import pytest
import readme

import etl.sources
from etl.cli import cli
from etl.config.document import Top
from etl.config.parsing import has_keys
from etl.examples import EXAMPLES

_BY_TODAY = {"usual", "slow"}
"""These ask for the last 90 days as the database counts them: their answers move with the date."""


def _plain(value: Any) -> str:
    """One spelling for what drivers type differently."""
    if isinstance(value, (Decimal, float)):
        return f"{value:.3f}"
    if isinstance(value, int):
        return f"{value:.3f}"
    if isinstance(value, datetime):
        value = value.astimezone(UTC) if value.tzinfo else value
        return f"{value:%Y-%m-%d %H:%M:%S}"
    return re.sub(r"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)\.0+$", r"\1", str(value))


def test_the_readme_shows_every_example_as_it_is() -> None:
    shown = readme.shown()
    assert [each.question for each in shown] == [each.question for each in EXAMPLES]
    assert [each.sql for each in shown] == [each.at(readme.NOW) for each in EXAMPLES]
    assert len(EXAMPLES) == 12


def test_the_answers_of_the_readme_are_those_of_the_demo(database_url: str) -> None:
    answers = list(readme.answered(database_url, readme.NOW))
    for example, shown, answer in zip(EXAMPLES, readme.shown(), answers, strict=True):
        assert list(answer.columns) == shown.columns
        if example.name not in _BY_TODAY and database_url.startswith("sqlite"):
            assert readme.table(answer.columns, answer.rows) == shown.answer


@pytest.mark.long
def test_every_query_answers_alike_on_every_database(
    servers: Callable[[str], databases.Server],
) -> None:
    now = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=5)
    answers = {
        kind: list(readme.answered(servers(kind).migrated(), now)) for kind in databases.KINDS
    }
    told = 0
    for place, example in enumerate(EXAMPLES):
        rows = {
            kind: [tuple(_plain(value) for value in row) for row in found[place].rows]
            for kind, found in answers.items()
        }
        assert rows["postgresql"] == rows["sqlite"], example.name
        assert rows["mariadb"] == rows["sqlite"], example.name
        told += bool(rows["sqlite"])
    assert told > len(EXAMPLES) - 3, "at another hour another query may find nothing"


def test_every_command_is_in_the_readme() -> None:
    text = readme.README.read_text(encoding="utf-8")
    table = text.partition("### Commands")[2].partition("### Settings")[0]
    told = set(re.findall(r"^\| `([a-z]+)", table, re.MULTILINE))
    assert told == set(cli.commands) | set(cli.list_commands(None))  # type: ignore[arg-type]  # asks no context


def test_every_option_of_all_commands_is_in_the_readme() -> None:
    text = readme.README.read_text(encoding="utf-8")
    for option in cli.params:
        assert max(option.opts, key=len) in text or option.opts[0] in text
        if option.envvar:
            assert f"`{option.envvar}`" in text


@pytest.mark.parametrize("api", [None, *etl.sources.names()])
def test_every_setting_is_in_the_readme(api: str | None) -> None:
    text = readme.README.read_text(encoding="utf-8")
    settings = Top if api is None else etl.sources.find(api).settings
    for name in _names(settings):
        assert f"`{name}`" in text, f"{api or 'top'}: {name}"


def _names(struct: type[Any]) -> set[str]:
    """The settings of a struct, and of the structs in it."""
    found = set()
    for field in msgspec.structs.fields(struct):
        found.add(field.name)
        for part in getattr(field.type, "__args__", (field.type,)):
            if has_keys(part):
                found |= _names(part)
    return found - {"api"}
