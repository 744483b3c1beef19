"""One HTTP call: sends it, reads the answer, and says in one line what went wrong."""

from __future__ import annotations

import logging
import os
import ssl
import time
from collections.abc import Callable, Iterator, Set, ValuesView
from functools import partial

import requests
import urllib3
from msgspec import Struct
from requests.exceptions import InvalidURL
from requests.structures import CaseInsensitiveDict
from requests.utils import get_environ_proxies
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    IncompleteRead,
    LocationValueError,
    NameResolutionError,
    ReadTimeoutError,
)

from etl.clock import Clock
from etl.errors import EtlError, Refused, SourceFailed, Stopped, Transient, Usage
from etl.http.address import origin_of, shown
from etl.http.body import read_body
from etl.http.cutting import Cutter, Flow
from etl.http.exchange import Prepared
from etl.http.halt import Halt
from etl.http.hub import aside
from etl.http.platform import HttpSettings, Reply
from etl.http.sockets import Adapter, Asked

for _name in ("urllib3.connectionpool", "urllib3.connection", "urllib3.response"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)  # they log URLs with their queries

_WRONG_TLS = ("WRONG_VERSION_NUMBER", "UNKNOWN_PROTOCOL", "HTTP_REQUEST")


class Silence(Struct):
    """Where a call keeps how long it waited for nothing; a body that flows does not count."""

    seconds: float = 0.0


class Wire:
    """The pooled connections of one `Api`."""

    def __init__(
        self,
        url: str,
        settings: HttpSettings,
        halt: Halt,
        clock: Clock,
        long_texts: Set[str] = frozenset(),
    ) -> None:
        self._timeout_s = float(settings.timeout)
        self._max_body = int(settings.max_body)
        self._long_texts = long_texts
        self._verify = _verify(settings, url)
        self._halt = halt
        self._clock = clock
        self._cutter = Cutter(halt)
        self._adapter = Adapter(self._cutter, settings.concurrency + 1)  # one for a login
        self._proxies: dict[str, dict[str, str]] = {}
        if not settings.verify_tls:
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)

    def exchange(self, request: Prepared, silence: Silence, arrived: Callable[[], None]) -> Reply:
        """Sends one request and reads its answer; `arrived` is called when the head is here.

        Raises Transient, Refused, TooLarge, Malformed or Stopped.
        """
        proxies = self._proxies_for(request.root)
        if not proxies:
            return self._exchange(request, silence, arrived, proxies)
        return aside(partial(self._exchange, request, silence, arrived, proxies))  # urllib3 blocks

    def _exchange(
        self,
        request: Prepared,
        silence: Silence,
        arrived: Callable[[], None],
        proxies: dict[str, str],
    ) -> Reply:
        began = time.monotonic()
        flow: Flow | None = None
        failure: EtlError
        try:
            asked = self._adapter.ask(request, self._timeout_s, self._verify, proxies)
            arrived()
            flow = self._cutter.flow()
            flow.head_received()
            reply = self._read(request, asked, flow)
            if not (flow.cut_off or self._halt.is_set()):
                return reply
            # What was cut may look whole: a head without its end is a head to http.client.
            failure = self._explain(request, OSError("cut"))
        except (requests.RequestException, HTTPError, OSError, ValueError) as error:
            failure = self._explain(request, error)
        except SourceFailed as error:
            failure = error
        finally:
            self._cutter.end()
            flowed = flow.last - flow.began if flow is not None else 0.0
            silence.seconds += time.monotonic() - began - flowed
        raise failure  # outside the handler: its context would show the request

    def close(self) -> None:
        """Cuts every connection; whoever reads one gets Stopped."""
        self._cutter.close()
        self._adapter.close()

    def _read(self, request: Prepared, asked: Asked, flow: Flow) -> Reply:
        whole = False
        try:
            good = 200 <= asked.incoming.status < 300
            names = self._long_texts if good else frozenset()
            body, texts = read_body(asked.incoming, self._max_body, flow, names)
            whole = True
        finally:
            asked.done() if whole else asked.broken()
        return Reply(
            asked.incoming.status,
            asked.incoming.headers,
            body,
            request.url or "",
            self._clock.now(),
            texts,
        )

    def _proxies_for(self, root: str) -> dict[str, str]:
        """The environment's proxy, never for this machine itself."""
        if root not in self._proxies:
            loopback = origin_of(root).is_loopback
            self._proxies[root] = {} if loopback else get_environ_proxies(root)
        return self._proxies[root]

    def _explain(self, request: Prepared, error: Exception) -> EtlError:
        if self._halt.is_set():
            return Stopped("told to stop")
        where = f"{request.method} {shown(request.url or '')}"
        if self._cutter.has_cut():
            pace = f"less than 1 KiB in {self._timeout_s:g} s"
            return Transient(f"{where}: the answer came too slowly ({pace}); cut off")
        causes = list(_chain(error))
        for cause in causes:
            if isinstance(cause, ssl.SSLError):
                return _tls(where, cause)
        return self._plain(where, request.url or "", causes)

    def _plain(self, where: str, url: str, causes: list[BaseException]) -> EtlError:
        origin = origin_of(url)
        silent = f"{where}: silent for {self._timeout_s:g} s"
        for kinds, failure in (
            (NameResolutionError, Transient(f"{where}: no host {origin.host!r}; check url:")),
            (ConnectionRefusedError, Transient(f"{where}: nothing listens there; check url:")),
            (ConnectTimeoutError, Transient(f"{where}: no connection in {self._timeout_s:g} s")),
            ((TimeoutError, ReadTimeoutError, BlockingIOError), Transient(silent)),
            (IncompleteRead, Transient(f"{where}: the body ends before its end")),
            ((InvalidURL, LocationValueError), Refused(f"{where}: no address; check url:")),
        ):
            if any(isinstance(cause, kinds) for cause in causes):
                return failure
        if not isinstance(causes[0], requests.RequestException | HTTPError | OSError):
            return Refused(f"{where}: a header cannot be sent; has a secret a line break?")
        names = ", ".join(dict.fromkeys(type(cause).__name__ for cause in causes))
        return Transient(f"{where}: the connection broke ({names})")


