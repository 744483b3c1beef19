"""Platforms are found where they lie: one more file in a directory is one more platform."""

from __future__ import annotations

import subprocess
import sys

import pytest
from configuring import fourth_platform

from etl import sources
from etl.errors import Usage


def test_the_platforms_are_those_that_lie_there() -> None:
    assert sources.names() == ["act2", "dataarts", "explorer"]
    with fourth_platform():
        assert sources.names() == ["act2", "dataarts", "explorer", "fourth"]
        assert sources.find("fourth").api == "fourth"


def test_an_unknown_platform_is_refused_with_the_nearest() -> None:
    with pytest.raises(Usage, match=r"^there is no platform 'explorr'; did you mean 'explorer'\?$"):
        sources.find("explorr")
    with pytest.raises(Usage, match=r"^there is no platform 'x'; known: act2, dataarts, explorer$"):
        sources.find("x")


@pytest.mark.parametrize("api", ["", ".", "os", "__init__", "act2.tables", "../act2"])
def test_nothing_but_a_platform_is_imported(api: str) -> None:
    with pytest.raises(Usage):
        sources.find(api)


@pytest.mark.parametrize("api", ["act2", "dataarts", "explorer"])
def test_each_platform_holds_itself_under_its_own_name(api: str) -> None:
    assert sources.find(api).api == api


def test_finding_one_imports_no_other() -> None:
    code = (
        "import sys; from etl import sources; sources.names();"
        "assert 'etl.source' not in sys.modules; sources.find('dataarts');"
        "print([m for m in ('act2', 'explorer') if f'etl.sources.{m}' in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"
