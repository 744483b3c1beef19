"""Fills declared structs from the tree and collects every mistake on the way.

With a resolver all is read; without one (while the file is only being checked) a value that holds
a `${…}` is left for later, and everything else is checked.
"""

from __future__ import annotations

import functools
import types
import typing
from collections.abc import Mapping
from typing import Annotated, Any, Final, NamedTuple, TypeVar

import msgspec
from msgspec import Struct, field

from etl.config.parsing import Given, has_keys, parse
from etl.config.substitution import Reread, Resolver, Template
from etl.config.substitution import parse as parse_template
from etl.config.tree import Map, Node, Scalar, Seq, join
from etl.hints import did_you_mean
from etl.redact import Secret

_S = TypeVar("_S", bound=Struct)


class Located(NamedTuple):
    """A node and where it stands; an inherited key stands in `defaults`."""

    path: str
    node: Node


class _Later:
    """A value that cannot be told: it waits for a resolver, or its mistake is already noted."""


LATER: Final = _Later()

_fields = functools.cache(msgspec.structs.fields)
"""Evaluates annotations anew each time, which is slow."""


def located(node: Map, path: str) -> dict[str, Located]:
    """The keys of a map, each with its path."""
    return {key: Located(join(path, key), value) for key, value in node.items.items()}


class Reader(Struct):
    """Reads structs; `mistakes` are lines `path: message` in the order of reading."""

    resolver: Resolver | None = None
    mistakes: list[str] = field(default_factory=list)

    def note(self, path: str, message: str) -> _Later:
        line = f"{path}: {message}"
        if line not in self.mistakes:
            self.mistakes.append(line)
        return LATER

    def struct(self, kind: type[_S], given: Mapping[str, Located], path: str) -> _S | None:
        """The struct; None when something is wrong (and noted) or waits for the resolver."""
        before = len(self.mistakes)
        fields = _fields(kind)
        self._refuse_unknown([each.encode_name for each in fields], given)
        values: dict[str, Any] = {}
        for each in fields:
            found = given.get(each.encode_name)
            if found is not None:
                values[each.name] = self.value(each, found)
            elif each.required:
                self.note(join(path, each.encode_name), "is missing and has no default")
        if len(self.mistakes) > before or LATER in values.values():
            return None
        try:
            return kind(**values)
        except ValueError as error:
            self.note(path, str(error))
            return None

    def value(self, declared: msgspec.structs.FieldInfo, found: Located) -> Any:
        """One value, of the type that its field declares, or LATER."""
        kind, is_list = _base(declared.type)
        if has_keys(kind):
            return self._nested(kind, found)
        if is_list:
            return self._list(declared, kind, found)
        value = self._scalar(kind, declared.encode_name, found)
        return value if value is LATER else self._constrained(value, kind, declared, found)

    def _constrained(
        self, value: Any, kind: Any, declared: msgspec.structs.FieldInfo, found: Located
    ) -> Any:
        """Applies what `msgspec.Meta` says of a plain type."""
        if kind not in (bool, int, float, str):
            return value
        try:
            return msgspec.convert(value, declared.type)
        except msgspec.ValidationError as error:
            return self.note(found.path, f"does not fit: {error}")

    def _refuse_unknown(self, known: list[str], given: Mapping[str, Located]) -> None:
        for key, found in given.items():
            if key not in known:
                self.note(found.path, f"unknown key; {did_you_mean(key, known)}")

    def _nested(self, kind: type[Struct], found: Located) -> Any:
        path, node = found
        if isinstance(node, Map):
            made = self.struct(kind, located(node, path), path)
            return LATER if made is None else made
        keys = ", ".join(each.encode_name for each in _fields(kind))
        return self.refuse_shape(found, f"keys of its own ({keys})")

    def _list(self, declared: msgspec.structs.FieldInfo, kind: Any, found: Located) -> Any:
        """A list, or one value that stands for a list of one."""
        path, node = found
        if not isinstance(node, Seq):
            one = self._scalar(kind, declared.encode_name, found)
            return one if one is LATER else (one,)
        if not node.items:
            return self.note(path, "is an empty list; name at least one")
        values = [
            self._scalar(kind, declared.encode_name, Located(f"{path}[{i}]", item))
            for i, item in enumerate(node.items)
        ]
        return LATER if LATER in values else tuple(values)

    def _scalar(self, kind: Any, name: str, found: Located) -> Any:
        path, node = found
        if not isinstance(node, Scalar):
            return self.refuse_shape(found, "one value")
        if node.kind == "broken":
            return LATER
        if node.kind == "nothing":
            return self.note(path, "has no value; give it one or leave the key out")
        try:
            template = parse_template(node.text)
            if template.references and self.resolver is None:
                return LATER
            text = self.resolver(template) if self.resolver else "".join(map(str, template.parts))
            value = parse(kind, name, _given(text, node, template))
        except ValueError as error:
            return self.note(path, str(error))
        return self._secret(template, text) if kind is Secret else value

    def _secret(self, template: Template, text: str) -> Secret:
        if self.resolver is None or not template.references:
            return Secret(text)
        return Secret(text, Reread(self.resolver, template, text))

    def refuse_shape(self, found: Located, needed: str) -> _Later:
        """Notes that a node is not of the shape that was needed; never shows what it holds."""
        path, node = found
        if isinstance(node, Scalar) and node.kind == "broken":
            return LATER
        if isinstance(node, Scalar) and node.kind == "nothing":
            return self.note(path, f"has nothing below it; it needs {needed}")
        came = "a map" if isinstance(node, Map) else "a list" if isinstance(node, Seq) else "a text"
        hint = "; is a space missing after a colon?" if came == "a text" else ""
        return self.note(path, f"needs {needed}, not {came}{hint}")


def _given(text: str, node: Scalar, template: Template) -> Given:
    if template.references:
        return Given(text, "text", f"the value of {template}", replaced=True)
    shown = repr(text) if node.kind == "text" else text
    return Given(text, node.kind, shown if len(shown) <= 80 else f"{shown[:77]}…")


def _base(hint: Any) -> tuple[Any, bool]:
    """The type within Optional, Annotated and `tuple[…, ...]`, and whether it is a list."""
    origin = typing.get_origin(hint)
    if origin is Annotated:
        return _base(typing.get_args(hint)[0])
    if origin in (typing.Union, types.UnionType):
        inner = [each for each in typing.get_args(hint) if each is not type(None)]
        return _base(inner[0]) if len(inner) == 1 else (hint, False)
    if origin is tuple:
        return typing.get_args(hint)[0], True
    return hint, False
