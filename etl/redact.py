"""Secrets: held so that they never print, and masked wherever they would appear.

Whoever learns a secret (the configuration, a login) registers it with `known`; whatever leaves
the process as text (log lines, error messages, ledger columns) passes through `masked`.
"""

from __future__ import annotations

import base64
import json
import threading
import urllib.parse
from collections.abc import Callable

MASK = "[secret]"
_SHORTEST = 4  # masking shorter texts would eat ordinary words

_lock = threading.Lock()
_known: tuple[str, ...] = ()


def known(secret: str) -> None:
    """Registers `secret`, and the forms in which URLs, headers and JSON carry it."""
    if len(secret) < _SHORTEST:
        return
    raw = secret.encode("utf-8", "surrogatepass")
    forms = {
        secret,
        urllib.parse.quote(raw, safe=""),
        urllib.parse.quote_plus(raw),
        base64.b64encode(raw).decode(),
        repr(secret)[1:-1],
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
    }
    with _lock:
        global _known  # noqa: PLW0603 - one registry a process, like the logging module's
        _known = tuple(sorted({*_known, *forms}, key=len, reverse=True))


def masked(text: str) -> str:
    """`text` with every known secret replaced by `[secret]`."""
    for secret in _known:
        if secret in text:
            text = text.replace(secret, MASK)
    return text


class Secret:
    """A secret of the configuration. `reveal()` is the only way to its text.

    `reread` resolves it again at its origin (a file may have been rotated);
    `reload()` says whether the text changed.
    """

    __slots__ = ("_reread", "_text")

    def __init__(self, text: str, reread: Callable[[], str] | None = None) -> None:
        self._text = text
        self._reread = reread
        known(text)

    def reveal(self) -> str:
        return self._text

    def reload(self) -> bool:
        if self._reread is None:
            return False
        before, self._text = self._text, self._reread()
        known(self._text)
        return self._text != before

    def __repr__(self) -> str:
        return MASK

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)
