"""Verify finds every hole that was planted behind its back, and mends exactly those."""

from __future__ import annotations

import hashlib
import tracemalloc
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import pytest
from http_kit import START
from sqlalchemy import insert, select
from sync_kit import data_of
from verify_kit import CHILDREN, DAY, Proving, add, copied, kept, served, tables, totals, verdicts

from etl.db import Database
from etl.ledger.tables import backfills
from etl.ledger.views import coverage
from etl.simulator import Fault
from etl.source import Listed
from etl.units import Share, Since
from etl.verify import Window, verify
from etl.verify.sheet import LISTED, Row, Sheet

PLATFORMS = ("graph", "scripts", "quality")


def plant(proving: Proving, name: str) -> Any:
    """Holes of every kind, of which 5 (6 with children) only the platform can fill; returns the id
    of what it has lost."""
    ids = proving.ids(name)
    for id_ in (ids[3], ids[4], ids[40]):
        proving.delete(id_, *tables(name))
    proving.alter(name, ids[10], status="failed")
    proving.alter(name, ids[60], status="running")
    if CHILDREN[name]:
        proving.delete(ids[20], *CHILDREN[name])
    proving.lose(name, ids[30])
    return ids[30]


def asked_singly(name: str, paths: list[str]) -> int:
    """Of the requests those for one execution: its detail, or a narrow window."""
    if name == "graph":
        return sum("/jobs/" in path and "/tasks/" not in path for path in paths)
    return sum(path.endswith("/result" if name == "scripts" else "/instances") for path in paths)


@pytest.mark.parametrize("name", PLATFORMS)
def test_a_whole_copy_is_complete_month_by_month(database: Database, name: str) -> None:
    with copied(database, name) as proving:
        verified = proving.verify(name)
    assert verified.proven
    labels = [window.label for window in verified.windows]
    assert labels == ["before 2026-09-01", "2026-09", "2026-10", "2026-11-01 … 23 12:00"]
    assert [window.upstream_ids for window in verified.windows] == [0, 23, 31, 21]
    for window, row in zip(verified.windows, kept(database), strict=True):
        assert window.upstream_digest == window.database_digest == row["database_digest"]
        assert (row["verdict"], row["reason"]) == ("complete", None)
        assert (row["since"], row["until"]) == (window.since, window.until)
        assert row["run_id"] == verified.outcome.run_id


@pytest.mark.parametrize("name", PLATFORMS)
def test_planted_holes_are_found_and_nothing_is_touched(database: Database, name: str) -> None:
    with copied(database, name) as proving:
        plant(proving, name)
        before = data_of(database)
        verified = proving.verify(name)
    short = 1 if CHILDREN[name] else 0
    wanted = {"missing": 3, "differing": 2 + short, "short": short, "gone": 1}
    assert totals(verified.windows) == {**wanted, "repaired": 0, "marked": 0}
    assert [window.verdict for window in verified.windows] == ["complete", *["incomplete"] * 3]
    assert [row["verdict"] for row in kept(database)] == ["complete", *["incomplete"] * 3]
    assert data_of(database) == before


@pytest.mark.parametrize("name", PLATFORMS)
def test_a_repair_mends_all_with_a_request_for_each_hole_at_most(
    database: Database, name: str
) -> None:
    with copied(database, name) as proving:
        whole = data_of(database)
        lost = plant(proving, name)
        _, looked = proving.seen(lambda: proving.verify(name))
        mended, asked = proving.seen(lambda: proving.verify(name, repair=True))
        again = proving.verify(name)
        assert proving.gone(name) == [lost]
    holes = 6 if CHILDREN[name] else 5
    assert mended.proven, [window.reason for window in mended.windows]
    assert (totals(mended.windows)["repaired"], totals(mended.windows)["marked"]) == (holes, 1)
    # DataArts has no call for one instance: neighbours come with one window.
    requests = 3 if name == "quality" else holes
    assert asked_singly(name, asked) - asked_singly(name, looked) == requests
    assert again.proven
    assert lasting(data_of(database)) == lasting(whole)


