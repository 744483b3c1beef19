"""`etl sources`: names move with all that they hold, under both seats, or not at all."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from command_line import Done, run
from sqlalchemy import Table, insert, select, update
from sqlalchemy.sql.sqltypes import BigInteger, Boolean, Double, Integer

from etl.catalog import tables_of_sources
from etl.clock import Clock
from etl.db import Database
from etl.errors import LostSeat, Stopped
from etl.ledger import names, renaming, seats
from etl.ledger.backfills import Window, end, every, move_window, plan
from etl.ledger.tables import sources, sync_cursors, sync_leases, unfinished
from etl.schema import Instant, JsonText
from etl.sources.explorer.tables import JOBS, SAMPLE_ROWS, TASKS

AT = datetime(2026, 3, 1, 8, tzinfo=UTC)
NOT_MOVED = {"sync_leases"}
Rows = dict[str, list[dict[str, Any]]]
Etl = Callable[..., Done]


def _value(column: Any, number: int) -> Any:
    """Something that fits; equal for columns of one name, so that keys meet."""
    kind = column.type
    if isinstance(kind, Instant):
        return AT
    if isinstance(kind, Boolean):
        return False
    if isinstance(kind, JsonText):
        return '{"at":1}'
    if isinstance(kind, BigInteger | Integer | Double):
        return number
    return '{"url":"http://one"}' if column.name == "address" else f"{column.name[:8]} {number}"


def _fill(database: Database, **numbers: int) -> None:
    """A row for each source in every table that holds rows of sources."""
    with database.writing() as connection:
        for table in tables_of_sources():
            for source, number in numbers.items():
                row = {c.name: _value(c, number) for c in table.c if c.name != "source"}
                if "source" in table.c:
                    row["source"] = source
                if table is sync_leases:
                    row |= {"seat": "live", "holder": None}
                connection.execute(insert(table).values(row))


def seats_of(database: Database, name: str) -> AbstractContextManager[renaming.Held]:
    return renaming.held(database, name, Clock())


def _rows(database: Database) -> Rows:
    with database.reading() as connection:
        return {
            table.name: sorted(
                (dict(row) for row in connection.execute(select(table)).mappings()), key=str
            )
            for table in tables_of_sources()
            if table.name not in NOT_MOVED
        }


def _without_last_use(rows: Rows) -> Rows:
    for row in rows["sources"]:
        del row["last_used_at"]  # taking a seat moves it
    return rows


@pytest.fixture
def etl(every_database: Database, tmp_path: Path) -> Etl:
    """Runs a command on the database of the test."""
    url = every_database.engine.url
    plain = url.set(drivername=url.get_backend_name().replace("mariadb", "mysql"))
    text = plain.render_as_string(hide_password=False)
    return lambda *words, **more: run("--database", text, *words, cwd=tmp_path, **more)


def test_every_table_that_holds_rows_of_sources_is_known() -> None:
    known = {table.name for table in tables_of_sources()}
    assert {"jobs", "tasks", "sample_rows", "job_records", "host_results"} <= known
    assert {"quality_instances", "sources", "sync_runs", "backfill_windows"} <= known
    assert "request_budgets" not in known


def test_rename_moves_every_row_and_no_other(every_database: Database, etl: Etl) -> None:
    _fill(every_database, graph=1, other=2)
    before = _rows(every_database)
    done = etl("sources", "rename", "graph", "graph-2")
    assert (done.code, done.err) == (0, "")
    for rows in before.values():
        for row in rows:
            if row.get("source") == "graph":
                row["source"] = "graph-2"
    expected = {name: sorted(rows, key=str) for name, rows in before.items()}
    after = _rows(every_database)
    assert _without_last_use(after) == _without_last_use(expected)
    with seats_of(every_database, "graph-2"):
        pass  # both are free under the new name


@pytest.mark.parametrize("new", ["other", "all", "list", "Graph", "", "x" * 65])
def test_rename_refuses_names_that_cannot_be_had(
    database: Database, database_url: str, tmp_path: Path, new: str
) -> None:
    _fill(database, graph=1, other=2)
    before = _rows(database)
    done = run("--database", database_url, "sources", "rename", "graph", new, cwd=tmp_path)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert _rows(database) == before


@pytest.mark.parametrize("words", [("rename", "grpah", "g"), ("drop", "grpah", "--yes")])
def test_an_unknown_name_is_refused_with_the_nearest(
    database: Database, database_url: str, tmp_path: Path, words: tuple[str, ...]
) -> None:
    _fill(database, graph=1)
    done = run("--database", database_url, "sources", *words, cwd=tmp_path)
    assert (done.code, done.out) == (2, "")
    assert "did you mean 'graph'?" in done.err


@pytest.mark.parametrize("seat", ["live", "backfill"])
@pytest.mark.parametrize("words", [("rename", "graph", "g"), ("drop", "graph", "--yes")])
def test_a_source_that_is_at_work_is_left_alone(
    database: Database, database_url: str, tmp_path: Path, seat: str, words: tuple[str, ...]
) -> None:
    _fill(database, graph=1)
    before = _rows(database)
    taken = seats.take(database, "graph", seat, lease_s=30, clock=Clock())
    done = run("--database", database_url, "sources", *words, cwd=tmp_path)
    taken.release()
    assert (done.code, done.out) == (3, "")
    assert "at work" in done.err
    assert _without_last_use(_rows(database)) == _without_last_use(before)


def test_a_stopped_rename_moves_nothing(every_database: Database) -> None:
    _fill(every_database, graph=1)
    before = _rows(every_database)
    stop = threading.Event()
    stop.set()
    with seats_of(every_database, "graph") as own, pytest.raises(Stopped):
        renaming.rename(own, tables_of_sources(), "graph", "g", stop)
    assert _without_last_use(_rows(every_database)) == _without_last_use(before)


@pytest.mark.parametrize("seat", ["live", "backfill"])
def test_a_rename_that_was_overtaken_moves_nothing(every_database: Database, seat: str) -> None:
    _fill(every_database, graph=1)
    before = _rows(every_database)
    with seats_of(every_database, "graph") as own:
        with every_database.writing() as connection:
            overtaken = update(sync_leases).where(sync_leases.c.seat == seat)
            connection.execute(overtaken.values(token=sync_leases.c.token + 1))
        with pytest.raises(LostSeat):
            renaming.rename(own, tables_of_sources(), "graph", "g", threading.Event())
    assert _without_last_use(_rows(every_database)) == _without_last_use(before)


def test_drop_deletes_every_row_and_no_other(every_database: Database, etl: Etl) -> None:
    _fill(every_database, graph=1, other=2)
    others = {
        name: [row for row in rows if row.get("source", "other") == "other"]
        for name, rows in _rows(every_database).items()
    }
    others["backfill_windows"] = [r for r in others["backfill_windows"] if r["backfill_id"] == 2]
    done = etl("sources", "drop", "graph", "--yes")
    assert (done.code, done.err) == (0, "")
    assert _rows(every_database) == others
    with every_database.reading() as connection:
        leases = connection.execute(select(sync_leases.c.source)).scalars().all()
    assert leases == ["other"]


def test_drop_asks_first(database: Database, database_url: str, tmp_path: Path) -> None:
    _fill(database, graph=1)
    before = _rows(database)
    done = run("--database", database_url, "sources", "drop", "graph", cwd=tmp_path, stdin="y\n")
    assert (done.code, done.out) == (2, "")
    assert "--yes" in done.err
    assert _rows(database) == before


def test_an_interrupted_drop_leaves_whole_records_and_no_promise(every_database: Database) -> None:
    _fill_jobs(every_database, 450)
    stop = threading.Event()
    with seats_of(every_database, "graph") as own:
        steps = renaming.drop(own, tables_of_sources(), "graph", stop)
        while _count(every_database, JOBS.table) == 450:
            next(steps)
        stop.set()
        with pytest.raises(Stopped):
            next(steps)
    left = _count(every_database, JOBS.table)
    assert 0 < left < 450
    assert _count(every_database, TASKS.table) == left
    assert _count(every_database, SAMPLE_ROWS.table) == left
    assert _count(every_database, sync_cursors) == 0
    with seats_of(every_database, "graph") as own:
        list(renaming.drop(own, tables_of_sources(), "graph", threading.Event()))
    assert [_count(every_database, t) for t in (JOBS.table, SAMPLE_ROWS.table, sources)] == [0] * 3


def _fill_jobs(database: Database, count: int) -> None:
    _fill(database, graph=1)
    with database.writing() as connection:
        for table in (JOBS.table, TASKS.table, SAMPLE_ROWS.table):
            plain = {c.name: _value(c, 1) for c in table.c if c.name != "source"}
            rows = [plain | {"source": "graph", "job_id": n} for n in range(2, count + 1)]
            connection.execute(insert(table), rows)


def _count(database: Database, table: Table) -> int:
    with database.reading() as connection:
        return len(connection.execute(select(table.c.source)).all())


QUALITY = """
sources:
  quality:
    api: dataarts
    url: {url}
    project_id: p
    workspace: w
    token: ${{TOKEN}}
