r"""Writes JSON the way Go's encoding/json does, byte for byte.

Source of truth: [live] samples result_ok.json and page_small.json. No blanks; keys in the order
of the struct; `<`, `>`, `&`, U+2028 and U+2029 as `\u003c` and so on; other text raw; a byte that
is not UTF-8 (here: a lone surrogate, as `surrogateescape` makes of it) as the text `\ufffd`.
"""

import json
import re
from collections.abc import Callable

_ENCODE: Callable[[object], str] = json.JSONEncoder(
    ensure_ascii=False, separators=(",", ":")
).encode
_LONE = re.compile("[\ud800-\udfff]")
_HTML = (
    ("<", "\\u003c"),
    (">", "\\u003e"),
    ("&", "\\u0026"),
    ("\u2028", "\\u2028"),
    ("\u2029", "\\u2029"),
)


def dumps(value: object) -> bytes:
    """The bytes that json.Marshal would give for the same value."""
    text = _ENCODE(value)
    for char, escape in _HTML:
        if char in text:
            text = text.replace(char, escape)
    return _utf8(text)


def plain(value: object) -> bytes:
    """Compact JSON without Go's care for HTML, as the Java platforms write it."""
    return _utf8(_ENCODE(value))


def text(value: object) -> str:
    """JSON inside a JSON string: what Act2 keeps in `hosts` and `parameters`."""
    return dumps(value).decode()


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        return _LONE.sub(r"\\ufffd", text).encode()