def lasting(data: dict[str, list[tuple[Any, ...]]]) -> dict[str, list[tuple[Any, ...]]]:
    """Rows without the stamps of the runs: the last three columns at most."""
    stamped = {"sample_rows": 0, "host_results": 2}
    return {name: [row[: len(row) - stamped.get(name, 3)] for row in rows]
            for name, rows in data.items()}  # fmt: skip


@pytest.mark.parametrize("name", PLATFORMS)
def test_a_platform_that_suddenly_lists_nothing_marks_nothing(
    database: Database, name: str
) -> None:
    with copied(database, name) as proving:
        proving.lose(name, *proving.ids(name))
        verified = proving.verify(name, repair=True)
        assert proving.gone(name) == []
    assert totals(verified.windows)["gone"] == 75
    assert "incomplete" in verdicts(verified)
    assert "all would be gone" in str(verified.windows[1].reason)


def test_one_month_that_lists_nothing_marks_nothing_of_it(database: Database) -> None:
    with copied(database, "graph") as proving:
        september = proving.ids("graph")[:23]
        proving.lose("graph", *september)
        verified = proving.verify("graph", repair=True, max_gone_share=Share(0.5))
        assert proving.gone("graph") == []
    assert "lists nothing at all" in str(verified.windows[1].reason)


def test_more_than_the_guarded_share_marks_nothing(database: Database) -> None:
    with copied(database, "quality") as proving:
        ids = proving.ids("quality")
        proving.lose("quality", *ids[10:14])
        verified = proving.verify("quality", repair=True)
        assert proving.gone("quality") == []
        assert "4 of 75 would be gone, more than max_gone_share (5%)" in str(
            verified.windows[1].reason
        )
        assert not verified.proven
        proving.verify("quality", repair=True, max_gone_share=Share(0.06))
        assert proving.gone("quality") == ids[10:14]


def test_three_rows_may_always_be_gone(database: Database) -> None:
    with copied(database, "quality") as proving:
        lost = proving.ids("quality")[10:13]
        proving.lose("quality", *lost)
        proving.verify("quality", repair=True, max_gone_share=Share(0.0))
        assert proving.gone("quality") == lost


def test_what_is_gone_is_marked_once_and_taken_back_when_it_is_listed_again(
    database: Database,
) -> None:
    with copied(database, "graph") as proving:
        lost = proving.ids("graph")[5]
        job = proving.sim.world.explorer.edit(lost)
        proving.lose("graph", lost)
        synced = changed_at(database, lost)
        proving.verify("graph", repair=True)
        marked = changed_at(database, lost)
        proving.verify("graph", repair=True)
        assert marked > synced
        assert changed_at(database, lost) == marked, "what is marked already is left alone"
        proving.sim.world.explorer.add(job)
        assert totals(proving.verify("graph").windows)["differing"] == 1
        verified, asked = proving.seen(lambda: proving.verify("graph", repair=True))
        assert proving.gone("graph") == []
    assert verified.proven
    assert asked_singly("graph", asked) == 0
    assert changed_at(database, lost) > marked


def test_a_dismissed_record_is_no_finding_when_a_window_is_judged_again() -> None:
    window = Window("quality", "quality_instances", START - DAY, START)
    with Sheet() as sheet:
        sheet.add_listed([Listed("1", "failed"), Listed("2", "failed")], set())
        sheet.add_held([Row("2", "failed", final=True, marked=False, late=False)])
        sheet.add("quarantined", [("1", True)], 2)
        window.count(sheet, [])
    assert window.verdict == "complete"
    window.judge([])
    assert window.verdict == "complete"


def changed_at(database: Database, job_id: int) -> Any:
    row = next(row for row in data_of(database)["jobs"] if row[1] == job_id)
    return row[-2]


def test_a_list_that_cannot_prove_itself_marks_nothing(database: Database) -> None:
    with copied(database, "quality") as proving:
        ids = proving.ids("quality")
        proving.lose("quality", ids[30])
        proving.delete(ids[40], *tables("quality"))
        proving.sim.fault(Fault("total", size=1, times=None, platform="dataarts"))
        verified = proving.verify("quality", repair=True)
        assert proving.gone("quality") == []
        assert len(proving.ids("quality")) == 75, "what is missing is missing, proven or not"
    assert "unproven" in verdicts(verified)
    assert not verified.proven
    assert {row["verdict"] for row in kept(database)} == {"unproven"}


