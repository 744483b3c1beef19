"""One thread in which many readers take turns: where one would wait, another goes on.

A thread for each call in flight costs more than the calls: every answer wakes one, which then
waits for the interpreter behind all others. Here a reader is a greenlet. It gives way where it
waits for an answer (`until_readable`), for what another does (`Turn`), or for something that can
only block (`aside`), and so needs no other form than code that blocks. Whatever else it does,
it does alone: what takes long holds the other readers up.
"""

from __future__ import annotations

import contextlib
import math
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol, TypeVar

from greenlet import getcurrent, greenlet

from etl.context import carried

R = TypeVar("R")

_running = threading.local()

_TICK_S = 0.1
"""How often whoever has waited for too long is looked for while there is much to do."""


def hub() -> Hub | None:
    """The hub whose reader is asking; None in a thread of one's own."""
    found: Hub | None = getattr(_running, "hub", None)
    return found


def whose() -> int:
    """Tells readers and threads apart."""
    return threading.get_ident() if hub() is None else id(getcurrent())


def aside(work: Callable[[], R]) -> R:
    """`work`, which may block, without holding up the other readers of a hub."""
    here = hub()
    return work() if here is None else here.aside(work)


def give_way() -> None:
    """A reader lets those go first that only need to send or to receive."""
    here = hub()
    if here is not None:
        here.give_way()


class Work(Protocol):
    """What a reader does. It raises nothing."""

    def __call__(self) -> None: ...
    def cancel(self) -> None: ...


class Turn:
    """A reader that waits. `wake` may be called from any thread, before it waits too."""

    __slots__ = ("_hub", "_reader", "late", "until", "waits")

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._reader = getcurrent()
        self.until = math.inf
        self.waits = self.late = False

    def wake(self) -> None:
        self._hub.wake(self)

    def wait(self, timeout_s: float) -> bool:
        """False when nobody woke it in time."""
        return self._hub.park(self, timeout_s)

    def go_on(self) -> None:
        """In the hub: the reader runs until it waits again."""
        if self.waits:
            self.waits = False
            self._reader.switch()


