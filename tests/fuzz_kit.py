"""What fuzzing needs: valid samples, ways to spoil them, and what a stored row must be like."""

from __future__ import annotations

import copy
import json
import random
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, TypeVar

from sqlalchemy import BigInteger, Boolean, Integer, String

from etl.http import Answer, Reply
from etl.schema import DataTable, Instant
from etl.source import Part
from etl.values import Json

T = TypeVar("T")
R = TypeVar("R")

PASSWORD = "password-of-the-parameters"
_PARAMETERS = {
    "script": "dir",
    "params": {"args": "--all"},
    "runas": "root",
    "password": PASSWORD,
    "env": {"A": "b"},
}
LISTED = {
    "id": 1964,
    "name": "workflow_xkkjf_20220712103332",
    "workflowId": "3992429968",
    "workflowName": "workflow_xkkjf",
    "status": 2,
    "runBeginTime": 1657593215000,
    "runEndTime": 1657593218000,
    "createTime": 1657593212505,
}
TASK = {
    "id": "f93dea90fc3a11ecac7e6da0662c195b",
    "name": "BFS",
    "runBeginTime": "2022-07-12T10:33:35+08:00",
    "runEndTime": "2022-07-12T10:33:38+08:00",
    "status": 2,
}
JOB = {**LISTED, "tasks": [TASK, {**TASK, "id": "02d58b0e", "name": "PageRank"}]}
SAMPLE = [["player110", "0.150000"], ["team219", "0.452126", "x", 1, None]]
RECORD = {
    "id": "e6203ffe-85f4-4a13-bb28-abaefc1ea0df",
    "startTime": "2026-06-01T08:00:00+08:00",
    "endTime": "2026-06-01T08:01:13+08:00",
    "executeStatus": "done",
    "resultStatus": "fail",
    "callback": "",
    "hosts": '["bc86f236-9a8f-47b6-88e1-ee622e9ae0ce"]',
    "provider": "ssh",
    "script": "dir",
    "scriptType": "bat",
    "pattern": "script",
    "timeout": 3600,
    "parameters": json.dumps(_PARAMETERS),
    "masterId": "3f2b1c88-master",
    "user": "",
    "executeId": "ebac66a6-5f20-45f4-b292-6f813f3387b7",
}
DOC_RECORD = {
    "id": RECORD["id"],
    "start_time": "2026-06-01 08:00:00",
    "end_time": "2026-06-01 08:01:13",
    "execute_status": "done",
    "result_status": "fail",
    "hosts": ["bc86f236-9a8f-47b6-88e1-ee622e9ae0ce"],
    "script": "dir",
    "script_type": "bat",
    "module_name": "script",
    "timeout": "3600",
    "parameters": _PARAMETERS,
}
HOST = {
    "recordId": RECORD["id"],
    "hostIp": "10.0.0.1",
    "hostId": "bc86f236-9a8f-47b6-88e1-ee622e9ae0ce",
    "entityId": "E",
    "osType": "windows",
    "startTime": "2026-06-01T08:00:00+08:00",
    "endTime": "2026-06-01T08:01:13+08:00",
    "status": "fail",
    "idcName": "杭州",
    "stdout": "out",
    "stderr": "err",
    "message": "exit 1",
}
INSTANCE = {
    "id": 1012386207306600400,
    "name": "test-1",
    "task_id": 1012385458115825700,
    "task_type": "QUALITY_TASK",
    "run_status": "SUCCESS",
    "notify_status": "NOT_TRIGGERED",
    "start_time": 1661413281000,
    "end_time": 1661413381000,
}

_RAW = {"@1e400@": "1e400", "@-1e400@": "-1e400"} | {
    f"@deep {levels}@": "[" * levels + "]" * levels
    for levels in (100, 300, 500, 700, 800, 850, 900, 920, 940, 960, 980)
}
"""Texts that become JSON which Python would not write."""


DEEPEST = b"[" * 600
"""A body with this may be refused, or an answer in it: Python follows not much further."""


def _nested(levels: int) -> Json:
    value: Json = "leaf"
    for level in range(levels):
        value = [value] if level % 2 else {"k": value}
    return value


_VALUES: tuple[Json, ...] = (
    *(None, True, False, "", " ", "0", "-1", "null", "x" * 300, "a\x00b", "\ud800", "é" * 200),
    *(0, -1, 1, 10**11, 2**31, 2**63 - 1, 2**63, -(2**63) - 1, 2**70, -(2**70), 10**400),
    *(float("nan"), float("inf"), -0.0, 0.5, 1e16, 1e300),
    *("9" * 39, "9" * 5000, "٣", "²", "1_000", "--5", "-", "1e5", "NaN", "\udc00" * 3),
    *("0001-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"),
    *("2026-02-30 00:00:00", "2026-06-01T08:00:00.1234567+08:00", "20260601", "2026-W01"),
    *(253402300800000, -62135596800001, 10**17, -(10**17), 99999999999.9),
    *([], {}, [[]], [None], {"id": None}, ["a", {"b": [1]}], {"\x00": 1, "\ud800": 2}),
    *({"k" * 5000: "v"}, _nested(60), *(name for name in _RAW if "deep" not in name)),
)
_DEEP = tuple(name for name in _RAW if "deep" in name)
_NAMES = ("new", "", "\x00", "\ud83d", "k" * 5000, "source", "changed_at", "Id", "ID")


