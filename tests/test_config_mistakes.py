"""Every mistake in schedules.yaml gives one whole message: file, key, what came, what is right."""

from __future__ import annotations

from pathlib import Path

import pytest
from configuring import SOURCE, URL, complaint, graph, load

from etl import config
from etl.errors import Usage

GRAPH = "sources:\n  graph:\n    api: fourth\n"
ENTRY = SOURCE + "schedules:\n  - "

SETTINGS = [
    ("concurency: 8", "concurency: unknown key; did you mean 'concurrency'?"),
    ("rate-limit: none", "rate-limit: unknown key; did you mean 'rate_limit'?"),
    ("concurrency: 0", "concurrency: 0 is too small; write 1 or more"),
    ("concurrency: -3", "concurrency: -3 is too small; write 1 or more"),
    ("concurrency: 5000", "concurrency: 5000 is too large; write 256 or less"),
    ("concurrency: eight", "concurrency: 'eight' is no whole number; write plain digits, like 8"),
    ("concurrency: 1e3", "concurrency: 1e3 is no whole number; write plain digits, like 8"),
    ("concurrency: 010", "concurrency: 010 is no whole number; write plain digits, like 8"),
    ("concurrency: 8.0", "concurrency: 8.0 is no whole number; write plain digits, like 8"),
    ("concurrency: 1:30", "concurrency: 1:30 is no whole number; write plain digits, like 8"),
    ("concurrency: .nan", "concurrency: .nan is no whole number; write plain digits, like 8"),
    ("concurrency: [8]", "concurrency: needs one value, not a list"),
    ("concurrency: {a: 8}", "concurrency: needs one value, not a map"),
    ("concurrency:", "concurrency: has no value; give it one or leave the key out"),
    ("concurrency: null", "concurrency: has no value; give it one or leave the key out"),
    ("refresh_limit: 0", "refresh_limit: 0 is too small; write 1 or more"),
    ("page_size: 0", "page_size: 0 is too small; write 1 or more"),
    ("overlap: 0", "overlap: 0 has no unit; write 0s, 0m, 0d"),
    ("timeout: 30", "timeout: 30 has no unit; write 30s, 30m, 30d"),
    ("timeout: 12:30", "timeout: 12:30 is no duration; write a number with a unit: 30s, 5m, 90d"),
    ("timeout: -5s", "timeout: '-5s' is no duration; write a number with a unit: 30s, 5m, 90d"),
    ("timeout: 0s", "timeout: '0s' is too small; write 1ms or more"),
    ("timeout: no", "timeout: no is no duration; write a number with a unit: 30s, 5m, 90d"),
    ("lease: 200ms", "lease: '200ms' is too small; write 1s or more"),
    ("lease: 25d", "lease: '25d' is too large; write 1d or less"),
    ("settle: 200000w", "settle: '200000w' is too large; write 36525d or less"),
    ("since: 3", "since: 3 is no point in time; write a date (2026-01-31), a time "
     "(2026-01-31T08:00:00+08:00) or a distance (90d)"),
    ("since: 999999w", "since: '999999w' is too far back; write a date (2026-01-31) or 90d"),
    ("since: 0001-01-01T00:00:00+08:00",
     "since: 0001-01-01T00:00:00+08:00 is no point in time; write a date (2026-01-31), a time "
     "(2026-01-31T08:00:00+08:00) or a distance (90d)"),
    ("rate_limit: 35", "rate_limit: 35 is no rate; write calls per time: 35/10s, or none"),
    ("rate_limit: 35/0s", "rate_limit: '35/0s' is no rate; write calls per time: 35/10s, or none"),
    ("max_body: 64", "max_body: 64 is no size; write a number with a unit: 64 MiB, 1 GiB"),
    ("max_body: 0 B", "max_body: '0 B' is too small; write 1 B or more"),
    (f"max_body: {'9' * 400} B", f"max_body: '{'9' * 76}… is out of range"),
    ("max_gone_share: 5", "max_gone_share: 5 is no share; write a percentage: 5%"),
    ("max_gone_share: 101%", "max_gone_share: '101%' is no share; write a percentage: 5%"),
    ("verify_tls: maybe", "verify_tls: 'maybe' is neither true nor false; write true or false"),
    ("ca_bundle: nowhere.pem", "ca_bundle: there is no such file or directory"),
    ("time_zone: Asia/Shangai",
     "time_zone: 'Asia/Shangai' is no time zone; did you mean 'Asia/Shanghai'?"),
    ("time_zone: ../etc/passwd",
     "time_zone: '../etc/passwd' is no time zone; write it like Asia/Shanghai"),
    ("time_zone: +08:00", "time_zone: '+08:00' is no time zone; write it like Asia/Shanghai"),
    ("sample_limit: 2000", "sample_limit: does not fit: Expected `int` <= 1000"),
    ("threshold: half", "threshold: 'half' is no number; write it like 0.5"),
    ("workflows: []", "workflows: is an empty list; name at least one"),
    ("workflows: [a, 7]", 'workflows[1]: 7 is read as a number; put it in quotes: "7"'),
    ("workspace: 01234567890123456789012345678901",
     "workspace: 01234567890123456789012345678901 is read as a number; "
     'put it in quotes: "01234567890123456789012345678901"'),
    ("workspace: 1e3", 'workspace: 1e3 is read as a number; put it in quotes: "1e3"'),
    ("workspace: 0o17", 'workspace: 0o17 is read as a number; put it in quotes: "0o17"'),
    ("workspace: yes", 'workspace: yes is read as a boolean; put it in quotes: "yes"'),
    ("workspace: 2026-01-31",
     'workspace: 2026-01-31 is read as a date; put it in quotes: "2026-01-31"'),
    ("workspace: ''", "workspace: is empty; give it a value or leave the key out"),
    ("workspace: !id abc",
     "workspace: a YAML tag; put a text that begins with ! in quotes"),
    ("workspace: $WORKSPACE",
     "workspace: a $ alone replaces nothing; write ${NAME} for a variable, $$ for a dollar"),
    ("workspace: ${WORKSPACE",
     "workspace: ${ without its }; write ${NAME}, or $${ for the characters themselves"),
    ("workspace: ${A:-${B}}", "workspace: ${…} within ${…} is not possible"),
    ("workspace: ${A-b}",
     "workspace: a ${…} that is none of ${NAME}, ${NAME:-default}, ${file:PATH}"),
    ("workspace: ${WORKSPACE}",
     "workspace: needs the environment variable WORKSPACE; it is not set"),
    ("workspace: ${file:gone.txt}", "workspace: there is no file gone.txt"),
    ("workspace: ${file:.}", "workspace: the file . cannot be read: Is a directory"),
    ("concurrency: ${N:-many}",
     "concurrency: the value of ${N} is no whole number; write plain digits, like 8"),
    ("overlap: ${N:-0}", "overlap: the value of ${N} has no unit; write 30s, 5m, 90d"),
    ("url: https://other.example",
     "url: stands twice, in line 4 and in line 6"),
    ("login: {username: u, password: p}", None),
]  # fmt: skip


