"""Each fault as a client meets it, at the socket or through a common HTTP library."""

import gzip
import json
import socket
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import requests

from etl.simulator import Credentials, Fault, Simulator, World

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
OWN = Credentials()
JOBS = "/api-open/v1/jobs"


@pytest.fixture
def sim() -> Iterator[Simulator]:
    world = World.empty(NOW)
    for _ in range(12):
        world.explorer.create()
    with Simulator(world) as simulator:
        yield simulator


def get(sim: Simulator, path: str = JOBS, **options: Any) -> requests.Response:
    cookies = {"explorer_token": OWN.explorer_token}
    options = {"cookies": cookies, "timeout": 5, "allow_redirects": False, **options}
    return requests.get(sim.url + path, **options)


def dial(sim: Simulator) -> socket.socket:
    return socket.create_connection(("127.0.0.1", sim.port), timeout=5)


def asked(path: str = JOBS, more: str = "") -> bytes:
    cookie = f"Cookie: explorer_token={OWN.explorer_token}"
    return f"GET {path} HTTP/1.1\r\nHost: simulator\r\n{cookie}\r\n{more}\r\n".encode()


def received(sock: socket.socket) -> bytes:
    parts = []
    while part := sock.recv(65536):
        parts.append(part)
    return b"".join(parts)


# which requests


def test_a_fault_hits_so_many_of_the_requests_it_names(sim: Simulator) -> None:
    fault = sim.fault(Fault("status", path=JOBS + "/", status=500, times=2, after=1))
    assert get(sim).status_code == 200
    codes = [get(sim, f"{JOBS}/1").status_code for _ in range(5)]
    assert codes == [200, 500, 500, 200, 200]
    assert (fault.hits, [logged.status for logged in sim.requests]) == (2, [200, *codes])


def test_a_fault_may_last_for_ever_and_be_told_by_platform_or_test(sim: Simulator) -> None:
    sim.fault(Fault("status", platform="dataarts", times=None))
    sim.fault(Fault("status", status=502, when=lambda r: r.params.get("page") == "2", times=None))
    assert get(sim).status_code == 200
    assert [get(sim, params={"page": 2}).status_code for _ in range(3)] == [502] * 3
    assert requests.get(f"{sim.url}/v2/x", timeout=5).status_code == 503
    sim.clear_faults()
    assert get(sim, params={"page": 2}).status_code == 200


# instead of the answer


