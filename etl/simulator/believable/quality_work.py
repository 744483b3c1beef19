"""DataArts' part: checks three times a day; one flaps, one has been broken for four days."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random

from etl.simulator.believable.stage import Stage
from etl.simulator.quality import Instance
from etl.simulator.times import from_ms

BROKEN_SINCE_DAYS = 4


@dataclass(slots=True, frozen=True)
class Check:
    """A quality or consistency task and its habits."""

    name: str
    usual_s: int
    alarm_rate: float = 0.01
    failure_rate: float = 0.01
    task_type: str = "QUALITY_TASK"


CHECKS = (
    Check("orders_not_null", 35),
    Check("orders_amount_positive", 42, 0.08),
    Check("customers_unique_email", 61, 0.03),
    Check("payments_in_time", 28),
    Check("inventory_not_negative", 33, 0.12),
    Check("shipments_complete", 55, failure_rate=0.02),
    Check("prices_in_range", 24),
    Check("客户地址_完整性", 47, 0.05),
    Check("returns_have_reason", 30),
    Check("ledger_vs_orders", 210, 0.04, task_type="CONSISTENCY_TASK"),
    Check("warehouse_vs_erp", 260, 0.02, 0.03, "CONSISTENCY_TASK"),
)
_FLAPPING, _BROKEN = "shipments_complete", "prices_in_range"


def plan(stage: Stage) -> None:
    """Each check every eight hours, and one instance that runs just now."""
    for place, check in enumerate(CHECKS):
        stage.daily(check.name, place * 0.4, 8, _run(stage, check))
    stage.at(
        stage.now - timedelta(seconds=25),
        lambda at: begin(stage, CHECKS[-1], at, usual_s=3600, tag="now"),
    )


def plan_lively(stage: Stage) -> None:
    """An instance every 45 seconds."""

    def act(at: datetime, turn: int) -> None:
        begin(stage, CHECKS[turn % len(CHECKS)], at, usual_s=30, tag=f"lively {turn}")

    stage.often(45, act)


def _run(stage: Stage, check: Check) -> Callable[[datetime, int], None]:
    return lambda at, turn: begin(stage, check, at, usual_s=check.usual_s, tag=str(turn))


def begin(stage: Stage, check: Check, at: datetime, *, usual_s: int, tag: str) -> None:
    """A run of the check: running, then over."""
    chance = stage.dice("check", check.name, tag)
    instance = stage.world.dataarts.start(check.name, check.task_type, at)
    end = at + timedelta(seconds=usual_s * chance.lognormvariate(0, 0.2))
    stage.at(end, lambda then: _finish(stage, check, instance.id, then))


def _finish(stage: Stage, check: Check, instance_id: int, at: datetime) -> None:
    quality = stage.world.dataarts
    chance = stage.dice("verdict", check.name, instance_id)
    verdict = _verdict(stage, check, quality.edit(instance_id), chance)
    notified = "NOT_TRIGGERED"
    if verdict != "SUCCESS":
        notified = "FAILED" if chance.random() < 0.05 else "SUCCESS"
    quality.finish(instance_id, verdict, notified, at)


def _verdict(stage: Stage, check: Check, instance: Instance, chance: Random) -> str:
    begun = from_ms(instance.start)
    if check.name == _BROKEN and stage.days_ago(begun) < BROKEN_SINCE_DAYS:
        return "FAILED"
    if check.name == _FLAPPING and begun.hour >= 8 and begun.day % 2:
        return "FAILED" if chance.random() < 0.7 else "SUCCESS"
    roll = chance.random()
    if roll < check.failure_rate:
        return "FAILED"
    return "ALARMING" if roll < check.failure_rate + check.alarm_rate else "SUCCESS"
