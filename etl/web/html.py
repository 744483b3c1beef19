"""HTML that cannot be broken out of: a tree of elements, in which every text is escaped.

Nothing here takes markup as text. What people read passes through `masked` on its way.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import NamedTuple, TypeAlias

from etl.redact import masked

Attribute: TypeAlias = str | int | float | bool | None


class Element(NamedTuple):
    """A tag, its attributes (None and False: left out; True: bare) and what it holds."""

    tag: str
    attributes: dict[str, Attribute]
    children: tuple[Node, ...]


Node: TypeAlias = "Element | str | int | Iterable[Node] | None"

_EMPTY = frozenset({"meta", "link", "br", "hr", "img", "input"})
_READ_BY_PEOPLE = frozenset({"title", "aria-label"})


def tag(name: str, *children: Node, **attributes: Attribute) -> Element:
    """`tag("a", "run 7", href="/runs/7", class_="quiet")`; `_` in a name stands for `-`."""
    named = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items()}
    return Element(name, named, children)


def svg(name: str, *children: Node, **attributes: Attribute) -> Element:
    """As `tag`, for SVG, whose attributes have capitals and no `-` of ours."""
    return Element(name, {key.rstrip("_"): value for key, value in attributes.items()}, children)


def document(root: Element) -> bytes:
    """The whole page."""
    out = ["<!doctype html>\n"]
    _write(root, out)
    return "".join(out).replace("\0", "\u2400").encode("utf-8", "replace")


def _write(node: Node, out: list[str]) -> None:
    if node is None:
        return
    if isinstance(node, str | int):
        out.append(escape(masked(str(node)), quote=False))
    elif isinstance(node, Element):
        _write_element(node, out)
    else:
        for each in node:
            _write(each, out)


def _write_element(element: Element, out: list[str]) -> None:
    out.append(f"<{element.tag}")
    for name, value in element.attributes.items():
        if value is None or value is False:
            continue
        out.append(f" {name}")
        if value is not True:
            text = masked(str(value)) if name in _READ_BY_PEOPLE else str(value)
            out.append(f'="{escape(text)}"')
    out.append(">")
    if element.tag in _EMPTY:
        return
    for child in element.children:
        _write(child, out)
    out.append(f"</{element.tag}>")