@pytest.mark.parametrize(("line", "expected"), SETTINGS)
def test_a_wrong_setting_is_named_with_its_mend(
    tmp_path: Path, line: str, expected: str | None
) -> None:
    message = complaint(tmp_path, f"{SOURCE}    {line}\n").replace(str(tmp_path), ".")
    where = f".{expected}" if expected else ": give either token or login"
    assert message == f"schedules.yaml: sources.graph{where}"


FILES = [
    ("", "schedules.yaml: is empty; `etl init` writes a commented example"),
    ("# nothing\n", "schedules.yaml: is empty; `etl init` writes a commented example"),
    ("etl\n", "schedules.yaml: the file: needs keys (database, database_schema, keep_runs, "
     "defaults, sources, schedules), not a text; is a space missing after a colon?"),
    ("- a\n", "schedules.yaml: the file: needs keys (database, database_schema, keep_runs, "
     "defaults, sources, schedules), not a list"),
    (b"sources:\n  \xff: 1\n", "schedules.yaml:2: is not UTF-8; save it as UTF-8"),
    ("surces: {}\n", "schedules.yaml: surces: unknown key; did you mean 'sources'?"),
    ("sources:\n", "schedules.yaml: sources: none is configured; "
     "`etl init` writes an example with all"),
    ("sources: []\n", "schedules.yaml: sources: needs keys of its own, not a list"),
    ("keep_runs: 90\n" + SOURCE, "schedules.yaml: keep_runs: 90 has no unit; write 90s, 90m, 90d"),
    ("database: 7\n" + SOURCE,
     'schedules.yaml: database: 7 is read as a number; put it in quotes: "7"'),
    ("database: etl.db\n" + SOURCE, "schedules.yaml: database: is no database URL; "
     "write sqlite:///etl.db or postgresql://user:password@host/name"),
    ("defaults: {url: x}\n" + SOURCE, "schedules.yaml: defaults.url: unknown key; known: "
     "ca_bundle, concurrency, give_up_after, lease, max_body, max_gone_share, max_output, "
     "overlap, page_size, rate_limit, refresh_limit, settle, since, stale_after, timeout, "
     "verify_tls"),
    ("defaults: {timeout: 0s}\n" + SOURCE,
     "schedules.yaml: defaults.timeout: '0s' is too small; write 1ms or more"),
    ("sources:\n  graph: fourth\n", "schedules.yaml: sources.graph: needs keys of its own "
     "(api, url, …), not a text; is a space missing after a colon?"),
    ("sources:\n  graph:\n", "schedules.yaml: sources.graph: has nothing below it; "
     "it needs keys of its own (api, url, …)"),
    ("sources:\n  graph:\n    url: x\n",
     "schedules.yaml: sources.graph.api: is missing; "
     "write one of act2, dataarts, explorer, fourth"),
    ("sources:\n  graph:\n    api: ${API}\n", "schedules.yaml: sources.graph.api: cannot come "
     "from ${…}; write one of act2, dataarts, explorer, fourth"),
    ("sources:\n  graph:\n    api: forth\n",
     "schedules.yaml: sources.graph.api: there is no platform 'forth'; did you mean 'fourth'?"),
    (SOURCE.replace("graph", "all"),
     "schedules.yaml: sources.all: no source may be named 'all': commands use the word"),
    (SOURCE.replace("graph", "list"),
     "schedules.yaml: sources.list: no source may be named 'list': commands use the word"),
    (SOURCE.replace("graph", "Graph 1"),
     "schedules.yaml: sources.Graph 1: a source's name is 1 to 64 of a-z 0-9 _ -"),
    (SOURCE.replace("graph", "g" * 65),
     f"schedules.yaml: sources.{'g' * 65}: a source's name is 1 to 64 of a-z 0-9 _ -"),
    (SOURCE.replace("graph", "no"),
     'schedules.yaml: sources.no: the name is read as a boolean; put it in quotes: "no":'),
    (SOURCE.replace("graph", "007"),
     'schedules.yaml: sources.007: the name is read as a number; put it in quotes: "007":'),
    (GRAPH + "    token: t\n", "schedules.yaml: sources.graph.url: is missing and has no default"),
    (GRAPH + f"    {URL}\n", "schedules.yaml: sources.graph: give either token or login"),
    (GRAPH + f"    {URL}\n    login: {{username: u}}\n",
     "schedules.yaml: sources.graph.login.password: is missing and has no default"),
    (GRAPH + f"    {URL}\n    login: {{username: 12, password: p, port: 70000}}\n",
     "schedules.yaml: sources.graph.login.username: 12 is read as a number; "
     'put it in quotes: "12"\n'
     "schedules.yaml: sources.graph.login.port: 70000 is too large; write 65535 or less"),
    (GRAPH + f"    {URL}\n    login: {{username: u, password: p, adress: h}}\n",
     "schedules.yaml: sources.graph.login.adress: unknown key; did you mean 'address'?"),
    (GRAPH + f"    {URL}\n    login: me\n", "schedules.yaml: sources.graph.login: needs keys of "
     "its own (username, password, address, port), not a text; "
     "is a space missing after a colon?"),
    (GRAPH + "    ? [url]\n    : x\n    url: http://h\n    token: t\n",
     "schedules.yaml: sources.graph: line 4: a key must be a word, not a list or a map"),
    (SOURCE + "    login: &me {username: u, password: *me}\n",
     "schedules.yaml: sources.graph.login.password: an alias that stands within its own anchor"),
    (SOURCE + "    <<: 5\n", "schedules.yaml: sources.graph.<<: merges something that is no map; "
     "write <<: *name"),
    (SOURCE + "sources: {}\n", "schedules.yaml: sources: stands twice, in line 1 and in line 6"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), FILES)
