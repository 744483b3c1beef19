"""The network's guarantees hold while a long text goes to a file."""

from __future__ import annotations

import gzip
import os
import threading
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from hostile_server import Call, HostileServer, Play, answer, chunked, cut_short, hanging, slow_body
from http_kit import FakeClock, opened

from etl.errors import Refused, Stopped, TooLarge, Transient
from etl.http import Api, Registry, body, open_api
from etl.sources.act2 import SOURCE, Act2Settings
from etl.spool import SpooledText
from etl.units import Duration, Size

pytestmark = pytest.mark.usefixtures("either_way")

MIB = 2**20
TEXT = b"all is well\\n" * 2000
LONG = b'{"status": "success", "content": [{"stdout": "' + TEXT + b'"}]}'


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "REDUCED_FROM", 1000)


@contextmanager
def asking(
    *plays: Play,
    stop: threading.Event | None = None,
    timeout: float = 5,
    max_body: int = 64 * MIB,
    attempts: int = 1,
) -> Iterator[tuple[Api, HostileServer]]:
    """An Act2 that answers with `plays`."""
    with HostileServer(*plays) as server:
        made = Act2Settings(
            api="act2", url=server.url, timeout=Duration(timeout), max_body=Size(max_body)
        )
        with open_api(
            SOURCE.platform(made),
            made,
            stop=stop or threading.Event(),
            clock=FakeClock(),
            accounts=Registry(),
            attempts=attempts,
        ) as api:
            yield api, server


def packed(data: bytes) -> bytes:
    return answer(gzip.compress(data), headers={"Content-Encoding": "gzip"})


@pytest.mark.parametrize(
    "play",
    [answer(LONG), packed(LONG), chunked(LONG[:700], LONG[700:9000], LONG[9000:])],
    ids=["plain", "packed", "chunked"],
)
def test_however_it_comes_it_goes_to_a_file(play: Play) -> None:
    with asking(play) as (api, _):
        found = api.get("/result")
        assert found.size == api.bytes_read == len(LONG)
    [row] = found.content
    assert isinstance(row["stdout"], SpooledText)
    assert str(row["stdout"]) == "all is well\n" * 2000


def test_what_is_no_success_is_judged_as_ever() -> None:
    """Whatever it looks like: it need not be JSON."""
    strange = b'<p>"stdout": "' + b"\\u" * 2**20
    with asking(answer(strange, 403)) as (api, _), pytest.raises(Refused, match="403 Forbidden"):
        api.get("/page")


def test_max_body_counts_what_goes_to_the_file_too() -> None:
    bomb = b'{"stdout": "' + bytes(30 * MIB).replace(b"\0", b"0") + b'"}'
    with asking(packed(bomb), max_body=20 * MIB) as (api, server):
        tracemalloc.start()
        try:
            with pytest.raises(TooLarge, match=r"max_body \(20971520 bytes unpacked\)"):
                api.get("/result")
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert len(server.seen) == 1
    assert peak < 12 * MIB, "30 MiB were unpacked"


def test_a_body_that_ends_within_a_long_text_is_asked_for_again() -> None:
    short = cut_short(answer(LONG)[:9000])
    with asking(short, answer(LONG), attempts=2) as (api, server):
        [row] = api.get("/result").content
        assert (len(row["stdout"]), api.retries, len(server.seen)) == (len(TEXT) - 2000, 1, 2)


@pytest.mark.parametrize(
    "play",
    [hanging(answer(LONG)[:9000]), slow_body(answer(LONG), 0.05, size=20)],
    ids=["silent", "less than 1 KiB in the time"],
)
def test_a_long_text_that_does_not_come_is_not_waited_for(play: Play) -> None:
    with (
        asking(play, timeout=0.3) as (api, _),
        pytest.raises(Transient, match=r"silent|too slowly"),
    ):
        api.get("/result")


def test_a_stop_ends_it_and_leaves_no_file() -> None:
    before, stop = len(os.listdir("/proc/self/fd")), threading.Event()
    begun = threading.Event()

    def play(call: Call) -> None:
        call.send(answer(LONG)[:9000])
        begun.set()
        call.hang()

    with ThreadPoolExecutor(1) as pool, asking(play, stop=stop, timeout=30) as (api, _):
        future = pool.submit(api.get, "/result")
        assert begun.wait(10)
        stop.set()
        with pytest.raises(Stopped):
            future.result(10)
    for thread in threading.enumerate():
        if thread.name.startswith("etl-http"):
            thread.join(10)
    assert len(os.listdir("/proc/self/fd")) <= before


def test_without_long_texts_a_body_too_large_to_be_parsed_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever pages asks for less, as beyond max_body."""
    monkeypatch.setattr(body, "MOST_LEFT", 5000)
    with HostileServer(answer(LONG)) as server, opened(server.url) as api:
        with pytest.raises(TooLarge, match="5000 bytes, too many to be parsed at once"):
            api.get("/page")
        assert api.retries == 0
