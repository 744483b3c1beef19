"""What the tests of the configuration share: files as a user writes them, a fourth platform."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

import etl.sources
from etl import config
from etl.config import Config
from etl.errors import Usage

PLATFORMS = Path(__file__).parent / "platforms"

URL = "url: https://four.example"
SOURCE = f"sources:\n  graph:\n    api: fourth\n    {URL}\n    token: ${{TOKEN}}\n"
"""A valid file with one source; further keys of the source may follow, four spaces in."""


@contextlib.contextmanager
def fourth_platform() -> Iterator[None]:
    """Adds a directory of platforms, and nothing else."""
    with mock.patch.object(etl.sources, "__path__", [*etl.sources.__path__, str(PLATFORMS)]):
        yield


def load(directory: Path, text: str | bytes, env: Mapping[str, str] | None = None) -> Config:
    """Loads `text` as schedules.yaml of `directory`."""
    path = directory / "schedules.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with fourth_platform():
        return config.load(path, env or {})


def graph(directory: Path, lines: str = "", env: Mapping[str, str] | None = None) -> Any:
    """The settings of SOURCE with further keys, one a line without indentation."""
    text = SOURCE + "".join(f"    {line}\n" for line in lines.splitlines())
    return load(directory, text, {"TOKEN": "t0ken", **(env or {})}).source("graph").settings


def complaint(directory: Path, text: str | bytes, env: Mapping[str, str] | None = None) -> str:
    """What a user reads who loads `text` and uses all there is, without the directory's name."""
    with pytest.raises(Usage) as raised:
        _use_all(directory, text, {"TOKEN": "t0ken", **(env or {})})
    return str(raised.value).replace(f"{directory}/", "")


def _use_all(directory: Path, text: str | bytes, env: Mapping[str, str]) -> None:
    made = load(directory, text, env)
    made.select(())
    _ = made.schedules, made.keep_runs, made.database_schema, made.database_url(None)
