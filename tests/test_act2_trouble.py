"""What a failure costs: one record, or the pass; and what never leaves the reader."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from act2_kit import (
    DETAIL,
    HOUR_AGO,
    NOW,
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

from etl.errors import Refused, SourceFailed, Transient, Unauthorized
from etl.simulator import Fault, HostRow, Script, Simulator, World
from etl.source import Debt, Doubt, Span
from etl.sources.act2 import SOURCE
from etl.units import Size


def test_a_failing_detail_costs_that_record_its_detail_only() -> None:
    world = filled(4)
    bad = next(iter(world.act2.records)).id
    with simulator(world) as sim:
        fault = sim.fault(fault_of_details("error", bad))
        held = scanned(sim)
        row = held.rows[bad]
        assert (row.status, row.script, row.host_expected_count) == ("unknown", None, None)
        assert row.finished_at is not None
        assert (len(held.rows), held.kinds(), held.rejects) == (4, ["detail"], [])
        assert {h.status for h in held.hosts[bad].values()} == {"succeeded"}
        refreshed(sim, held)
        assert held.kinds() == ["detail"]
        sim.clear_faults()
        refreshed(sim, held)
    assert fault.hits > 0
    assert (held.rows[bad].status, held.debts) == ("succeeded", {})


def test_a_failing_detail_takes_nothing_from_what_is_known() -> None:
    world = World.empty(NOW)
    running = world.act2.start(Script(), 2, HOUR_AGO)
    with simulator(world) as sim:
        held = scanned(sim)
        world.act2.finish(running.id, at=HOUR_AGO + timedelta(seconds=9))
        sim.fault(fault_of_details("status"))
        scanned(sim, held)
    row = the(held)
    assert (row.status, row.script, held.kinds()) == ("running", "#!/bin/bash\ndf -h", ["detail"])


@pytest.mark.parametrize("shape", ["live", "doc"])
def test_a_listed_record_that_is_not_found_is_kept(shape: str) -> None:
    world = filled(2)
    lost = next(iter(world.act2.records)).id
    with simulator(world, act2_shape=shape) as sim:
        held = scanned(sim)
        before = dict(held.rows)
        held.debts["settle", lost] = settle(lost)
        sim.fault(fault_of_details("error", body="record not found"))
        refreshed(sim, held)
        assert [(d.kind, "record not found" in d.reason) for d in held.debts.values()] == [
            ("settle", True)
        ]
        first = scanned(sim, Held())
    assert held.rows == before
    assert set(first.rows) == set(before)
    assert first.kinds() == ["detail", "detail"]


def settle(record_id: str) -> Debt:
    return Debt("settle", record_id, "done")


def test_a_detail_that_is_none_is_quarantined_and_owed() -> None:
    world = filled(3)
    bad = next(iter(world.act2.records)).id
    body = json.dumps({"id": "another", "parameters": {"password": "pass-word"}})
    with simulator(world) as sim:
        sim.fault(Fault("body", path=DETAIL, when=lambda r: r.params.get("id") == bad, body=body))
        held = scanned(sim)
        assert (len(held.rows), held.kinds()) == (3, ["detail"])
        [reject] = held.rejects
        assert (reject.upstream_id, reject.payload) == (bad, {"id": "another", "parameters": {}})
        refreshed(sim, held)
    assert held.debts == {}
    assert held.rows[bad].status == "succeeded"


def test_a_failing_result_is_owed_and_the_record_written() -> None:
    world = one(hosts=2)
    with simulator(world, act2_shape="doc") as sim:
        sim.fault(Fault("status", path=RESULT, times=None))
        held = scanned(sim)
        assert (the(held).status, the(held).host_result_count) == ("succeeded", 0)
        assert held.kinds() == ["detail"]
        sim.clear_faults()
        refreshed(sim, held)
    assert (the(held).host_result_count, held.debts) == (2, {})


def test_a_result_larger_than_max_body_is_rejected_and_not_owed() -> None:
    world = World.empty(NOW)
    host = world.act2.pool[0]
    served(world, "one", HOUR_AGO, 1, rows=[HostRow(host, "success", "x" * 9000)])
    with simulator(world, act2_shape="doc", act2_doc_result="array") as sim:
        held = scanned(sim, max_body=Size(4000))
    assert (the(held).status, the(held).host_result_count, held.debts) == ("succeeded", 0, {})
    [reject] = held.rejects
    assert reject.upstream_id == the(held).record_id
    assert "host results" in reject.reason


@pytest.mark.parametrize("count", [3, 30])
def test_when_no_detail_can_be_read_the_pass_fails(count: int) -> None:
    with simulator(filled(count)) as sim:
        sim.fault(fault_of_details("status"))
        with pytest.raises(Transient, match="503"):
            scanned(sim)


def test_a_single_bad_record_does_not_fail_the_pass() -> None:
    with simulator(filled(1)) as sim:
        sim.fault(fault_of_details("status"))
        held = scanned(sim)
    assert held.kinds() == ["detail"]
    assert held.cursor is not None


def test_refresh_stops_asking_a_dead_platform_but_notes_whom_it_asked() -> None:
    with simulator(filled(20)) as sim:
        held = scanned(sim)
        owed = [settle(id_) for id_ in held.rows]
        held.debts = {(d.kind, d.id): d for d in owed}
        sim.fault(fault_of_details("status"))
        sim.clear_log()
        with pytest.raises(Transient):
            refreshed(sim, held, owed, concurrency=4)
        assert len({params["id"] for params in asked(sim, DETAIL)}) == 8
    assert sum("503" in debt.reason for debt in held.debts.values()) == 8


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (fault_of_details("status", status=403), Refused),
        (fault_of_details("error", body="invalid user"), Unauthorized),
    ],
)
def test_a_refusal_ends_the_pass(fault: Fault, error: type[SourceFailed]) -> None:
    with simulator(filled(3)) as sim:
        sim.fault(fault)
        with pytest.raises(error):
            scanned(sim)


# secrets


@pytest.mark.parametrize("shape", ["live", "doc"])
def test_no_password_leaves_the_reader(shape: str) -> None:
    word, secret = "weakly-encrypted-word", "token-of-the-environment"
    world = World.empty(NOW)
    script = Script(password=word, env=(("API_TOKEN", secret), ("LANG", "C")))
    for place in range(3):
        world.act2.start(script, 2, HOUR_AGO + timedelta(minutes=place))
    broken = world.act2.start(script, 2, HOUR_AGO + timedelta(minutes=4))
    broken.parameters = broken.parameters[:-1]
    broken.hosts = f'{{"password": "{word}"}}'
    with simulator(world, act2_shape=shape) as sim:
        held = scanned(sim)
        _spoilt(sim, broken.id)
        refreshed(sim, held)
    assert len(held.rejects) == 1
    shown = repr((held.rows, held.hosts, held.debts, held.rejects, held.cursor, held.taken))
    assert word not in shown
    assert secret not in shown
    assert "LANG" in shown


def _spoilt(sim: Simulator, record_id: str) -> None:
    """The next detail of that record has the id of another."""
    record = sim.world.act2.records.own(record_id)
    body = json.dumps({"id": "another", "parameters": record.parameters, "hosts": record.hosts})
    sim.fault(Fault("body", path=DETAIL, when=lambda r: r.params.get("id") == record_id, body=body))


def inventory(
    sim: Simulator, of: Span | None = None, **changes: Any
) -> tuple[dict[str, str], list[Doubt]]:
    """Statuses by id, and the doubts."""
    lines: dict[str, str] = {}
    doubts: list[Doubt] = []
    with opened(sim, **changes) as (api, made):
        for told in SOURCE.inventory(api, made, of or span(Held())):
            if isinstance(told, Doubt):
                doubts.append(told)
            else:
                lines.update((line.id, line.status) for line in told)
    return lines, doubts


def test_the_inventory_tells_ids_and_statuses() -> None:
    world = filled(5)
    running = world.act2.start(Script(), 2, HOUR_AGO + timedelta(minutes=1))
    with simulator(world) as sim:
        lines, doubts = inventory(sim, page_size=2)
        assert len(asked(sim, DETAIL)) == 6
    assert (set(lines), doubts) == (ids(world), [])
    assert sorted(lines.values()) == ["running", *["succeeded"] * 5]
    assert lines[running.id] == "running"


def test_the_inventory_of_the_documented_shape_needs_no_details() -> None:
    with simulator(filled(5), act2_shape="doc") as sim:
        lines, _ = inventory(sim)
        assert asked(sim, DETAIL) == []
    assert list(lines.values()) == ["succeeded"] * 5


def test_the_inventory_keeps_to_its_span() -> None:
    since, until = HOUR_AGO - timedelta(minutes=3), HOUR_AGO
    with simulator(filled(9)) as sim:
        lines, _ = inventory(sim, span(Held(), since=since, until=until), page_size=2)
        starts = {sim.world.act2.records.own(id_).start for id_ in lines}
    assert sorted(starts) == [since + timedelta(minutes=n) for n in range(3)]


def test_an_inventory_with_a_hole_proves_nothing() -> None:
    world = filled(5)
    hidden = next(iter(world.act2.records)).id
    world.act2.hide_rows(hidden)
    with simulator(world) as sim:
        lines, [doubt] = inventory(sim, page_size=2)
    assert set(lines) == ids(world) - {hidden}
    assert (doubt.upstream_total, doubt.upstream_ids) == (5, 4)
    assert doubt.reason == "1 record is counted but listed nowhere"


def test_the_inventory_knows_a_record_that_has_no_detail_any_more() -> None:
    world = filled(2)
    lost = next(iter(world.act2.records)).id
    with simulator(world) as sim:
        held = scanned(sim)
        sim.fault(fault_of_details("error", lost, body="record not found"))
        lines, _ = inventory(sim, span(held, position=None))
        unknown, _ = inventory(sim)
    assert (lines[lost], unknown[lost]) == ("succeeded", "unknown")
