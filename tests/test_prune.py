"""Prune: whole executions go, what is unfinished stays, and nothing is fetched back."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from http_kit import START
from sqlalchemy import insert, select
from sync_kit import data_of
from verify_kit import CHILDREN, DAY, Proving, copied, count, served, tables

from etl.db import Database
from etl.ledger.tables import completeness, rejected_records, sources, status_changes
from etl.ledger.views import coverage
from etl.passes import Outcome
from etl.prune import prune
from etl.verify import verify

PLATFORMS = ("graph", "scripts", "quality")
BORDER = START - 40 * DAY


@pytest.mark.parametrize("name", PLATFORMS)
def test_whole_executions_go_and_the_young_ones_are_as_they_were(
    every_database: Database, name: str
) -> None:
    database = every_database
    with copied(database, name) as proving:
        before = data_of(database)
        pruned, asked = proving.seen(lambda: proving.prune(name, BORDER))
        left = proving.ids(name)
    assert asked == []
    assert (pruned.executions, pruned.kept_unfinished, len(left)) == (35, 0, 40)
    after = data_of(database)
    for table in tables(name):
        young = [row for row in before[table] if row[1] in left]
        assert after[table] == young, table
    assert pruned.rows == sum(len(before[table]) - len(after[table]) for table in tables(name))


@pytest.mark.parametrize("name", PLATFORMS)
def test_nothing_that_was_pruned_is_fetched_back(database: Database, name: str) -> None:
    with copied(database, name) as proving:
        proving.prune(name, BORDER)
        pruned = data_of(database)
        proving.clock.advance(3600)
        _, asked = proving.seen(lambda: proving.synced(name))
        assert data_of(database) == pruned, "a sync"
        verified = proving.verify(name, repair=True)
        assert data_of(database) == pruned, "a repair"
        older = proving.verify(name, repair=True, since=START - 70 * DAY)
        assert data_of(database) == pruned, "a repair of what is older"
    assert verified.proven
    assert verified.windows[0].since == older.windows[0].since == BORDER
    assert len(asked) <= 10


@pytest.mark.parametrize("name", PLATFORMS)
def test_a_sync_does_not_look_back_behind_the_border(database: Database, name: str) -> None:
    """The cursor of a quiet source stands before the border; its overlap lies there too."""
    with copied(database, name) as proving:
        proving.prune(name, START)
        assert proving.ids(name) == []
        proving.clock.advance(3600)
        proving.synced(name, overlap=30 * 86400.0)
        assert proving.ids(name) == []


@pytest.mark.parametrize("name", PLATFORMS)
def test_what_is_not_final_stays_with_all_below_it(database: Database, name: str) -> None:
    with copied(database, name) as proving:
        ids = proving.ids(name)
        proving.alter(name, ids[2], status="running")
        pruned = proving.prune(name, BORDER)
        left = proving.ids(name)
    assert (pruned.executions, pruned.kept_unfinished) == (34, 1)
    assert left[0] == ids[2]
    for table in CHILDREN[name]:
        assert any(row[1] == ids[2] for row in data_of(database)[table])


def test_what_is_owed_stays(database: Database) -> None:
    with copied(database, "graph") as proving:
        first = proving.ids("graph")[0]
        proving.sim.world.explorer.rerun(first)
        proving.verify("graph", repair=True)
        proving.sim.world.explorer.finish(first)
        proving.alter("graph", first, status="succeeded")
        proving.prune("graph", BORDER)
        assert proving.ids("graph")[0] == first


def test_a_dry_run_counts_and_does_nothing(database: Database) -> None:
    with copied(database, "quality") as proving:
        before = data_of(database)
        pruned = proving.prune("quality", BORDER, dry_run=True)
        assert data_of(database) == before
        assert border(database) is None
    assert (pruned.executions, pruned.rows) == (35, 0)


def test_the_border_only_rises(database: Database) -> None:
    with copied(database, "quality") as proving:
        proving.prune("quality", BORDER)
        proving.prune("quality", BORDER - DAY)
        assert border(database) == BORDER
        proving.prune("quality", BORDER + DAY)
        assert border(database) == BORDER + DAY


def border(database: Database) -> object:
    with database.reading() as connection:
        return connection.execute(select(sources.c.pruned_before)).scalar_one()


def test_the_history_and_the_rejects_of_what_went_go_too(database: Database) -> None:
    with copied(database, "graph") as proving:
        old, *_, young = proving.ids("graph")
        with database.writing() as connection:
            for id_ in (old, young):
                connection.execute(
                    insert(status_changes).values(
                        source="graph", kind="job", id=str(id_), new_status="failed",
                        observed_at=START,
                    )
                )  # fmt: skip
            for place, seen in enumerate((BORDER - DAY, BORDER + DAY)):
                connection.execute(
                    insert(rejected_records).values(
                        source="graph", stream="jobs", fingerprint=str(place), reason="no key",
                        payload="{}", first_seen_at=seen, last_seen_at=seen, seen_count=1,
                    )
                )  # fmt: skip
        proving.prune("graph", BORDER)
    assert (count(database, "status_changes"), count(database, "rejected_records")) == (1, 1)


def test_rejects_of_what_went_go_however_late_they_were_seen(every_database: Database) -> None:
    database = every_database
    with copied(database, "graph") as proving:
        old, *_, young = proving.ids("graph")
        with database.writing() as connection:
            for place, id_ in enumerate((f"{old}", f"{old}/PageRank/2", f"{young}", f"{young}/a")):
                connection.execute(
                    insert(rejected_records).values(
                        source="graph", stream="jobs", upstream_id=id_, fingerprint=str(place),
                        reason="torn", payload="{}", first_seen_at=START, last_seen_at=START,
                        seen_count=1,
                    )
                )  # fmt: skip
        proving.prune("graph", BORDER)
    with database.reading() as connection:
        left = connection.execute(select(rejected_records.c.upstream_id)).scalars()
        assert sorted(left) == sorted([f"{young}", f"{young}/a"])


def test_a_stopped_prune_goes_on_where_it_was(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("etl.prune._AT_ONCE", 10)
    with copied(database, "scripts") as proving:
        around = proving.around()
        around.stop.set()
        stopped = prune(proving.named("scripts"), around, before=BORDER)
        assert (stopped.outcome.status, stopped.executions) == ("stopped", 10)
        assert len(proving.ids("scripts")) == 65
        assert proving.prune("scripts", BORDER).executions == 25


def test_a_border_that_is_still_to_come_is_refused(database: Database) -> None:
    with copied(database, "quality") as proving:
        to_come = proving.clock.now() + timedelta(seconds=1)
        for outcome in (refused(proving, to_come), refused(proving, to_come, dry_run=True)):
            assert "still to come" in str(outcome.error)
        assert len(proving.ids("quality")) == 75


def test_a_verify_of_what_was_pruned_says_so(database: Database) -> None:
    with copied(database, "quality") as proving:
        proving.prune("quality", BORDER)
        named, around = proving.named("quality"), proving.around()
        told = verify(
            named, around, since=BORDER - 9 * DAY, until=BORDER - DAY, repair=False
        ).outcome.error
        assert f"older than {BORDER:%Y-%m-%d %H:%M} UTC was pruned" in str(told)


def test_findings_about_what_has_no_beginning_are_moot(database: Database) -> None:
    with copied(database, "quality") as proving:
        with database.writing() as connection:
            connection.execute(
                insert(completeness).values(
                    source="quality", stream="quality_instances", until=BORDER - 30 * DAY,
                    verdict="incomplete", checked_at=START,
                )
            )  # fmt: skip
        proving.prune("quality", BORDER)
    assert count(database, "completeness") == 0


def test_a_source_that_was_never_copied_is_refused(database: Database) -> None:
    with served(database) as proving:
        assert "nothing to prune" in str(refused(proving, BORDER).error)


def refused(proving: Proving, before: datetime, *, dry_run: bool = False) -> Outcome:
    named, around = proving.named("quality"), proving.around()
    outcome = prune(named, around, before=before, dry_run=dry_run).outcome
    assert outcome.error is not None
    assert outcome.error.exit_code == 2
    return outcome


@pytest.mark.parametrize("place", [3, 30], ids=["a month that went", "a month that lost a part"])
def test_findings_about_what_was_pruned_are_moot(database: Database, place: int) -> None:
    with copied(database, "quality") as proving:
        proving.delete(proving.ids("quality")[place], *tables("quality"))
        assert not proving.verify("quality").proven
        proving.prune("quality", BORDER)
        assert proving.verify("quality").proven
    with database.reading() as connection:
        told = {row.month: row.verdict for row in connection.execute(select(coverage))}
    assert set(told.values()) == {"complete"}
    assert {"2026-10", "2026-11"} <= set(told)
