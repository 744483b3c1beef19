"""Whatever the platforms do, and however they answer: the tables come to equal the world.

A failure prints the steps that led to it as a script, and a blob for `@reproduce_failure`.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import databases
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from world_machine import WorldMachine
from world_machines import Act2Machine, DataArtsMachine, ExplorerMachine

MACHINES = (ExplorerMachine, Act2Machine, DataArtsMachine)
Servers = Callable[[str], databases.Server]


def run(machine: type[WorldMachine], server: databases.Server, examples: int, steps: int) -> None:
    def new() -> WorldMachine:
        return machine(server.migrated)

    run_state_machine_as_test(
        new,  # type: ignore[arg-type]  # its annotation wants a class, its documentation a factory
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            derandomize=True,
            deadline=None,
            print_blob=True,
            database=None,
            suppress_health_check=list(HealthCheck),
            phases=(Phase.generate, Phase.shrink),
        ),
    )


@pytest.mark.parametrize("machine", MACHINES)
def test_the_tables_come_to_equal_the_world(servers: Servers, machine: type[WorldMachine]) -> None:
    run(machine, servers("sqlite"), 4, 12)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", databases.KINDS)
@pytest.mark.parametrize("machine", MACHINES)
def test_the_tables_come_to_equal_the_world_whatever_happens(
    servers: Servers, machine: type[WorldMachine], kind: str
) -> None:
    """Of each platform on each database; ETL_WORLD_EXAMPLES worlds of 25 steps."""
    run(machine, servers(kind), int(os.environ.get("ETL_WORLD_EXAMPLES", "6")), 25)
