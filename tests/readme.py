"""The README's queries and answers, taken from the examples and the demo: `poe readme`."""

from __future__ import annotations

import io
import re
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from etl import demo
from etl.cli.printing import write_table
from etl.cli.progress import Silent
from etl.examples import EXAMPLES

README = Path(__file__).parent.parent / "README.md"
NOW = datetime(2026, 11, 22, 8, tzinfo=UTC)
"""The time of the demo whose answers the README shows."""

_BEGIN, _END = "<!-- answers -->\n", "<!-- /answers -->\n"
_WIDTH = 110


@dataclass(frozen=True)
class Shown:
    """One query as the README shows it."""

    question: str
    sql: str
    answer: str

    @property
    def columns(self) -> list[str]:
        return re.split(r"\s{2,}", self.answer.splitlines()[0].strip())


def shown() -> list[Shown]:
    """The queries of the README."""
    section = README.read_text(encoding="utf-8").partition(_BEGIN)[2].partition(_END)[0]
    found = re.findall(r"\*\*(.+?)\*\*\n\n```sql\n(.*?)\n```\n\n```text\n(.*?)\n```", section, re.S)
    return [Shown(*parts) for parts in found]


def answered(url: str, now: datetime) -> Iterator[demo.Answer]:
    """All examples, asked of a database that is filled as the demo does."""
    names = [example.name for example in EXAMPLES]
    stop = threading.Event()
    with demo.filled(url, now=now, seed=7, stop=stop, observer=Silent()) as (database, passes):
        errors = [f"{o.source}: {o.error!r}" for each in passes for o in each.outcomes if o.error]
        assert not errors, errors
        yield from demo.answers(database, now, names)


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """As `etl sql` prints it on a terminal of 110 columns."""
    out = io.StringIO()
    write_table(columns, rows, out, _WIDTH)
    plain = re.sub(r"\x1b\[\d*m", "", out.getvalue())
    return "\n".join(line.rstrip() for line in plain.rstrip("\n").splitlines())


def section() -> str:
    """What stands between the markers."""
    with tempfile.TemporaryDirectory() as folder:
        answers = list(answered(f"sqlite:///{folder}/demo.db", NOW))
    blocks = [
        f"**{a.question}**\n\n```sql\n{a.sql}\n```\n\n```text\n{table(a.columns, a.rows)}\n```\n"
        for a in answers
    ]
    return "\n" + "\n".join(blocks) + "\n"


def main() -> None:
    """Writes the section anew."""
    text = README.read_text(encoding="utf-8")
    before, _, rest = text.partition(_BEGIN)
    README.write_text(
        before + _BEGIN + section() + _END + rest.partition(_END)[2], encoding="utf-8"
    )


if __name__ == "__main__":
    main()
