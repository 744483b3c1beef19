"""`etl run` as a process: started as an operator starts it, watched through its log and ledger."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import command_line

PATIENCE_S = 60.0


@dataclass
class Running:
    """A daemon; a context manager that kills it if it still lives. Without a `url` its database is
    what `text` names."""

    folder: Path
    url: str
    text: str
    words: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    name: str = "daemon"

    def __enter__(self) -> Running:
        self.file.write_text(self.text)
        with self.log.open("wb") as output:
            where = ("--database", self.url) if self.url else ()
            self.process = subprocess.Popen(
                [sys.executable, "-m", "etl", "--config", str(self.file), *where,
                 "--log-format", "json", "run", *self.words],
                env=command_line.environment(self.env),
                stdout=output,
                stderr=subprocess.STDOUT,
            )  # fmt: skip
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.process.kill()
        self.process.wait(10)

    @property
    def file(self) -> Path:
        return self.folder / f"{self.name}.yaml"

    @property
    def log(self) -> Path:
        return self.folder / f"{self.name}.log"

    @property
    def events(self) -> list[dict[str, Any]]:
        """The log's lines, each of them JSON."""
        whole = self.log.read_text().rpartition("\n")[0]
        return [json.loads(line) for line in whole.splitlines()]

    def said(self, words: str) -> bool:
        return any(words in event["message"] for event in self.events)

    def hears(self, words: str) -> None:
        """Waits until the log says so."""
        self.sees(lambda: self.said(words))

    def sees(self, happened: Callable[[], object]) -> None:
        """Waits until that is so."""
        give_up_at = time.monotonic() + PATIENCE_S
        while not happened():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < give_up_at, self.log.read_text()
            time.sleep(0.05)

    def told(self, number: int) -> tuple[int, float]:
        """Sends a signal that ends it: exit code, and the seconds that it took."""
        began = time.monotonic()
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_S), time.monotonic() - began