def test_a_hole_of_act2_is_unlisted_and_keeps_everything_from_being_gone(
    database: Database,
) -> None:
    with copied(database, "scripts") as proving:
        ids = proving.ids("scripts")
        proving.lose("scripts", ids[70])
        proving.sim.world.act2.hide_rows(ids[30])
        verified = proving.verify("scripts", repair=True, page_size=5)
        assert proving.gone("scripts") == []
    assert sum(window.unlisted for window in verified.windows) >= 1
    hidden = next(window for window in verified.windows if window.label == "2026-10")
    assert (hidden.verdict, hidden.unlisted) == ("unproven", 1)
    assert "counted but listed nowhere" in str(hidden.reason)


@pytest.mark.parametrize("name", PLATFORMS)
def test_what_has_merely_moved_on_since_is_no_finding(database: Database, name: str) -> None:
    with copied(database, name) as proving:
        running = start(proving, name)
        proving.clock.advance(60)
        proving.synced(name)
        finish(proving, name, running)
        proving.clock.advance(60)
        verified = proving.verify(name)
    assert verified.proven, [window.reason for window in verified.windows]
    assert verified.windows[-1].database_unfinished == 0
    assert all(window.upstream_digest == window.database_digest for window in verified.windows)


def start(proving: Proving, name: str) -> Any:
    world = proving.sim.world
    if name == "graph":
        return world.explorer.start(world.explorer.create("flow").id).id
    return world.act2.start().id if name == "scripts" else world.dataarts.start().id


def finish(proving: Proving, name: str, id_: Any) -> None:
    world = proving.sim.world
    if name == "graph":
        world.explorer.finish(id_)
    elif name == "scripts":
        world.act2.finish(id_)
    else:
        world.dataarts.finish(id_)


def test_what_came_after_the_last_sync_is_not_asked_of_the_copy(database: Database) -> None:
    with copied(database, "graph") as proving:
        add(proving.sim.world, 99, proving.clock.now() + timedelta(minutes=5))
        proving.clock.advance(600)
        assert proving.verify("graph").proven
        later = proving.verify("graph", until=proving.clock.now())
    assert totals(later.windows)["missing"] == 1


def test_nothing_copied_is_nothing_proven(database: Database) -> None:
    with served(database) as proving:
        verified = verify(
            proving.named("graph"), proving.around(), since=None, until=None, repair=False
        )
    assert "etl sync graph" in str(verified.outcome.error)
    assert not verified.proven


@pytest.mark.parametrize(
    ("name", "quirks"),
    [
        ("graph", {}),
        ("graph", {"explorer_ignores": "filter"}),
        ("quality", {}),
        ("quality", {"dataarts_ignores_window": True, "dataarts_order": "asc"}),
        ("scripts", {}),
    ],
)
def test_a_list_that_shrinks_while_it_is_verified_loses_nothing_else(
    database: Database, name: str, quirks: dict[str, Any]
) -> None:
    with copied(database, name, **quirks) as proving:
        ids = proving.ids(name)
        doomed = iter(ids[5:60:4])

        def shrinks(request: Any) -> bool:
            """One is lost before each page is answered; no fault is played."""
            lost = next(doomed, None)
            if lost is not None and request.path.endswith(("/jobs", "/instances", "/page")):
                proving.lose(name, lost)
            return False

        proving.sim.fault(Fault("empty", when=shrinks))
        proving.verify(name, repair=True, page_size=5, max_gone_share=Share(1.0))
        world = proving.sim.world
        lists: dict[str, Iterable[Any]] = {
            "graph": world.explorer.jobs,
            "scripts": world.act2.records,
            "quality": world.dataarts.instances(),
        }
        assert not {item.id for item in lists[name]} & set(proving.gone(name))


