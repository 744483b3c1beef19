"""The worlds themselves: lists that change, a million on demand, a believable one that repeats."""

import threading
import tracemalloc
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.simulator import Credentials, Simulator, World, serve
from etl.simulator.big import Instances
from etl.simulator.quality import FIRST_ID, ID_STEP, Instance
from etl.simulator.timeline import Timeline

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
OWN = Credentials()
JSON = {"Content-Type": "application/json"}
COOKIES = {"explorer_token": OWN.explorer_token}


def pages(sim: Simulator) -> list[bytes]:
    """A look at each platform."""
    jobs = "/api-open/v1/jobs?pageSize=500"
    records = "/api/v1/job/record/page?pageNo=1&pageSize=500"
    instances = f"/v2/{OWN.project_id}/quality/instances?limit=100"
    token = {"X-Auth-Token": OWN.dataarts_token, "workspace": OWN.workspace}
    return [
        requests.get(sim.url + jobs, cookies=COOKIES, timeout=5).content,
        requests.get(sim.url + records, headers=JSON, timeout=5).content,
        requests.get(sim.url + instances, headers=token, timeout=5).content,
    ]


# lists

CHANGES = st.lists(
    st.tuples(st.sampled_from(["add", "remove", "own"]), st.integers(0, 40)), max_size=30
)


@settings(deadline=None)
@given(st.integers(0, 12), CHANGES)
def test_a_timeline_is_a_sorted_list_whatever_is_done_to_it(
    generated: int, changes: list[tuple[str, int]]
) -> None:
    base = Instances(generated, 1000, 10)
    timeline: Timeline[Instance, int] = Timeline(base)
    model = {base.at(n).id: base.at(n) for n in range(generated)}
    for number, (change, n) in enumerate(changes):
        known = sorted(model)[n % len(model)] if model else 0
        if change == "add":
            new = Instance(number + 1, "new", 1, 1000 + 3 * n)
            timeline.add(new.id, new.start, new)
            model[new.id] = new
        elif change == "remove" and model:
            timeline.remove(known)
            del model[known]
        elif change == "own" and model:
            timeline.own(known).name = model[known].name = "touched"
    times = sorted(instance.start for instance in model.values())
    assert [instance.start for instance in timeline] == times
    assert {instance.id: instance for instance in timeline} == model
    assert all(timeline.get(known) == model[known] for known in model)
    for edge in (0, 1000, 1015, 1030, 9999):
        assert timeline.before(edge) == sum(time < edge for time in times)
    whole = range(len(timeline))
    newest = timeline.page(whole, 2, 5, newest_first=True)
    assert [instance.start for instance in newest] == times[::-1][2:7]


def test_an_id_is_there_once_and_what_is_not_there_is_an_error() -> None:
    timeline: Timeline[Instance, int] = Timeline(Instances(3, 0, 10))
    with pytest.raises(ValueError, match="already there"):
        timeline.add(FIRST_ID, 5, Instance(FIRST_ID, "twice", 1, 5))
    for missing in (FIRST_ID - ID_STEP, FIRST_ID + 1, FIRST_ID + 3 * ID_STEP):
        assert timeline.get(missing) is None
        with pytest.raises(KeyError):
            timeline.own(missing)
        with pytest.raises(KeyError):
            timeline.remove(missing)


# large worlds


def test_a_million_instances_take_no_memory_and_are_paged_at_any_place() -> None:
    tracemalloc.start()
    world = World.big(100_000, 100_000, 1_000_000, now=NOW)
    with Simulator(world) as sim:
        headers = {"X-Auth-Token": OWN.dataarts_token, "workspace": OWN.workspace}
        url = f"{sim.url}/v2/{OWN.project_id}/quality/instances"
        window = {"start_time": int(NOW.timestamp() * 1000) - 100_000, "limit": 100}
        for params in ({"offset": 999_990}, window):
            body = requests.get(url, params=params, headers=headers, timeout=5).json()
            assert len(body["resources"]) == 10
        job = requests.get(f"{sim.url}/api-open/v1/jobs/77777", cookies=COOKIES, timeout=5).json()
        assert job["data"]["id"] == 77777
        page = f"{sim.url}/api/v1/job/record/page?pageNo=50000&pageSize=2"
        rows = requests.get(page, headers=JSON, timeout=5).json()["content"]["List"]
        assert len(rows) == 4
        detail = f"{sim.url}/api/v1/job/record?id={rows[0]['recordId']}"
        assert requests.get(detail, headers=JSON, timeout=5).json()["status"] == "success"
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20 << 20


