"""DataArts' instances as rows: the sample, the words, the forms of a time, exact ids, poison."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.errors import Malformed
from etl.source import Reject
from etl.sources.dataarts.answers import Item, read
from etl.sources.dataarts.items import entry, key, record
from etl.sources.dataarts.tables import QualityInstance

SHANGHAI = timezone(timedelta(hours=8))
NOW = datetime(2026, 11, 22, tzinfo=UTC)

# samples/dataarts/instances.json of the platform's documents
SAMPLE = (
    b'{"count":2,"resources":[{"id":1012386207306600400,"name":"test-1",'
    b'"task_id":1012385458115825700,"task_type":"QUALITY_TASK","run_status":"SUCCESS",'
    b'"notify_status":"NOT_TRIGGERED","start_time":1661413281000,"end_time":1661413381000},'
    b'{"id":1012386190504218600,"name":"test-0","task_id":1012386182149165000,'
    b'"task_type":"CONSISTENCY_TASK","run_status":"SUCCESS","notify_status":"NOT_TRIGGERED",'
    b'"start_time":1661413277000,"end_time":1661413380000}]}'
)


def instance(**fields: Any) -> dict[str, Any]:
    return {
        "id": 9_007_199_254_740_993,
        "name": "orders",
        "task_id": 1012385458115825701,
        "task_type": "QUALITY_TASK",
        "run_status": "SUCCESS",
        "notify_status": "NOT_TRIGGERED",
        "start_time": 1661413281000,
        "end_time": 1661413381000,
        **fields,
    }


def rows(*items: Any) -> list[QualityInstance | Reject]:
    """What becomes of the items when they come as one page."""
    page = read(json.dumps({"count": len(items), "resources": items}).encode())
    return [entry(item) for item in page.resources]


def row(**fields: Any) -> QualityInstance:
    [made] = rows(instance(**fields))
    assert isinstance(made, QualityInstance)
    return made


def test_the_sample_field_by_field() -> None:
    page = read(SAMPLE)
    assert page.count == 2
    assert all(type(item) is Item for item in page.resources)
    assert [entry(item) for item in page.resources] == [
        QualityInstance(
            instance_id=1012386207306600400,
            name="test-1",
            task_id=1012385458115825700,
            task_type="QUALITY_TASK",
            status="succeeded",
            run_status="SUCCESS",
            notify_status="NOT_TRIGGERED",
            started_at=datetime(2022, 8, 25, 15, 41, 21, tzinfo=SHANGHAI),
            finished_at=datetime(2022, 8, 25, 15, 43, 1, tzinfo=SHANGHAI),
            extra=None,
            text_repaired=False,
        ),
        QualityInstance(
            instance_id=1012386190504218600,
            name="test-0",
            task_id=1012386182149165000,
            task_type="CONSISTENCY_TASK",
            status="succeeded",
            run_status="SUCCESS",
            notify_status="NOT_TRIGGERED",
            started_at=datetime(2022, 8, 25, 15, 41, 17, tzinfo=SHANGHAI),
            finished_at=datetime(2022, 8, 25, 15, 43, 0, tzinfo=SHANGHAI),
            extra=None,
            text_repaired=False,
        ),
    ]


@pytest.mark.parametrize(
    ("word", "status", "owed"),
    [
        ("SUCCESS", "succeeded", False),
        ("FAILED", "failed", False),
        ("ALARMING", "alarmed", False),
        ("RUNNING", "running", True),
        ("SUSPENDING", "paused", True),
        ("UNKNOWN", "unknown", True),
        ("WAITING", "pending", True),
        ("STOPPED", "cancelled", False),
        ("TIMEOUT", "timed_out", False),
        ("Success", "succeeded", False),
        ("SLEEPWALKING", "unknown", True),
        (None, "unknown", True),
    ],
)
def test_words_become_statuses_and_what_is_not_final_is_owed(
    word: str | None, status: str, owed: bool
) -> None:
    made = row(run_status=word)
    assert (made.status, made.run_status) == (status, word)
    debts = record(made, NOW).debts
    assert bool(debts) is owed
    for debt in debts:
        assert (debt.kind, debt.id) == ("quality_instance", "9007199254740993")
        assert debt.hint == {"started_at": 1661413281000}


@pytest.mark.parametrize("none", [None, 0, "", "0", 1661413281000])
def test_a_running_instance_has_no_end_in_whatever_form_it_is_not_there(none: Any) -> None:
    made = row(run_status="RUNNING", end_time=none)
    assert (made.finished_at, made.extra) == (None, None)


def test_a_running_instance_without_the_key_or_with_a_strange_end() -> None:
    item = instance(run_status="RUNNING")
    del item["end_time"]
    assert [getattr(made, "finished_at", "no row") for made in rows(item)] == [None]
    strange = row(run_status="RUNNING", end_time=1661413999000)
    assert (strange.finished_at, strange.extra) == (None, '{"end_time":1661413999000}')


@pytest.mark.parametrize(
    "number", [2**53 + 1, 2**63 - 1, -(2**63), 1012386207306600401, 10101010101010101]
)
def test_ids_are_exact_on_both_paths(number: int) -> None:
    assert row(id=number, task_id=number).instance_id == number
    long_way = row(id=number, task_id=number, newly="there")
    assert (long_way.instance_id, long_way.task_id) == (number, number)
    assert key(long_way) == str(number)
    assert row(id=str(number)).instance_id == number


@pytest.mark.parametrize("bad", [None, "", "x", 2**63, 1.5, True, [], {}, 1e300])
def test_an_instance_without_a_usable_key_costs_itself_alone(bad: Any) -> None:
    good, reject, other = rows(instance(), instance(id=bad), instance(id=5))
    assert isinstance(good, QualityInstance)
    assert isinstance(other, QualityInstance)
    assert isinstance(reject, Reject)
    assert (reject.upstream_id, reject.payload) == (None, instance(id=bad))
    assert reject.reason.startswith("id: ")
    assert key(reject) != key(entry(instance(id="y")))


@pytest.mark.parametrize("bad", [7, None, "text", [instance()]])
def test_what_is_no_object_is_rejected(bad: Any) -> None:
    good, reject = rows(instance(), bad)
    assert isinstance(good, QualityInstance)
    assert reject == Reject(None, f"an instance is an object, not {str(bad)[:80]!r}", bad)


def test_new_fields_are_kept_and_poison_is_repaired() -> None:
    assert row(score={"b": 1, "a": 2**70}).extra == '{"score":{"a":"1180591620717411303424","b":1}}'
    for poison, shown in [("a\x00b", "a\u2400b"), ("a\ud800b", "a\ufffdb")]:
        made = row(name=poison)
        assert (made.name, made.text_repaired) == (shown, True)
    assert row(name="质量检查").text_repaired is False


def test_what_does_not_fit_its_column_stays_in_extra() -> None:
    made = row(task_id=2**64, start_time="yesterday", end_time=10**30)
    assert (made.task_id, made.started_at, made.finished_at) == (None, None, None)
    assert json.loads(made.extra or "") == {
        "task_id": str(2**64),
        "start_time": "yesterday",
        "end_time": str(10**30),
    }
    [debt] = record(row(run_status="RUNNING", start_time="yesterday"), NOW).debts
    assert debt.hint == {}


def test_times_in_seconds_and_as_text_are_the_same_moment() -> None:
    at = datetime(2022, 8, 25, 7, 41, 21, tzinfo=UTC)
    for form in (1661413281000, 1661413281, "1661413281000", "2022-08-25T15:41:21+08:00"):
        assert row(start_time=form).started_at == at


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b'{"resources":7}', b'{"count":1}'])
def test_what_is_no_list_is_malformed(body: bytes) -> None:
    with pytest.raises(Malformed):
        read(body)


@pytest.mark.parametrize(
    "form",
    [
        '{"count":1,"resources":[{"id":1,"name":%s}]}',
        '{"count":1,"resources":[{"id":1,"weird":%s}]}',
        '{"count":1,"weird":%s,"resources":[{"id":1}]}',
        '{"weird":%s}',
        "%s",
    ],
)
@pytest.mark.parametrize(("opened", "closed"), [("[", "]"), ('{"a":', "}")])
def test_what_is_nested_without_end_is_malformed(form: str, opened: str, closed: str) -> None:
    with pytest.raises(Malformed):
        read((form % (opened * 100_000 + "1" + closed * 100_000)).encode())


def test_a_nesting_that_can_be_parsed_costs_no_row() -> None:
    deep: Any = 1
    for _ in range(700):
        deep = [deep]
    made, odd, other = rows(instance(weird=deep), {"id": deep}, instance())
    assert isinstance(made, QualityInstance)
    assert isinstance(odd, Reject)
    assert isinstance(other, QualityInstance)
    assert "nested too deeply" in str(made.extra)


def test_odd_lists_are_read() -> None:
    assert (read(b'{"count":0,"resources":null}').resources) == []
    assert read(b'{"count":0}').resources == []
    assert read(b'{"resources":[]}').count is None
    assert read(b'{"count":"12","resources":[]}').count == 12
    assert read(b'\xef\xbb\xbf{"count":-1,"resources":[]}').count is None
    assert len(read(b'{"count":1,"error_code":"DQC.0000","resources":[{"id":1}]}').resources) == 1


numbers = st.one_of(
    st.none(), st.integers(-(2**64), 2**64), st.sampled_from([0, 1661413281000, 1661413281])
)
words = st.one_of(st.none(), st.sampled_from(["SUCCESS", "RUNNING", "ALARMING"]), st.text())
items = st.fixed_dictionaries(
    {"id": st.integers(-(2**63), 2**63 - 1)},
    optional={
        "name": st.one_of(st.none(), st.text(st.characters(codec=None), max_size=5)),
        "task_id": numbers,
        "task_type": st.sampled_from([None, "QUALITY_TASK", "NEW_TASK"]),
        "run_status": words,
        "notify_status": words,
        "start_time": numbers,
        "end_time": numbers,
    },
)


@given(items)
def test_the_short_path_and_the_long_one_agree(item: dict[str, Any]) -> None:
    [short] = rows(item)
    [long] = [entry(raw) for raw in read_exactly(item)]
    assert short == long


def read_exactly(item: dict[str, Any]) -> list[Any]:
    """The item as the exact parser gives it: a number beyond 64 bits beside it sees to that."""
    page = read(json.dumps({"count": 2, "resources": [item, {"id": 2**70}]}).encode())
    assert not any(type(one) is Item for one in page.resources)
    return list(page.resources[:1])
