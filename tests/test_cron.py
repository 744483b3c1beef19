"""Crontab times, table by table; expected values come from crontab(5) and the calendars."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl import cron

BERLIN = ZoneInfo("Europe/Berlin")
NEW_YORK = ZoneInfo("America/New_York")


def firings(text: str, after: str, zone: ZoneInfo, count: int) -> list[str]:
    """The next firings after a local time, as local times with their offset."""
    moment = datetime.fromisoformat(after)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=zone)
    found = []
    for _ in range(count):
        moment = cron.parse(text).next_after(moment, zone)
        found.append(moment.astimezone(zone).isoformat(" ", "minutes"))
    return found


@pytest.mark.parametrize(
    ("text", "after", "expected"),
    [
        # 2026-11-22 is a Sunday.
        ("0 3 * * 0", "2026-11-18", ["2026-11-22 03:00", "2026-11-29 03:00"]),
        ("0 3 * * 7", "2026-11-18", ["2026-11-22 03:00", "2026-11-29 03:00"]),
        ("0 3 * * sun", "2026-11-18", ["2026-11-22 03:00", "2026-11-29 03:00"]),
        ("0 3 * * 1", "2026-11-18", ["2026-11-23 03:00", "2026-11-30 03:00"]),
        ("0 9 * * 1-5", "2026-11-20 08:00", ["2026-11-20 09:00", "2026-11-23 09:00"]),
        ("0 9 * * MON-Fri", "2026-11-20 09:00", ["2026-11-23 09:00", "2026-11-24 09:00"]),
        ("0 9 * * 5-7", "2026-11-20 09:00", ["2026-11-21 09:00", "2026-11-22 09:00"]),
        ("0 9 * * sat-sun", "2026-11-20", ["2026-11-21 09:00", "2026-11-22 09:00"]),
        ("0 9 * * 0-2", "2026-11-20", ["2026-11-22 09:00", "2026-11-23 09:00"]),
        ("0 9 * * 1,3", "2026-11-20", ["2026-11-23 09:00", "2026-11-25 09:00"]),
        ("@daily", "2026-11-22 12:00", ["2026-11-23 00:00", "2026-11-24 00:00"]),
        ("@midnight", "2026-11-22 12:00", ["2026-11-23 00:00", "2026-11-24 00:00"]),
        ("@hourly", "2026-11-22 12:00", ["2026-11-22 13:00", "2026-11-22 14:00"]),
        ("@weekly", "2026-11-22 12:00", ["2026-11-29 00:00", "2026-12-06 00:00"]),
        ("@monthly", "2026-11-22 12:00", ["2026-12-01 00:00", "2027-01-01 00:00"]),
        ("@yearly", "2026-11-22 12:00", ["2027-01-01 00:00", "2028-01-01 00:00"]),
        ("*/20 * * * *", "2026-11-22 12:50", ["2026-11-22 13:00", "2026-11-22 13:20"]),
        ("5-59/30 12 * * *", "2026-11-22 12:06", ["2026-11-22 12:35", "2026-11-23 12:05"]),
        # Either day field, when both are restricted: the 13th, and every Friday.
        ("0 0 13 * 5", "2026-11-10", ["2026-11-13 00:00", "2026-11-20 00:00"]),
        ("0 0 13 * 5", "2026-12-11", ["2026-12-13 00:00", "2026-12-18 00:00"]),
        # A field that begins with * is not restricted: odd days that are Mondays.
        ("0 0 */2 * 1", "2026-11-22", ["2026-11-23 00:00", "2026-12-07 00:00"]),
        ("0 0 31 * *", "2026-11-22", ["2026-12-31 00:00", "2027-01-31 00:00", "2027-03-31 00:00"]),
        ("0 0 30 * *", "2027-01-30", ["2027-03-30 00:00", "2027-04-30 00:00"]),
        ("0 0 29 2 *", "2026-11-22", ["2028-02-29 00:00", "2032-02-29 00:00"]),
        ("0 0 29 feb *", "2096-03-01", ["2104-02-29 00:00"]),
        ("0 0 1 jan,jul *", "2026-11-22", ["2027-01-01 00:00", "2027-07-01 00:00"]),
        ("0 0 1 */6 *", "2026-11-22", ["2027-01-01 00:00", "2027-07-01 00:00"]),
        ("59 23 31 12 *", "2026-12-31 23:59", ["2027-12-31 23:59"]),
    ],
)
def test_a_crontab_line_fires_when_crontab_says(text: str, after: str, expected: list[str]) -> None:
    assert firings(text, after, ZoneInfo("UTC"), len(expected)) == [
        f"{at}+00:00" for at in expected
    ]


@pytest.mark.parametrize(
    ("zone", "text", "after", "expected"),
    [
        # Berlin, 2026-03-29: 02:00 +01:00 becomes 03:00 +02:00.
        (
            BERLIN,
            "30 2 * * *",
            "2026-03-28 03:00",
            ["2026-03-29 03:00+02:00", "2026-03-30 02:30+02:00"],
        ),
        (
            BERLIN,
            "*/10 2 * * *",
            "2026-03-28 03:00",
            ["2026-03-29 03:00+02:00", "2026-03-30 02:00+02:00", "2026-03-30 02:10+02:00"],
        ),
        (
            BERLIN,
            "0 2,3 * * *",
            "2026-03-28 03:00",
            ["2026-03-29 03:00+02:00", "2026-03-30 02:00+02:00"],
        ),
        (
            BERLIN,
            "0 * * * *",
            "2026-03-29 00:30",
            ["2026-03-29 01:00+01:00", "2026-03-29 03:00+02:00", "2026-03-29 04:00+02:00"],
        ),
        # Berlin, 2026-10-25: 03:00 +02:00 becomes 02:00 +01:00.
        (
            BERLIN,
            "30 2 * * *",
            "2026-10-24 03:00",
            ["2026-10-25 02:30+02:00", "2026-10-26 02:30+01:00"],
        ),
        (
            BERLIN,
            "30 2 * * *",
            "2026-10-25T02:15:00+01:00",
            ["2026-10-26 02:30+01:00"],
        ),
        (
            BERLIN,
            "*/30 * * * *",
            "2026-10-25T02:15:00+02:00",
            ["2026-10-25 02:30+02:00", "2026-10-25 02:00+01:00", "2026-10-25 02:30+01:00"],
        ),
        # New York, 2026-03-08: 02:00 -05:00 becomes 03:00 -04:00.
        (
            NEW_YORK,
            "15 2 * * sun",
            "2026-03-07",
            ["2026-03-08 03:00-04:00", "2026-03-15 02:15-04:00"],
        ),
        # New York, 2026-11-01: 02:00 -04:00 becomes 01:00 -05:00.
        (
            NEW_YORK,
            "0 1 * * *",
            "2026-10-31 12:00",
            ["2026-11-01 01:00-04:00", "2026-11-02 01:00-05:00"],
        ),
        (
            NEW_YORK,
            "0 */2 * * *",
            "2026-11-01 00:00",
            ["2026-11-01 02:00-05:00", "2026-11-01 04:00-05:00"],
        ),
        # Samoa left out 2011-12-30 altogether.
        (
            ZoneInfo("Pacific/Apia"),
            "0 12 * * *",
            "2011-12-29 12:00",
            ["2011-12-31 00:00+14:00", "2011-12-31 12:00+14:00"],
        ),
        # São Paulo went back from midnight to 23:00 of the day before.
        (
            ZoneInfo("America/Sao_Paulo"),
            "@hourly",
            "2018-02-17T23:30:00-02:00",
            ["2018-02-17 23:00-03:00", "2018-02-18 00:00-03:00"],
        ),
    ],
)
def test_a_skipped_hour_fires_once_after_the_gap_and_a_repeated_one_once(
    zone: ZoneInfo, text: str, after: str, expected: list[str]
) -> None:
    assert firings(text, after, zone, len(expected)) == expected


def test_the_next_firing_is_strictly_later_and_in_utc() -> None:
    at = datetime(2026, 11, 22, 3, tzinfo=UTC)
    schedule = cron.parse("0 3 * * *")
    assert schedule.next_after(at) == at + timedelta(days=1)
    assert schedule.next_after(at - timedelta(microseconds=1)) == at
    assert schedule.next_after(at, ZoneInfo("Asia/Shanghai")).tzinfo is UTC


@given(
    st.sampled_from(["*/7 * * * *", "13 2 * * *", "0 */3 * * 1-5", "30 1,2 1 * 0", "@hourly"]),
    st.sampled_from([UTC, BERLIN, NEW_YORK, ZoneInfo("Australia/Lord_Howe")]),
    st.integers(0, 4 * 366 * 86400),
    st.integers(0, 100_000),
)
def test_no_firing_lies_between_a_moment_and_the_next(
    text: str, zone: ZoneInfo, start: int, seconds: int
) -> None:
    schedule = cron.parse(text)
    moment = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(seconds=start)
    upcoming = schedule.next_after(moment, zone)
    between = min(moment + timedelta(seconds=seconds), upcoming - timedelta(seconds=1))
    assert upcoming > moment
    assert between < moment or schedule.next_after(between, zone) == upcoming


@pytest.mark.parametrize(
    ("text", "gap"),
    [
        ("* * * * *", timedelta(minutes=1)),
        ("*/25 * * * *", timedelta(minutes=25)),
        ("0 8-18 * * *", timedelta(hours=14)),
        ("@daily", timedelta(days=1)),
        ("0 9 * * 1-5", timedelta(days=3)),
        ("@monthly", timedelta(days=31)),
        ("0 0 31 * *", timedelta(days=61)),
        ("0 0 29 2 *", timedelta(days=8 * 365 + 1)),
    ],
)
def test_the_longest_gap_is_that_of_the_calendar(text: str, gap: timedelta) -> None:
    assert cron.parse(text).longest_gap() == gap


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it has 0 fields and needs five"),
        ("0 3 * *", "it has 4 fields and needs five"),
        ("0 0 3 * * *", "it has 6 fields and needs five"),
        ("60 * * * *", "minute: '60' is out of range; it is 0 to 59"),
        ("0 24 * * *", "hour: '24' is out of range; it is 0 to 23"),
        ("0 0 0 * *", "day of month: '0' is out of range; it is 1 to 31"),
        ("0 0 * 13 *", "month: '13' is out of range; it is 1 to 12"),
        ("0 0 * * 8", "day of week: '8' is out of range; it is 0 to 7"),
        ("0 0 * * mo", "day of week: 'mo' is no name; did you mean 'mon'?"),
        ("0 0 * january *", "month: 'january' is no name; did you mean 'jan'?"),
        ("*/90 * * * *", "minute: a step of '90'; it is 1 to 60"),
        ("*/0 * * * *", "minute: a step of '0'; it is 1 to 60"),
        ("5/15 * * * *", "minute: '5/15': a step needs a range: 5-59/…"),
        ("30-10 * * * *", "minute: '30-10' runs backwards; write two ranges with a comma between"),
        ("*-5 * * * *", "minute: '*-5': * stands without a range"),
        ("0 0 L * *", "day of month: 'L' is out of range; it is 1 to 31"),
        ("0 0 ? * *", "day of month: '?' is no number, range or list; write 5, 1-5, */10 or 1,15"),
        ("1,,2 * * * *", "minute: '' is no number, range or list; write 5, 1-5, */10 or 1,15"),
        ("٣ * * * *", "minute: '٣' is no number, range or list; write 5, 1-5, */10 or 1,15"),
        ("0 0 30 2 *", "no such month has a day 30"),
        ("0 0 31 4,6,9,11 *", "no such month has a day 31"),
        ("@reboot", "known: @annually, @daily, @hourly, @midnight, @monthly, @weekly, @yearly"),
        ("@dayly", "did you mean '@daily'?"),
    ],
)
def test_a_line_that_crontab_would_not_take_is_refused_with_the_reason(
    text: str, reason: str
) -> None:
    with pytest.raises(ValueError) as raised:  # noqa: PT011 - the message is compared whole below
        cron.parse(text)
    message = str(raised.value)
    assert message.removesuffix(": minute, hour, day of month, month, day of week") == (
        f"{text!r} is no schedule; {reason}"
    )
