"""An Act2 whose answers are larger than memory: each is made while it is sent."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

LINE = '2026-11-22 host says: \t"ok" 你好 {} []\n'
_LINES = 4096


@dataclass(frozen=True)
class Printed:
    """What a host printed: so many lines between a first and a last word."""

    first: str
    lines: int
    last: str

    @property
    def size(self) -> int:
        """Its length in UTF-8."""
        return len((self.first + self.last).encode()) + self.lines * len(LINE.encode())

    @property
    def written(self) -> int:
        """Its length as JSON."""
        ends = len(_quoted(self.first)) + len(_quoted(self.last)) + 2
        return ends + self.lines * len(_quoted(LINE))

    def pieces(self) -> Iterator[bytes]:
        """Its JSON."""
        yield b'"' + _quoted(self.first)
        block = _quoted(LINE * _LINES)
        for _ in range(self.lines // _LINES):
            yield block
        yield _quoted(LINE * (self.lines % _LINES))
        yield _quoted(self.last) + b'"'

    def cut(self, limit: int) -> str:
        """The first and the last half of `limit` bytes of it."""
        if self.size <= limit:
            return self.first + LINE * self.lines + self.last
        around, half = LINE * (limit // len(LINE.encode()) + 1), limit // 2
        head, tail = (self.first + around).encode(), (around + self.last).encode()
        return head[:half].decode(errors="ignore") + tail[-half:].decode(errors="ignore")


def of_bytes(size: int, name: str) -> Printed:
    """About so many bytes."""
    return Printed(f"{name} begins\n", size // len(LINE.encode()), f"{name} ends\n")


def _quoted(text: str) -> bytes:
    return json.dumps(text, ensure_ascii=False).encode()[1:-1]


@dataclass(frozen=True)
class Execution:
    """One record and what its hosts printed."""

    id: str
    minute: int
    outputs: Sequence[Printed]

    @property
    def times(self) -> dict[str, str]:
        """As every item of it has them."""
        began = f"2026-11-20T{self.minute // 60:02}:{self.minute % 60:02}:00Z"
        return {"startTime": began, "endTime": began.replace(":00Z", ":09Z")}

    def detail(self) -> dict[str, Any]:
        """The record itself."""
        hosts = json.dumps([f"host-{n}" for n in range(len(self.outputs))])
        more = {"executeStatus": "done", "resultStatus": "success", "hosts": hosts}
        return {"id": self.id, **self.times, **more, "script": "cat log", "scriptType": "bash"}

    def rows(self) -> Iterator[bytes | Printed]:
        """JSON of its hosts' rows, without brackets around."""
        for number, output in enumerate(self.outputs):
            row = {"recordId": self.id, "hostId": f"host-{number}", "hostIp": "10.0.0.1"}
            plain = json.dumps({**row, **self.times, "status": "success", "stderr": ""})
            yield (b", " if number else b"") + plain[:-1].encode() + b', "stdout": '
            yield output
            yield b"}"


class Act2:
    """`listed`: pages carry the rows of their records; otherwise the records alone."""

    def __init__(self, executions: Sequence[Execution], *, listed: bool, packed: bool) -> None:
        self.executions = executions
        self.by_id = {execution.id: execution for execution in executions}
        self.listed = listed
        self.packed = packed
        self.largest = 0
        """Bytes of the largest answer, unpacked."""

    def answer(self, path: str, params: dict[str, str]) -> list[bytes | Printed]:
        """An answer's parts in the live shape."""
        if path.endswith("/page"):
            content = self._page(int(params["pageNo"]), int(params["pageSize"]))
        elif path.endswith("/result"):
            content = [b"[", *self.by_id[params["id"]].rows(), b"]"]
        else:
            content = [json.dumps(self.by_id[params["id"]].detail()).encode()]
        return [b'{"status": "success", "message": "", "content": ', *content, b"}"]

    def _page(self, number: int, size: int) -> list[bytes | Printed]:
        chosen = self.executions[(number - 1) * size :][:size]
        pages = -(-len(self.executions) // size)
        figures = {"PageNo": number, "PageSize": size, "PageCount": pages}
        told = json.dumps({**figures, "TotalCount": len(self.executions)})
        parts: list[bytes | Printed] = [told[:-1].encode() + b', "List": [']
        for place, execution in enumerate(chosen):
            parts.append(b", " if place else b"")
            if self.listed:
                parts += execution.rows()
            else:
                parts.append(json.dumps(execution.detail()).encode())
        return [*parts, b"]}"]


@contextmanager
def serving(act2: Act2) -> Iterator[str]:
    """The url of `act2`, served from threads of this process."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            asked = urlsplit(self.path)
            params = {name: values[-1] for name, values in parse_qs(asked.query).items()}
            parts = act2.answer(asked.path, params)
            size = sum(p.written if isinstance(p, Printed) else len(p) for p in parts)
            act2.largest = max(act2.largest, size)
            pieces = _pieces(parts)
            self.send_response(200)
            if act2.packed:
                self.send_header("Content-Encoding", "gzip")
                self.send_header("Connection", "close")
                pieces = _zipped(pieces)
            else:
                self.send_header("Content-Length", str(size))
            self.end_headers()
            for piece in pieces:
                self.wfile.write(piece)
            self.close_connection = act2.packed

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _pieces(parts: Sequence[bytes | Printed]) -> Iterator[bytes]:
    for part in parts:
        if isinstance(part, Printed):
            yield from part.pieces()
        else:
            yield part


def _zipped(pieces: Iterator[bytes]) -> Iterator[bytes]:
    packer = zlib.compressobj(1, wbits=31)
    for piece in pieces:
        if made := packer.compress(piece):
            yield made
    yield packer.flush()


_PEAK = """
import atexit, re, sys
from pathlib import Path
from etl.cli import main

def tell():
    sys.stdout.write(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

atexit.register(tell)
main()
"""


def synced(cwd: Path, database_url: str, url: str, **settings: str) -> float:
    """One `etl sync` as a process of its own; its peak of memory in MiB."""
    lines = [f"    {name}: {value}\n" for name, value in {"url": url, **settings}.items()]
    text = "sources:\n  scripts:\n    api: act2\n" + "".join(lines)
    (cwd / "schedules.yaml").write_text(text)
    done = subprocess.run(
        [sys.executable, "-c", _PEAK, "--database", database_url, "sync"],
        cwd=cwd,
        capture_output=True,
        check=False,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.search(r"(\d+)\Z", done.stdout)
    assert found, done.stdout
    return int(found[1]) / 1024
