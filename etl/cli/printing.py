"""Rows on stdout, as they come: a table for people, CSV or JSON for programs.

A table on a terminal fits its width: long cells are cut, which a … says; rows with too many columns
stand as blocks. Elsewhere it is plain aligned text and complete. Memory holds the first rows of a
table, one row of CSV and JSON.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, TextIO

import click
from rich.cells import cell_len, set_cell_size

FORMATS = ("table", "csv", "json")

_GAP = 2
_NARROWEST = 8
_MEASURED_ROWS = 1000
_MEASURED_CHARACTERS = 2**22
_NUMBER = int | float | Decimal

Row = Sequence[Any]


def show(
    columns: Sequence[str], rows: Iterable[Row], form: str = "table", *, wrap_last: bool = False
) -> None:
    """Writes `rows` to stdout in one of FORMATS; `wrap_last`: on a terminal the last column of a
    table goes on in further lines instead of being cut."""
    with quiet_pipe() as out:
        if form == "csv":
            write_csv(columns, rows, out)
        elif form == "json":
            write_json(columns, rows, out)
        else:
            width = shutil.get_terminal_size().columns if out.isatty() else None
            write_table(columns, rows, out, width, wrap_last=wrap_last)


@contextmanager
def quiet_pipe() -> Iterator[TextIO]:
    """stdout in UTF-8; a reader that went away (`| head`) ends the block without a word."""
    out = sys.stdout
    if hasattr(out, "reconfigure"):
        out.reconfigure(encoding="utf-8", errors="backslashreplace")
    try:
        yield out
        out.flush()
    except BrokenPipeError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, out.fileno())  # the interpreter flushes stdout once more at its end


def write_csv(columns: Sequence[str], rows: Iterable[Row], out: TextIO) -> None:
    """RFC 4180 with a header: NULL is empty, an empty text is `""`."""
    if not columns:
        return
    for row in itertools.chain([columns], rows):
        line = ",".join(_csv_cell(value) for value in row)
        out.write((line or '""') + "\r\n")


def write_json(columns: Sequence[str], rows: Iterable[Row], out: TextIO) -> None:
    """An array of objects, one a line. A label that comes twice gets a number."""
    names = [json.dumps(name, ensure_ascii=False) for name in _distinct(columns)]
    before = "[\n"
    for row in rows:
        cells = (f"{name}: {_json(value)}" for name, value in zip(names, row, strict=True))
        out.write(f"{before}{{{', '.join(cells)}}}")
        before = ",\n"
    out.write("[]\n" if before == "[\n" else "\n]\n")


def write_table(
    columns: Sequence[str],
    rows: Iterable[Row],
    out: TextIO,
    width: int | None,
    *,
    wrap_last: bool = False,
) -> None:
    """`width` is the terminal's; None: not a terminal, so nothing is cut."""
    if not columns:
        return
    columns = [one_line(label) for label in columns]
    limit = None if width is None or wrap_last else width
    coming = iter(rows)
    first = list(_measured(coming, limit))
    if not first and width is not None:
        out.write("no rows\n")
        return
    natural = [
        max(cell_len(cell) for cell in column)
        for column in zip(columns, *(cells for cells, _ in first), strict=True)
    ]
    widths = _fitting(natural, width, wrap_last)
    everything = itertools.chain(first, ((_cells(row, limit), row) for row in coming))
    if widths is None:
        _write_blocks(columns, (cells for cells, _ in everything), out, width or 0)
        return
    right = [_is_numeric(row[place] for _, row in first) for place in range(len(columns))]
    layout = _Layout(widths, right, cut=width is not None, wrap_last=wrap_last)
    header = layout.line(columns)
    out.write((click.style(header, bold=True) if width is not None else header) + "\n")
    out.write("  ".join("-" * each for each in widths) + "\n" if width is None else "")
    for cells, _ in everything:
        out.write(layout.line(cells) + "\n")


class _Layout:
    """Where the columns of a table stand."""

    def __init__(
        self, widths: Sequence[int], right: Sequence[bool], *, cut: bool, wrap_last: bool
    ) -> None:
        self._widths, self._right = widths, right
        self._cut, self._wrap_last = cut, cut and wrap_last

    def line(self, cells: Sequence[str]) -> str:
        """One row; more than one line only where the last column is wrapped."""
        *before, last = cells
        head = [self._placed(cell, place) for place, cell in enumerate(before)]
        indent = sum(self._widths[:-1]) + _GAP * len(before)
        lines = [last]
        if self._wrap_last and cell_len(last) > self._widths[-1]:
            lines = textwrap.wrap(last, self._widths[-1]) or [""]
        shown = (" " * _GAP).join([*head, self._placed(lines[0], len(before))]).rstrip()
        return "\n".join([shown, *(" " * indent + line for line in lines[1:])])

    def _placed(self, cell: str, place: int) -> str:
        width = self._widths[place]
        if self._cut:
            cell = shortened(cell, width)
        blanks = " " * (width - cell_len(cell))
        return blanks + cell if self._right[place] else cell + blanks


