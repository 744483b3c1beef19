"""`${NAME}`, `${NAME:-default}`, `${file:PATH}` and `$$` in the texts of schedules.yaml.

They are replaced after YAML was read, and what they bring is never read again: a secret may hold
any character. No message here holds a value.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

_DOLLAR = re.compile(r"\$\$|\$\{(?P<body>[^}]*)\}|\$\{", re.ASCII)
_BODY = re.compile(r"(?P<name>[A-Za-z_]\w*)(?::-(?P<default>.*))?", re.ASCII | re.DOTALL)
_BARE = re.compile(r"\$[A-Za-z_]\w*", re.ASCII)


class Variable(Struct, frozen=True):
    """`${NAME}` or `${NAME:-default}`."""

    name: str
    default: str | None

    def __str__(self) -> str:
        return f"${{{self.name}}}"


class File(Struct, frozen=True):
    """`${file:PATH}`."""

    path: str

    def __str__(self) -> str:
        return f"${{file:{self.path}}}"


Reference = Variable | File


class Template(Struct, frozen=True):
    """A text with references in it."""

    parts: tuple[str | Reference, ...]

    @property
    def references(self) -> tuple[Reference, ...]:
        return tuple(part for part in self.parts if not isinstance(part, str))

    def __str__(self) -> str:
        """The references alone, without their defaults."""
        return " ".join(str(reference) for reference in self.references)


def parse(text: str) -> Template:
    """Raises ValueError with what would be right."""
    if _BARE.fullmatch(text):
        raise ValueError(
            "a $ alone replaces nothing; write ${NAME} for a variable, $$ for a dollar"
        )
    parts: list[str | Reference] = []
    end = 0
    for found in _DOLLAR.finditer(text):
        parts.append(text[end : found.start()])
        end = found.end()
        parts.append("$" if found[0] == "$$" else _reference(found["body"]))
    parts.append(text[end:])
    return Template(tuple(part for part in parts if part != ""))


def _reference(body: str | None) -> Reference:
    if body is None:
        raise ValueError("${ without its }; write ${NAME}, or $${ for the characters themselves")
    if "${" in body:
        raise ValueError("${…} within ${…} is not possible")
    if body.startswith("file:") and body != "file:":
        return File(body.removeprefix("file:").strip())
    found = _BODY.fullmatch(body)
    if not found:
        raise ValueError("a ${…} that is none of ${NAME}, ${NAME:-default}, ${file:PATH}")
    default = found["default"]
    return Variable(found["name"], None if default is None else default.replace("$$", "$"))


class Resolver(Struct, frozen=True):
    """Replaces references; files are relative to `directory`, that of schedules.yaml."""

    env: Mapping[str, str]
    directory: Path

    def __call__(self, template: Template) -> str:
        """Raises ValueError that names the variable or file."""
        return "".join(
            part if isinstance(part, str) else self._replacement(part) for part in template.parts
        )

    def _replacement(self, reference: Reference) -> str:
        if isinstance(reference, File):
            return self._file(reference)
        text = self.env.get(reference.name)
        if reference.default is not None and not text:
            return reference.default
        if text is None:
            raise ValueError(f"needs the environment variable {reference.name}; it is not set")
        if not _is_utf8(text):
            raise ValueError(f"the environment variable {reference.name} is not UTF-8")
        return text

    def _file(self, reference: File) -> str:
        path = self.directory / reference.path
        try:
            return path.read_text("utf-8-sig").rstrip("\r\n")
        except FileNotFoundError:
            raise ValueError(f"there is no file {path}") from None
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise ValueError(f"the file {path} cannot be read: {reason}") from None


class Lenient(Resolver, frozen=True):
    """Leaves what cannot be replaced as it stands, for whoever asks no platform."""

    def __call__(self, template: Template) -> str:
        try:
            return super().__call__(template)
        except ValueError:
            return str(template)


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class Reread:
    """Replaces the references of a secret again; what was read last stands while that fails.

    A file may be gone for a moment while it is rotated.
    """

    def __init__(self, resolver: Resolver, template: Template, text: str) -> None:
        self._resolver = resolver
        self._template = template
        self._last = text

    def __call__(self) -> str:
        try:
            self._last = self._resolver(self._template)
        except ValueError:
            return self._last
        return self._last
