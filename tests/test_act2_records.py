"""Reading one record: when `/result` is asked, and what is owed."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from act2_kit import (
    DETAIL,
    HOUR_AGO,
    NOW,
    PAGE,
    RESULT,
    Held,
    asked,
    fault_of_details,
    filled,
    ids,
    one,
    opened,
    refreshed,
    scanned,
    served,
    simulator,
    span,
    the,
)
from http_kit import FakeClock

from etl.simulator import Fault, HostRow, Script, World
from etl.simulator.wire import Request
from etl.source import Debt
from etl.sources.act2 import SOURCE
from etl.units import Duration, Size

# host rows


def test_the_page_carries_the_rows_so_no_result_is_asked() -> None:
    with simulator(one(hosts=3)) as sim:
        held = scanned(sim)
        assert (len(asked(sim, DETAIL)), len(asked(sim, RESULT))) == (1, 0)
    assert the(held).host_result_count == the(held).host_expected_count == 3
    assert held.debts == {}
    [record] = held.taken
    assert record.parts[1].complete


def test_a_short_page_is_read_again_after_a_second() -> None:
    world = one(hosts=3)
    [record] = world.act2.records
    world.act2.shorten(record.id, reads=1, keep=1)
    clock = FakeClock()
    held = Held()
    with simulator(world) as sim, opened(sim, clock) as (api, made):
        for page in SOURCE.scan(api, made, span(held)):
            held.take(page)
        assert len(asked(sim, RESULT)) == 1
    assert 1.0 in clock.waits
    assert the(held).host_result_count == 3


def test_a_record_that_stays_short_is_not_complete() -> None:
    world = one(hosts=3)
    [record] = world.act2.records
    world.act2.shorten(record.id, reads=9, keep=2)
    with simulator(world) as sim:
        held = scanned(sim)
        assert len(asked(sim, RESULT)) == 1
    assert len(held.taken[0].parts[1].rows) == 2
    assert not held.taken[0].parts[1].complete


def test_the_longer_of_two_short_answers_counts() -> None:
    world = one(hosts=3)
    [record] = world.act2.records
    record.short_reads = [2, 0]
    with simulator(world) as sim:
        held = scanned(sim)
    assert len(held.taken[0].parts[1].rows) == 2


def test_rows_from_before_the_end_are_asked_for_anew() -> None:
    """The page was read while the record ran, the detail when it was done."""
    world = World.empty(NOW)
    running = world.act2.start(Script(), 2, HOUR_AGO)

    def finish(_: Any) -> bool:
        if running.execute_status == "doing":
            world.act2.finish(running.id, at=HOUR_AGO + timedelta(seconds=9))
        return False

    with simulator(world) as sim:
        sim.fault(Fault("delay", path=DETAIL, when=lambda r: r.path == DETAIL and finish(r)))
        held = scanned(sim)
        assert len(asked(sim, RESULT)) == 1
    assert {host.status for host in held.hosts[running.id].values()} == {"succeeded"}


def test_a_record_is_as_old_as_the_oldest_answer_it_is_made_from() -> None:
    clock, held = FakeClock(), Held()

    def later(request: Request) -> bool:
        if request.path == PAGE:
            clock.advance(5)
        return False

    with simulator(one(hosts=1)) as sim:
        sim.fault(Fault("delay", when=later))
        with opened(sim, clock) as (api, made):
            asked_at = clock.now()
            for page in SOURCE.scan(api, made, span(held)):
                held.take(page)
    assert clock.now() > asked_at
    assert [record.asked_at for record in held.taken] == [asked_at]


@pytest.mark.parametrize("form", ["object", "array", "auto"])
def test_the_documented_result_is_read_in_every_form(form: str) -> None:
    world = one(hosts=2)
    with simulator(world, act2_shape="doc", act2_doc_result=form) as sim:
        held = scanned(sim)
    assert the(held).status == "succeeded"
    assert the(held).host_result_count == (1 if form == "object" else 2)


def test_a_file_job_has_a_row_for_each_url() -> None:
    world = World.empty(NOW)
    started = world.act2.start(Script(urls=("http://a/x", "http://b/y")), 3, HOUR_AGO)
    world.act2.finish(started.id, at=HOUR_AGO + timedelta(seconds=9))
    with simulator(world, act2_reshuffle=True) as sim:
        held = scanned(sim)
        again = refreshed(sim, scanned(sim, Held()), [])
    assert the(held).host_expected_count == the(held).host_result_count == 6
    assert again.hosts == held.hosts


def test_output_is_cut_where_it_is_longer_than_max_output() -> None:
    world = World.empty(NOW)
    host = world.act2.pool[0]
    served(world, "one", HOUR_AGO, 1, rows=[HostRow(host, "success", "a" * 500 + "z" * 500)])
    with simulator(world) as sim:
        held = scanned(sim, max_output=Size(100))
    [row] = held.hosts[the(held).record_id].values()
    assert (row.stdout, row.stdout_bytes, row.output_cut) == ("a" * 50 + "z" * 50, 1000, True)


# debts


def test_a_running_record_is_owed_until_it_is_done_and_settled() -> None:
    world = World.empty(NOW)
    running = world.act2.start(Script(), 2, NOW - timedelta(minutes=5))
    with simulator(world) as sim:
        held = scanned(sim)
        assert (the(held).status, the(held).finished_at, held.kinds()) == (
            "running",
            None,
            ["job_record"],
        )
        assert {h.status for h in held.hosts[running.id].values()} == {"running"}
        sim.clear_log()
        scanned(sim, held)
        assert asked(sim, DETAIL) == []
        world.act2.finish(running.id, at=NOW)
        refreshed(sim, held, now=NOW + timedelta(minutes=1))
        assert (the(held).status, held.kinds()) == ("succeeded", ["settle"])
        refreshed(sim, held, now=NOW + timedelta(minutes=10))
    assert held.debts == {}
    assert {h.status for h in held.hosts[running.id].values()} == {"succeeded"}


def test_a_record_that_has_ended_since_is_read_at_once() -> None:
    world = World.empty(NOW)
    running = world.act2.start(Script(), 2, NOW - timedelta(minutes=5))
    with simulator(world) as sim:
        held = scanned(sim)
        world.act2.finish(running.id, "fail", at=NOW - timedelta(minutes=1))
        scanned(sim, held)
    assert (the(held).status, held.kinds()) == ("failed", ["settle"])


def test_a_status_that_changed_on_the_page_is_read_at_once() -> None:
    world = World.empty(NOW)
    waiting = world.act2.start(Script(), 2, HOUR_AGO)
    waiting.execute_status = "init"
    with simulator(world, act2_shape="doc") as sim:
        held = scanned(sim)
        assert (the(held).status, held.kinds()) == ("pending", ["job_record"])
        waiting.execute_status = "doing"
        scanned(sim, held)
        assert the(held).status == "running"
        waiting.execute_status, waiting.result_status = "done", "cancelled"
        waiting.end = waiting.start
        scanned(sim, held)
    assert (the(held).status, the(held).finished_at) == ("cancelled", HOUR_AGO)


def test_a_record_that_is_asked_for_again_keeps_only_its_own_hint() -> None:
    """A reject that is retried brings its whole payload as the hint."""
    with simulator(filled(2)) as sim:
        id_ = next(iter(ids(sim.world)))
        sim.fault(fault_of_details("error", body="record not found"))
        owed = Debt("job_record", id_, "rejects retry", {"id": id_, "script": "x" * 1000})
        held = refreshed(sim, Held(), [owed])
    [debt] = held.debts.values()
    assert debt.hint == {}


def test_without_an_end_settling_counts_from_the_first_sight_of_done() -> None:
    with simulator(one(end=None, result_status="")) as sim:
        held = scanned(sim)
        [debt] = held.debts.values()
        assert (debt.kind, debt.hint) == ("settle", {"done_seen_at": NOW.isoformat()})
        refreshed(sim, held, now=NOW + timedelta(minutes=9))
        [debt] = held.debts.values()
        assert debt.hint == {"done_seen_at": NOW.isoformat()}
        refreshed(sim, held, now=NOW + timedelta(minutes=10))
    assert held.debts == {}
    assert (the(held).status, the(held).finished_at) == ("unknown", None)


def test_hosts_that_have_not_answered_are_waited_for() -> None:
    world = World.empty(NOW)
    hosts = world.act2.pool[:2]
    rows = [HostRow(hosts[0], "success"), HostRow(hosts[1])]
    ended = NOW - timedelta(minutes=5)
    record = served(world, "one", HOUR_AGO, 2, rows=rows, end=ended)
    with simulator(world) as sim:
        held = scanned(sim)
        [debt] = held.debts.values()
        assert (debt.kind, debt.reason) == ("settle", "done; 1 of 2 hosts have answered")
        rows[1].status = "fail"
        refreshed(sim, held)
        statuses = {h.host_id: h.status for h in held.hosts[record.id].values()}
        assert statuses == {hosts[0].id: "succeeded", hosts[1].id: "failed"}
        refreshed(sim, held, now=ended + timedelta(minutes=10))
    assert held.debts == {}


def test_after_settling_it_is_let_be() -> None:
    world = World.empty(NOW)
    served(world, "one", HOUR_AGO, 2, rows=[HostRow(world.act2.pool[0])])
    with simulator(world) as sim:
        held = scanned(sim, settle=Duration(600))
    assert held.debts == {}
    assert [h.status for h in held.hosts[the(held).record_id].values()] == ["unknown"]


def test_a_row_that_arrives_after_all_is_noticed_on_the_page() -> None:
    world = World.empty(NOW)
    hosts = world.act2.pool[:2]
    record = served(world, "one", HOUR_AGO, 2, rows=[HostRow(hosts[0], "success")])
    with simulator(world) as sim:
        held = scanned(sim)
        world.act2.add_row(record.id, HostRow(hosts[1], "success"))
        scanned(sim, held)
    assert the(held).host_result_count == 2


def test_fewer_rows_than_are_held_are_no_news() -> None:
    world = one(hosts=3)
    [record] = world.act2.records
    with simulator(world) as sim:
        held = scanned(sim)
        sim.clear_log()
        world.act2.shorten(record.id, reads=1, keep=1)
        scanned(sim, held)
        assert asked(sim, DETAIL) == []
    assert the(held).host_result_count == 3


def test_a_fresh_reading_asks_for_everything() -> None:
    with simulator(filled(5)) as sim:
        held = scanned(sim)
        sim.clear_log()
        scanned(sim, held, of=span(held, fresh=True, position=None))
        assert len(asked(sim, DETAIL)) == 5


def test_a_record_that_runs_again_has_no_end_though_its_detail_tells_none() -> None:
    world = one()
    [record] = world.act2.records
    with simulator(world, act2_shape="doc") as sim:
        held = scanned(sim)
        assert the(held).finished_at is not None
        body = json.dumps({"id": record.id, "execute_status": "doing"})
        sim.fault(Fault("body", when=lambda r: r.path == DETAIL, body=body, times=None))
        refreshed(sim, held, [Debt("job_record", record.id, "")])
        assert (the(held).status, the(held).finished_at) == ("running", None)


def test_times_that_a_detail_leaves_out_are_those_of_the_page() -> None:
    world = one()
    [record] = world.act2.records
    body = json.dumps({"id": record.id, "execute_status": "done", "result_status": "success"})
    told = (HOUR_AGO, HOUR_AGO + timedelta(seconds=5), "succeeded")
    with simulator(world, act2_shape="doc", act2_time_format="plain") as sim:
        sim.fault(Fault("body", when=lambda r: r.path == DETAIL, body=body, times=None))
        held = scanned(sim, time_zone="Asia/Shanghai")
        assert (the(held).started_at, the(held).finished_at, the(held).status) == told
        refreshed(sim, held, [Debt("job_record", record.id, "")], time_zone="Asia/Shanghai")
        assert (the(held).started_at, the(held).finished_at, the(held).status) == told
        scanned(sim, held, time_zone="Asia/Shanghai")
        assert len(asked(sim, DETAIL)) == 2
