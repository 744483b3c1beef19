"""What a reader may ask of the database while it walks (see `etl.source.Memory`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import select

from etl.db import Database, Persistence
from etl.db.among import among
from etl.ledger import debts
from etl.source import Debt, Known, Source

_CHUNK = 500


class DatabaseMemory:
    """Reads what the tables hold of one source; each call is a short reading of its own."""

    def __init__(
        self, database: Database, source: Source, name: str, persistence: Persistence
    ) -> None:
        self._database = database
        self._persistence = persistence
        self._source = source
        self._name = name
        table = source.tables[0]
        self._first = table.table.c[table.key[0]]
        self._numeric = self._first.type.python_type is int

    def known(self, ids: Sequence[str]) -> Mapping[str, Known]:
        """The executions of `ids` that the database holds, by id as text."""
        return self._persistence(lambda: self._known(ids))

    def open_debts(self, kind: str) -> Sequence[Debt]:
        """The debts of one kind that stand in `unfinished`."""
        return self._persistence(lambda: self._open_debts(kind))

    def _known(self, ids: Sequence[str]) -> Mapping[str, Known]:
        columns = self._source.tables[0].table.c
        wanted = [columns[name] for name in self._source.remembers]
        found: dict[str, Known] = {}
        with self._database.reading() as connection:
            for start in range(0, len(ids), _CHUNK):
                chunk = ids[start : start + _CHUNK]
                unpaid = debts.open_ids(connection, self._name, chunk)
                keys = [int(i) for i in chunk if _is_number(i)] if self._numeric else chunk
                for one_of_them in among(connection, self._first, keys):
                    statement = select(self._first, columns.status, *wanted).where(
                        columns.source == self._name, one_of_them
                    )
                    for id_, status, *values in connection.execute(statement):
                        named = dict(zip(self._source.remembers, values, strict=True))
                        found[str(id_)] = Known(status, named, str(id_) in unpaid)
        return found

    def _open_debts(self, kind: str) -> Sequence[Debt]:
        with self._database.reading() as connection:
            return debts.of_kind(connection, self._name, kind)


def _is_number(text: str) -> bool:
    return text.isascii() and text.lstrip("-").isdecimal()
