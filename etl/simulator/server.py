"""Serves a world over real HTTP on loopback: all platforms at one port, a thread a connection."""

import contextlib
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType

from etl.simulator.act2 import DATABASE_DOWN, Act2
from etl.simulator.credentials import Credentials
from etl.simulator.dataarts import DataArts
from etl.simulator.explorer import Explorer
from etl.simulator.faults import Delivery, Fault, Stage, play
from etl.simulator.gateway import Gateway
from etl.simulator.quirks import Quirks
from etl.simulator.setting import Name, Setting, platform_of, real_time
from etl.simulator.wire import BadRequestError, Channel, Request, Response, parse_head
from etl.simulator.world import World

Sent = bytes
_RESET = struct.pack("ii", 1, 0)
_NOT_FOUND = b"404 page not found\n"


@dataclass(slots=True, frozen=True)
class Logged:
    """One request and what became of it; status 0: no answer was sent."""

    at: float
    """time.monotonic() when the answer was ready."""
    wall: datetime
    method: str
    path: str
    status: int
    platform: Name
    head: Sent
    """The request line and headers as they came; `params` and `headers` are read from it."""
    body: Sent
    """What the client sent."""
    bytes: int
    """Length of the answer's body."""

    @property
    def params(self) -> dict[str, str]:
        """The query; of a repeated name the last value."""
        return parse_head(self.head).params

    @property
    def headers(self) -> dict[str, str]:
        """The request's headers, names in lower case."""
        return parse_head(self.head).headers


