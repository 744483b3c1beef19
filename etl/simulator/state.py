"""The state of all three platforms, and the clock by which they live."""

from collections.abc import Callable
from datetime import datetime, timedelta
from threading import RLock

from etl.simulator.credentials import Credentials
from etl.simulator.graphs import Graphs
from etl.simulator.life import Life
from etl.simulator.quality import Quality
from etl.simulator.scripts import Scripts


class State:
    """What the simulators serve; change it at any time, also while it is served."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        """Nothing has happened; `clock` must return aware times and may be replaced later."""
        self.clock = clock
        self.lock = RLock()
        self._ahead = timedelta()
        self.life = Life()
        self.explorer = Graphs(self.now)
        self.act2 = Scripts(self.now)
        self.dataarts = Quality(self.now, Credentials().workspace)
        self.explorer.lock = self.act2.lock = self.dataarts.lock = self.lock

    def now(self) -> datetime:
        """The world's time: its clock and what it was advanced by."""
        return self.clock() + self._ahead

    def advance(self, by: timedelta) -> None:
        """Moves time on; what was planned to happen in between happens."""
        with self.lock:
            self._ahead += by
            self.catch_up()

    def catch_up(self) -> None:
        """Lets everything happen that is planned up to now."""
        with self.lock:
            self.life.until(self.now())