def shortened(text: str, width: int) -> str:
    """`text` in at most `width` cells of a terminal, with a … where something was cut."""
    return text if cell_len(text) <= width else set_cell_size(text, width - 1).rstrip() + "…"


def _measured(rows: Iterator[Row], limit: int | None) -> Iterator[tuple[list[str], Row]]:
    """The first rows, whose widths decide about those of the columns."""
    characters = 0
    for row in itertools.islice(rows, _MEASURED_ROWS):
        cells = _cells(row, limit)
        yield cells, row
        characters += sum(map(len, cells))
        if characters > _MEASURED_CHARACTERS:
            return


def _cells(row: Row, limit: int | None) -> list[str]:
    """The values on one line each, cut at `limit` characters."""
    return [one_line(text_of(value), limit) for value in row]


def one_line(text: str, limit: int | None = None) -> str:
    """`text` with line ends and control characters written out: they must not reach a terminal."""
    if limit is not None and len(text) > limit:
        text = text[: limit - 1] + "…"
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _written_out(c) for c in text)


def _written_out(character: str) -> str:
    if character in ("\u3000", "\u00a0"):
        return character
    return character.encode("unicode_escape").decode()


def _fitting(natural: list[int], width: int | None, wrap_last: bool) -> list[int] | None:
    """Widths that fit: the widest columns give way. None when too little would be left."""
    if width is None:
        return natural
    left = width - _GAP * (len(natural) - 1)
    if wrap_last and left - sum(natural[:-1]) >= 3 * _NARROWEST:
        return [*natural[:-1], min(natural[-1], left - sum(natural[:-1]))]
    limit = max(natural)
    while sum(min(each, limit) for each in natural) > left and limit >= _NARROWEST:
        limit -= 1
    return [min(each, limit) for each in natural] if limit >= _NARROWEST else None


def _write_blocks(
    columns: Sequence[str], rows: Iterable[Sequence[str]], out: TextIO, width: int
) -> None:
    """A row as a block of lines, for rows that are too wide to stand in one."""
    label_width = max(cell_len(label) for label in columns)
    for number, cells in enumerate(rows, 1):
        out.write(click.style(f"row {number}", bold=True) + "\n")
        for label, cell in zip(columns, cells, strict=True):
            blanks = " " * (label_width - cell_len(label) + _GAP)
            out.write(shortened(f"{label}{blanks}{cell}".rstrip(), width) + "\n")


def _is_numeric(values: Iterable[Any]) -> bool:
    kinds = [isinstance(v, _NUMBER) and not isinstance(v, bool) for v in values if v is not None]
    return bool(kinds) and all(kinds)


def text_of(value: Any) -> str:
    """A value as people read it: times in UTC without a zone, NULL as nothing."""
    if isinstance(value, datetime):
        at = value.astimezone(UTC) if value.tzinfo is not None else value
        return at.replace(tzinfo=None).isoformat(" ")
    return _plain(value)


def _plain(value: Any) -> str:
    """A value for programs: times in ISO 8601 with Z, bytes in hex, NULL as nothing."""
    text = str(value)
    if value is None:
        text = ""
    elif isinstance(value, bool):
        text = text.lower()
    elif isinstance(value, datetime):
        text = value.isoformat().replace("+00:00", "Z")
    elif isinstance(value, Decimal) and value.is_finite():
        text = f"{value:f}"
    elif isinstance(value, bytes | bytearray | memoryview):
        text = bytes(value).hex()
    return text


def _csv_cell(value: Any) -> str:
    text = _plain(value)
    if value is None or (text and not any(c in text for c in ',"\r\n')):
        return text
    escaped = text.replace('"', '""')
    return f'"{escaped}"'


def _json(value: Any) -> str:
    """Numbers with all their digits; what JSON cannot say (NaN, bytes as hex) as a string."""
    if value is None or isinstance(value, bool | int):
        return json.dumps(value)
    if isinstance(value, float) and math.isfinite(value):
        return repr(value)
    if isinstance(value, Decimal) and value.is_finite():
        return f"{value:f}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_json, value))}]"
    return json.dumps(_plain(value), ensure_ascii=False)


def _distinct(names: Sequence[str]) -> list[str]:
    made: list[str] = []
    for name in names:
        number, free = 2, name
        while free in made:
            free = f"{name}_{number}"
            number += 1
        made.append(free)
    return made