@pytest.mark.parametrize(
    ("fault", "status", "body", "headers"),
    [
        (Fault("status", status=418, body="teapot"), 418, b"teapot", {}),
        (Fault("status", retry_after="7"), 503, b"upstream connect error", {"Retry-After": "7"}),
        (
            Fault("throttle", body=b"", retry_after="Wed, 21 Oct 2026 07:28:00 GMT"),
            429,
            b"",
            {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"},
        ),
        (Fault("body", body=b"\x00\xff"), 200, b"\x00\xff", {}),
        (Fault("empty"), 200, b"", {}),
        (
            Fault("redirect", location="http://other.example/"),
            302,
            b"",
            {"Location": "http://other.example/"},
        ),
        (Fault("redirect", status=308, location="/x"), 308, b"", {"Location": "/x"}),
        (Fault("nested", size=3), 200, b"[[[]]]", {}),
        (Fault("empty", headers={"X-Odd": "1"}), 200, b"", {"X-Odd": "1"}),
    ],
    ids=lambda value: value.kind if isinstance(value, Fault) else "",
)
def test_another_answer(
    sim: Simulator, fault: Fault, status: int, body: bytes, headers: dict[str, str]
) -> None:
    sim.fault(fault)
    answer = get(sim)
    assert (answer.status_code, answer.content) == (status, body)
    assert headers.items() <= answer.headers.items()
    assert get(sim).json()["code"] == 0


def test_a_login_page_and_json_that_is_none(sim: Simulator) -> None:
    sim.fault(Fault("html"))
    sim.fault(Fault("broken_json"))
    sim.fault(Fault("nested"))
    sim.fault(Fault("throttle"))
    assert "text/html" in get(sim).headers["Content-Type"]
    with pytest.raises(requests.JSONDecodeError):
        get(sim).json()
    assert len(get(sim).content) == 40_000
    assert "limit:40,time:10 second" in get(sim).json()["error_msg"]


def test_a_bomb_is_small_on_the_wire(sim: Simulator) -> None:
    sim.fault(Fault("bomb", size=3))
    answer = get(sim, stream=True)
    packed = answer.raw.read(decode_content=False)
    assert len(packed) < 10_000
    assert len(gzip.decompress(packed)) == 3 * (1 << 20) + 2
    assert answer.headers["Content-Encoding"] == "gzip"


# a change to the answer


def test_gzip_is_the_same_answer(sim: Simulator) -> None:
    sim.fault(Fault("gzip"))
    answer = get(sim)
    assert answer.headers["Content-Encoding"] == "gzip"
    assert answer.json() == get(sim).json()


def test_a_byte_that_is_no_text(sim: Simulator) -> None:
    sim.fault(Fault("invalid_utf8"))
    with pytest.raises(UnicodeDecodeError):
        get(sim).content.decode()


def page(sim: Simulator, number: int = 1) -> Any:
    return get(sim, params={"page": number}).json()["data"]


def test_a_page_that_lies(sim: Simulator) -> None:
    sim.fault(Fault("total", size=5))
    assert page(sim)["total"] == 17
    sim.fault(Fault("empty_page"))
    assert (page(sim)["items"], page(sim)["total"]) == ([], 12)
    sim.fault(Fault("repeat_page", after=1))
    first = page(sim, 1)
    assert page(sim, 2) == first
    assert len(page(sim, 2)["items"]) == 2
    sim.fault(Fault("page_size", size=3, times=2))
    shrunk = get(sim, params={"pageSize": 10}).json()["data"]
    assert (len(shrunk["items"]), shrunk["PageSize"]) == (3, 3)
    assert sim.requests[-1].params == {"pageSize": "10"}


def test_pages_lie_on_every_platform_and_errors_stay_as_they_are(sim: Simulator) -> None:
    sim.world.act2.start()
    sim.world.dataarts.start()
    act2, headers = (
        "/api/v1/job/record/page?pageNo=1&pageSize=5",
        {"Content-Type": "application/json"},
    )
    quality = f"/v2/{OWN.project_id}/quality/instances"
    token = {"X-Auth-Token": OWN.dataarts_token, "workspace": OWN.workspace}
    sim.fault(Fault("total", times=3))
    assert get(sim, act2, headers=headers).json()["content"]["TotalCount"] == 2
    assert get(sim, quality, headers=token).json()["count"] == 2
    assert get(sim, act2).status_code == 415
    sim.fault(Fault("empty_page", times=2))
    assert get(sim, act2, headers=headers).json()["content"]["List"] == []
    assert get(sim, quality, headers=token).json()["resources"] == []


def test_an_error_in_the_platforms_own_words(sim: Simulator) -> None:
    sim.fault(Fault("error", platform="explorer", code=90004000, body="who knows"))
    sim.fault(Fault("error", platform="dataarts", status=500))
    answer = get(sim)
    assert (answer.status_code, answer.json()) == (500, {"code": 90004000, "message": "who knows"})
    assert get(sim, "/v2/x").json()["error_code"] == "DLM.5000"


def test_a_session_expires(sim: Simulator) -> None:
    sim.fault(Fault("expire", after=1))
    assert [get(sim).json()["code"] for _ in range(3)] == [0, 40104001, 40104001]
    sim.fault(Fault("expire", platform="dataarts"))
    path, headers = f"/v2/{OWN.project_id}/quality/instances", {"X-Auth-Token": OWN.dataarts_token}
    assert get(sim, path, headers=headers).status_code == 401


# bad delivery


@pytest.mark.parametrize("kind", ["reset", "reset_mid", "truncate"])
def test_a_connection_that_breaks(sim: Simulator, kind: Any) -> None:
    sim.fault(Fault(kind))
    with pytest.raises(requests.RequestException):
        get(sim)
    assert get(sim).status_code == 200
    assert [logged.status for logged in sim.requests] == [0 if kind == "reset" else 200, 200]


def test_a_reset_is_one_and_a_cut_body_is_announced_whole(sim: Simulator) -> None:
    sim.fault(Fault("reset"))
    sim.fault(Fault("truncate"))
    with dial(sim) as sock:
        sock.sendall(asked())
        with pytest.raises(ConnectionResetError):
            received(sock)
    with dial(sim) as sock:
        sock.sendall(asked())
        head, body = received(sock).split(b"\r\n\r\n")
    whole = get(sim).content
    assert f"Content-Length: {len(whole)}".encode() in head
    assert body == whole[: len(whole) // 2]


def test_a_drip_is_slow_but_whole_and_a_delay_is_late(sim: Simulator) -> None:
    sim.fault(Fault("drip", seconds=0.0001))
    assert get(sim, JOBS + "/1").json()["code"] == 0
    sim.fault(Fault("delay", seconds=0.1))
    began = time.monotonic()
    assert get(sim).status_code == 200
    assert time.monotonic() - began >= 0.1


@pytest.mark.parametrize(
    "fault", [Fault("hang"), Fault("drip", seconds=60), Fault("delay", seconds=60)]
)
def test_what_waits_ends_with_the_simulator(sim: Simulator, fault: Fault) -> None:
    sim.fault(fault)
    with dial(sim) as sock:
        sock.sendall(asked())
        while not sim.requests:
            time.sleep(0.001)
        began = time.monotonic()
        sim.close()
        with pytest.raises(OSError, match="refused"):
            dial(sim)
        received(sock)
    assert time.monotonic() - began < 2


# HTTP itself


def test_a_connection_is_kept_and_requests_may_be_sent_ahead(sim: Simulator) -> None:
    with dial(sim) as sock:
        sock.sendall(asked(JOBS + "/1") + asked(JOBS + "/2", "Connection: close\r\n"))
        answers = received(sock)
    assert answers.count(b"HTTP/1.1 200 OK\r\n") == 2
    assert b"Connection: close" in answers
    assert [logged.path for logged in sim.requests] == [JOBS + "/1", JOBS + "/2"]


def test_chunks_and_expectations(sim: Simulator) -> None:
    body = json.dumps({"auth": {}}).encode()
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    head = "POST /v3/auth/tokens HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    more = "Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n"
    with dial(sim) as sock:
        sock.sendall((head + more).encode() + chunked)
        assert received(sock).startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 400 ")
    assert sim.requests[0].body == body


@pytest.mark.parametrize(
    "nonsense",
    [
        b"hello\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
    ],
)
def test_what_is_no_request_is_told_so(sim: Simulator, nonsense: bytes) -> None:
    with dial(sim) as sock:
        sock.sendall(nonsense)
        assert received(sock).startswith(b"HTTP/1.1 400 Bad Request\r\n")


def test_head_and_old_clients(sim: Simulator) -> None:
    assert requests.head(f"{sim.url}/nowhere", timeout=5).status_code == 404
    with dial(sim) as sock:
        sock.sendall(asked().replace(b"HTTP/1.1", b"HTTP/1.0"))
        assert received(sock).startswith(b"HTTP/1.1 200 OK\r\n")


def test_the_log_tells_what_came(sim: Simulator) -> None:
    get(sim, params={"page": 2}, headers={"X-Test": "ja"})
    logged = sim.requests[0]
    assert (logged.method, logged.path, logged.params) == ("GET", JOBS, {"page": "2"})
    assert (logged.headers["x-test"], logged.platform, logged.status) == ("ja", "explorer", 200)
    assert logged.bytes == len(get(sim, params={"page": 2}).content)
    assert logged.at <= time.monotonic()
    sim.clear_log()
    assert sim.requests == []


def test_many_clients_at_once(sim: Simulator) -> None:
    codes: list[int] = []
    threads = [
        threading.Thread(target=lambda: codes.extend(get(sim).status_code for _ in range(5)))
        for _ in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [200] * 80
