"""Tells systemd (Type=notify) how the daemon is; without systemd it tells nobody.

The protocol is one datagram; the packages that wrap it have not been kept for years.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Mapping


class Systemd:
    """`watchdog_s`: how often the watchdog wants to hear, in seconds; None: it is not asked for."""

    def __init__(self, env: Mapping[str, str] = os.environ) -> None:
        path = env.get("NOTIFY_SOCKET", "")
        self._address = "\0" + path[1:] if path.startswith("@") else path
        wanted = env.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        usec = env.get("WATCHDOG_USEC", "")
        self.watchdog_s = int(usec) / 2e6 if wanted and usec.isdecimal() and int(usec) else None

    def ready(self) -> None:
        self._tell("READY=1")

    def waiting(self, why: str, seconds: float) -> None:
        """Asks for so much more time to start."""
        self._tell(f"STATUS={why}\nEXTEND_TIMEOUT_USEC={int(seconds * 1e6)}")

    def status(self, text: str) -> None:
        self._tell(f"STATUS={text}")

    def alive(self) -> None:
        self._tell("WATCHDOG=1")

    def stopping(self) -> None:
        self._tell("STOPPING=1")

    def _tell(self, text: str) -> None:
        if not self._address:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as to:
            to.connect(self._address)
            to.sendall(text.encode())
