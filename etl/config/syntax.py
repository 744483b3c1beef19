"""Says where YAML stopped being YAML, and what is usually the cause.

The line is shown, but never what follows a key that speaks of a secret, nor a line that may go on
with such a value, nor the password of a URL.
"""

from __future__ import annotations

import re

import yaml

_SECRET = re.compile(r"[\w-]*(pass|pwd|token|secret|key|credential|auth)[\w-]*", re.IGNORECASE)
_URL_PASSWORD = re.compile(r"://.*@")
_KEY = re.compile(r"\s*(?:- +)*[\w-]+ *:(?: |$)")
_NO_SPACE = re.compile(r"\s*(?:- +)*([\w-]+):(?!//)[^\s:]")
_FORBIDDEN_START = re.compile(r"(?::|-)\s+([@`%])")
_STAR_START = re.compile(r"(?::|-)\s+\*")
_FLOW_REFERENCE = re.compile(r"[{\[].*\$\{")
_WIDEST = 160
_LEVEL = (
    "Keys of one level begin in the same column, each with a colon and a space; "
    "within single quotes write ' twice."
)
_OPEN = "A quotation mark or a bracket is not closed."
_HINTS = {
    "mapping values": "Put a value that holds a colon and a space in quotes, "
    "or look at the indentation.",
    "end of stream": _OPEN,
    "expected ','": _OPEN,
    "block end": _LEVEL,
    "expected ':'": _LEVEL,
    "another document": "One document only: take the line --- out.",
    "escape character": "Within double quotes \\ begins an escape; use single quotes.",
    "undefined alias": "A value that begins with * belongs in quotes.",
}
"""The usual cause, by words of PyYAML's message."""


def describe(error: yaml.YAMLError | RecursionError, text: str, name: str) -> str:
    """`schedules.yaml:12:9: …`, the line, and a hint."""
    if not isinstance(error, yaml.MarkedYAMLError | yaml.reader.ReaderError):
        return f"{name}: nested too deeply to be read"
    row, column, problem = _place(error, text)
    lines = text.splitlines() or [""]
    row = min(row, len(lines) - 1)
    shown, hidden = _shown(lines, row)
    if hidden:
        problem = re.sub(r"'[^']*'", "…", problem)
    hint = _hint(lines, row, problem)
    parts = [f"{name}:{row + 1}:{column + 1}: this is no YAML: {problem}", f"    {shown}", hint]
    return "\n".join(part for part in parts if part.strip())


def _place(
    error: yaml.MarkedYAMLError | yaml.reader.ReaderError, text: str
) -> tuple[int, int, str]:
    """Line and column, counted from 0, and PyYAML's own words."""
    if isinstance(error, yaml.reader.ReaderError):
        before = text[: error.position]
        problem = f"the character U+{error.character:04X} may not stand in it"
        return before.count("\n"), len(before) - before.rfind("\n") - 1, problem
    problem = error.problem or error.context or ""
    mark = error.problem_mark or error.context_mark
    if error.context_mark is not None and (
        "end of stream" in problem or "could not find expected ':'" in problem
    ):
        mark = error.context_mark
    return (mark.line, mark.column, problem) if mark is not None else (0, 0, problem)


def _shown(lines: list[str], row: int) -> tuple[str, bool]:
    """The line without secrets, and whether something was left out."""
    line = lines[row]
    found = _SECRET.search(line)
    if found and not _continues_secret(lines, row):
        shown = f"{line[: found.end()].rstrip()}: […]"
    elif _continues_secret(lines, row):
        shown = "[…]"
    else:
        shown = _URL_PASSWORD.sub("://[…]@", line)
    visible = "".join(each if each.isprintable() else "·" for each in shown[:_WIDEST])
    return visible, shown != line


def _continues_secret(lines: list[str], row: int) -> bool:
    """Whether the line may go on with the value of a key above it that speaks of a secret."""
    indent = _indent(lines[row])
    is_key = _KEY.match(lines[row]) is not None
    for above in reversed(lines[:row]):
        if not _KEY.match(above):
            continue
        if not is_key or _indent(above) < indent:
            if _SECRET.search(above):
                return True
            is_key = True
            indent = min(indent, _indent(above))
    return False


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _hint(lines: list[str], row: int, problem: str) -> str:
    line = lines[row]
    if "\t" in line[: _indent(line)] or "\\t" in problem:
        return "Indent with spaces; YAML knows no tabs there."
    for number in (row, row - 1):
        found = _NO_SPACE.match(lines[number]) if number >= 0 else None
        if found and "${" not in lines[number]:
            hidden = _shown(lines, number)[1]
            key = "its key" if hidden else repr(found[1])
            return f"Line {number + 1}: put a space after the colon of {key}."
    if _STAR_START.search(line):
        return 'Put a value that begins with * in quotes: cron: "*/10 * * * *"'
    start = _FORBIDDEN_START.search(line)
    if start:
        return f'Put a value that begins with {start[1]} in quotes: cron: "@daily"'
    if _FLOW_REFERENCE.search(line):
        return 'Within { } and [ ] put ${…} in quotes: {token: "${TOKEN}"}'
    return _hint_by_problem(problem)


def _hint_by_problem(problem: str) -> str:
    return next((hint for words, hint in _HINTS.items() if words in problem), "")
