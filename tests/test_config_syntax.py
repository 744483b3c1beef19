"""A file that is no YAML is shown where it breaks, and no message ever shows a secret."""

from __future__ import annotations

from pathlib import Path

import pytest
from configuring import SOURCE, URL, complaint

GRAPH = "sources:\n  graph:\n    api: fourth\n"
ENTRY = SOURCE + "schedules:\n  - "

SYNTAX = [
    ("cron: @daily", "1:7: this is no YAML: found character '@' that cannot start any token\n"
     "    cron: @daily\n"
     'Put a value that begins with @ in quotes: cron: "@daily"'),
    ("a: 1\ncron: */10 * * * *", "2:8: this is no YAML: expected alphabetic or numeric character, "
     "but found '/'\n    cron: */10 * * * *\n"
     'Put a value that begins with * in quotes: cron: "*/10 * * * *"'),
    ("a:\n\tb: 1", "2:1: this is no YAML: found character '\\t' that cannot start any token\n"
     "    ·b: 1\nIndent with spaces; YAML knows no tabs there."),
    ("url:http://h\nb: 1", "2:2: this is no YAML: mapping values are not allowed here\n"
     "    b: 1\nLine 1: put a space after the colon of 'url'."),
    ("a: b: c", "1:5: this is no YAML: mapping values are not allowed here\n    a: b: c\n"
     "Put a value that holds a colon and a space in quotes, or look at the indentation."),
    ("a: {b: ${C}}", "1:9: this is no YAML: expected ',' or '}', but got '{'\n"
     '    a: {b: ${C}}\nWithin { } and [ ] put ${…} in quotes: {token: "${TOKEN}"}'),
    ('a: 1\nb: "c\nd: 1', '2:4: this is no YAML: found unexpected end of stream\n    b: "c\n'
     "A quotation mark or a bracket is not closed."),
    ("a: 1\n---\nb: 1", "2:1: this is no YAML: but found another document\n    ---\n"
     "One document only: take the line --- out."),
    ('a: "\\d"', "1:6: this is no YAML: found unknown escape character 'd'\n"
     '    a: "\\d"\nWithin double quotes \\ begins an escape; use single quotes.'),
    ("a: 'it's'", "1:8: this is no YAML: expected <block end>, but found '<scalar>'\n"
     "    a: 'it's'\nKeys of one level begin in the same column, each with a colon and a space; "
     "within single quotes write ' twice."),
    ("a: 1\nb: x\x00y", "2:5: this is no YAML: the character U+0000 may not stand in it\n"
     "    b: x·y"),
    ("[" * 1000, ": nested too deeply to be read"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), SYNTAX)
def test_what_is_no_yaml_is_shown_with_its_line_and_the_usual_cause(
    tmp_path: Path, text: str, expected: str
) -> None:
    assert complaint(tmp_path, text) == "schedules.yaml:" + expected.removeprefix(":")


HUNTER = "hunter2"


@pytest.mark.parametrize(
    "text",
    [
        f"password: @{HUNTER}",
        f"password: *{HUNTER}",
        f"password: !{HUNTER}! x",
        f'token: "{HUNTER}',
        f"token: a: {HUNTER}",
        f"token:{HUNTER}\nb: 1",
        f"secret_key: |\n  {HUNTER}\n\t{HUNTER}: @",
        f"token: >\n   first\n  {HUNTER}\nb: @",
        f"database: postgresql://u:{HUNTER}@h/d: e",
        f"{SOURCE}    workspace: ${{HIDDEN}}\n    concurrency: ${{HIDDEN}}\n",
        f"{SOURCE}    rate_limit: 3/${{HIDDEN}}\n    since: ${{HIDDEN}}\n    lease: ${{HIDDEN}}\n",
        f"{SOURCE}    max_body: ${{HIDDEN}}\n    max_gone_share: ${{HIDDEN}}\n",
        f"{SOURCE}    verify_tls: ${{HIDDEN}}\n    time_zone: ${{HIDDEN}}\n",
        f"{SOURCE}    threshold: ${{HIDDEN}}\n    ca_bundle: ${{HIDDEN}}\n",
        f"{SOURCE}    concurrency: ${{N:-{HUNTER}}}\n",
        f"{ENTRY}sync: all\n    cron: ${{HIDDEN}} 1 2 3 4\n",
        f"{ENTRY}sync: all\n    cron: '@daily'\n    time_zone: ${{HIDDEN}}\n",
        f"{GRAPH}    url: https://u:{HUNTER}@h\n    token: t\n",
        f"{GRAPH}    url: ${{HIDDEN}}\n    token: t\n",
        f"{GRAPH}    url: ftp://{HUNTER}@h\n    token: t\n",
        f"{GRAPH}    url: me:{HUNTER}@h\n    token: t\n",
        f"{GRAPH}    {URL}\n    token: {{a: {HUNTER}}}\n",
        f"{GRAPH}    {URL}\n    token: [{HUNTER}]\n",
        f"{GRAPH}    {URL}\n    token: !{HUNTER} x\n",
        f"{GRAPH}    {URL}\n    tokn: {HUNTER}\n    token: t\n",
        f"{GRAPH}    {URL}\n    token: t\n    login: password:{HUNTER}\n",
        f"{GRAPH}    {URL}\n    token: t\n    login: {{username: u, password: {HUNTER}}}\n",
        f"{GRAPH}    {URL}\n    token: a\n    token: {HUNTER}\n",
        f"database: post gres://u:{HUNTER}@h:port/d\n{SOURCE}",
    ],
)
def test_no_message_holds_a_secret(tmp_path: Path, text: str) -> None:
    message = complaint(tmp_path, text, {"HIDDEN": HUNTER})
    assert message.startswith("schedules.yaml:")
    assert HUNTER not in message
