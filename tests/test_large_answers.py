"""Answers larger than memory: what comes out is what a small machine can hold, and exact."""

from __future__ import annotations

import errno
import json
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from http_kit import FakeClock
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from large_kit import Act2, Execution, of_bytes, serving, synced
from sqlalchemy import select
from sync_kit import Named

from etl.db import Database, open_database
from etl.errors import Malformed, TooLarge, Transient
from etl.http import body
from etl.http.reduction import Reduction
from etl.passes import Outcome, Surroundings
from etl.sources import act2
from etl.sources.act2 import privacy
from etl.sources.act2.hosts import kept
from etl.sources.act2.tables import HOST_RESULTS, JOB_RECORDS
from etl.spool import Spool, SpooledText
from etl.sync import sync
from etl.units import Duration, Size
from etl.values import Json, canonical, parse, repaired

OUTPUTS = frozenset({"stdout", "stderr"})
MB = 10**6
PEAK_MIB = 250

# the document that is left


def reduced(document: bytes, *sizes: int, long: int = 8) -> Json:
    """`document`, fed in pieces of `sizes` in turn, parsed with its long texts put back."""
    reduction, at, turn = Reduction(OUTPUTS, long=long), 0, 0
    while at < len(document):
        step = sizes[turn % len(sizes)]
        reduction.feed(document[at : at + step])
        at, turn = at + step, turn + 1
    left, texts = reduction.finish()
    assert texts.size == len(document)
    return texts.put_back(parse(left))


def assert_same(plain: Json, other: Json) -> None:
    """`other` says what `plain` says; its long texts in the form in which they are stored."""
    if isinstance(other, SpooledText):
        text, changed = repaired(plain)
        came = len(plain.encode("utf-8", "surrogatepass"))
        assert (str(other), other.repaired, other.came_bytes) == (text, changed, came)
        for limit in (0, 1, 3, 10, 17, 10**6):
            assert str(other.kept(limit)) == kept(text, limit)
            assert (other.kept(limit) is other) == (kept(text, limit) is text)
    elif isinstance(plain, dict):
        assert list(plain) == list(other)
        for name, value in plain.items():
            assert_same(value, other[name])
    elif isinstance(plain, list):
        assert len(plain) == len(other)
        for one, another in zip(plain, other, strict=True):
            assert_same(one, another)
    else:
        assert repr(plain) == repr(other)


CHARACTERS = [
    *(b"a", b"some text ", b"\\n", b'\\"', b"\\\\", b"\\/", b"\\u4e2d", b"\\ud83d\\ude00"),
    *(b"\\ud83d", b"\\ude00", b"\\u0000", b"\\\\ud83d", "中".encode(), "😀".encode(), b"\x7f"),
    *(b"\xff", b"\xe4\xb8", b"\x80", b"\xed\xa0\x80", b"x" * 300, b"\\\\" * 200, b"\\ud83d" * 90),
    *("é".encode() * 90, b"\\ud83d\\ude00" * 90, b'\\"' * 300),
]
WRONG = [b"\\q", b"\\u12g4", b"\n", b"\x00", b'"']


def texts(wrong: bool) -> st.SearchStrategy[bytes]:
    return st.lists(st.sampled_from(CHARACTERS + WRONG * wrong), max_size=12).map(b"".join)


