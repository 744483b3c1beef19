"""What must never be stored: the password in `parameters`, secrets in `env`."""

from __future__ import annotations

import json
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from etl.sources.act2 import privacy
from etl.sources.act2.executions import execution

PASSWORD = "0a1b2c-weakly-encrypted"
SECRET = "env-s3cr3t-value"
ZONE = ZoneInfo("UTC")

HIDING_PLACES: list[Any] = [
    {"parameters": json.dumps({"password": PASSWORD})},
    {"parameters": {"password": PASSWORD, "timeout": 1}},
    {"parameters": json.dumps({"Password": PASSWORD, "PASSWD": PASSWORD, "pwd": PASSWORD})},
    {"parameters": json.dumps({"params": {"deep": [{"password": PASSWORD}]}})},
    {"parameters": json.dumps({"params": json.dumps({"password": PASSWORD})})},
    {"parameters": json.dumps(json.dumps({"password": PASSWORD}))},
    {"parameters": json.dumps({"extendData": json.dumps([json.dumps({"password": PASSWORD})])})},
    {"parameters": f'{{"password":"{PASSWORD}", broken'},
    {"parameters": f"password={PASSWORD}"},
    {"parameters": '{"a":' * 400 + f'{{"password":"{PASSWORD}"}}' + "}" * 400},
    {"parameters": [json.dumps({"password": PASSWORD})]},
    {"params": {"password": PASSWORD}},
    {"params": json.dumps({"password": PASSWORD})},
    {"extra_field": {"deep": {"password": PASSWORD}}},
    {"note": f'{{"password": "{PASSWORD}", broken'},
    {"password": PASSWORD},
]
ENVIRONMENTS: list[Any] = [
    {"DB_PASSWORD": SECRET, "PATH": "/bin"},
    {"api_token": SECRET, "PATH": "/bin"},
    {"AWS_SECRET_ACCESS_KEY": SECRET, "PATH": "/bin"},
    {"credentials": {"user": "u", "value": SECRET}, "PATH": "/bin"},
    [f"AUTH_HEADER={SECRET}", "PATH=/bin"],
    [{"name": "PRIVATE_KEY", "value": SECRET}, {"name": "PATH", "value": "/bin"}],
    [{"key": "pwd", "value": SECRET}, {"key": "PATH", "value": "/bin"}],
    f"PATH=/bin SECRET={SECRET}",
    f"PATH=/bin\nPRIVATE_KEY=-----BEGIN\n{SECRET}\n-----END",
    f"PATH: /bin; passwd: {SECRET}",
    json.dumps({"PASSPHRASE": SECRET, "PATH": "/bin"}),
]


@pytest.mark.parametrize("fields", HIDING_PLACES)
def test_no_password_anywhere(fields: dict[str, Any]) -> None:
    item = {"id": "r", "executeStatus": "done", "resultStatus": "success", **fields}
    row = execution(item, ZONE).row
    assert PASSWORD not in repr(row)
    assert PASSWORD not in repr(privacy.payload(item))
    assert (row.record_id, row.status) == ("r", "succeeded")


@pytest.mark.parametrize("env", ENVIRONMENTS)
@pytest.mark.parametrize("place", ["env", "Environment"])
def test_secrets_of_the_environment_are_masked(env: Any, place: str) -> None:
    item = {"id": "r", "parameters": json.dumps({"params": {place: env}})}
    row = execution(item, ZONE).row
    assert row.parameters is not None
    assert SECRET not in repr(row) + repr(privacy.payload(item))
    assert privacy.MASK in row.parameters
    assert "/bin" in row.parameters


def test_what_is_no_secret_stays() -> None:
    value = {
        "script": 'curl -d \'{"password": "x"}\' http://a',
        "params": {"args": "--token s3cr3t"},
        "env": {"LANG": "C", "EMPTY_TOKEN": "", "NO_KEY": None},
        "extendData": '{"a": 1}',
        "timeout": 30,
    }
    row = execution({"id": "r", "parameters": json.dumps(value)}, ZONE).row
    assert row.parameters is not None
    assert json.loads(row.parameters) == value


def test_parameters_that_cannot_be_parsed_leave_a_note() -> None:
    row = execution({"id": "r", "parameters": f"password={PASSWORD}"}, ZONE).row
    assert row.parameters is None
    assert row.extra is not None
    assert json.loads(row.extra) == {
        "parameters": "not JSON, 32 characters, left out: it may hold a password"
    }


@pytest.mark.parametrize("nothing", ["", "  ", "null", None])
def test_no_parameters_are_null(nothing: str | None) -> None:
    row = execution({"id": "r", "parameters": nothing}, ZONE).row
    assert (row.parameters, row.extra) == (None, None)


def test_masking_a_long_text_takes_no_time() -> None:
    env = "a" * 200_000 + " TOKEN=" + SECRET
    row = execution({"id": "r", "parameters": json.dumps({"env": env})}, ZONE).row
    assert row.parameters is not None
    assert SECRET not in row.parameters