"""


def _register(database: Database, api: str, **identity: str) -> None:
    with database.writing() as connection:
        names.register(
            connection,
            "quality",
            api=api,
            identity=identity,
            account="a",
            since=AT,
            expected_every_s=None,
            stale_after_s=None,
            now=AT,
        )
        connection.execute(
            insert(sync_cursors).values(
                source="quality", stream="quality_instances", position="{}", updated_at=AT
            )
        )
        for kind in ("hole", "quality_instance"):
            row = {c.name: _value(c, 1) for c in unfinished.c}
            row |= {"source": "quality", "kind": kind}
            connection.execute(insert(unfinished).values(row))


def _move(tmp_path: Path, etl: Etl) -> Done:
    (tmp_path / "schedules.yaml").write_text(QUALITY.format(url="https://new.example"))
    return etl("sources", "move", "quality", env={"TOKEN": "t0ken-of-test"})


def test_move_changes_the_address_and_forgets_the_position(
    every_database: Database, etl: Etl, tmp_path: Path
) -> None:
    _register(every_database, "dataarts", url="https://old.example", project_id="p", workspace="w")
    done = _move(tmp_path, etl)
    assert (done.code, done.err) == (0, "")
    assert "url https://old.example" in done.out
    assert "reads from 2026-03-01 08:00 UTC" in done.out
    with every_database.reading() as connection:
        address = connection.execute(select(sources.c.address)).scalar_one()
        kinds = connection.execute(select(unfinished.c.kind)).scalars().all()
    assert json.loads(address)["url"] == "https://new.example"
    assert kinds == ["quality_instance"]
    assert _count(every_database, sync_cursors) == 0
    again = _move(tmp_path, etl)
    assert "already" in again.out


def test_move_gives_up_unfinished_backfills_whose_positions_mean_nothing_there(
    every_database: Database, etl: Etl, tmp_path: Path
) -> None:
    _register(every_database, "dataarts", url="https://old.example", project_id="p", workspace="w")
    with every_database.writing() as connection:
        for arguments, status in (("--since 30d", "stopped"), ("--since 9d", "done")):
            made = plan(connection, "quality", arguments, AT, AT, [Window(1, AT, AT)], AT)
            end(connection, made.backfill_id, status, AT)
            move_window(connection, made.backfill_id, 1, {"cursor": {"offset": 40}}, 40, AT)
    done = _move(tmp_path, etl)
    assert done.code == 0
    assert "its unfinished backfills were cancelled: 1" in done.out
    with every_database.reading() as connection:
        assert [one.status for one in every(connection)] == ["done", "cancelled"]


def test_move_refuses_another_platform(every_database: Database, etl: Etl, tmp_path: Path) -> None:
    _register(every_database, "explorer", url="https://old.example")
    done = _move(tmp_path, etl)
    assert (done.code, done.out) == (2, "")
    assert "rows of explorer" in done.err
    assert _count(every_database, sync_cursors) == 1


def test_list_tells_what_each_name_stands_for(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    _fill(database, graph=1)
    (tmp_path / "schedules.yaml").write_text(QUALITY.format(url="https://new.example"))
    words = ("sources", "list", "--format", "json")
    done = run("--database", database_url, *words, cwd=tmp_path)
    rows = json.loads(done.out)
    assert [(row["source"], row["configured"]) for row in rows] == [
        ("graph", "not configured"),
        ("quality", "configured"),
    ]
    assert (rows[0]["address"], rows[1]["last_used_at"]) == ("url http://one", None)
    assert run("--database", database_url, "sources", cwd=tmp_path).out.startswith("source ")
