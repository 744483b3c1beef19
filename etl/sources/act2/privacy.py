"""Takes out what must never be stored: the password in `parameters`, and the secrets in `env`.

Act2 encrypts that password with a public key, so it is as good as clear text. Arguments, script
and output are content and stay.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from etl.spool import SpooledText
from etl.values import Json, canonical

MASK = "***"
_PAYLOAD_BYTES = 2**20
"""What a reject keeps at most."""

_PASSWORDS = frozenset({"password", "passwd", "pwd"})
_ENVS = frozenset({"env", "envs", "environment"})
_CONTENT = frozenset({"script", "args", "stdout", "stderr", "message"})
_SPEAKS = "password|passwd|pwd|passphrase|secret|token|key|credential|auth|private"
_SECRET_NAME = re.compile(_SPEAKS, re.IGNORECASE)
# Masks to the end of the text: a secret may hold any character, a key is many lines long.
_ASSIGNED = re.compile(
    rf"((?:{_SPEAKS})[\w.-]{{0,99}}\s{{0,9}}[=:]).+",
    re.IGNORECASE | re.DOTALL,
)
_WORTH_PARSING = re.compile(r'"(?:password|passwd|pwd|envs?|environment)', re.IGNORECASE)
_LAYERS = 3
"""JSON text within a JSON string is unwrapped at most so often."""


class NotJson(ValueError):
    """`parameters` cannot be parsed, so nobody can say where its password stands."""


def parameters(raw: Json) -> Json:
    """The value of `parameters` (JSON text, or the object itself) without its password.

    None when there is nothing. Raises NotJson, with a message that repeats nothing of it.
    """
    value = raw
    for _ in range(_LAYERS):
        if not isinstance(value, str):
            break
        value = _parsed(value)
    if isinstance(value, str):
        raise NotJson(f"not JSON, {len(str(raw))} characters, left out: it may hold a password")
    try:
        return cleaned(value)
    except RecursionError:
        raise NotJson("nested too deeply, left out: it may hold a password") from None


def _parsed(text: str) -> Json:
    """JSON text as a value; None for an empty one, the text itself when it is no JSON."""
    if not text.strip():
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def cleaned(value: Json) -> Json:
    """`value` without a password at any depth, JSON within texts included, and `env` masked.

    Raises RecursionError for a value nested hundreds of levels deep.
    """
    if isinstance(value, Mapping):
        return {n: _member(str(n), v) for n, v in value.items() if _may_stay(n)}
    if isinstance(value, list):
        return [cleaned(item) for item in value]
    if isinstance(value, SpooledText):
        value = str(value)
    return _clean_text(value) if isinstance(value, str) else value


def payload(value: Json) -> Json:
    """`value` as a reject may keep it: cleaned, or a note where it cannot be."""
    try:
        return cleaned(_shortened(value))
    except RecursionError:
        return "nested too deeply, left out: it may hold a password"


def _shortened(value: Json) -> Json:
    """An item with the ends of its outputs where they are too long for a reject anyway."""
    if not isinstance(value, Mapping):
        return value
    return {
        name: str(item.kept(_PAYLOAD_BYTES)) if isinstance(item, SpooledText) else item
        for name, item in value.items()
    }


def _may_stay(name: object) -> bool:
    return str(name).lower() not in _PASSWORDS


def _member(name: str, value: Json) -> Json:
    lower = name.lower()
    if lower in _ENVS:
        return _masked(value)
    if lower == "parameters" and isinstance(value, str):
        return _clean_parameters(value)
    if lower in _CONTENT and isinstance(value, str | SpooledText):
        return value
    return cleaned(value)


def _clean_parameters(text: str) -> Json:
    try:
        value = parameters(text)
    except NotJson as error:
        return str(error)
    return None if value is None else canonical(value)


def _clean_text(text: str) -> str:
    """A text; when it is JSON that may hold a password, the JSON without it."""
    if text.lstrip()[:1] not in ("{", "[", '"') or not _WORTH_PARSING.search(_unescaped(text)):
        return text
    value = _parsed(text)
    if isinstance(value, str) and value == text:
        return MASK
    before, after = canonical(value), canonical(cleaned(value))
    return text if before == after else after


def _unescaped(text: str) -> str:
    return text.replace("\\", "")


def _masked(value: Json) -> Json:
    """An environment, in whatever form, with `***` for values whose names speak of secrets."""
    if isinstance(value, Mapping):
        return _masked_pair(value) if _is_pair(value) else _masked_map(value)
    if isinstance(value, list):
        return [_masked(item) for item in value]
    if isinstance(value, SpooledText):
        value = str(value)
    if not isinstance(value, str):
        return value
    parsed = _parsed(value)
    if isinstance(parsed, Mapping | list):
        return canonical(_masked(parsed))
    return _ASSIGNED.sub(rf"\1{MASK}", value)


def _masked_map(value: Mapping[str, Json]) -> Json:
    return {
        name: MASK if _SECRET_NAME.search(str(name)) and item not in (None, "") else _masked(item)
        for name, item in value.items()
    }


def _is_pair(value: Mapping[str, Json]) -> bool:
    return "value" in value and ("name" in value or "key" in value)


def _masked_pair(value: Mapping[str, Json]) -> Json:
    """`{"name": "TOKEN", "value": …}`."""
    name = str(value.get("name", value.get("key")))
    if not _SECRET_NAME.search(name) or value["value"] in (None, ""):
        return dict(value)
    return {**value, "value": MASK}
