"""What schedules.yaml and the environment become: values, references, precedence, laziness."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from configuring import SOURCE, URL, complaint, graph, load
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from etl import config, redact
from etl.config import stale_after, unscheduled
from etl.errors import Usage
from etl.source import Settings
from etl.units import Rate

HOSTILE = [
    "a: b",
    "#no comment",
    "{x}",
    "[x]",
    "'single'",
    '"double"',
    "100%",
    "two\nlines",
    "&a *a !b |",
    "@daily",
    "$HOME ${HOME} $$",
    " spaces ",
    "- item",
    "\t",
    "ключ 密钥",
    "\\n\\u0000",
    "<<: *x",
    "yes",
    "0777",
]


@pytest.mark.parametrize("secret", HOSTILE)
def test_a_secret_may_hold_any_character(tmp_path: Path, secret: str) -> None:
    assert graph(tmp_path, env={"TOKEN": secret}).token.reveal() == secret
    (tmp_path / "secret").write_text(secret + "\n", "utf-8")
    made = load(tmp_path, SOURCE.replace("${TOKEN}", "${file:secret}"))
    assert made.source("graph").settings.token.reveal() == secret  # type: ignore[attr-defined]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(st.text(st.characters(codec="utf-8"), min_size=1))
def test_what_a_variable_holds_arrives_unchanged(tmp_path: Path, text: str) -> None:
    made = graph(tmp_path, 'workspace: "<${W}>"', {"W": text, "TOKEN": text})
    assert (made.workspace, made.token.reveal()) == (f"<{text}>", text)


@pytest.mark.parametrize(
    ("written", "env", "expected"),
    [
        ("${W}", {"W": "a"}, "a"),
        ("${W:-b}", {"W": "a"}, "a"),
        ("${W:-b}", {}, "b"),
        ("${W:-b}", {"W": ""}, "b"),
        ("${W:-http://h:1/}", {}, "http://h:1/"),
        ("'${W:-a b # c: d}'", {}, "a b # c: d"),
        ("${W:-$$5}", {}, "$5"),
        ("x${W}y${V}z", {"W": "1", "V": "2"}, "x1y2z"),
        ("$$", {}, "$"),
        ("$${W}", {"W": "a"}, "${W}"),
        ("$$$$", {}, "$$"),
        ("$${W}${W}", {"W": "a"}, "${W}a"),
        ("pa$word", {}, "pa$word"),
        ("5$", {}, "5$"),
        ("${W}", {"W": "12"}, "12"),
        ("${W}", {"W": "no"}, "no"),
        ("'0777'", {}, "0777"),
        ('"1e3"', {}, "1e3"),
        ("!!str 12", {}, "12"),
        ("a:b", {}, "a:b"),
    ],
)
def test_references_are_replaced(
    tmp_path: Path, written: str, env: dict[str, str], expected: str
) -> None:
    assert graph(tmp_path, f"workspace: {written}", env).workspace == expected


def test_every_kind_of_value_is_read(tmp_path: Path) -> None:
    made = graph(
        tmp_path,
        "since: 2026-01-31\nstale_after: 1h30m\nconcurrency: 4\nrate_limit: 40/m\ntimeout: 1.5s\n"
        "overlap: 0s\nmax_body: 2 MiB\nmax_gone_share: 12.5%\nverify_tls: no\nthreshold: 0.25\n"
        "workflows: [a, b]\nsample_limit: 7\npage_size: 50",
    )
    assert made.since.at == datetime(2026, 1, 31, tzinfo=UTC)
    assert (made.stale_after, made.timeout, made.overlap) == (5400.0, 1.5, 0.0)
    assert (made.concurrency, made.page_size, made.sample_limit) == (4, 50, 7)
    assert made.rate_limit == Rate(40, 60.0)
    assert (made.max_body, made.max_gone_share) == (2 * 2**20, 0.125)
    assert (made.verify_tls, made.threshold, made.workflows) == (False, 0.25, ("a", "b"))


def test_numbers_and_booleans_may_come_from_the_environment(tmp_path: Path) -> None:
    env = {"N": "3", "TLS": "false", "D": "5m"}
    made = graph(tmp_path, "concurrency: ${N}\nverify_tls: ${TLS}\ntimeout: ${D}", env)
    assert (made.concurrency, made.verify_tls, made.timeout) == (3, False, 300.0)


@pytest.mark.parametrize(
    ("written", "at"),
    [
        ("2026-01-31", datetime(2026, 1, 31, tzinfo=UTC)),
        ("2026-01-31 08:00:00", datetime(2026, 1, 31, 8, tzinfo=UTC)),
        ("2026-01-31T08:00:00+08:00", datetime(2026, 1, 31, tzinfo=UTC)),
        ("90d", datetime(2026, 11, 22, tzinfo=UTC) - timedelta(days=90)),
    ],
)
def test_since_is_a_date_a_time_or_a_distance(tmp_path: Path, written: str, at: datetime) -> None:
    made = graph(tmp_path, f"since: {written}")
    assert made.since.resolve(datetime(2026, 11, 22, tzinfo=UTC)) == at


def test_defaults_are_inherited_and_a_source_overrides_them(tmp_path: Path) -> None:
    text = f"defaults:\n  timeout: 5s\n  concurrency: 2\n{SOURCE}    concurrency: 3\n"
    made = load(tmp_path, text, {"TOKEN": "t"}).source("graph").settings
    assert (made.timeout, made.concurrency, made.settle) == (5.0, 3, 600.0)


def test_anchors_and_merges_work_and_the_own_key_wins(tmp_path: Path) -> None:
    text = (
        f"sources:\n  a: &a\n    api: fourth\n    {URL}\n    token: t1\n    workspace: w1\n"
        "  b:\n    <<: *a\n    workspace: w2\n"
        "  c:\n    <<: [{workspace: w3}, *a]\n"
    )
    made = [each.settings for each in load(tmp_path, text).select(())]
    assert [each.workspace for each in made] == ["w1", "w2", "w3"]  # type: ignore[attr-defined]
    assert [each.token.reveal() for each in made] == ["t1"] * 3  # type: ignore[attr-defined]


def test_a_file_of_windows_is_read(tmp_path: Path) -> None:
    text = ("\ufeff" + SOURCE.replace("\n", "\r\n")).encode()
    assert load(tmp_path, text, {"TOKEN": "t"}).source("graph").settings.api == "fourth"


def test_many_anchors_do_not_multiply(tmp_path: Path) -> None:
    lines = ["x0: &x0 [1, 1]"] + [f"x{i}: &x{i} [*x{i - 1}, *x{i - 1}]" for i in range(1, 40)]
    message = complaint(tmp_path, "\n".join(lines) + "\n" + SOURCE)
    assert message.count("unknown key") == 40


class TestLaziness:
    TEXT = (
        "database: ${DB:-sqlite:///x.db}\nkeep_runs: ${KEEP:-1d}\n"
        f"sources:\n  a: {{api: fourth, {URL}, token: '${{A}}', stale_after: 7m}}\n"
        f"  b: {{api: fourth, {URL}, token: '${{B}}'}}\n"
        "schedules:\n  - {sync: all, every: '${EVERY:-5m}'}\n"
    )

    def test_a_command_needs_only_what_it_uses(self, tmp_path: Path) -> None:
        made = load(tmp_path, self.TEXT, {"B": "secret-b"})
        assert made.database_url() == "sqlite:///x.db"
        assert made.keep_runs == 86400.0
        assert made.source_names == ("a", "b")
        assert made.api("a") == "fourth"
        assert [entry.sources for entry in made.schedules] == [("a", "b")]
        assert [each.name for each in made.select(["b"])] == ["b"]
        assert (stale_after(made, "a"), stale_after(made, "b")) == (420.0, 600.0)

    def test_what_is_used_must_resolve(self, tmp_path: Path) -> None:
        made = load(tmp_path, self.TEXT, {"B": "secret-b"})
        with pytest.raises(Usage, match=r"sources.a.token: needs the environment variable A;"):
            made.select(())

    def test_select_keeps_the_order_of_the_command_and_takes_each_once(
        self, tmp_path: Path
    ) -> None:
        made = load(tmp_path, self.TEXT, {"A": "aaaa", "B": "bbbb"})
        assert [each.name for each in made.select(["b", "a", "b"])] == ["b", "a"]
        assert [each.name for each in made.select(())] == ["a", "b"]


class TestSecrets:
    def test_a_secret_of_the_configuration_never_prints(self, tmp_path: Path) -> None:
        made = graph(tmp_path, env={"TOKEN": "correct-horse"})
        assert "correct-horse" not in repr(made)
        assert redact.masked("Bearer correct-horse") == "Bearer [secret]"

    def test_a_secret_is_read_again_from_its_file(self, tmp_path: Path) -> None:
        file = tmp_path / "token.txt"
        file.write_text("first-token\n")
        text = SOURCE.replace("${TOKEN}", "${file:token.txt}")
        token = load(tmp_path, text).source("graph").settings.token  # type: ignore[attr-defined]
        assert (token.reload(), token.reveal()) == (False, "first-token")
        file.write_text("second-token\n")
        assert (token.reload(), token.reveal()) == (True, "second-token")
        file.unlink()
        assert (token.reload(), token.reveal()) == (False, "second-token")
        assert redact.masked("second-token") == redact.MASK

    def test_a_secret_that_stands_in_the_file_is_not_read_again(self, tmp_path: Path) -> None:
        token = load(tmp_path, SOURCE.replace("${TOKEN}", "plain-token")).source("graph")
        assert token.settings.token.reload() is False  # type: ignore[attr-defined]

    def test_each_call_sees_a_rotated_secret(self, tmp_path: Path) -> None:
        (tmp_path / "t").write_text("one")
        made = load(tmp_path, SOURCE.replace("${TOKEN}", "${file:t}"))
        before = made.source("graph").settings
        (tmp_path / "t").write_text("two")
        assert made.source("graph").settings != before

    def test_a_file_may_be_named_by_its_whole_path(self, tmp_path: Path) -> None:
        (tmp_path / "elsewhere").write_text("abcd")
        text = SOURCE.replace("${TOKEN}", f"${{file:{tmp_path}/elsewhere}}")
        token = load(tmp_path, text).source("graph").settings.token  # type: ignore[attr-defined]
        assert token.reveal() == "abcd"

    def test_a_file_that_is_not_utf_8_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "t").write_bytes(b"\xff\xfe")
        message = complaint(tmp_path, SOURCE.replace("${TOKEN}", "${file:t}"))
        assert message == (
            "schedules.yaml: sources.graph.token: the file t cannot be read: it is not UTF-8 text"
        )

    def test_a_variable_that_is_not_utf_8_is_named(self, tmp_path: Path) -> None:
        assert complaint(tmp_path, SOURCE, {"TOKEN": "a\udcff"}) == (
            "schedules.yaml: sources.graph.token: the environment variable TOKEN is not UTF-8"
        )


class TestDatabase:
    FILE = "database: ${DB:-sqlite:///file.db}\n"

    @pytest.mark.parametrize(
        ("override", "env", "text", "expected"),
        [
            ("sqlite:///o.db", {"ETL_DATABASE_URL": "sqlite:///e.db"}, FILE, "sqlite:///o.db"),
            (None, {"ETL_DATABASE_URL": "sqlite:///e.db"}, FILE, "sqlite:///e.db"),
            (None, {"ETL_DATABASE_URL": ""}, FILE, "sqlite:///file.db"),
            (None, {"DB": "sqlite:///d.db"}, FILE, "sqlite:///d.db"),
            (None, {}, "sources:\n", "sqlite:///etl.db"),
        ],
    )
    def test_the_option_comes_before_the_environment_before_the_file(
        self,
        tmp_path: Path,
        override: str | None,
        env: dict[str, str],
        text: str,
        expected: str,
    ) -> None:
        assert load(tmp_path, text, env).database_url(override) == expected

    def test_its_password_is_a_secret_from_then_on(self, tmp_path: Path) -> None:
        load(tmp_path, "sources:\n").database_url("postgresql://me:p%40ssword-9@h/d")
        assert redact.masked("auth failed for p@ssword-9 (p%40ssword-9)").count("[secret]") == 2

    @pytest.mark.parametrize("text", ["nonsense hunter2", "pg://u:hunter2@h:port/d"])
    def test_what_is_no_address_is_refused_without_being_shown(
        self, tmp_path: Path, text: str
    ) -> None:
        with pytest.raises(Usage, match=r"^--database: is no database URL; ") as raised:
            load(tmp_path, "sources:\n").database_url(text)
        assert "hunter2" not in str(raised.value)

    def test_the_schema_and_what_is_kept_have_their_defaults(self, tmp_path: Path) -> None:
        made = load(tmp_path, "sources:\n")
        assert (made.database_schema, made.keep_runs) == (None, 90 * 86400.0)
        made = load(tmp_path, "database_schema: ${S}\nkeep_runs: 30d\n", {"S": "etl"})
        assert (made.database_schema, made.keep_runs) == ("etl", 30 * 86400.0)

    def test_a_database_needs_no_file(self, tmp_path: Path) -> None:
        made = config.load(tmp_path / "schedules.yaml", {}, required=False)
        assert made.database_url() == "sqlite:///etl.db"
        assert (made.source_names, made.schedules, unscheduled(made)) == ((), (), ())


def test_a_bundle_of_certificates_is_found_beside_the_file(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("")
    assert graph(tmp_path, "ca_bundle: ca.pem").ca_bundle == str(tmp_path / "ca.pem")


def test_the_settings_are_the_declared_struct(tmp_path: Path) -> None:
    made = graph(tmp_path)
    assert isinstance(made, Settings)
    assert type(made).__name__ == "FourthSettings"
