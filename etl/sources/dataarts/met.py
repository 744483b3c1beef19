"""The items that a walk has met: each is handed out once, and counted.

A few live in memory, more in the temporary file of `paging.Seen`.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

from etl.paging import Seen

IN_MEMORY = 25_000
"""So many keys are kept in memory (about 4 MB), more in the file."""
_MOVED_AT_ONCE = 1_000


class Met:
    """Keys by the walk that met them last; a context manager that removes its file."""

    def __init__(self) -> None:
        self.walk = 0
        self.distinct = 0
        """Keys of the walk in hand."""
        self.new = 0
        """Keys of the walk in hand that no earlier one had met."""
        self._walks: dict[str, int] = {}
        self._seen: Seen | None = None
        self._files = ExitStack()

    def __enter__(self) -> Met:
        return self

    def __exit__(self, *_: object) -> None:
        self._files.close()

    def begin(self) -> None:
        """Another walk over the same list begins."""
        self.walk += 1
        self.distinct = self.new = 0

    def add(self, keys: Sequence[str]) -> set[str]:
        """Notes `keys`; answers those that no walk had met."""
        if self._seen is not None:
            never, unmet = self._seen.add(keys, self.walk)
        else:
            never, unmet = self._add_memory(keys)
        self.distinct += unmet
        self.new += len(never)
        return never

    def _add_memory(self, keys: Sequence[str]) -> tuple[set[str], int]:
        walks, asked = self._walks, set(keys)
        never = {key for key in asked if key not in walks}  # asked - walks.keys() looks at them all
        unmet = len(never) + sum(walks[key] != self.walk for key in asked - never)
        walks.update(dict.fromkeys(asked, self.walk))
        if len(walks) > IN_MEMORY:
            self._move()
        return never, unmet

    def _move(self) -> None:
        self._seen = self._files.enter_context(Seen())
        while self._walks:
            some = [self._walks.popitem() for _ in range(min(_MOVED_AT_ONCE, len(self._walks)))]
            for walk in {at for _, at in some}:
                self._seen.add([key for key, at in some if at == walk], walk)
