"""What is served where, and with which headers."""

from __future__ import annotations

import hashlib
import ipaddress
import logging
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from importlib import resources
from typing import NamedTuple
from urllib.parse import urlsplit

from etl.config import Config
from etl.daemon.state import DaemonState
from etl.db import Database
from etl.errors import EtlError
from etl.metrics import CONTENT_TYPE, Metrics
from etl.redact import masked
from etl.web import page, run_page
from etl.web.facts import Facts, Patient, patient
from etl.web.html import document
from etl.web.server import SILENCE_S

_log = logging.getLogger(__name__)

_HTML = "text/html; charset=utf-8"
_TEXT = "text/plain; charset=utf-8"
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; "
    "img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_METHODS = ("GET", "HEAD")
_MOST_DRAINED = 65536
_FILES = {
    "/style.css": "text/css; charset=utf-8",
    "/refresh.js": "text/javascript; charset=utf-8",
    "/icon.svg": "image/svg+xml",
}


class Answer(NamedTuple):
    """What goes back."""

    status: HTTPStatus
    kind: str
    body: bytes
    kept: bool = False
    """A browser may keep it."""


class Site:
    """The pages, whoever asks for them."""

    def __init__(
        self,
        database: Database,
        config_of: Callable[[], Config],
        state: DaemonState,
        metrics: Metrics,
        host: str,
    ) -> None:
        self._database = database
        self._config_of = config_of
        self._state = state
        self._metrics = metrics
        self._local = _is_loopback(host)
        self._facts = patient(database, config_of)
        self._files = {
            path: (resources.files("etl.web") / path[1:]).read_bytes() for path in _FILES
        }
        mark = hashlib.sha256(b"".join(self._files.values())).hexdigest()[:12]
        self._frame = page.Frame(mark, database.name, state.started_at)
        self._pages: Mapping[str, Callable[[], Answer]] = {
            "/healthz": lambda: Answer(HTTPStatus.OK, _TEXT, b"ok\n"),
            "/readyz": self._ready,
            "/metrics": self._measured,
            "/": self._status,
        }

    def answer(self, target: str) -> Answer:
        """The answer to a GET of `target`."""
        try:
            path = urlsplit(target).path
        except ValueError:
            path = ""  # a host that is none, before it
        made = self._pages.get(path)
        if made is not None:
            return made()
        if path in _FILES:
            return Answer(HTTPStatus.OK, _FILES[path], self._files[path], kept=True)
        run_id = path.removeprefix("/runs/")
        if run_id != path and run_id.isascii() and run_id.isdecimal() and len(run_id) < 19:
            return self._run(int(run_id))
        return _told(HTTPStatus.NOT_FOUND, "there is no such page; see /")

    def misdirected(self, host: str | None) -> bool:
        """Whether the request was meant for another name: a page of a stranger whose name was
        made to lead here (DNS rebinding). Only loopback has no name but its own."""
        return self._local and host is not None and not _names_this_machine(host)

    def _ready(self) -> Answer:
        facts = self._facts.get()
        scheduler = "running" if self._state.running else "not running"
        lines = f"database: {facts.problem or 'at this release'}\nscheduler: {scheduler}\n"
        ready = facts.problem is None and self._state.running
        return Answer(_health(ready), _TEXT, masked(lines).encode())

    def _measured(self) -> Answer:
        config = self._config_of()
        apis = {name: config.api(name) for name in config.source_names}
        text = self._metrics.exposition(apis, self._facts.get().status)
        return Answer(HTTPStatus.OK, CONTENT_TYPE, text)

    def _status(self) -> Answer:
        facts = self._facts.get()
        made = page.status_page(self._frame, facts, running=self._state.running)
        return Answer(_health(facts.status is not None), _HTML, document(made))

    def _run(self, run_id: int) -> Answer:
        facts = self._facts.get()
        if facts.status is None:
            made = page.status_page(self._frame, facts, running=self._state.running)
            return Answer(HTTPStatus.SERVICE_UNAVAILABLE, _HTML, document(made))
        asked: Patient[run_page.Told | EtlError] = Patient(
            lambda: run_page.tell(self._database, run_id), EtlError("the database does not answer")
        )
        told = asked.get()
        if isinstance(told, EtlError):
            away = Facts(facts.now, None, masked(str(told)))
            made = page.status_page(self._frame, away, running=self._state.running)
            return Answer(HTTPStatus.SERVICE_UNAVAILABLE, _HTML, document(made))
        made = run_page.made(self._frame, told, facts.now)
        known = told.run is not None
        return Answer(HTTPStatus.OK if known else HTTPStatus.NOT_FOUND, _HTML, document(made))


def handler(site: Site) -> type[BaseHTTPRequestHandler]:
    """The class that the server makes an object of for each connection."""

    class Handler(_Handler):
        def answer(self) -> Answer:
            if site.misdirected(self.headers.get("Host")):
                return _told(
                    HTTPStatus.MISDIRECTED_REQUEST,
                    "this is served on loopback only; ask for localhost or 127.0.0.1",
                )
            return site.answer(self.path)

    return Handler


class _Handler(BaseHTTPRequestHandler):
    """One request, one answer, the connection closed."""

    timeout = SILENCE_S

    def answer(self) -> Answer:
        raise NotImplementedError

    def do_GET(self) -> None:
        try:
            answer = self.answer()
        except Exception:  # noqa: BLE001 - the visitor gets an answer, the log the reason
            _log.exception("%s could not be made", masked(self.path))
            answer = _told(HTTPStatus.INTERNAL_SERVER_ERROR, "this page failed; see the log")
        self._send(answer)

    do_HEAD = do_GET  # noqa: N815

    def _refuse_method(self) -> None:
        length = self.headers.get("Content-Length", "0")
        if length.isdecimal():  # what is left unread would reset the connection before the answer
            self.rfile.read(min(int(length), _MOST_DRAINED))
        self._send(
            _told(HTTPStatus.METHOD_NOT_ALLOWED, "these pages are only read"),
            {"Allow": ", ".join(_METHODS)},
        )

    do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do_TRACE = do_CONNECT = _refuse_method  # noqa: N815

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What http.server itself refuses: no request line, too many headers, a strange method."""
        del message, explain
        self.close_connection = True
        self.request_version = "HTTP/1.0"  # a request line that is none counts as HTTP/0.9
        self._send(_told(HTTPStatus(code), HTTPStatus(code).phrase))

    def _send(self, answer: Answer, more: dict[str, str] | None = None) -> None:
        self.send_response(answer.status)
        kept = "max-age=31536000, immutable" if answer.kept else "no-store"
        for name, value in {**_HEADERS, "Cache-Control": kept, **(more or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Type", answer.kind)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def version_string(self) -> str:
        return "etl"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
        _log.debug("%s: " + format, self.address_string(), *args)


def _told(status: HTTPStatus, text: str) -> Answer:
    return Answer(status, _TEXT, f"{text}\n".encode())


def _health(good: bool) -> HTTPStatus:
    return HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _names_this_machine(host: str) -> bool:
    """Whether a Host header holds an address or `localhost`: no name that a stranger can give."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
