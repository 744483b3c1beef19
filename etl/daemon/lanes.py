"""A lane for each source: one thread, one firing at a time. A slow source holds up itself only."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

from etl.daemon.tasks import LEDGER, Firing, Task

Perform = Callable[[Firing], None]


class Lane:
    """Firings of one source that wait for their turn, the longest due first.

    A task that comes due again before its turn is run once, for its latest firing.
    """

    def __init__(self, name: str, perform: Perform) -> None:
        self.name = name
        self._perform = perform
        self._changed = threading.Condition()
        self._waiting: dict[Task, Firing] = {}
        self._over = False
        self._thread: threading.Thread | None = None

    def offer(self, firing: Firing) -> None:
        with self._changed:
            known = self._waiting.get(firing.task)
            if known is None or (known.due, known.claims) <= (firing.due, firing.claims):
                self._waiting[firing.task] = firing
            self._changed.notify()

    @property
    def waits(self) -> bool:
        """Whether a firing waits for its turn."""
        return bool(self._waiting)

    def next(self) -> Firing | None:
        """Takes the firing that is due for the longest; None: none waits."""
        with self._changed:
            if not self._waiting:
                return None
            firing = min(self._waiting.values(), key=lambda each: each.due)
            return self._waiting.pop(firing.task)

    def run_all(self) -> None:
        """Performs what waits, in the caller's thread."""
        while not self._over and (firing := self.next()) is not None:
            self._perform(firing)

    def start(self) -> None:
        """Performs what comes, in a thread of its own."""
        self._thread = threading.Thread(target=self._work, name=f"lane {self.name}", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Nothing further is begun; what runs runs on."""
        with self._changed:
            self._over = True
            self._waiting.clear()
            self._changed.notify()

    def join(self, seconds: float) -> bool:
        """Waits for what runs; True when it is over."""
        if self._thread is None:
            return True
        self._thread.join(max(0.0, seconds))
        return not self._thread.is_alive()

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._over:
                    self._changed.wait()
                if self._over:
                    return
            self.run_all()


class Lanes:
    """The lanes of a daemon, by the names of their sources. `threads` False: somebody else calls
    `run_all`."""

    def __init__(self, perform: Perform, *, threads: bool = True) -> None:
        self._perform = perform
        self._threads = threads
        self._lock = threading.Lock()
        self._lanes: dict[str, Lane] = {}
        self._left: list[Lane] = []

    def offer(self, firing: Firing) -> None:
        name = firing.task.source
        with self._lock:
            lane = self._lanes.get(name)
            if lane is None:
                lane = self._lanes[name] = Lane(name, self._perform)
                if self._threads:
                    lane.start()
        lane.offer(firing)

    def all(self) -> list[Lane]:
        with self._lock:
            return list(self._lanes.values())

    def run_all(self) -> None:
        """Performs what waits in all lanes, one after the other, until nothing waits."""
        while busy := [lane for lane in self.all() if lane.waits]:
            for lane in busy:
                lane.run_all()

    def keep(self, names: Iterable[str]) -> None:
        """Ends the lanes of sources that are no longer configured."""
        wanted = {LEDGER, *names}
        with self._lock:
            for name in self._lanes.keys() - wanted:
                lane = self._lanes.pop(name)
                lane.end()
                self._left.append(lane)
            self._left = [lane for lane in self._left if not lane.join(0)]

    def end(self, seconds: float) -> list[str]:
        """Ends all lanes and waits so long for what runs; returns who is still at work."""
        with self._lock:
            lanes = [*self._lanes.values(), *self._left]
        for lane in lanes:
            lane.end()
        give_up_at = time.monotonic() + seconds
        return [lane.name for lane in lanes if not lane.join(give_up_at - time.monotonic())]