class Changes:
    """A condition for which threads and readers wait alike."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._threads = threading.Condition(self._lock)
        self._readers: deque[Turn] = deque()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def wait(self, timeout_s: float) -> None:
        """Gives the lock back meanwhile. Returns without a reason too."""
        here = hub()
        if here is None:
            self._threads.wait(timeout_s)
            return
        turn = Turn(here)
        self._readers.append(turn)
        self._lock.release()
        woken = turn.wait(timeout_s)
        self._lock.acquire()
        if not woken and turn in self._readers:
            self._readers.remove(turn)

    def notify(self) -> None:
        """One of those that wait, or one reader and one thread, are to look again."""
        if self._readers:
            self._readers.popleft().wake()
        self._threads.notify()

    def notify_all(self) -> None:
        while self._readers:
            self._readers.popleft().wake()
        self._threads.notify_all()


class _Watch:
    """A socket that the hub looks at, and who waits for it to be readable."""

    __slots__ = ("turn",)

    def __init__(self) -> None:
        self.turn: Turn | None = None


class Hub:
    """`submit` gives it work, of which `size` readers do one piece each at a time."""

    def __init__(self, name: str, size: int) -> None:
        self._size = size
        self._work: deque[Work] = deque()
        self._readers = 0
        self._ready: deque[Turn] = deque()
        self._later: deque[Turn] = deque()
        """Readers with work in hand, which can wait for those that send or receive."""
        self._parked: set[Turn] = set()
        self._woken: deque[Turn] = deque()
        """By other threads."""
        self._look_again_at = 0.0
        self._closed = False
        self._helpers = ThreadPoolExecutor(size, f"{name}-aside")
        self._watched: dict[int, _Watch] = {}
        self._selector = selectors.DefaultSelector()
        self._poke, self._poked = socket.socketpair()
        for end in (self._poke, self._poked):
            end.setblocking(False)
        self._selector.register(self._poked, selectors.EVENT_READ)
        self._main = getcurrent()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    # from any thread

    def submit(self, work: Iterable[Work]) -> None:
        """Pieces of work, in the order in which they are to begin."""
        self._work.extend(work)
        self._awake()

    def close(self) -> list[Work]:
        """The thread ends once its readers have. Waits for nobody; answers what has not begun."""
        left = []
        while (work := self._next()) is not None:
            left.append(work)
        self._closed = True
        self._awake()
        return left

    def wake(self, turn: Turn) -> None:
        """`turn` goes on, before all others."""
        turn.until = math.inf
        if hub() is self:
            self._ready.appendleft(turn)
        else:
            self._woken.append(turn)
            self._awake()

    def forget(self, descriptor: int) -> None:
        """To be called before a socket is closed on which a reader may have waited."""
        if self._watched.pop(descriptor, None) is not None:
            with contextlib.suppress(KeyError, ValueError):  # the hub has ended
                self._selector.unregister(descriptor)

    def _awake(self) -> None:
        with contextlib.suppress(OSError):  # full: it is about to wake; closed: it has ended
            self._poke.send(b"!")

    # from its readers

    def until_readable(self, sock: socket.socket, timeout_s: float) -> None:
        """Waits until something came, or the other side has gone. Raises TimeoutError."""
        descriptor = sock.fileno()
        watch = self._watched.get(descriptor)
        if watch is None:
            watch = self._watched[descriptor] = _Watch()
            self._selector.register(descriptor, selectors.EVENT_READ, watch)
        watch.turn = turn = Turn(self)
        if not self.park(turn, timeout_s):
            watch.turn = None
            raise TimeoutError(f"nothing came in {timeout_s:g} s")

    def aside(self, work: Callable[[], R]) -> R:
        """`work` in a thread of its own; other readers go on meanwhile."""
        turn = Turn(self)
        future: Future[R] = self._helpers.submit(carried(work))
        future.add_done_callback(lambda _: turn.wake())
        self.park(turn, math.inf)
        return future.result()

    def give_way(self) -> None:
        """See `give_way`."""
        if self._ready:
            self.breathe()

    def breathe(self) -> None:
        """Lets everybody else go first: for whoever is at work for long."""
        turn = Turn(self)
        self._later.append(turn)
        self.park(turn, math.inf)

    def park(self, turn: Turn, timeout_s: float) -> bool:
        """See `Turn.wait`."""
        turn.until = time.monotonic() + timeout_s
        turn.waits = True
        self._parked.add(turn)
        self._main.switch()
        self._parked.discard(turn)
        return not turn.late

    # the thread

    def _run(self) -> None:
        _running.hub = self
        self._main = getcurrent()
        while True:
            self._let_go_on()
            if self._later:
                self._later.popleft().go_on()
            if self._closed and not self._readers and not self._work:
                break
            self._look()
        self._helpers.shutdown(wait=False)
        self._selector.close()
        self._poke.close()
        self._poked.close()

    def _let_go_on(self) -> None:
        """Whoever is ready, then new readers for work that has none."""
        while True:
            if self._ready:
                self._ready.popleft().go_on()
            elif self._work and self._readers < self._size:
                self._readers += 1
                greenlet(self._read).switch()
            else:
                return

    def _read(self) -> None:
        """A reader, from its first piece of work to its last."""
        while (work := self._next()) is not None:
            work()
        self._readers -= 1

    def _next(self) -> Work | None:
        try:
            return self._work.popleft()
        except IndexError:
            return None

    def _look(self) -> None:
        """Waits for news; those that it is for are ready then."""
        now = time.monotonic()
        busy = self._ready or self._later or self._woken
        earliest = math.inf
        wait_s: float | None = 0.0
        if not busy or now >= self._look_again_at:
            self._look_again_at = now + _TICK_S
            earliest = min((turn.until for turn in self._parked), default=math.inf)
            wait_s = None if math.isinf(earliest) else max(0.0, earliest - now)
        for key, _ in self._selector.select(0.0 if busy else wait_s):
            watch: _Watch | None = key.data
            if watch is None:
                self._poked.recv(1 << 12)
            elif watch.turn is None:
                self.forget(key.fd)  # nobody reads there now: it would be told again and again
            else:
                watch.turn.until = math.inf  # it came in time, however late this is seen
                self._ready.append(watch.turn)
                watch.turn = None
        while self._woken:
            self._ready.append(self._woken.popleft())
        if earliest < math.inf and (now := time.monotonic()) >= earliest:
            for turn in self._parked:
                if turn.until <= now:
                    turn.late = True
                    self._ready.append(turn)