def documents(wrong: bool) -> st.SearchStrategy[bytes]:
    text = texts(wrong).map(lambda raw: b'"' + raw + b'"')
    plain = st.sampled_from([b"null", b"-0.0", b"1" * 22, b"1e400", b"NaN", b"true", b"[]"])
    names = st.sampled_from([b'"stdout"', b'"stderr"', b'"std\\u006fut"', b'"x"'])
    colon = st.sampled_from([b":", b": ", b" \n\t: "])

    def deeper(inner: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
        member = st.tuples(names, colon, inner).map(b"".join)
        return st.lists(member, max_size=4).map(lambda m: b"{" + b", ".join(m) + b"}") | st.lists(
            inner, max_size=3
        ).map(lambda i: b"[" + b",".join(i) + b"]")

    whole = st.recursive(text | plain, deeper, max_leaves=12)
    return st.tuples(st.sampled_from([b"", b"\xef\xbb\xbf", b" "]), whole).map(b"".join)


SIZES = st.lists(st.sampled_from([1, 2, 7, 64, 400, 1500, 10**6]), min_size=1, max_size=5)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(documents(wrong=False), SIZES, st.sampled_from([1, 8, 700]))
def test_what_is_read_in_pieces_is_what_is_read_at_once(
    document: bytes, sizes: list[int], long: int
) -> None:
    assert_same(parse(document), reduced(document, *sizes, long=long))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(documents(wrong=True), SIZES, st.integers(0, 2000))
def test_what_is_no_json_is_none_in_pieces_either(
    document: bytes, sizes: list[int], end: int
) -> None:
    for data in (document, document[:end]):
        try:
            plain = parse(data)
        except Malformed:
            with pytest.raises(Malformed, match="not JSON"):
                reduced(data, *sizes)
        else:
            assert_same(plain, reduced(data, *sizes))


def test_of_members_with_one_name_the_last_one_counts() -> None:
    document = b'{"stdout": "first and long", "stdout": "last and long"}'
    assert str(reduced(document, 10)["stdout"]) == "last and long"


def test_what_looks_like_a_mark_is_a_text() -> None:
    document = json.dumps({"a": "0" * 33, "stdout": "0" * 33}).encode()
    assert reduced(document, 1000)["a"] == "0" * 33


def test_what_is_left_is_bounded() -> None:
    reduction = Reduction(OUTPUTS, most=1000)
    reduction.feed(b'{"stdout": "')
    for _ in range(100):
        reduction.feed(b"long " * 1000)
    reduction.feed(b'", "message": "')
    with pytest.raises(TooLarge, match="more than 1000 bytes beside its long texts"):
        reduction.feed(b"long " * 1000)


def test_an_endless_escape_is_not_waited_for() -> None:
    reduction = Reduction(OUTPUTS)
    reduction.feed(b'{"stdout": "')
    with pytest.raises(Malformed):
        reduction.feed(b"\\u" * 2**20)


# texts in a file


def spooled(text: str) -> SpooledText:
    spool = Spool()
    spool.append(b"before" + text.encode() + b"after")
    size = len(text.encode())
    return SpooledText(spool, ((6, 6 + size),), size, repaired=False)


def test_a_spooled_text_compares_as_its_text() -> None:
    assert spooled("b") == "b" == spooled("b")
    assert hash(spooled("b")) == hash("b")
    texts: list[Any] = [spooled("\U0001f600"), "é", spooled("a"), "\uffff", spooled("")]
    assert [str(text) for text in sorted(texts)] == ["", "a", "é", "\uffff", "\U0001f600"]
    assert spooled("1") != 1


def test_a_spooled_text_is_json_as_its_text() -> None:
    assert canonical({"a": [spooled('"é')]}) == '{"a":["\\"é"]}'


def test_the_file_is_gone_with_its_last_text() -> None:
    before = len(os.listdir("/proc/self/fd"))
    text = spooled("a")
    assert len(os.listdir("/proc/self/fd")) == before + 1
    del text
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_full_disk_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(Transient, match=r"no room .* \(No space left on device\); see TMPDIR"):
        spooled("a")


# through to the database

SMALL = [
    Execution(f"r{n}", n, [of_bytes(3000 + n, f"r{n}/{h} \x00 😀") for h in range(60)])
    for n in (1, 2)
]
ONE = [Execution("r1", 1, [of_bytes(900 * MB, "r1/0")])]
MANY_RECORDS = [
    Execution(f"r{n:02}", n, [of_bytes(950_000, f"r{n:02}/{h}") for h in range(5)])
    for n in range(100)
]
MANY_HOSTS = [Execution("r1", 1, [of_bytes(48_000, f"r1/{h}") for h in range(10_000)])]


def copied(database: Database, url: str, name: str, max_output: int, hours: int = 0) -> Outcome:
    """One sync; what has ended stays owed, so that one `hours` later asks for it again."""
    clock = FakeClock()
    clock.advance(hours * 3600)
    made = act2.Act2Settings(
        api="act2", url=url, max_output=Size(max_output), settle=Duration(30 * 86400)
    )
    around = Surroundings(database, threading.Event(), lambda *_: None, clock)
    outcome = sync(Named(name, act2.SOURCE, made), around)
    assert outcome.error is None, outcome.error
    return outcome


def host_rows(database: Database, name: str) -> list[dict[str, Any]]:
    """The rows of a source, without its name and the stamps."""
    columns = HOST_RESULTS.table.c
    wanted = [columns[field] for field in HOST_RESULTS.fields]
    chosen = select(*wanted).where(columns.source == name).order_by(*wanted[:3])
    with database.reading() as connection:
        return [dict(row) for row in connection.execute(chosen).mappings()]


@pytest.mark.parametrize("max_output", [2001, 10**6])
def test_a_large_answer_leaves_the_rows_of_a_small_one(
    every_database: Database, monkeypatch: pytest.MonkeyPatch, max_output: int
) -> None:
    with serving(Act2(SMALL, listed=True, packed=True)) as url:
        copied(every_database, url, "small", max_output)
        monkeypatch.setattr(body, "REDUCED_FROM", 5000)
        first = copied(every_database, url, "large", max_output)
        again = copied(every_database, url, "large", max_output, hours=1)
        monkeypatch.undo()
        small = copied(every_database, url, "large", max_output, hours=2)
    rows = host_rows(every_database, "large")
    assert rows == host_rows(every_database, "small")
    assert (first.tally.written, again.tally.written, small.tally.written) == (122, 0, 0)
    assert again.tally.read == small.tally.read == 122
    for execution in SMALL:
        for number, output in enumerate(execution.outputs):
            [row] = [
                r
                for r in rows
                if (r["record_id"], r["host_id"]) == (execution.id, f"host-{number}")
            ]
            assert row["stdout_bytes"] == output.size
            assert row["text_repaired"]
            assert row["output_cut"] is (max_output < output.size)
            assert row["stdout"].startswith(f"{execution.id}/{number} \u2400 😀 begins\n")
            assert row["stdout"].endswith(f"{execution.id}/{number} \u2400 😀 ends\n")


def test_a_text_where_no_output_belongs_is_handled_as_any_other(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In `env` what speaks of secrets is masked, in `extra` nothing is lost, however long."""
    monkeypatch.setattr(body, "REDUCED_FROM", 1000)
    strange = {"stdout": "token=abc " * 500, "nested": {"stderr": "x" * 4000}}
    detail = {**SMALL[0].detail(), "env": strange, "more": strange}
    served = Act2(SMALL[:1], listed=True, packed=False)
    with monkeypatch.context() as patch, serving(served) as url:
        patch.setattr(Execution, "detail", lambda _: detail)
        copied(database, url, "scripts", 10**6)
    columns = JOB_RECORDS.table.c
    with database.reading() as connection:
        extra = json.loads(connection.execute(select(columns.extra)).scalar_one())
    assert extra["env"] == {"stdout": "token=***", "nested": {"stderr": "x" * 4000}}
    assert extra["more"] == strange


def test_a_reject_keeps_the_beginning_and_the_end_of_an_output() -> None:
    text = spooled("a" * 2**20 + "b" * 2**20)
    assert privacy.payload({"stdout": text, "x": 1}) == {
        "stdout": "a" * 2**19 + "b" * 2**19,
        "x": 1,
    }


@pytest.mark.long
@pytest.mark.parametrize(
    ("executions", "listed", "packed", "least"),
    [
        (ONE, False, False, 980 * MB),
        (MANY_RECORDS, True, True, 500 * MB),
        (MANY_HOSTS, False, False, 500 * MB),
    ],
    ids=["one output of 1 GB", "a page of 500 MB, packed", "10,000 hosts"],
)
def test_no_answer_is_too_large_for_memory(
    executions: Sequence[Execution], listed: bool, packed: bool, least: int, tmp_path: Path
) -> None:
    """Measured in a process of its own, with the settings that nobody changed."""
    served, url = Act2(executions, listed=listed, packed=packed), f"sqlite:///{tmp_path}/etl.db"
    with serving(served) as upstream:
        peak_mib = synced(tmp_path, url, upstream, page_size="100")
    assert served.largest > least
    assert peak_mib < PEAK_MIB
    columns = HOST_RESULTS.table.c
    wanted = select(columns.stdout, columns.stdout_bytes, columns.output_cut)
    limit = 64 * 2**20
    database = open_database(url)
    try:
        with database.reading() as connection:
            held = connection.execution_options(yield_per=1).execute(
                wanted.order_by(columns.record_id, columns.host_id)
            )
            for execution, host in ordered(executions):
                output = execution.outputs[host]
                text, size, cut = held.fetchone() or ("", 0, None)
                assert (size, cut) == (output.size, output.size > limit)
                assert text == output.cut(limit)
            assert held.fetchone() is None
    finally:
        database.close()


def ordered(executions: Sequence[Execution]) -> Iterator[tuple[Execution, int]]:
    """Records and numbers of hosts, as they are sorted."""
    for execution in executions:
        for name in sorted(f"host-{number}" for number in range(len(execution.outputs))):
            yield execution, int(name.removeprefix("host-"))