def test_a_wrong_file_is_named_with_its_mend(
    tmp_path: Path, text: str | bytes, expected: str
) -> None:
    assert complaint(tmp_path, text) == expected


ENTRIES = [
    ("sync: grph\n    every: 5m", "0].sync: no source is named 'grph'; did you mean 'graph'?"),
    ("sync: [graph, all]\n    every: 5m", "0].sync: 'all' stands alone; take the other names out"),
    ("sync: []\n    every: 5m", "0].sync: is an empty list; name at least one"),
    ("sync: 5\n    every: 5m", '0].sync: 5 is read as a number; put it in quotes: "5"'),
    ("sync: ${WHICH}\n    every: 5m",
     "0].sync: a source's name cannot come from ${…}; write it out"),
    ("snyc: all\n    every: 5m", "0].snyc: unknown key; did you mean 'sync'?"),
    ("every: 5m",
     "0]: has no command; write one of sync, verify, prune with a source's name"),
    ("sync: all\n    verify: all\n    every: 5m",
     "0]: has sync and verify; an entry has one command"),
    ("sync all", "0]: needs keys of its own (sync: all, every: 5m), not a text; "
     "is a space missing after a colon?"),
    ("sync: all", '0]: does not say when; write every: 5m or cron: "0 3 * * sun"'),
    ("sync: all\n    evry: 5m", "0].evry: unknown key; did you mean 'every'?"),
    ("sync: all\n    every: 5m\n    cron: '@daily'", "0]: has both every and cron; keep one"),
    ("sync: all\n    every: 5", "0].every: 5 has no unit; write 5s, 5m, 5d"),
    ("sync: all\n    every: 0s", "0].every: '0s' is too small; write 1s or more"),
    ("sync: all\n    every: 5m\n    time_zone: UTC",
     "0].time_zone: goes with cron only; every counts in UTC"),
    ("sync: all\n    every: 5m\n    repair: true",
     "0].repair: unknown key; known: cron, every, sync, time_zone"),
    ("sync: all\n    cron: 0 3 * *", "0].cron: '0 3 * *' is no schedule; it has 4 fields and "
     "needs five: minute, hour, day of month, month, day of week"),
    ("sync: all\n    cron: '@dayly'",
     "0].cron: '@dayly' is no schedule; did you mean '@daily'?"),
    ("sync: all\n    cron: ${AT:-soon}", "0].cron: the value of ${AT} is no schedule; "
     'write five fields ("0 3 * * sun") or @daily'),
    ("sync: all\n    cron: '@daily'\n    time_zone: Berlin",
     "0].time_zone: 'Berlin' is no time zone; did you mean 'Europe/Berlin'?"),
    ("verify: all\n    every: 1d\n    since: 7d\n    until: 30d",
     "0]: since must be before until"),
    ("verify: all\n    every: 1d\n    since: 2026-02-01\n    until: 2026-01-01",
     "0]: since must be before until"),
    ("verify: all\n    every: 1d\n    repair: 1",
     "0].repair: 1 is neither true nor false; write true or false"),
    ("prune: all\n    every: 1d", "0].older_than: is missing and has no default"),
    ("prune: all\n    every: 1d\n    older_then: 400d",
     "0].older_then: unknown key; did you mean 'older_than'?\n"
     "schedules.yaml: schedules[0].older_than: is missing and has no default"),
]  # fmt: skip


