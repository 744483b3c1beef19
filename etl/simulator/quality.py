"""What DataArts holds: instances of data-quality tasks, a list for each workspace.

Source of truth: samples/dataarts/instances.json. Ids are int64 above 2^53 and odd, so that
whoever passes them through a float loses them. Times are epoch milliseconds.
"""

import zlib
from dataclasses import dataclass
from datetime import datetime
from threading import RLock

from etl.simulator.locks import locked
from etl.simulator.timeline import Generated, Timeline
from etl.simulator.times import Now, ms

FIRST_ID = 1_012_386_207_306_600_401
ID_STEP = 16_777_258


@dataclass(slots=True)
class Instance:
    """One run of a quality or consistency task; `end` None while it runs."""

    id: int
    name: str
    task_id: int
    start: int
    task_type: str = "QUALITY_TASK"
    run_status: str = "RUNNING"
    notify_status: str = "NOT_TRIGGERED"
    end: int | None = None

    @property
    def time(self) -> int:
        """DataArts lists by the start of the run."""
        return self.start


def task_id(name: str) -> int:
    """The id of the task of that name: above 2^53, the same for the same name."""
    return 1_012_000_000_000_000_001 + zlib.crc32(name.encode()) * 2_000_002


class Quality:
    """The instances of all workspaces, and what the scheduler may do to them."""

    def __init__(self, now: Now, workspace: str) -> None:
        """`workspace` is where instances go unless another is named."""
        self._now = now
        self.lock = RLock()
        self.workspace = workspace
        self._workspaces: dict[str, Timeline[Instance, int]] = {}
        self._next_id = FIRST_ID

    @locked
    def instances(self, workspace: str | None = None) -> Timeline[Instance, int]:
        """The instances of one workspace; a new one is empty."""
        return self._workspaces.setdefault(workspace or self.workspace, Timeline())

    @locked
    def generate(self, generated: Generated[Instance, int]) -> None:
        """Fills the first workspace with generated instances; new ids go on after them."""
        self._workspaces[self.workspace] = Timeline(generated)
        self._next_id = max(self._next_id, FIRST_ID + len(generated) * ID_STEP)

    @locked
    def add(self, instance: Instance, workspace: str | None = None) -> Instance:
        """Puts a ready-made instance into a workspace."""
        self.instances(workspace).add(instance.id, instance.start, instance)
        self._next_id = max(self._next_id, instance.id + ID_STEP)
        return instance

    @locked
    def start(
        self,
        name: str = "orders_not_null",
        task_type: str = "QUALITY_TASK",
        at: datetime | None = None,
        workspace: str | None = None,
    ) -> Instance:
        """A new instance that runs."""
        start = ms(at or self._now())
        new = Instance(self._next_id, name, task_id(name), start, task_type)
        return self.add(new, workspace)

    @locked
    def finish(
        self,
        instance_id: int,
        run_status: str = "SUCCESS",
        notify_status: str = "NOT_TRIGGERED",
        at: datetime | None = None,
    ) -> Instance:
        """The run is over."""
        instance = self.edit(instance_id)
        instance.run_status, instance.notify_status = run_status, notify_status
        instance.end = ms(at or self._now())
        return instance

    @locked
    def edit(self, instance_id: int) -> Instance:
        """The instance itself, for any other change; KeyError if there is none."""
        return self._home(instance_id).own(instance_id)

    @locked
    def delete(self, instance_id: int) -> None:
        """The instance is no longer listed."""
        self._home(instance_id).remove(instance_id)

    def _home(self, instance_id: int) -> Timeline[Instance, int]:
        for instances in self._workspaces.values():
            if instances.get(instance_id) is not None:
                return instances
        raise KeyError(instance_id)