class Simulator:
    """The three platforms on one port; a context manager.

    `quirks`, `credentials`, `wall` (a clock for tokens and signatures) and the world may be
    changed while it serves. `log_limit` bounds the request log (None: all requests are kept).
    """

    def __init__(
        self,
        world: World,
        quirks: Quirks | None = None,
        port: int = 0,
        credentials: Credentials | None = None,
        log_limit: int | None = None,
    ) -> None:
        """Nothing is served before `start` or `with`; port 0 takes a free one."""
        self.world = world
        self.quirks = quirks or Quirks()
        self.credentials = credentials or Credentials()
        self.wall: Callable[[], datetime] = real_time
        setting = Setting(world, self.quirks, self.credentials, self._now)
        self.explorer = Explorer(setting)
        self.act2 = Act2(setting)
        self.gateway = Gateway(setting)
        self.dataarts = DataArts(setting, self.gateway)
        self._port = port
        self._log: deque[Logged] = deque(maxlen=log_limit)
        self._faults: list[Fault] = []
        self._last_pages: dict[str, Response] = {}
        self._stage = Stage(self._answer, self._error, self._expire, self._last_pages)
        self._closing = threading.Event()
        self._listener: socket.socket | None = None
        self._threads: dict[threading.Thread, socket.socket] = {}
        self._guard = threading.Lock()

    # life

    def __enter__(self) -> "Simulator":
        """Starts serving."""
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stops serving."""
        self.close()

    def start(self) -> "Simulator":
        """Listens on 127.0.0.1 and serves until `close`."""
        self._listener = socket.create_server(("127.0.0.1", self._port), backlog=256)
        self._port = self._listener.getsockname()[1]
        self._acceptor = threading.Thread(target=self._accept, name="simulator", daemon=True)
        self._acceptor.start()
        return self

    def close(self) -> None:
        """Ends every connection, a hanging or dripping one too, and frees the port."""
        self._closing.set()
        if self._listener is not None:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._acceptor.join(5)
        with self._guard:
            threads = dict(self._threads)
        for sock in threads.values():
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(5)

    # what a test asks and orders

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return self._port

    @property
    def url(self) -> str:
        """The origin of all platforms, without a path."""
        return f"http://127.0.0.1:{self._port}"

    explorer_url = act2_url = dataarts_url = iam_url = url

    @property
    def requests(self) -> list[Logged]:
        """Every request so far, in the order of their answers."""
        return list(self._log)

    def clear_log(self) -> None:
        """Forgets the requests so far."""
        self._log.clear()

    def fault(self, fault: Fault) -> Fault:
        """Orders a fault; gives it back, so that its `hits` can be read."""
        self._faults.append(fault)
        return fault

    def clear_faults(self) -> None:
        """Nothing goes wrong any more; what hangs goes on hanging."""
        self._faults.clear()

    def restart_explorer_sessions(self, *, keep_ready_token: bool = False) -> None:
        """Explorer's memory is lost: its sessions answer 40104001 from now on."""
        self.explorer.restart(keep_ready_token=keep_ready_token)

    def revoke_tokens(self) -> None:
        """DataArts' tokens are dead: they answer 401 from now on."""
        self.gateway.revoke_tokens()

    def revive_ready_tokens(self) -> None:
        """The ready tokens of Explorer and DataArts are accepted again."""
        self.explorer.revive_ready_token()
        self.gateway.revive_ready_token()

    # serving

    def _now(self) -> datetime:
        return self.wall()

    def _accept(self) -> None:
        listener = self._listener
        while listener is not None and not self._closing.is_set():
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._converse, args=(sock,), daemon=True)
            with self._guard:
                self._threads[thread] = sock
            thread.start()

    def _converse(self, sock: socket.socket) -> None:
        try:
            channel = Channel(sock)
            while not self._closing.is_set() and self._exchange(channel):
                pass
        except OSError:
            pass  # the client has gone, as clients do
        finally:
            sock.close()
            with self._guard:
                self._threads.pop(threading.current_thread(), None)

    def _exchange(self, channel: Channel) -> bool:
        try:
            request = channel.read()
        except BadRequestError:
            refusal = Response(400, b"Bad Request", "text/plain")
            channel.sock.sendall(refusal.head(11, keep_alive=False) + refusal.body)
            return False
        if request is None:
            return False
        delivery = self._delivery(request)
        self._note(request, delivery)
        return self._send(channel, request, delivery)

    def _delivery(self, request: Request) -> Delivery:
        fault = next((f for f in self._faults if self._take(f, request)), None)
        if fault is None:
            response = self._answer(request)
            if any(fault.kind == "repeat_page" for fault in self._faults):
                self._last_pages[request.path] = response
            return Delivery(response)
        return play(fault, request, self._stage)

    def _take(self, fault: Fault, request: Request) -> bool:
        with self._guard:
            return fault.take(request)

    def _answer(self, request: Request) -> Response:
        platform = platform_of(request)
        with self.world.lock:
            self.world.catch_up()
            match platform:
                case "explorer":
                    return self.explorer.answer(request)
                case "act2":
                    return self.act2.answer(request)
                case "dataarts":
                    return self.dataarts.answer(request)
                case "iam":
                    return self.gateway.issue(request)
        return Response(404, _NOT_FOUND, "text/plain; charset=utf-8")

    def _error(self, fault: Fault, request: Request) -> Response:
        message = fault.body.decode() if isinstance(fault.body, bytes) else fault.body
        match platform_of(request):
            case "explorer":
                return self.explorer.fail(int(fault.code or 50004001), message or "ErrDatabase")
            case "act2":
                return self.act2.fail(message or DATABASE_DOWN)
        code = str(fault.code or "DLM.5000")
        return self.gateway.error(fault.status, code, message or "Internal server error")

    def _expire(self, request: Request) -> None:
        if platform_of(request) == "explorer":
            self.restart_explorer_sessions()
        else:
            self.revoke_tokens()

    def _note(self, request: Request, delivery: Delivery) -> None:
        silent = delivery.mode in ("reset", "hang")
        self._log.append(
            Logged(
                time.monotonic(),
                self.wall(),
                request.method,
                request.path,
                0 if silent else delivery.response.status,
                platform_of(request),
                request.head,
                request.body,
                0 if silent else len(delivery.response.body),
            )
        )

    def _send(self, channel: Channel, request: Request, delivery: Delivery) -> bool:
        response, body, sock = delivery.response, delivery.response.body, channel.sock
        head = response.head(len(body), keep_alive=request.keep_alive)
        body = b"" if request.method == "HEAD" else body
        match delivery.mode:
            case "whole":
                if delivery.seconds:
                    self._closing.wait(delivery.seconds)
                sock.sendall(head + body)
                return request.keep_alive
            case "hang":
                self._closing.wait()
            case "drip":
                self._drip(sock, head + body, delivery.seconds)
            case "truncate":
                sock.sendall(head + body[: len(body) // 2])
            case "reset_mid":
                sock.sendall(head + body[: len(body) // 2])
                time.sleep(0.02)  # a reset overtakes what the client has not read yet
                _reset(sock)
            case "reset":
                _reset(sock)
        return False

    def _drip(self, sock: socket.socket, data: bytes, seconds: float) -> None:
        for byte in range(len(data)):
            if self._closing.wait(seconds):
                return
            sock.sendall(data[byte : byte + 1])


def _reset(sock: socket.socket) -> None:
    """Closing now sends RST, not FIN."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
