"""The file itself: read, and its shape checked, before anything in it is resolved."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import yaml
from msgspec import Struct, field

from etl import sources
from etl.config import entries, syntax, tree
from etl.config.reading import Located, Reader, located
from etl.config.tree import Map, Node, Scalar, Seq, join
from etl.errors import Usage
from etl.hints import did_you_mean
from etl.source import Settings, Source
from etl.units import Duration

_NAME = re.compile(r"[a-z0-9_-]{1,64}", re.ASCII)
_RESERVED = ("all", "list")
_SECTIONS = ("defaults", "sources", "schedules")


class Top(msgspec.Struct, frozen=True, kw_only=True):
    """What stands at the top of the file, beside its sections."""

    database: str = "sqlite:///etl.db"
    database_schema: str | None = None
    keep_runs: Duration = Duration(90 * 86400)


def _common() -> type[msgspec.Struct]:
    """What `defaults` may hold: the settings of every source, except `api`."""
    fields = [each for each in msgspec.structs.fields(Settings) if each.name != "api"]
    return msgspec.defstruct("Common", [(f.name, f.type, f.default) for f in fields], kw_only=True)


Common = _common()


class Document(Struct, frozen=True):
    """schedules.yaml, checked as far as that goes without resolving a `${…}`."""

    top: Mapping[str, Located] = field(default_factory=dict)
    defaults: Mapping[str, Located] = field(default_factory=dict)
    sources: Mapping[str, Mapping[str, Located]] = field(default_factory=dict)
    """The keys of each source, its own and those it inherits."""
    apis: Mapping[str, str] = field(default_factory=dict)
    """The platform's word of each source."""
    platforms: Mapping[str, Source] = field(default_factory=dict)
    """What the words mean; empty when only the outline was read."""
    schedules: tuple[Node, ...] = ()


def read(path: Path, *, outline: bool = False) -> Document:
    """Raises Usage with every mistake that shows, a line each.

    `outline` leaves the keys of the sources alone, and the platforms unimported.
    """
    text = _text(path)
    try:
        root, mistakes = tree.read(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise Usage(syntax.describe(error, text, str(path))) from None
    if root is None:
        raise Usage(f"{path}: is empty; `etl init` writes a commented example")
    reader = Reader(mistakes=list(mistakes))
    document = _document(reader, root, outline)
    refuse(path, reader)
    return document


def refuse(path: Path, reader: Reader) -> None:
    """Raises Usage when `reader` has noted mistakes: one line each, with the file's name."""
    if reader.mistakes:
        raise Usage("\n".join(f"{path}: {line}" for line in reader.mistakes))


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")
    except FileNotFoundError:
        raise Usage(
            f"{path}: there is no such file; `etl init` writes a commented one, "
            "--config names another"
        ) from None
    except IsADirectoryError:
        raise Usage(f"{path}: is a directory; --config names a file in it") from None
    except OSError as error:
        raise Usage(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise Usage(f"{path}:{line}: is not UTF-8; save it as UTF-8") from None


def _document(reader: Reader, root: Node, outline: bool) -> Document:
    if not isinstance(root, Map):
        reader.refuse_shape(Located("the file", root), f"keys ({', '.join(_keys())})")
        return Document()
    given = located(root, "")
    for key, found in given.items():
        if key not in _keys():
            reader.note(found.path, f"unknown key; {did_you_mean(key, _keys())}")
    top = {key: found for key, found in given.items() if key not in _SECTIONS and key in _keys()}
    reader.struct(Top, top, "")
    defaults = _section(reader, given.get("defaults"))
    reader.struct(Common, defaults, "defaults")
    named, apis, platforms = _sources(reader, given.get("sources"), defaults, outline)
    schedules = _schedules(reader, given.get("schedules"))
    entries.read(reader, schedules, named)
    return Document(top, defaults, named, apis, platforms, schedules)


def _keys() -> list[str]:
    return [each.name for each in msgspec.structs.fields(Top)] + list(_SECTIONS)


def _is_absent(found: Located | None) -> bool:
    """Not there, or there with all that it held commented out."""
    return found is None or (isinstance(found.node, Scalar) and found.node.kind == "nothing")


def _section(reader: Reader, found: Located | None) -> dict[str, Located]:
    """The keys of a map; none when it is absent or no map (which is then noted)."""
    if found is None or _is_absent(found):
        return {}
    if not isinstance(found.node, Map):
        reader.refuse_shape(found, "keys of its own")
        return {}
    return located(found.node, found.path)


def _schedules(reader: Reader, found: Located | None) -> tuple[Node, ...]:
    if found is None or _is_absent(found):
        return ()
    if not isinstance(found.node, Seq):
        reader.refuse_shape(found, "a list (- sync: all)")
        return ()
    return found.node.items


def _sources(
    reader: Reader, found: Located | None, defaults: Mapping[str, Located], outline: bool
) -> tuple[dict[str, Mapping[str, Located]], dict[str, str], dict[str, Source]]:
    named: dict[str, Mapping[str, Located]] = {}
    apis: dict[str, str] = {}
    platforms: dict[str, Source] = {}
    section = _section(reader, found)
    for name, one in section.items():
        _check_name(reader, one.path, name, found)
        named[name] = {}
        if not isinstance(one.node, Map):
            reader.refuse_shape(one, "keys of its own (api, url, …)")
            continue
        own = located(one.node, one.path)
        api = _api(reader, one.path, own.get("api"))
        if api is not None:
            apis[name] = api
            usable = {k: v for k, v in defaults.items() if k in Common.__struct_fields__}
            named[name] = usable | own
        if api is not None and not outline:
            platforms[name] = sources.find(api)
            reader.struct(platforms[name].settings, own, one.path)
    return named, apis, platforms


def _check_name(reader: Reader, path: str, name: str, section: Located | None) -> None:
    kind = "text"
    if section is not None and isinstance(section.node, Map):
        kind = section.node.kinds[name]
    if name in _RESERVED:
        reader.note(path, f"no source may be named {name!r}: commands use the word")
    elif not _NAME.fullmatch(name):
        reader.note(path, "a source's name is 1 to 64 of a-z 0-9 _ -")
    elif kind not in ("text", "broken"):
        reader.note(path, f'the name is read as a {kind}; put it in quotes: "{name}":')


def _api(reader: Reader, path: str, api: Located | None) -> str | None:
    known = sources.names()
    path = join(path, "api")
    if api is None:
        reader.note(path, f"is missing; write one of {', '.join(known)}")
        return None
    if not isinstance(api.node, Scalar):
        reader.refuse_shape(api, "one value")
        return None
    if "${" in api.node.text:
        reader.note(path, f"cannot come from ${{…}}; write one of {', '.join(known)}")
        return None
    if api.node.kind == "broken":
        return None
    try:
        return sources.known(api.node.text)
    except Usage as error:
        reader.note(path, str(error))
        return None


def settings_fields(platform: Source | None) -> dict[str, Any]:
    """The settings of a platform, else of every one, by the key that schedules.yaml has."""
    settings = Settings if platform is None else platform.settings
    return {each.encode_name: each for each in msgspec.structs.fields(settings)}
