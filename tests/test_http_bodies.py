"""Large answers: a limit on unpacked bytes that holds before the memory is spent."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib

import pytest
from hostile_server import Call, HostileServer, Play, answer, chunked, packed
from http_kit import opened

from etl.errors import TooLarge

pytestmark = pytest.mark.usefixtures("either_way")

MIB = 2**20


def bomb(mib: int) -> bytes:
    """`mib` MiB of zeros, packed a thousandfold."""
    packer = zlib.compressobj(9, wbits=31)
    piece = bytes(MIB)
    return b"".join([*(packer.compress(piece) for _ in range(mib)), packer.flush()])


@pytest.mark.parametrize(
    ("play", "fits"),
    [
        (answer("[" + " " * 998 + "]"), True),
        (answer("[" + " " * 999 + "]"), False),
        (chunked(b"[" + b" " * 500, b" " * 498 + b"]"), True),
        (chunked(b"[" + b" " * 500, b" " * 499 + b"]"), False),
        (packed(b"[" + b" " * 998 + b"]"), True),
        (packed(b"[" + b" " * 999 + b"]"), False),
    ],
)
def test_max_body_is_counted_on_unpacked_bytes(play: Play, fits: bool) -> None:
    with HostileServer(play) as server, opened(server.url, max_body=1000) as api:
        if fits:
            assert api.get("/page").size == 1000
        else:
            with pytest.raises(TooLarge, match=r"GET .*/page: .*max_body \(1000 bytes unpacked\)"):
                api.get("/page")
            assert (len(server.seen), api.retries) == (1, 0)


def test_a_gzip_bomb_costs_no_memory() -> None:
    body = bomb(64)
    headers = {"Content-Encoding": "gzip"}
    with (
        HostileServer(answer(body, headers=headers)) as server,
        opened(server.url, max_body=2 * MIB) as api,
    ):
        tracemalloc.start()
        try:
            with pytest.raises(TooLarge):
                api.get("/page")
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert len(body) < MIB
    assert peak < 8 * MIB


def test_what_announces_too_much_is_not_read() -> None:
    sent: list[int] = []

    def endless(call: Call) -> None:
        call.send(answer(b"", length=10**12))
        piece = bytes(MIB)
        while len(sent) < 1000:
            call.send(piece)  # ends when the client goes away
            sent.append(1)

    with (
        HostileServer(endless) as server,
        opened(server.url, max_body=1000) as api,
        pytest.raises(TooLarge),
    ):
        api.get("/page")
    assert len(sent) < 100


def test_a_connection_that_was_given_up_is_not_used_again() -> None:
    """Bytes of a body that was too large must not be taken for the next answer."""
    plays = (answer("x" * 3000), answer())
    with HostileServer(*plays) as server, opened(server.url, max_body=1000) as api:
        with pytest.raises(TooLarge):
            api.get("/page")
        assert api.get("/page").content == {"ok": True}


def test_packed_bodies_are_asked_for_and_counted_unpacked() -> None:
    body = b"[" + b" " * 5000 + b"]"
    with HostileServer(packed(body)) as server, opened(server.url) as api:
        assert api.get("/page").size == api.bytes_read == len(body)
        assert server.seen[0].headers["accept-encoding"] == "gzip"
    assert len(gzip.compress(body)) < 200
