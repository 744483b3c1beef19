"""Reads YAML into a tree of texts: nothing is guessed, converted or replaced here.

PyYAML only composes; what a plain scalar would have become stays beside its text as `kind`, so
that a workspace of 32 digits is refused rather than read as a number. Anchors and `<<` work.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

import yaml
from msgspec import Struct, field

Kind = Literal["text", "number", "boolean", "date", "nothing", "broken"]

_TAG = "tag:yaml.org,2002:"
_KINDS: Mapping[str, Kind] = {
    "str": "text",
    "value": "text",
    "int": "number",
    "float": "number",
    "bool": "boolean",
    "timestamp": "date",
    "null": "nothing",
}
_OTHER_NUMBER = re.compile(r"[-+]?(0\d+|\d[\d_]*(\.\d*)?[eE][-+]?\d+)|0o[0-7]+", re.ASCII)
"""`1e3`, `089` and `0o17` are numbers to YAML 1.2, texts to PyYAML, and here no texts."""


class Scalar(Struct, frozen=True):
    """One value as it was written; "broken" when a mistake was already found in it."""

    text: str
    kind: Kind


class Map(Struct, frozen=True):
    """Keys with their values. `kinds`: what a key would have become unquoted (`no`, `007`)."""

    items: dict[str, Node]
    kinds: dict[str, Kind]


class Seq(Struct, frozen=True):
    """A list."""

    items: tuple[Node, ...]


Node = Scalar | Map | Seq

BROKEN = Scalar("", "broken")


def read(text: str) -> tuple[Node | None, list[str]]:
    """The tree, None when there is nothing in `text`, and the mistakes as `path: message`.

    Raises yaml.YAMLError, or RecursionError for a nesting of hundreds of levels.
    """
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    if root is None:
        return None, []
    builder = _Builder()
    return builder.build(root, ""), builder.mistakes


class _Builder(Struct):
    mistakes: list[str] = field(default_factory=list)
    _done: dict[int, Node] = field(default_factory=dict)
    _open: set[int] = field(default_factory=set)

    def build(self, node: yaml.Node, path: str) -> Node:
        if id(node) in self._done:
            return self._done[id(node)]
        if id(node) in self._open:
            return self._mistake(path, "an alias that stands within its own anchor")
        self._open.add(id(node))
        made = self._made(node, path)
        self._open.discard(id(node))
        self._done[id(node)] = made
        return made

    def _made(self, node: yaml.Node, path: str) -> Node:
        tag = node.tag.removeprefix(_TAG)
        if isinstance(node, yaml.MappingNode) and tag == "map":
            return self._map(node, path)
        if isinstance(node, yaml.SequenceNode) and tag == "seq":
            return Seq(tuple(self.build(n, f"{path}[{i}]") for i, n in enumerate(node.value)))
        if isinstance(node, yaml.ScalarNode) and tag in _KINDS:
            kind = _KINDS[tag]
            plain_number = node.style is None and _OTHER_NUMBER.fullmatch(node.value)
            return Scalar(node.value, "number" if kind == "text" and plain_number else kind)
        return self._mistake(path, "a YAML tag; put a text that begins with ! in quotes")

    def _map(self, node: yaml.MappingNode, path: str) -> Map:
        made = Map({}, {})
        merged: dict[str, Node] = {}
        lines: dict[str, int] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                self._mistake(path, f"line {line}: a key must be a word, not a list or a map")
                continue
            key = key_node.value
            here = join(path, key)
            if key in lines:
                self._mistake(here, f"stands twice, in line {lines[key]} and in line {line}")
                continue
            lines[key] = line
            if key_node.tag == f"{_TAG}merge":
                merged = self._merged(value_node, path)
                continue
            key_kind = self._made(key_node, here)
            made.items[key] = self.build(value_node, here)
            made.kinds[key] = key_kind.kind if isinstance(key_kind, Scalar) else "broken"
        for key, value in merged.items():
            made.items.setdefault(key, value)
            made.kinds.setdefault(key, "text")
        return made

    def _merged(self, node: yaml.Node, path: str) -> dict[str, Node]:
        """What `<<` brings; of several maps the first that has a key wins, as YAML says."""
        here = join(path, "<<")
        built = self.build(node, here)
        maps = built.items if isinstance(built, Seq) else (built,)
        merged: dict[str, Node] = {}
        for one in maps:
            if isinstance(one, Map):
                merged = {**one.items, **merged}
            elif one is not BROKEN:
                self._mistake(here, "merges something that is no map; write <<: *name")
        return merged

    def _mistake(self, path: str, message: str) -> Scalar:
        self.mistakes.append(f"{path}: {message}" if path else message)
        return BROKEN


def join(path: str, key: str) -> str:
    """`sources.graph` and `url` give `sources.graph.url`."""
    return f"{path}.{key}" if path else key
