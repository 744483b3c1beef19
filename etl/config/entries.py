"""The `schedules` of schedules.yaml: which command runs when, for which sources."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Struct, field
from msgspec.structs import replace

from etl.config.reading import Located, Reader, located
from etl.config.tree import Map, Node, Scalar, Seq, join
from etl.cron import Cron
from etl.hints import did_you_mean
from etl.units import Duration, Since

Command = Literal["sync", "verify", "prune"]


class Options(Struct, frozen=True):
    """What an entry says beside who and when; None and False: not said."""

    since: Since | None = None
    until: Since | None = None
    repair: bool = False
    older_than: Since | None = None


class Entry(Struct, frozen=True):
    """One scheduled command. Exactly one of `every_s` (seconds) and `cron` is set."""

    command: Command
    sources: tuple[str, ...]
    every_s: float | None = None
    cron: Cron | None = None
    time_zone: ZoneInfo = field(default_factory=lambda: ZoneInfo("UTC"))
    options: Options = Options()

    @property
    def longest_gap_s(self) -> float:
        """The longest time between two firings, in seconds."""
        if self.cron is not None:
            return self.cron.longest_gap().total_seconds()
        return self.every_s or 0.0


class _When(msgspec.Struct, frozen=True, kw_only=True):
    every: Duration | None = None
    cron: Cron | None = None
    time_zone: ZoneInfo | None = None


class _Sync(_When, frozen=True, kw_only=True):
    sync: tuple[str, ...]


class _Verify(_When, frozen=True, kw_only=True):
    verify: tuple[str, ...]
    since: Since | None = None
    until: Since | None = None
    repair: bool = False

    def __post_init__(self) -> None:
        since, until = self.since, self.until
        if since is None or until is None:
            return
        if since.at is not None and until.at is not None and since.at >= until.at:
            raise ValueError("since must be before until")
        if since.ago_s is not None and until.ago_s is not None and since.ago_s <= until.ago_s:
            raise ValueError("since must be before until")


class _Prune(_When, frozen=True, kw_only=True):
    prune: tuple[str, ...]
    older_than: Since


KINDS: dict[Command, type[_Sync] | type[_Verify] | type[_Prune]] = {
    "sync": _Sync,
    "verify": _Verify,
    "prune": _Prune,
}
_KEYS = frozenset(name for kind in KINDS.values() for name in kind.__struct_fields__)


def read(reader: Reader, nodes: Sequence[Node], names: Iterable[str]) -> tuple[Entry, ...]:
    """The entries with their sources named one by one; mistakes are noted in `reader`."""
    known = tuple(names)
    made = [_entry(reader, Located(f"schedules[{i}]", n), known) for i, n in enumerate(nodes)]
    return _expanded([entry for entry in made if entry is not None], known)


def _entry(reader: Reader, found: Located, known: tuple[str, ...]) -> Entry | None:
    path, node = found
    if not isinstance(node, Map):
        reader.refuse_shape(found, "keys of its own (sync: all, every: 5m)")
        return None
    command = _command(reader, path, node)
    if command is None:
        return None
    before = len(reader.mistakes)
    _check_names(reader, join(path, command), node.items[command], known)
    _check_when(reader, path, node)
    given = reader.struct(KINDS[command], located(node, path), path)
    return None if given is None or len(reader.mistakes) > before else _made(command, given)


def _command(reader: Reader, path: str, node: Map) -> Command | None:
    commands = [command for command in KINDS if command in node.items]
    if len(commands) == 1:
        return commands[0]
    if commands:
        reader.note(path, f"has {' and '.join(commands)}; an entry has one command")
        return None
    for key in node.items:
        if _is_near(key, KINDS):
            reader.note(join(path, key), f"unknown key; {did_you_mean(key, KINDS)}")
            return None
    reader.note(path, "has no command; write one of sync, verify, prune with a source's name")
    return None


def _check_names(reader: Reader, path: str, node: Node, known: tuple[str, ...]) -> None:
    nodes = node.items if isinstance(node, Seq) else (node,)
    names = [n.text for n in nodes if isinstance(n, Scalar) and n.kind == "text"]
    if names == ["all"]:
        return
    for name in names:
        if name == "all":
            reader.note(path, "'all' stands alone; take the other names out")
        elif "$" in name:
            reader.note(path, "a source's name cannot come from ${…}; write it out")
        elif name not in known:
            reader.note(path, f"no source is named {name!r}; {did_you_mean(name, known)}")


def _check_when(reader: Reader, path: str, node: Map) -> None:
    has_every, has_cron = "every" in node.items, "cron" in node.items
    if has_every and has_cron:
        reader.note(path, "has both every and cron; keep one")
    elif has_every and "time_zone" in node.items:
        reader.note(join(path, "time_zone"), "goes with cron only; every counts in UTC")
    elif not has_every and not has_cron and not any(_is_near(key) for key in node.items):
        reader.note(path, 'does not say when; write every: 5m or cron: "0 3 * * sun"')


def _is_near(key: str, words: Iterable[str] = ("every", "cron")) -> bool:
    """No key of any entry, and a misspelt one of `words`."""
    return key not in _KEYS and did_you_mean(key, words).startswith("did")


def _made(command: Command, given: _Sync | _Verify | _Prune) -> Entry:
    options = Options()
    if isinstance(given, _Verify):
        options = Options(since=given.since, until=given.until, repair=given.repair)
    elif isinstance(given, _Prune):
        options = Options(older_than=given.older_than)
    return Entry(
        command,
        tuple(dict.fromkeys(getattr(given, command))),
        None if given.every is None else float(given.every),
        given.cron,
        given.time_zone or ZoneInfo("UTC"),
        options,
    )


def _expanded(entries: list[Entry], known: tuple[str, ...]) -> tuple[Entry, ...]:
    """`all` becomes the names that no other entry of the same command has."""
    named = {
        (entry.command, name)
        for entry in entries
        if entry.sources != ("all",)
        for name in entry.sources
    }
    expanded = [
        replace(entry, sources=tuple(n for n in known if (entry.command, n) not in named))
        if entry.sources == ("all",)
        else entry
        for entry in entries
    ]
    return tuple(entry for entry in expanded if entry.sources)