@pytest.mark.parametrize(("entry", "expected"), ENTRIES)
def test_a_wrong_schedule_is_named_with_its_mend(tmp_path: Path, entry: str, expected: str) -> None:
    assert complaint(tmp_path, f"{ENTRY}{entry}\n") == f"schedules.yaml: schedules[{expected}"


@pytest.mark.parametrize("digits", ["12345678901234567890", "0777", "1e3", "12:30"])
def test_a_secret_that_reads_as_a_number_is_refused_without_being_shown(
    tmp_path: Path, digits: str
) -> None:
    text = f"{GRAPH}    {URL}\n    token: {digits}\n"
    expected = "schedules.yaml: sources.graph.token: is read as a number; put it in quotes"
    assert complaint(tmp_path, text) == expected


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("graph.example.com", "'graph.example.com' is no URL; write http://host:port or https://host"),
        ("ftp://h", "'ftp://h' is no URL; write http://host:port or https://host"),
        ("http://", "'http://' is no URL; write http://host:port or https://host"),
        ("http://h:port", "is no URL; write http://host:port or https://host"),
        ("http://[::1", "is no URL; write http://host:port or https://host"),
        ("http://h/?a=b", "has a ? or # part; write http://host:port or https://host"),
        ("http://u@h", "holds a user or password; take them out, they have keys of their own"),
    ],
)  # fmt: skip
def test_a_url_names_a_scheme_and_a_host_and_nobody(tmp_path: Path, url: str, reason: str) -> None:
    text = f"{GRAPH}    url: {url}\n    token: t\n"
    assert complaint(tmp_path, text) == f"schedules.yaml: sources.graph.url: {reason}"


