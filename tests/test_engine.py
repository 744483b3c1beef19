"""The writer: batches of bounded size, each once, and what came before an error is kept."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from datetime import timedelta
from pathlib import Path

import crash_kit
import pytest
from crash_kit import NOW
from crashing import Nursery
from msgspec.structs import replace
from sqlalchemy import select

from etl import engine
from etl.config import load
from etl.db import Database
from etl.engine import Pass
from etl.errors import Transient
from etl.ledger.tables import unfinished
from etl.passes import Outcome, Surroundings, run_pass
from etl.source import Debt, Page, Part, Record, Span
from etl.sources.dataarts.tables import QUALITY_INSTANCES, QualityInstance

HOLE = ("hole", "20:3")


def _record(number: int, *debts: Debt, later_s: int = 0) -> Record:
    row = QualityInstance(
        number, "not null", 7, None, "succeeded", "SUCCESS", None, NOW, NOW, None, False
    )
    asked_at = NOW + timedelta(days=9999, seconds=later_s)
    return Record(str(number), asked_at, [Part(QUALITY_INSTANCES, [row])], debts)


def _hole(reason: str) -> Debt:
    return Debt(*HOLE, reason)


def _runs(reason: str) -> Debt:
    return Debt("instance", "1", reason)


def _owed(database: Database) -> list[str]:
    with database.reading() as connection:
        return list(connection.execute(select(unfinished.c.reason)).scalars())


def _failing() -> Future[Record]:
    future: Future[Record] = Future()
    future.set_exception(Transient("the platform went away"))
    return future


def _copied(database: Database, folder: Path, *copies: Iterable[Page]) -> Outcome:
    """A pass that reads the pages of `copies`, in batches of ten rows."""
    with crash_kit.stage(Nursery(), folder) as stage:
        config = load(Path(stage.arguments("sqlite:///unused")[1]), stage.variables)
        [quality] = config.select(["quality"])

        def work(one: Pass, _: Span) -> None:
            for pages in copies:
                one.copy(pages)

        around = Surroundings(database, threading.Event(), lambda *_: None)
        return run_pass(quality, around, "sync", work)


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "BATCH_ROWS", 10)


def test_what_came_before_an_error_is_written_once(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    page = Page(records=[*map(_record, range(1, 26)), _failing()])
    outcome = _copied(database, tmp_path, [page])
    assert (outcome.status, str(outcome.error)) == ("failed", "the platform went away")
    assert (outcome.tally.read, outcome.tally.written) == (25, 25)
    assert len(crash_kit.contents(database_url)["quality_instances"]) == 25
    [run] = crash_kit.run_rows(database_url, "quality")
    assert (run.rows_read, run.rows_written, run.error_kind) == (25, 25, "transient")


def test_a_page_that_is_half_read_moves_no_cursor(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    whole = Page(records=[_record(1)], cursor={"started_at": 1})
    half = Page(records=[*map(_record, range(2, 26)), _failing()], cursor={"started_at": 2})
    _copied(database, tmp_path, [whole, half])
    assert crash_kit.cursors(database_url) == {"quality": {"started_at": 1}}


def test_who_reads_ahead_holds_no_record_that_was_taken(database: Database, tmp_path: Path) -> None:
    pages = [Page(records=[*map(_record, range(start, start + 60))]) for start in (1, 61, 121)]
    begun: list[int] = []

    def walked() -> Iterator[Page]:
        for number, page in enumerate(pages):
            begun.append(sum(not one.records for one in pages[:number]))
            yield page

    _copied(database, tmp_path, walked())
    assert [len(page.records) for page in pages] == [0, 0, 0]
    assert begun[2] >= 1


@pytest.mark.parametrize(
    ("pages", "owed"),
    [
        ([Page(debts=(_hole("one"),)), Page(debts=(_hole("two"),))], ["two"]),
        ([Page(debts=(_hole("one"), _hole("two")))], ["two"]),
        ([Page(debts=(_hole("one"),)), Page(settled=(HOLE,))], []),
        ([Page(settled=(HOLE,)), Page(debts=(_hole("again"),))], ["again"]),
        ([Page(debts=(_runs("failed"),)), Page(records=[_record(1)])], []),
        ([Page(records=[_record(1)]), Page(debts=(_runs("failed"),))], ["failed"]),
        ([Page(records=[_record(1, _runs("runs"))]), Page(records=[_record(1)])], []),
        ([Page(records=[_record(1)]), Page(records=[_record(1, _runs("runs"))])], ["runs"]),
        (
            [Page(records=[_record(1, later_s=5)]), Page(records=[_record(1, _runs("before"))])],
            [],
        ),
    ],
)
def test_of_what_pages_of_one_batch_say_of_a_debt_the_last_word_counts(
    database: Database, tmp_path: Path, pages: list[Page], owed: list[str]
) -> None:
    """That of the answer which was asked for last, where records are told twice."""
    outcome = _copied(database, tmp_path, [replace(page) for page in pages])
    assert outcome.error is None
    assert _owed(database) == owed


def test_a_debt_of_an_earlier_batch_is_told_anew(database: Database, tmp_path: Path) -> None:
    again = [Page(settled=(HOLE,)), Page(debts=(_hole("again"),))]
    _copied(database, tmp_path, [Page(debts=(_hole("one"),))], again)
    assert _owed(database) == ["again"]