class Headers(CaseInsensitiveDict[str]):
    """Headers whose copy is cheap: every call needs one to put its credentials in."""

    def copy(self) -> Headers:
        made = Headers.__new__(Headers)
        made._store = self._store.copy()  # type: ignore[attr-defined]  # of requests
        return made

    def items(self) -> ValuesView[tuple[str, str]]:  # type: ignore[override]
        """Names and values, at once; requests looks every name up."""
        found: ValuesView[tuple[str, str]] = self._store.values()  # type: ignore[attr-defined]
        return found


def _verify(settings: HttpSettings, url: str) -> bool | str:
    """What requests is to verify certificates with. Raises Usage for a ca_bundle that is none."""
    if not settings.verify_tls:
        return False
    bundle = settings.ca_bundle
    if bundle and url.startswith("https:") and not os.path.isdir(bundle):
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(bundle)
        except OSError:  # ssl.SSLError is one
            raise Usage(f"ca_bundle: no certificates can be read from {bundle}") from None
    environment = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
    return bundle or environment or True


def _tls(where: str, error: ssl.SSLError) -> EtlError:
    if isinstance(error, ssl.SSLCertVerificationError):
        why = error.verify_message or "it cannot be verified"
        return Refused(
            f"{where}: the server's certificate is refused ({why}); set ca_bundle: to the file of "
            "its authority, or verify_tls: false"
        )
    if error.reason and any(word in error.reason for word in _WRONG_TLS):
        return Refused(f"{where}: the server does not speak TLS there; write http:// in url:")
    return Transient(f"{where}: TLS failed ({error.reason or type(error).__name__})")


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and what it was made from, wherever requests and urllib3 keep it."""
    seen: set[int] = set()
    todo: list[BaseException] = [error]
    while todo:
        current = todo.pop(0)
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        inner = [current.__cause__, current.__context__, getattr(current, "reason", None)]
        todo += [e for e in (*inner, *current.args) if isinstance(e, BaseException)]