def test_the_figures_take_no_memory() -> None:
    lines = 15_000
    with Sheet() as sheet:
        tracemalloc.start()
        for start in range(0, lines, 1000):
            ids = [f"{n * 7919 % 1_000_003:07}" for n in range(start, start + 1000)]
            sheet.add_listed([Listed(id_, "succeeded") for id_ in ids], set(ids))
            sheet.add_held(Row(id_, "succeeded", True, False, False) for id_ in ids[1:])
        window = Window("graph", "jobs", None, START)
        window.count(sheet, [])
        assert (window.missing, window.upstream_ids) == (lines // 1000, lines)
        assert sheet.want(LISTED) == lines
        assert sum(len(debts) for debts in sheet.wanted("job", "test", 100)) == lines
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 2**20, f"{peak:,} bytes"


def test_a_digest_is_that_of_the_sorted_lines() -> None:
    held = [
        Row("10", "failed", final=True, marked=False, late=False),
        Row("9", "unknown", final=True, marked=False, late=False),
        Row("1", "running", final=False, marked=False, late=False),
        Row("5", "failed", final=True, marked=True, late=False),
    ]
    with Sheet() as sheet:
        sheet.add_held(held)
        digest = sheet.digest("held")
    assert digest == hashlib.sha256(b"1 running\n10 failed\n9 unknown\n").hexdigest()


def test_only_what_was_copied_is_verified(database: Database) -> None:
    with copied(database, "quality", since=Since.parse("20d")) as proving:
        first = proving.clock.now() - timedelta(days=20)
        (begin,) = {window.since for window in proving.verify("quality").windows[:1]}
        assert begin is not None
        assert abs(begin - first) < timedelta(hours=1)
        with database.writing() as connection:
            connection.execute(
                insert(backfills).values(
                    source="quality", arguments="", since=START - 70 * DAY, until=START - 60 * DAY,
                    status="done", created_at=START,
                )
            )  # fmt: skip
        verified = proving.verify("quality")
        assert [w.missing for w in verified.windows] == [10, 0]
        assert verified.windows[0].label == "2026-09-13 … 23 12:00"


def test_coverage_tells_the_latest_verdict_of_each_month(database: Database) -> None:
    def told() -> dict[str, str]:
        with database.reading() as connection:
            rows = connection.execute(select(coverage.c.month, coverage.c.verdict))
            return {row.month: row.verdict for row in rows}

    with copied(database, "quality") as proving:
        months = ("2026-09", "2026-10", "2026-11")
        assert told() == dict.fromkeys(months, "unchecked")
        proving.delete(proving.ids("quality")[30], *tables("quality"))
        proving.verify("quality")
        assert told() == dict(zip(months, ("complete", "incomplete", "complete"), strict=True))
        fault = proving.sim.fault(Fault("total", size=1, times=None, platform="dataarts"))
        proving.verify("quality", repair=True)
        assert told() == dict.fromkeys(months, "unproven")
        fault.times = 0
        proving.verify("quality")
        assert told() == dict.fromkeys(months, "complete")


def test_a_sweep_that_fails_keeps_what_it_has_found(database: Database) -> None:
    with copied(database, "quality") as proving:
        proving.lose("quality", proving.ids("quality")[30])
        late = int((START - DAY).timestamp() * 1000)
        proving.sim.fault(
            Fault("status", status=403, times=None,
                  when=lambda request: int(request.params.get("end_time", 0)) > late)
        )  # fmt: skip
        named, around = proving.named("quality"), proving.around()
        verified = verify(named, around, since=None, until=None, repair=True)
        assert verified.outcome.status == "failed"
        assert [row["gone"] for row in kept(database)] == [0, 0, 1]
        assert proving.gone("quality") == []


def test_holes_far_apart_cost_at_most_a_request_each(database: Database) -> None:
    with copied(database, "quality") as proving:
        ids = proving.ids("quality")
        far = ids[24:52:4]
        for id_ in far:
            proving.delete(id_, *tables("quality"))
        _, looked = proving.seen(lambda: proving.verify("quality", page_size=2))
        mended, asked = proving.seen(lambda: proving.verify("quality", repair=True, page_size=2))
    assert mended.proven
    assert len(asked) - len(looked) <= len(far)
