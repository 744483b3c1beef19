"""The schedules.yaml that `etl init` writes: it loads, and it shows every setting there is."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec
import pytest

from etl import config, sources
from etl.config import Config, template
from etl.config.document import Common, Top
from etl.config.entries import KINDS
from etl.config.parsing import has_keys
from etl.config.reading import Located, Reader, located
from etl.config.tree import Map
from etl.errors import Usage

COMMENTED = re.compile(r"^( *)# ( *(?:- )?[a-z_]+:(?: .*)?)$", re.MULTILINE)
VARIABLE = re.compile(r"\$\{([A-Z][A-Z0-9_]*)\}")
NEEDED = {name: f"http://{name.lower()}.example" for name in VARIABLE.findall(template())}


def write(directory: Path, text: str) -> Path:
    path = directory / "schedules.yaml"
    path.write_text(text, "utf-8")
    return path


@pytest.fixture
def uncommented(tmp_path: Path) -> Config:
    """The template with every setting that it only shows taken as said."""
    return config.load(write(tmp_path, COMMENTED.sub(r"\1\2", template())), {})


def test_the_repository_has_the_very_text_that_init_writes() -> None:
    repository = Path(__file__).parents[1] / "schedules.yaml"
    assert repository.read_text("utf-8") == template()


def test_it_loads_and_every_source_can_be_used(tmp_path: Path) -> None:
    made = config.load(write(tmp_path, template()), NEEDED)
    assert [each.source.api for each in made.select(())] == ["explorer", "act2", "dataarts"]
    assert [(e.command, e.sources) for e in made.schedules] == [
        ("sync", ("graph", "quality")),
        ("sync", ("scripts",)),
        ("verify", ("graph", "scripts", "quality")),
    ]
    assert made.database_url() == "sqlite:///etl.db"


def test_in_a_fresh_checkout_it_says_which_variables_are_wanted(tmp_path: Path) -> None:
    made = config.load(write(tmp_path, template()), {})
    with pytest.raises(Usage) as raised:
        made.select(())
    lines = str(raised.value).replace(f"{tmp_path}/", "").splitlines()
    assert lines[0] == (
        "schedules.yaml: sources.graph.url: needs the environment variable EXPLORER_URL; "
        "it is not set"
    )
    assert {line.split()[6].rstrip(";") for line in lines} >= {
        "EXPLORER_URL",
        "EXPLORER_TOKEN",
        "ACT2_URL",
        "DATAARTS_URL",
    }


def keys(kind: type[msgspec.Struct]) -> set[str]:
    return {each.encode_name for each in msgspec.structs.fields(kind)}


def test_every_setting_of_the_file_and_of_defaults_is_shown(uncommented: Config) -> None:
    assert set(uncommented.document.top) == keys(Top)
    assert set(uncommented.document.defaults) == keys(Common)


@pytest.mark.parametrize("name", ["graph", "scripts", "quality"])
def test_every_setting_of_a_platform_is_shown(uncommented: Config, name: str) -> None:
    platform = uncommented.document.platforms[name]
    shown = uncommented.document.sources[name]
    assert set(shown) == keys(platform.settings)
    for field, inner in nested(platform.settings):
        node = shown[field].node
        assert isinstance(node, Map)
        assert set(node.items) == keys(inner)


def nested(kind: type[msgspec.Struct]) -> Iterator[tuple[str, type[msgspec.Struct]]]:
    """The settings that have keys of their own."""
    for each in msgspec.structs.fields(kind):
        for inner in getattr(each.type, "__args__", (each.type,)):
            if has_keys(inner):
                yield each.encode_name, inner


def test_every_key_of_a_schedule_is_shown(uncommented: Config) -> None:
    shown = {
        key
        for node in uncommented.document.schedules
        if isinstance(node, Map)
        for key in node.items
    }
    assert shown == {key for kind in KINDS.values() for key in keys(kind)}


def test_what_is_shown_is_the_default(uncommented: Config) -> None:
    document = uncommented.document
    assert differing(Top, document.top) == []
    assert differing(Common, document.defaults) == []
    for name, platform in document.platforms.items():
        own = {k: v for k, v in document.sources[name].items() if v.path.startswith("sources.")}
        assert differing(platform.settings, own) == []


def differing(kind: type[msgspec.Struct], shown: Mapping[str, Located]) -> list[str]:
    """The settings that are shown with a literal other than their default."""
    reader = Reader()
    found = []
    for each in msgspec.structs.fields(kind):
        if each.required or each.default is None or each.encode_name not in shown:
            continue
        here = shown[each.encode_name]
        if isinstance(here.node, Map):
            found += differing(each.type, located(here.node, here.path))
        elif "${" not in str(here.node) and reader.value(each, here) != each.default:
            found.append(here.path)
    return found


def test_every_platform_has_its_place() -> None:
    shown = set(re.findall(r"^ +api: (\w+)", template(), re.MULTILINE))
    assert shown == set(sources.names())
