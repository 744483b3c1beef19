"""Spoilt records of every kind: each becomes rows that fit their columns, or a reject."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from dataarts_kit import NoMemory
from databases import Server
from fuzz_kit import (
    DEEPEST,
    DOC_RECORD,
    HOST,
    INSTANCE,
    JOB,
    LISTED,
    PASSWORD,
    RECORD,
    SAMPLE,
    Canned,
    assert_fits,
    body,
    mutated,
)

from etl.db import open_database
from etl.errors import Malformed
from etl.http import Api
from etl.ledger import rejects as quarantine
from etl.redact import Secret
from etl.source import Record, Reject, Source, Span
from etl.sources import act2, dataarts, explorer
from etl.sources.act2.access import judge as judge_act2
from etl.sources.act2.reading import Reader as Act2Reader
from etl.sources.act2.settings import Act2Settings
from etl.sources.act2.shapes import Entry, listing
from etl.sources.dataarts import answers, items
from etl.sources.explorer.answers import judge as judge_explorer
from etl.sources.explorer.items import listed
from etl.sources.explorer.listing import JobList
from etl.sources.explorer.reading import Reader as ExplorerReader
from etl.sources.explorer.reading import Wanted
from etl.sources.explorer.settings import ExplorerSettings
from etl.store import Store
from etl.values import Json, canonical, repaired

AT = datetime(2026, 11, 22, 12, tzinfo=UTC)
FEW, MANY = 2_000, int(os.environ.get("ETL_FUZZ_RECORDS", "15000"))
"""Of each kind: in the quick suite, and in the long one; the task `fuzz-100000` takes 100,000."""
PAGE = 20
STORED = 10
"""Of so many batches one goes through the store into SQLite."""
URL = "http://platform.example"
ACT2 = Act2Settings(api="act2", url=URL, time_zone="Asia/Shanghai")
EXPLORER = ExplorerSettings(api="explorer", url=URL, token=Secret("a-token-of-nobody"))
ACT2_GONE = b'{"status": "error", "message": "record not found", "content": null}'
EXPLORER_GONE = b'{"code": 40404000, "message": "ErrNotFound"}'


@dataclass
class Batch:
    """What became of the records `ids`, each of which was spoilt."""

    records: list[Record] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)

    def all_rejects(self) -> list[Reject]:
        return [*self.rejects, *(r for record in self.records for r in record.rejects)]

    def rows(self, table: str) -> int:
        parts = (part for record in self.records for part in record.parts)
        return sum(len(part.rows) for part in parts if part.table.name == table)


Reading = Callable[[random.Random, Sequence[int]], Batch]


def _explorer(chance: random.Random, data: Json) -> bytes:
    return body(chance, {"code": 0, "data": data, "message": "Success"})


def _explorer_reader(canned: Canned) -> ExplorerReader:
    return ExplorerReader(cast(Api, canned), EXPLORER, AT)


def explorer_list(chance: random.Random, ids: Sequence[int]) -> Batch:
    canned, made = Canned(judge_explorer, AT), Batch()
    spoilt = [mutated(chance, {**LISTED, "id": number}) for number in ids]
    page = _explorer(chance, {"items": spoilt, "total": len(spoilt)})
    canned.bodies = {"/jobs": page, "": EXPLORER_GONE}
    reader = _explorer_reader(canned)
    for entry in JobList(cast(Api, canned), PAGE).ask(1, PAGE, {}).items:
        if entry.job is None:
            assert entry.reject is not None
            made.rejects.append(entry.reject)
        else:
            made.records.append(reader.read_listed(Wanted(entry.key, entry)))
    assert len(made.records) + len(made.rejects) == len(ids)
    return made


def explorer_detail(chance: random.Random, ids: Sequence[int]) -> Batch:
    canned, made = Canned(judge_explorer, AT), Batch()
    reader = _explorer_reader(canned)
    for number in ids:
        sample = _explorer(chance, {"items": SAMPLE})
        detail = _explorer(chance, mutated(chance, {**JOB, "id": number}))
        canned.bodies = {"/sample_result": sample, "": detail}
        wanted = Wanted(str(number), listed({**LISTED, "id": number}, AT))
        made.records.append(reader.read_listed(wanted))
    return made


def explorer_sample(chance: random.Random, ids: Sequence[int]) -> Batch:
    canned, made = Canned(judge_explorer, AT), Batch()
    reader = _explorer_reader(canned)
    for number in ids:
        job = {**JOB, "id": number, "tasks": JOB["tasks"][:1]}  # type: ignore[index]
        spoilt = mutated(chance, SAMPLE)
        sample = _explorer(chance, {"items": spoilt})
        canned.bodies = {"/sample_result": sample, "": _explorer(chance, job)}
        one = Batch([reader.read_listed(Wanted(str(number), listed(job, AT)))])
        if isinstance(spoilt, list) and DEEPEST not in sample:
            assert one.rows("sample_rows") + len(one.all_rejects()) == len(spoilt)
        made.records += one.records
    return made


def _live(chance: random.Random, content: Json) -> bytes:
    return body(chance, {"status": "success", "message": "", "content": content})


def _act2_reader(canned: Canned) -> Act2Reader:
    span = Span(None, None, None, AT, NoMemory())
    return Act2Reader(cast(Api, canned), ACT2, span)


def _act2_page(chance: random.Random, ids: Sequence[int], sample: Json, shape: Any) -> Batch:
    """A page whose records have no detail any more: what it tells is all there is."""
    key = "recordId" if "recordId" in sample else "id"
    spoilt = [mutated(chance, {**sample, key: f"record {number}"}) for number in ids]
    figures = {"pageNo": 1, "pageSize": PAGE, "pageCount": 1, "totalCount": len(ids)}
    canned = Canned(judge_act2, AT)
    canned.bodies = {"/page": shape(chance, {"list": spoilt, **figures}), "": ACT2_GONE}
    page = listing(canned.get("/page").content, ACT2.zone)
    told = sum(len(entry.rows) + (entry.item is not None) for entry in page.entries.values())
    assert told + len(page.rejects) == len(ids) - _twice(spoilt)
    reader = _act2_reader(canned)
    read = [reader.listed(entry, AT, None) for entry in page.entries.values()]
    return Batch(read, page.rejects)


def _twice(spoilt: Sequence[Json]) -> int:
    """Records that came more than once by the same id: the last one counts."""
    ids = [str(item["id"]) for item in spoilt if isinstance(item, dict) and _usable(item)]
    return len(ids) - len(set(ids))


def _usable(item: Json) -> bool:
    text = str(item.get("id")) if type(item.get("id")) in (int, str) else ""
    return 0 < len(text) <= 255 and not repaired(text)[1]


def act2_page(chance: random.Random, ids: Sequence[int]) -> Batch:
    made = _act2_page(chance, ids, HOST, _live)
    assert made.rows("host_results") + len(made.all_rejects()) == len(ids)
    return made


def act2_doc_page(chance: random.Random, ids: Sequence[int]) -> Batch:
    return _act2_page(chance, ids, DOC_RECORD, body)


def _act2_detail(chance: random.Random, ids: Sequence[int], sample: Json, shape: Any) -> Batch:
    canned, made = Canned(judge_act2, AT), Batch()
    reader = _act2_reader(canned)
    for number in ids:
        name = f"record {number}"
        row = {**HOST, "recordId": name}
        detail = shape(chance, mutated(chance, {**sample, "id": name}))
        canned.bodies = {"/result": shape(chance, [row]), "": detail}
        made.records.append(reader.listed(Entry(name, rows=[row]), AT, None))
    return made


def act2_detail(chance: random.Random, ids: Sequence[int]) -> Batch:
    return _act2_detail(chance, ids, RECORD, _live)


def act2_doc_detail(chance: random.Random, ids: Sequence[int]) -> Batch:
    return _act2_detail(chance, ids, DOC_RECORD, body)


def _act2_result(chance: random.Random, ids: Sequence[int], sample: Json, shape: Any) -> Batch:
    canned, made = Canned(judge_act2, AT), Batch()
    reader = _act2_reader(canned)
    for number in ids:
        name = f"record {number}"
        row = {**HOST, "recordId": name}
        spoilt = mutated(chance, [row, row] if sample is list else row)
        result = shape(chance, spoilt)
        canned.bodies = {"/result": result, "": shape(chance, {**RECORD, "id": name})}
        one = Batch([reader.whole(name)])
        if isinstance(spoilt, list) and DEEPEST not in result:
            assert one.rows("host_results") + len(one.all_rejects()) == len(spoilt)
        made.records += one.records
    return made


def act2_result(chance: random.Random, ids: Sequence[int]) -> Batch:
    return _act2_result(chance, ids, list, _live)


def act2_doc_result(chance: random.Random, ids: Sequence[int]) -> Batch:
    return _act2_result(chance, ids, dict, body)


def dataarts_instances(chance: random.Random, ids: Sequence[int]) -> Batch:
    made = Batch()
    spoilt = [mutated(chance, {**INSTANCE, "id": number}) for number in ids]
    page = answers.read(body(chance, {"count": len(spoilt), "resources": spoilt}))
    for item in page.resources:
        entry = items.entry(item)
        if isinstance(entry, Reject):
            assert items.key(entry)
            made.rejects.append(entry)
        else:
            made.records.append(items.record(entry, AT))
    assert len(made.records) + len(made.rejects) == len(ids)
    return made


KINDS: dict[str, tuple[Source, Reading]] = {
    "explorer list": (explorer.SOURCE, explorer_list),
    "explorer detail": (explorer.SOURCE, explorer_detail),
    "explorer sample": (explorer.SOURCE, explorer_sample),
    "act2 page": (act2.SOURCE, act2_page),
    "act2 doc page": (act2.SOURCE, act2_doc_page),
    "act2 detail": (act2.SOURCE, act2_detail),
    "act2 doc detail": (act2.SOURCE, act2_doc_detail),
    "act2 result": (act2.SOURCE, act2_result),
    "act2 doc result": (act2.SOURCE, act2_doc_result),
    "dataarts": (dataarts.SOURCE, dataarts_instances),
}


def assert_sound(made: Batch) -> None:
    """Rows fit, rejects have reasons and can be kept, and no password is among them."""
    for record in made.records:
        assert record.parts[0].rows, "a record is a row at least"
        for part in record.parts:
            assert_fits(part)
        for debt in record.debts:
            assert PASSWORD not in debt.reason + canonical(dict(debt.hint))
    for reject in made.all_rejects():
        assert reject.reason
        kept = canonical(reject.payload)
        kept.encode()
        assert PASSWORD not in reject.reason + kept


def read_in_full(reading: Reading, chance: random.Random, ids: Sequence[int]) -> Batch:
    """Nothing but nesting too deep for the parser may refuse a page whole."""
    try:
        return reading(chance, ids)
    except Malformed as error:
        if "recursion" not in str(error):
            raise
        return Batch()


def fuzz(server: Server, name: str, count: int) -> None:
    """`count` spoilt records through the reader, a share of them on into SQLite."""
    source, reading = KINDS[name]
    chance = random.Random(f"{name} 7")
    database = open_database(server.migrated())
    store, stamp = Store(source.tables, name), AT
    try:
        for number, start in enumerate(range(1, count, PAGE)):
            made = read_in_full(reading, chance, range(start, start + PAGE))
            assert_sound(made)
            if number % STORED:
                continue
            stamp += timedelta(seconds=1)
            with database.writing() as connection:
                tally = store.write(connection, made.records, stamp=stamp, run_id=1)
                came = made.all_rejects()
                kept = quarantine.keep(connection, name, source.stream, came, run_id=1, now=stamp)
            rows = sum(len(part.rows) for record in made.records for part in record.parts)
            assert (tally.read, kept) == (rows, len(came))
            assert tally.unchanged >= 0
    finally:
        database.close()


@pytest.mark.parametrize("name", KINDS)
def test_spoilt_records_become_rows_or_rejects(servers: Callable[[str], Server], name: str) -> None:
    fuzz(servers("sqlite"), name, FEW)


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", KINDS)
def test_many_spoilt_records_become_rows_or_rejects(
    servers: Callable[[str], Server], name: str
) -> None:
    fuzz(servers("sqlite"), name, MANY)
