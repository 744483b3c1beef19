"""The `schedules` section: who is synced, verified and pruned, when, and with which options."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from configuring import URL, load

from etl.config import (
    Config,
    Entry,
    Options,
    expected_every_s,
    stale_after,
    unscheduled,
)
from etl.cron import parse
from etl.units import Since


def schedules(directory: Path, text: str, env: dict[str, str] | None = None) -> Config:
    """A configuration of the sources a, b and c with these entries."""
    sources = "".join(f"  {name}: {{api: fourth, {URL}, token: t}}\n" for name in "abc")
    return load(directory, f"sources:\n{sources}schedules:\n{text}", env)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("sync: all", ("a", "b", "c")),
        ("sync: b", ("b",)),
        ("sync: [c, a]", ("c", "a")),
        ("sync: [b, b]", ("b",)),
        ("sync: [all]", ("a", "b", "c")),
    ],
)
def test_an_entry_is_for_one_source_a_list_or_all(
    tmp_path: Path, written: str, expected: tuple[str, ...]
) -> None:
    made = schedules(tmp_path, f"  - {written}\n    every: 5m\n")
    assert made.schedules == (Entry("sync", expected, every_s=300.0),)


def test_an_entry_with_a_name_replaces_all_for_that_command_only(tmp_path: Path) -> None:
    made = schedules(
        tmp_path,
        "  - {sync: all, every: 5m}\n  - {sync: b, every: 1m}\n"
        "  - {verify: all, every: 1d}\n  - {verify: [a, c], every: 2d}\n",
    )
    assert [(e.command, e.sources, e.every_s) for e in made.schedules] == [
        ("sync", ("a", "c"), 300.0),
        ("sync", ("b",), 60.0),
        ("verify", ("b",), 86400.0),
        ("verify", ("a", "c"), 172800.0),
    ]


def test_all_without_anybody_left_is_no_entry(tmp_path: Path) -> None:
    made = schedules(tmp_path, "  - {sync: all, every: 5m}\n  - {sync: [a, b, c], every: 1m}\n")
    assert [(e.sources, e.every_s) for e in made.schedules] == [(("a", "b", "c"), 60.0)]


def test_every_option_arrives(tmp_path: Path) -> None:
    made = schedules(
        tmp_path,
        "  - {verify: a, since: 90d, until: 1d, repair: true, cron: 0 3 * * sun,\n"
        "     time_zone: Asia/Shanghai}\n"
        "  - {prune: b, older_than: 400d, cron: '@weekly'}\n",
    )
    assert made.schedules == (
        Entry(
            "verify",
            ("a",),
            cron=parse("0 3 * * sun"),
            time_zone=ZoneInfo("Asia/Shanghai"),
            options=Options(since=Since.parse("90d"), until=Since.parse("1d"), repair=True),
        ),
        Entry(
            "prune",
            ("b",),
            cron=parse("@weekly"),
            options=Options(older_than=Since.parse("400d")),
        ),
    )


def test_a_cron_entry_fires_by_the_clock_of_its_zone(tmp_path: Path) -> None:
    made = schedules(tmp_path, "  - {sync: a, cron: 0 3 * * *, time_zone: Asia/Shanghai}\n")
    entry = made.schedules[0]
    assert entry.cron is not None
    fires = entry.cron.next_after(datetime(2026, 11, 22, tzinfo=UTC), entry.time_zone)
    assert fires == datetime(2026, 11, 22, 19, tzinfo=UTC)


def test_when_may_come_from_the_environment(tmp_path: Path) -> None:
    text = "  - {sync: all, every: '${E}'}\n  - {sync: a, cron: '${C:-@daily}'}\n"
    made = schedules(tmp_path, text, {"E": "7m"})
    assert [(e.every_s, e.cron) for e in made.schedules] == [(420.0, None), (None, parse("@daily"))]


def test_a_source_is_stale_after_twice_the_longest_gap_of_its_schedule(tmp_path: Path) -> None:
    made = schedules(
        tmp_path,
        "  - {sync: a, every: 5m}\n  - {sync: b, cron: 0 9 * * 1-5}\n  - {verify: c, every: 1m}\n",
    )
    assert [expected_every_s(made, name) for name in "abc"] == [300.0, 3 * 86400.0, None]
    assert [stale_after(made, name) for name in "abc"] == [600.0, 6 * 86400.0, None]
    assert unscheduled(made) == ("c",)


def test_of_two_schedules_the_denser_counts(tmp_path: Path) -> None:
    made = schedules(tmp_path, "  - {sync: a, cron: '@daily'}\n  - {sync: a, every: 1h}\n")
    assert expected_every_s(made, "a") == 3600.0
    assert len(made.schedules_of("a")) == 2


def test_no_schedules_are_no_mistake(tmp_path: Path) -> None:
    assert load(tmp_path, "schedules:\n").schedules == ()
    assert load(tmp_path, "sources: {}\nschedules: []\n").schedules == ()
