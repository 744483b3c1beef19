"""Explorer's part: nightly graph workflows whose results drift from run to run."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from random import Random

from etl.simulator.believable.stage import Stage
from etl.simulator.graphs import FAILED, INTERRUPTED, PREPARING, RUNNING, SUCCESS, Job
from etl.simulator.times import from_ms, ms


@dataclass(slots=True, frozen=True)
class Workflow:
    """A workflow and its habits; `vertex` names what its graph is about."""

    name: str
    algorithms: tuple[str, ...]
    vertex: str
    hour: float
    every_h: float
    usual_s: int
    failure_rate: float = 0.03


WORKFLOWS = (
    Workflow("fraud_ring_detection", ("WCC", "Louvain", "PageRank"), "account", 18.2, 24, 540),
    Workflow(
        "payment_influence", ("PageRank", "DegreeCentrality"), "merchant", 19.0, 24, 310, 0.01
    ),
    Workflow(
        "supply_chain_risk",
        ("BFS", "BetweennessCentrality", "Louvain"),
        "supplier",
        20.3,
        24,
        1260,
        0.12,
    ),
    Workflow("customer_communities", ("Louvain", "LabelPropagation"), "客户", 21.25, 24, 780),
    Workflow("similar_products", ("JaccardSimilarity", "TriangleCount"), "sku", 6.1, 24, 190),
    Workflow("shortest_routes", ("SSSP", "BFS"), "depot", 3.7, 12, 95, 0.02),
    Workflow("graph_coreness", ("KCore", "TriangleCount"), "concept", 22.0, 48, 420),
    Workflow(
        "anti_money_laundering",
        ("WCC", "CycleDetection", "PageRank", "ClusteringCoefficient"),
        "iban",
        23.5,
        24,
        1710,
        0.06,
    ),
)
_LATE_RUNNER, _BROKEN_LAST_NIGHT = "customer_communities", "fraud_ring_detection"
_INTERRUPTED_LAST_NIGHT = "anti_money_laundering"

RowMaker = Callable[[Random, str, int], list[str]]


def plan(stage: Stage) -> None:
    """The nightly runs, one that waits, and one that runs far longer than usual."""
    for flow in WORKFLOWS:
        stage.daily(flow.name, flow.hour, flow.every_h, _run(stage, flow))
    slow = next(flow for flow in WORKFLOWS if flow.name == _LATE_RUNNER)
    stage.at(stage.now - timedelta(hours=3, minutes=20), lambda at: _endless(stage, slow, at))
    waiting = WORKFLOWS[5]
    stage.at(
        stage.now - timedelta(seconds=95),
        lambda at: begin(stage, waiting, at, wait_s=600, tag="waiting"),
    )


def plan_lively(stage: Stage) -> None:
    """A short run every two minutes."""

    def act(at: datetime, turn: int) -> None:
        flow = WORKFLOWS[turn % len(WORKFLOWS)]
        begin(stage, replace(flow, usual_s=80), at, wait_s=5, tag=f"lively {turn}")

    stage.often(120, act)


def _run(stage: Stage, flow: Workflow) -> Callable[[datetime, int], None]:
    def act(at: datetime, turn: int) -> None:
        chance = stage.dice("wait", flow.name, turn)
        begin(stage, flow, at, wait_s=chance.randrange(4, 90), tag=str(turn))

    return act


def _endless(stage: Stage, flow: Workflow, at: datetime) -> None:
    job = stage.world.explorer.create(flow.name, flow.algorithms, at)
    _start(job, at + timedelta(seconds=12))


def begin(stage: Stage, flow: Workflow, at: datetime, *, wait_s: int, tag: str) -> Job:
    """A run: created now, started after its wait, finished after about its usual time."""
    chance = stage.dice("run", flow.name, tag)
    graphs = stage.world.explorer
    job = graphs.create(flow.name, flow.algorithms, at)
    started = at + timedelta(seconds=wait_s)
    lasts = timedelta(seconds=flow.usual_s * chance.lognormvariate(0, 0.18))
    stage.at(started, lambda then: _start(graphs.edit(job.id), then))
    stage.at(started + lasts, lambda then: _finish(stage, flow, graphs.edit(job.id), then))
    return job


def _start(job: Job, at: datetime) -> None:
    job.status, job.began = RUNNING, ms(at)
    job.tasks[0].status, job.tasks[0].began = RUNNING, ms(at)


def _finish(stage: Stage, flow: Workflow, job: Job, at: datetime) -> None:
    chance = stage.dice("result", flow.name, job.id)
    job.status, job.ended = _verdict(stage, flow, job, chance), ms(at)
    failing = None if job.status == SUCCESS else chance.randrange(len(job.tasks))
    began = job.began or job.created
    share = (job.ended - began) // len(job.tasks)
    for place, task in enumerate(job.tasks):
        if failing is not None and place > failing:
            task.status, task.began, task.ended = PREPARING, None, None
            continue
        task.status = job.status if place == failing else SUCCESS
        last = place in (failing, len(job.tasks) - 1)
        task.began, task.ended = began + place * share, began + (place + 1) * share
        task.ended = job.ended if last else task.ended
        if task.status == SUCCESS:
            task.sample = sample(chance, task.name, flow.vertex)
    if flow.name == "graph_coreness" and job.id % 8 == 0:
        job.tasks[-1].sample = None  # its result went back into the graph


def _verdict(stage: Stage, flow: Workflow, job: Job, chance: Random) -> int:
    roll = chance.random()
    if stage.last_night(from_ms(job.created)):
        if flow.name == _BROKEN_LAST_NIGHT:
            return FAILED
        if flow.name == _INTERRUPTED_LAST_NIGHT:
            return INTERRUPTED
    if roll < flow.failure_rate:
        return FAILED
    return INTERRUPTED if roll < flow.failure_rate + 0.01 else SUCCESS


# results


def sample(chance: Random, algorithm: str, vertex: str) -> list[list[str]]:
    """Rows as the algorithm leaves them: mostly some twenty, now and then none or a hundred."""
    count = chance.choices((20, 15, 25, 100, 3, 0), (60, 15, 12, 3, 8, 2))[0]
    make = _ROWS.get(algorithm, _score)
    return [make(chance, vertex, place) for place in range(count)]


def _name(chance: Random, vertex: str, spread: int = 4000) -> str:
    return f"{vertex}_{chance.randrange(1000, 1000 + spread)}"


def _score(chance: Random, vertex: str, place: int) -> list[str]:
    """Ranked: the score falls with the place."""
    return [_name(chance, vertex), f"{chance.uniform(0.6, 1.4) / (place + 2):.6f}"]


def _community(chance: Random, vertex: str, _: int) -> list[str]:
    return [_name(chance, vertex), str(chance.randrange(1, 60))]


def _count(chance: Random, vertex: str, _: int) -> list[str]:
    return [_name(chance, vertex), str(int(chance.paretovariate(1.2) * 3))]


def _distance(chance: Random, vertex: str, _: int) -> list[str]:
    return [f"{vertex}_1000", _name(chance, vertex), f"{chance.uniform(0.5, 90):.2f}"]


def _hops(chance: Random, vertex: str, _: int) -> list[str]:
    return [f"{vertex}_1000", _name(chance, vertex), str(chance.randrange(1, 7))]


def _pair(chance: Random, vertex: str, _: int) -> list[str]:
    return [_name(chance, vertex), _name(chance, vertex), f"{chance.random():.6f}"]


_ROWS: dict[str, RowMaker] = {
    "Louvain": _community,
    "LabelPropagation": _community,
    "WCC": _community,
    "CycleDetection": _community,
    "KCore": _count,
    "TriangleCount": _count,
    "DegreeCentrality": _count,
    "SSSP": _distance,
    "BFS": _hops,
    "JaccardSimilarity": _pair,
}