def mutated(chance: random.Random, sample: Json) -> Json:
    """A copy of `sample` that was spoilt once or a few times; sometimes something else whole."""
    if chance.random() < 0.02:
        return _poison(chance)
    spoilt = copy.deepcopy(sample)
    for _ in range(chance.choice((0, 1, 1, 1, 2, 3, 6))):
        _spoil(chance, spoilt)
    return spoilt


def _poison(chance: random.Random) -> Json:
    return copy.deepcopy(chance.choice(_VALUES if chance.random() < 0.99 else _DEEP))


def _spoil(chance: random.Random, value: Json) -> None:
    """Changes one place, at any depth."""
    places = list(value if isinstance(value, dict) else range(len(value)))
    place = chance.choice(places) if places else None
    inner = None if place is None else value[place]
    if isinstance(inner, dict | list) and inner and chance.random() < 0.7:
        _spoil(chance, inner)
        return
    if isinstance(value, list):
        _spoil_list(chance, value, place)
    else:
        _spoil_object(chance, value, place)


def _spoil_list(chance: random.Random, value: list[Json], place: Any) -> None:
    match chance.randrange(4):
        case 0 if place is not None:
            value[place] = _poison(chance)
        case 1 if place is not None:
            value.append(copy.deepcopy(value[place]))
        case 2 if place is not None:
            del value[place]
        case _:
            value.insert(0, _poison(chance))


def _spoil_object(chance: random.Random, value: dict[str, Json], place: Any) -> None:
    match chance.randrange(6):
        case 0 if place is not None:
            del value[place]
        case 1 if place not in (None, "password"):  # by another name it would be another field
            value[chance.choice((place.upper(), place + "_", *_NAMES))] = value.pop(place)
        case 2:
            value[chance.choice(_NAMES)] = _poison(chance)
        case 3 if isinstance(place, str) and isinstance(value[place], str):
            value[place] = _torn(chance, value[place])
        case _ if place is not None:
            value[place] = _poison(chance)


def _torn(chance: random.Random, text: str) -> str:
    """A text cut, doubled, or with something poisonous in its middle."""
    at = chance.randrange(len(text) + 1)
    poison = chance.choice(("\x00", "\ud800", "", "\U0001f600", "\u2028", '"', "\\"))
    torn = chance.choice((text[:at], text * 2, text[:at] + poison + text[at:]))
    renamed = PASSWORD in torn and '"password"' not in torn  # by another name it is another field
    return text[:at] if renamed else torn


def body(chance: random.Random, value: Json) -> bytes:
    """The JSON of `value`, escaped or not: then a lone surrogate is no UTF-8."""
    text = json.dumps(value, ensure_ascii=chance.random() < 0.7)
    if '"@' in text:
        for mark, raw in _RAW.items():
            text = raw.join(re.split(rf'(?<!\\)"{re.escape(mark)}"', text))  # not within a text
    return text.encode("utf-8", "surrogatepass")


class Canned:
    """Answers in place of a platform: bytes by the end of a path, judged as the source does."""

    def __init__(self, judge: Callable[[Reply], Json], at: datetime) -> None:
        self._judge = judge
        self._at = at
        self.bodies: dict[str, bytes] = {}

    def get(
        self, path: str, params: Mapping[str, Any] | None = None, *, attempts: int = 5
    ) -> Answer:
        data = next(data for tail, data in self.bodies.items() if path.endswith(tail))
        content = self._judge(Reply(200, {}, data, "http://platform.example"))
        return Answer(content, self._at, len(data))

    def map(self, function: Callable[[T], R], items: Iterable[T]) -> list[R]:
        return [function(item) for item in items]

    def pause(self, seconds: float) -> None:
        """No time passes."""


def assert_fits(part: Part) -> None:
    """Every value of every row can be stored in its column, on every database."""
    specs = _specs(part.table)
    for row in part.rows:
        assert len(row) == len(specs)
        for (name, type_, nullable), value in zip(specs, row, strict=True):
            if value is None:
                assert nullable, name
            else:
                _assert_value(name, type_, value)


@lru_cache
def _specs(table: DataTable) -> list[tuple[str, Any, bool]]:
    columns = [table.table.c[name] for name in table.fields]
    return [(f"{table.name}.{c.name}", c.type, bool(c.nullable)) for c in columns]


def _assert_value(name: str, type_: Any, value: Any) -> None:
    if isinstance(type_, Boolean):
        assert isinstance(value, bool), name
    elif isinstance(type_, Instant):
        assert isinstance(value, datetime), name
        assert value.utcoffset() == timedelta(0), name
    elif isinstance(type_, Integer | BigInteger):
        limit = 2 ** (63 if isinstance(type_, BigInteger) else 31)
        assert type(value) is int, name
        assert -limit <= value < limit, name
    else:
        assert isinstance(value, str), name
        value.encode()
        assert "\x00" not in value, name
        assert PASSWORD not in value, name
        length = type_.length if isinstance(type_, String) else None
        assert length is None or len(value) <= length, name
