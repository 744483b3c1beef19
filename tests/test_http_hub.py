"""Readers that share a thread: each goes on while others wait, and nothing is lost between them."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, cast

import pytest
from hostile_server import Call, HostileServer, answer, packed
from hostile_tls import server_context
from http_kit import opened

from etl.http.hub import Changes, Hub, Turn, aside, hub, whose
from etl.http.sockets import _SharedTls


class Work:
    """A piece of work and what came of it."""

    def __init__(self, do: Callable[[], Any]) -> None:
        self._do = do
        self.future: Future[Any] = Future()

    def __call__(self) -> None:
        try:
            self.future.set_result(self._do())
        except BaseException as error:  # noqa: BLE001 - raised again in the test
            self.future.set_exception(error)

    def cancel(self) -> None:
        self.future.cancel()


@pytest.fixture
def shared() -> Any:
    made = Hub("etl-http", 4)
    yield made
    made.close()


def run(shared: Hub, *all_of_it: Callable[[], Any]) -> list[Any]:
    works = [Work(do) for do in all_of_it]
    shared.submit(works)
    return [work.future.result(10) for work in works]


def here() -> Hub:
    found = hub()
    assert found is not None
    return found


def test_a_wait_in_one_reader_is_ended_by_another(shared: Hub) -> None:
    turns: list[Turn] = []

    def first() -> bool:
        turns.append(Turn(here()))
        return turns[0].wait(10)

    def second() -> None:
        turns[0].wake()

    assert run(shared, first, second) == [True, None]


def test_what_wakes_before_the_wait_is_not_lost(shared: Hub) -> None:
    def first() -> bool:
        turn = Turn(here())
        thread = threading.Thread(target=turn.wake)
        thread.start()
        thread.join()
        return turn.wait(10)

    assert run(shared, first) == [True]


def test_a_wait_ends_when_its_time_is_up(shared: Hub) -> None:
    assert run(shared, lambda: Turn(here()).wait(0.01)) == [False]


def test_a_socket_on_which_nothing_comes_is_a_timeout(shared: Hub) -> None:
    near, far = socket.socketpair()
    with near, far, pytest.raises(TimeoutError):
        run(shared, lambda: here().until_readable(near, 0.01))


def test_what_blocks_is_done_aside_and_its_error_comes_back(shared: Hub) -> None:
    beside = threading.Event()

    def blocks() -> int:
        beside.wait(10)
        return threading.get_ident()

    def fails() -> None:
        raise ValueError("aside")

    thread, mine, _ = run(shared, lambda: aside(blocks), threading.get_ident, beside.set)
    assert thread != mine
    with pytest.raises(ValueError, match="aside"):
        run(shared, lambda: aside(fails))


def test_readers_and_threads_are_told_apart(shared: Hub) -> None:
    waiting = threading.Event()

    def one() -> int:
        aside(lambda: waiting.wait(10))
        return whose()

    def two() -> int:
        waiting.set()
        return whose()

    assert len({whose(), *run(shared, one, two)}) == 3


def test_one_who_waits_for_a_change_is_woken_from_a_thread(shared: Hub) -> None:
    changes, ready = Changes(), threading.Event()
    came: list[int] = []

    def waits() -> None:
        with changes:
            ready.set()
            while not came:
                changes.wait(10)

    def changed() -> None:
        ready.wait(10)
        with changes:
            came.append(1)
            changes.notify()

    thread = threading.Thread(target=changed)
    thread.start()
    run(shared, waits)
    thread.join()


def test_those_that_only_send_go_before_those_that_work(shared: Hub) -> None:
    order: list[str] = []
    turns: list[Turn] = []

    def sends() -> None:
        turns.append(Turn(here()))
        turns[0].wait(10)
        order.append("sends")

    def works() -> None:
        turns[0].wake()
        here().give_way()
        order.append("works")

    run(shared, sends, works)
    assert order == ["sends", "works"]


def test_who_was_woken_by_a_reader_at_work_goes_on_at_once(shared: Hub) -> None:
    turns: list[Turn] = []

    def waits() -> bool:
        turns.append(Turn(here()))
        woken = turns[0].wait(10)
        turns[1].wake()
        return woken

    def works() -> bool:
        here().breathe()
        turns.append(Turn(here()))
        turns[0].wake()
        return turns[1].wait(2)

    assert run(shared, waits, works) == [True, True]


def test_an_answer_that_flows_over_tls_lets_others_go_on(shared: Hub) -> None:
    """What came ahead is there without waiting: nothing else would make its reader give way."""

    class Flowing:
        def recv(self, size: int) -> bytes:
            return b"x" * size

    order: list[str] = []
    other = Work(lambda: order.append("other"))

    def reads() -> None:
        shared.submit([other])
        stream = _SharedTls(cast("socket.socket", Flowing()), here(), 1)
        for _ in range(100):
            stream.recv(10)
        order.append("read")

    run(shared, reads)
    other.future.result(10)
    assert order == ["other", "read"]


def test_closing_gives_back_what_has_not_begun() -> None:
    closing = Hub("etl-http", 1)
    begun, go_on = threading.Event(), threading.Event()

    def first() -> None:
        begun.set()
        aside(lambda: go_on.wait(10))

    works = [Work(first), Work(hub), Work(hub)]
    closing.submit(works)
    assert begun.wait(10)
    assert closing.close() == works[1:]
    go_on.set()
    works[0].future.result(10)


def test_a_slow_answer_holds_nobody_up() -> None:
    released = threading.Event()

    def play(call: Call) -> None:
        if call.seen.target == "/slow":
            released.wait(10)
        call.send(answer())

    with HostileServer(play) as server, opened(server.url, concurrency=2) as api:
        api.get("/first")
        slow, *others = api.map(lambda path: api.get(path).size, ["/slow", "/1", "/2", "/3"])
        assert [future.result(10) for future in others] == [12] * 3
        assert not slow.done()
        released.set()
        assert slow.result(10) == 12


def test_what_is_done_aside_holds_nobody_up() -> None:
    released = threading.Event()

    with HostileServer(answer()) as server, opened(server.url, concurrency=2) as api:

        def work(number: int) -> int:
            if not number:
                aside(lambda: released.wait(10))
            return api.get(f"/{number}").size

        slow, *others = api.map(work, range(5))
        assert [future.result(10) for future in others] == [12] * 4
        assert not slow.done()
        released.set()
        assert slow.result(10) == 12


def test_a_connection_that_was_closed_meanwhile_is_not_used() -> None:
    closed = threading.Semaphore(0)

    def play(call: Call) -> None:
        call.send(answer())
        call.close()  # without having said so
        closed.release()

    with HostileServer(play) as server, opened(server.url, concurrency=2) as api:
        for number in range(5):
            (future,) = api.map(lambda path: api.get(path).size, [f"/{number}"])
            assert future.result(10) == 12
            assert closed.acquire(timeout=10)
        assert api.retries == 0


@pytest.mark.parametrize("large", [100, 3_000_000])
def test_many_answers_at_once_over_tls(tmp_path: Any, large: int) -> None:
    body = b'{"data": "' + b"x" * large + b'"}'

    whole = answer(body.decode())

    def play(call: Call) -> None:
        number = int(call.seen.target[1:])
        if number % 3 == 0:
            call.send(packed(body))
        elif number % 3 == 1:
            for at in range(0, len(whole), 16_000 if large > 100 else 7):
                call.send(whole[at : at + (16_000 if large > 100 else 7)])
        else:
            call.send(whole)

    context = server_context(tmp_path)
    with (
        HostileServer(play, tls=context) as server,
        opened(server.url, concurrency=6, ca_bundle=str(tmp_path / "ca.pem")) as api,
    ):
        futures = api.map(lambda number: api.get(f"/{number}").content, range(30))
        assert {len(str(future.result(20))) for future in futures} == {large + len("{'data': ''}")}
        assert api.retries == 0
