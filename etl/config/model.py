"""What the commands ask of schedules.yaml; `${…}` is resolved only for what they ask."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy
import sqlalchemy.exc
from msgspec import Struct

from etl.config import document, entries
from etl.config.document import Document, Top
from etl.config.entries import Entry
from etl.config.reading import Reader
from etl.config.substitution import Lenient, Resolver
from etl.errors import Usage
from etl.hints import did_you_mean
from etl.redact import known
from etl.source import Settings, Source
from etl.units import Duration


class Configured(Struct, frozen=True):
    """One source, ready to be used; its secrets are those of this moment."""

    name: str
    source: Source
    settings: Settings
    expected_every_s: float | None = None
    """The longest time between two scheduled syncs; None: no schedule."""
    stale_after_s: float | None = None
    """How long after its last success it is stale; None: nothing says."""


@dataclass(frozen=True)
class Config:
    """The configuration. Every method may raise Usage for a `${…}` that cannot be resolved."""

    path: Path
    env: Mapping[str, str]
    document: Document

    def database_url(self, override: str | None = None) -> str:
        """Where the database is: `override` (--database), ETL_DATABASE_URL, the file, the default.

        Its password is registered as a secret.
        """
        if override:
            return _checked_url(override, "--database")
        from_env = self.env.get("ETL_DATABASE_URL")
        if from_env:
            return _checked_url(from_env, "ETL_DATABASE_URL")
        return _checked_url(self._top("database"), f"{self.path}: database")

    @property
    def database_schema(self) -> str | None:
        """The schema of the tables on PostgreSQL; None is the connection's own."""
        schema: str | None = self._top("database_schema")
        return schema

    @property
    def keep_runs(self) -> Duration:
        """How long the ledger keeps runs that found something, in seconds."""
        kept: Duration = self._top("keep_runs")
        return kept

    @property
    def shortest_lease_s(self) -> float:
        """The shortest `lease` of all sources: how long a transaction may idle on a server."""
        leases = [float(self.setting(name, "lease")) for name in self.source_names]
        return min(leases, default=float(Settings(api="").lease))

    @property
    def source_names(self) -> tuple[str, ...]:
        """The configured sources, in the order of the file."""
        return tuple(self.document.sources)

    def api(self, name: str) -> str:
        """The platform's word of a source; resolves nothing."""
        self._refuse_unknown([name])
        return self.document.apis[name]

    def source(self, name: str) -> Configured:
        """One source with its `${…}` resolved now, so that a rotated secret is seen."""
        return self._configured([name])[0]

    def select(self, names: Iterable[str]) -> tuple[Configured, ...]:
        """The named sources, all when none is named; every mistake in them is told together."""
        chosen = tuple(dict.fromkeys(names)) or self.source_names
        if not chosen:
            raise Usage(
                f"{self.path}: sources: none is configured; `etl init` writes an example with all"
            )
        return self._configured(chosen)

    def unasked(self, name: str) -> Configured:
        """One source for a command that asks its platform nothing: a `${…}` that cannot be
        resolved, such as a token's, stays as it is."""
        self._refuse_unknown([name])
        reader = Reader(Lenient(self.env, self.path.parent))
        made = self._read(reader, name)
        document.refuse(self.path, reader)
        assert made is not None  # noqa: S101 - what was not made was noted, and refused
        return made

    def setting(self, name: str, key: str) -> Any:
        """One setting of a source, without resolving its others."""
        self._refuse_unknown([name])
        fields = document.settings_fields(self.document.platforms.get(name))
        found = self.document.sources[name].get(key)
        if found is None:
            return fields[key].default
        reader = self._reader()
        value = reader.value(fields[key], found)
        document.refuse(self.path, reader)
        return value

    @cached_property
    def schedules(self) -> tuple[Entry, ...]:
        """The entries, with `all` expanded to the sources that no other entry names."""
        reader = self._reader()
        made = entries.read(reader, self.document.schedules, self.source_names)
        document.refuse(self.path, reader)
        return made

    def schedules_of(self, name: str, command: str = "sync") -> tuple[Entry, ...]:
        """The entries of one command that fire for a source."""
        return tuple(e for e in self.schedules if e.command == command and name in e.sources)

    def _reader(self) -> Reader:
        return Reader(Resolver(self.env, self.path.parent))

    def _top(self, key: str) -> Any:
        field = next(each for each in msgspec.structs.fields(Top) if each.name == key)
        found = self.document.top.get(key)
        if found is None:
            return field.default
        reader = self._reader()
        value = reader.value(field, found)
        document.refuse(self.path, reader)
        return value

    def _refuse_unknown(self, names: Iterable[str]) -> None:
        for name in names:
            if name not in self.document.sources:
                raise Usage(
                    f"{self.path}: no source is named {name!r}; "
                    f"{did_you_mean(name, self.source_names) or 'none is configured'}"
                )

    def _configured(self, names: Iterable[str]) -> tuple[Configured, ...]:
        names = tuple(names)
        self._refuse_unknown(names)
        reader = self._reader()
        made = [self._read(reader, name) for name in names]
        document.refuse(self.path, reader)
        return tuple(each for each in made if each is not None)

    def _read(self, reader: Reader, name: str) -> Configured | None:
        platform = self.document.platforms[name]
        keys = self.document.sources[name]
        settings = reader.struct(platform.settings, keys, f"sources.{name}")
        if settings is None:
            return None
        if settings.ca_bundle is not None:
            bundle = self.path.parent / settings.ca_bundle
            if not bundle.exists():
                reader.note(keys["ca_bundle"].path, "there is no such file or directory")
            settings = msgspec.structs.replace(settings, ca_bundle=str(bundle.absolute()))
        stale = stale_after(self, name)
        return Configured(
            name,
            platform,
            settings,
            expected_every_s(self, name),
            None if stale is None else float(stale),  # a Duration would reach drivers as "10m"
        )


def load(
    path: Path, env: Mapping[str, str], *, required: bool = True, outline: bool = False
) -> Config:
    """Reads the file and checks its shape; resolves no `${…}` yet.

    With `required=False` a file that is not there is an empty one: what needs only a database
    works without. `outline` is for names, platforms' words, schedules and the settings that every
    source has: no platform is imported, none of its keys checked, and `source` and `select` do
    not work. Raises Usage with every mistake that shows, a line each.
    """
    if not required and not path.exists():
        return Config(path, env, Document())
    return Config(path, env, document.read(path, outline=outline))


def expected_every_s(config: Config, name: str) -> float | None:
    """The longest time between two scheduled syncs of a source, in seconds; None: no schedule."""
    gaps = [entry.longest_gap_s for entry in config.schedules_of(name)]
    return min(gaps, default=None)


def stale_after(config: Config, name: str) -> Duration | None:
    """How long after its last success a source is stale, in seconds; None: nothing says.

    Twice the longest gap of its sync schedule, unless `stale_after` is set.
    """
    own: Duration | None = config.setting(name, "stale_after")
    if own is not None:
        return own
    gap = expected_every_s(config, name)
    return None if gap is None else Duration(2 * gap)


def unscheduled(config: Config) -> tuple[str, ...]:
    """The sources that no schedule syncs."""
    return tuple(name for name in config.source_names if not config.schedules_of(name))


def _checked_url(text: str, origin: str) -> str:
    try:
        url = sqlalchemy.make_url(text)
    except (sqlalchemy.exc.ArgumentError, ValueError):
        raise Usage(
            f"{origin}: is no database URL; "
            "write sqlite:///etl.db or postgresql://user:password@host/name"
        ) from None
    if url.password:
        known(str(url.password))
    return text