def test_a_large_world_changes_too() -> None:
    world = World.big(jobs=1000, records=1000, instances=1000, now=NOW)
    world.explorer.fail(500)
    world.explorer.delete(501)
    assert world.explorer.create().id == 1001
    assert [job.id for job in world.explorer.jobs][498:501] == [499, 500, 502]
    record = next(iter(world.act2.records))
    world.act2.hide_rows(record.id)
    assert next(iter(world.act2.records)).hidden
    assert world.act2.records.get("not-hex") is None
    world.dataarts.start()
    assert len(world.dataarts.instances()) == 1001
    sample: Any = next(iter(world.explorer.jobs)).tasks[0].sample
    assert list(sample) == sample[:10]
    assert (len(sample), sample[0]) == (3, sample[:1][0])


# the believable world


def test_the_same_seed_and_now_give_the_same_world_to_the_byte() -> None:
    with Simulator(World.believable(now=NOW)) as one, Simulator(World.believable(now=NOW)) as two:
        assert pages(one) == pages(two)


def test_another_seed_is_another_world() -> None:
    names = [[job.status for job in World.believable(seed, NOW).explorer.jobs] for seed in (7, 8)]
    assert names[0] != names[1]


@pytest.mark.parametrize("now", [NOW, datetime(2027, 3, 1, 3, 17, tzinfo=UTC)])
def test_the_believable_world_is_worth_querying(now: datetime) -> None:
    world = World.believable(now=now)
    night = int((now - timedelta(days=1)).timestamp() * 1000)
    jobs, records = list(world.explorer.jobs), list(world.act2.records)
    instances = list(world.dataarts.instances())
    assert 300 <= len(jobs) <= 400
    assert 220 <= len(records) <= 280
    assert 1400 <= len(instances) <= 1600
    assert {0, 1, 2, 3, 4} <= {job.status for job in jobs}
    assert {3, 4} <= {job.status for job in jobs if job.created >= night}
    assert "fail" in {record.result_status for record in records if record.time >= night}
    assert "FAILED" in {run.run_status for run in instances if run.start >= night}
    assert {"doing", "done"} == {record.execute_status for record in records}
    assert sum(record.hidden for record in records) == 3
    fails = Counter(row.host.ip for r in records for row in r.rows if row.status == "fail")
    (worst, most), (_, second) = fails.most_common(2)
    assert most > 4 * second, worst
    assert max(len(task.sample or []) for job in jobs for task in job.tasks) <= 100


def test_the_results_of_a_workflow_differ_between_its_runs() -> None:
    jobs = [j for j in World.believable(now=NOW).explorer.jobs if j.status == 2]
    first, again = [job for job in jobs if job.workflow_name == "payment_influence"][:2]
    assert first.tasks[0].id == again.tasks[0].id
    assert first.tasks[0].sample != again.tasks[0].sample


def test_a_world_goes_on_as_its_time_does() -> None:
    world = World.believable(now=NOW)
    waiting = [job.id for job in world.explorer.jobs if job.status == 0]
    before = len(world.explorer.jobs)
    world.advance(timedelta(minutes=20))
    assert {world.explorer.edit(job).status for job in waiting} == {2}
    world.advance(timedelta(days=2))
    assert len(world.explorer.jobs) > before + 10


def test_a_lively_world_has_something_new_every_minute_and_bears_deletions() -> None:
    world = World.believable(now=NOW, lively=True)
    running = [job.id for job in world.explorer.jobs if job.status == 0]
    world.explorer.delete(running[0])
    before = len(world.act2.records)
    world.clock = lambda: NOW + timedelta(minutes=15)
    with Simulator(world) as sim:
        pages(sim)
    assert len(world.act2.records) > before + 10


def test_a_standing_clock_needs_a_zone() -> None:
    with pytest.raises(ValueError, match="zone"):
        World.empty(datetime(2026, 1, 1))  # noqa: DTZ001 - that is the point
    assert World.empty().now().tzinfo is UTC


# serving


def test_serve_says_where_and_how_and_ends_when_told() -> None:
    said: list[str] = []
    stop, ready = threading.Event(), threading.Event()

    def announce(text: str) -> None:
        said.append(text)
        ready.set()

    thread = threading.Thread(target=serve, args=(0, 7, None, stop, announce))
    thread.start()
    assert ready.wait(10)
    lines = [line for line in said[0].splitlines() if line.startswith("export ")]
    values = dict(line.removeprefix("export ").split("=", 1) for line in lines)
    assert list(values) == [
        "EXPLORER_URL",
        "EXPLORER_TOKEN",
        "ACT2_URL",
        "DATAARTS_URL",
        "HUAWEI_PROJECT_ID",
        "DATAARTS_WORKSPACE",
        "IAM_URL",
        "HUAWEI_DOMAIN",
        "HUAWEI_USER",
    ]
    assert OWN.huawei_password in said[0]
    cookies = {"explorer_token": values["EXPLORER_TOKEN"]}
    answer = requests.get(f"{values['EXPLORER_URL']}/api-open/v1/jobs", cookies=cookies, timeout=5)
    assert answer.json()["data"]["total"] > 300
    stop.set()
    thread.join(10)
    assert not thread.is_alive()
