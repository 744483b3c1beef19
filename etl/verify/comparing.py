"""Compares one window: the platform's listing, the database's rows, and what they owe."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from msgspec import Struct, field
from msgspec.structs import replace

from etl.engine import Pass
from etl.errors import Stopped
from etl.passes import Configured, Surroundings
from etl.schema import DataTable
from etl.source import Doubt, Listed, Page, Span
from etl.verify import held, marking
from etl.verify import sheet as s
from etl.verify.sheet import Sheet
from etl.verify.windows import Window

_CHUNK = 500
_ASKED = 100
_HOLES = f"{s.MISSING} UNION {s.DIFFERING}"


class Comparison(Struct):
    """One window, compared on `sheet`. `began` is when its listing began."""

    configured: Configured
    around: Surroundings
    one: Pass
    span: Span
    sheet: Sheet
    window: Window
    began: datetime
    doubts: list[Doubt] = field(default_factory=list)

    def compare(self) -> None:
        """Lists, and reads what the database holds. What is unfinished here and has moved on is
        asked again first, as a sync would: that is no finding."""
        self.sheet.clear()
        self._read(lambda c: held.short(c, self._tables, self._name, self.window.range), "short", 2)
        for told in self._inventory():
            if isinstance(told, Doubt):
                self.doubts.append(told)
            elif told:
                self._list(told)
        self._hold()
        if self._want_moved_on():
            self.ask("it has moved on")
        self.window.count(self.sheet, self.doubts)

    def repair(self) -> None:
        """Fetches what is missing or differs, and compares again with what was listed."""
        found = self.sheet.count(_HOLES)
        marking.clear_returned(self.one, self.sheet)
        if self.sheet.want(_HOLES):
            self.ask("verify")
        if found:
            self.window.count(self.sheet, self.doubts)
            self.window.repaired = found - self.sheet.count(_HOLES)

    def recount(self) -> None:
        """The database's own figures alone, once the listing is forgotten."""
        self.sheet.clear()
        self._hold()
        self.window.database_ids = self.sheet.count(s.HELD)
        self.window.database_unfinished = self.sheet.count(s.UNFINISHED)
        self.window.database_digest = self.sheet.digest("held")

    def ask(self, reason: str) -> None:
        """Fetches what is wanted; what came after it had been listed is the later word."""
        one, source = self.one, self.configured.source
        anew = replace(self.span, fresh=True)
        one.notes_answers = True
        for debts in self.sheet.wanted(source.tables[0].kind, reason, _ASKED):
            one.answered.clear()
            told = _Told()
            pages = source.refresh(one.api, self.configured.settings, debts, anew)
            one.copy(told.watched(pages))
            came = one.answered - told.unread - told.over
            self.sheet.add("asked", [(id_,) for id_ in came])
            self.sheet.drop_listed(sorted(told.over - came))
        self.sheet.clear("short")
        self._read(lambda c: held.short(c, self._tables, self._name, self.window.range), "short", 2)
        self._hold()

    @property
    def _name(self) -> str:
        return self.configured.name

    @property
    def _tables(self) -> Sequence[DataTable]:
        return self.configured.source.tables

    def _inventory(self) -> Iterator[Sequence[Listed] | Doubt]:
        source = self.configured.source
        for told in source.inventory(self.one.api, self.configured.settings, self.span):
            if self.one.stop.is_set():
                raise Stopped("told to stop")
            yield told

    def _list(self, lines: Sequence[Listed]) -> None:
        """Notes lines; what is needed to ask again only of those that may have to be."""
        ids = [line.id for line in lines]
        known = self.span.memory.known(ids)
        same = {x.id for x in lines if x.id in known and known[x.id].status == x.status}
        self.sheet.add_listed(lines, same - self.sheet.among("short", ids))

    def _hold(self) -> None:
        """Reads the database's side anew."""
        table = self._tables[0]
        self.sheet.clear("held", "elsewhere", "quarantined")
        with self.around.database.reading() as connection:
            rows = held.rows(connection, table, self._name, self.window.range, self.began)
            self.sheet.add_held(rows)
        self._read(
            lambda c: held.quarantined(c, self._name, self.configured.source.stream),
            "quarantined",
            2,
        )
        self._place_strangers()
        self.sheet.follow()

    def _place_strangers(self) -> None:
        """What is listed here and held at another time differs; what is held without a time
        belongs to no window."""
        for ids in self.sheet.ids(s.MISSING, _CHUNK):
            with self.around.database.reading() as connection:
                found = held.elsewhere(connection, self._tables[0], self._name, ids)
            self.sheet.drop_listed([id_ for id_, at in found.items() if at is None])
            self.sheet.add("elsewhere", [(i,) for i, at in found.items() if at is not None])

    def _want_moved_on(self) -> int:
        """What is owed and moved on, as much of it as one pass may ask for."""
        self.sheet.clear("asked")
        for ids in self.sheet.ids(s.MOVED_ON, _CHUNK):
            with self.around.database.reading() as connection:
                owed = held.owed(connection, self._name, ids)
            self.sheet.add("asked", [(id_,) for id_ in sorted(owed)])
        wanted = self.sheet.want("SELECT id FROM asked", self.configured.settings.refresh_limit)
        self.sheet.clear("asked")
        return wanted

    def _read(self, query: held.Query, table: str, columns: int) -> None:
        with self.around.database.reading() as connection:
            self.sheet.add(table, query(connection), columns)


class _Told:
    """What the pages of a refresh said beside their records."""

    def __init__(self) -> None:
        self.unread: set[str] = set()
        """Could not be read, and stays owed."""
        self.over: set[str] = set()
        """Is no longer there."""

    def watched(self, pages: Iterable[Page]) -> Iterator[Page]:
        for page in pages:
            self.unread |= {debt.id for debt in page.debts}
            self.over |= {id_ for _, id_ in page.settled}
            yield page