def test_all_mistakes_that_show_are_told_together(tmp_path: Path) -> None:
    text = (
        "keep_run: 1d\ndefaults:\n  timeout: 30\nsources:\n  a:\n    api: forth\n  b:\n"
        "    api: fourth\n    concurrency: 0\n  c: 1\nschedules:\n  - sync: d\n    every: 5\n"
    )
    assert complaint(tmp_path, text).splitlines() == [
        "schedules.yaml: keep_run: unknown key; did you mean 'keep_runs'?",
        "schedules.yaml: defaults.timeout: 30 has no unit; write 30s, 30m, 30d",
        "schedules.yaml: sources.a.api: there is no platform 'forth'; did you mean 'fourth'?",
        "schedules.yaml: sources.b.concurrency: 0 is too small; write 1 or more",
        "schedules.yaml: sources.b.url: is missing and has no default",
        "schedules.yaml: sources.c: needs keys of its own (api, url, …), not a text; "
        "is a space missing after a colon?",
        "schedules.yaml: schedules[0].sync: no source is named 'd'; known: a, b, c",
        "schedules.yaml: schedules[0].every: 5 has no unit; write 5s, 5m, 5d",
    ]


def test_what_does_not_resolve_in_several_sources_is_told_together(tmp_path: Path) -> None:
    text = f"sources:\n  a: {{api: fourth, {URL}, token: '${{A}}'}}\n"
    text += f"  b: {{api: fourth, {URL}, token: '${{B}}'}}\n"
    assert complaint(tmp_path, text).splitlines() == [
        "schedules.yaml: sources.a.token: needs the environment variable A; it is not set",
        "schedules.yaml: sources.b.token: needs the environment variable B; it is not set",
    ]


def test_a_mistake_in_defaults_is_told_once_and_there(tmp_path: Path) -> None:
    text = "defaults:\n  timeout: ${T}\n" + SOURCE
    text += f"  b: {{api: fourth, {URL}, token: t}}\n"
    expected = "schedules.yaml: defaults.timeout: needs the environment variable T; it is not set"
    assert complaint(tmp_path, text) == expected


def test_a_file_that_is_not_there_leads_to_init(tmp_path: Path) -> None:
    with pytest.raises(Usage) as raised:
        config.load(tmp_path / "schedules.yaml", {})
    assert str(raised.value).removeprefix(f"{tmp_path}/") == (
        "schedules.yaml: there is no such file; `etl init` writes a commented one, "
        "--config names another"
    )


def test_a_directory_is_no_configuration(tmp_path: Path) -> None:
    with pytest.raises(Usage, match=r": is a directory; --config names a file in it$"):
        config.load(tmp_path, {})


def test_a_path_through_a_file_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Usage, match=r"schedules.yaml: cannot be read: Not a directory$"):
        config.load(tmp_path / "file" / "schedules.yaml", {})


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["grph"], "no source is named 'grph'; did you mean 'graph'?"),
        (["graph", "other"], "no source is named 'other'; known: graph"),
        (["all"], "no source is named 'all'; known: graph"),
    ],
)
def test_an_unknown_name_on_the_command_line_is_usage(
    tmp_path: Path, names: list[str], expected: str
) -> None:
    made = load(tmp_path, SOURCE, {"TOKEN": "t"})
    with pytest.raises(Usage) as raised:
        made.select(names)
    assert str(raised.value) == f"{tmp_path}/schedules.yaml: {expected}"


def test_the_same_file_without_its_mistake_is_taken(tmp_path: Path) -> None:
    assert graph(tmp_path, "concurrency: 9").concurrency == 9
