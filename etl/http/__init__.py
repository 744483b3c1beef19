"""The only network, the only retry, the only wait.

An `Api` is what readers get (`open_api`): `get` asks, `map` asks many things at once, `pause`
waits. Behind it: `calling` (one question to its answer), `retrying` (tenacity), `account`, `gate`
and `budget` (who may send what when), `wire`, `sockets`, `cutting` and `body` (requests, and how
a call is ended from outside), `judging` (what a status means); `pool` and `hub` (many readers in
one thread).
"""

from etl.http.account import ACCOUNTS, Registry
from etl.http.api import Api, open_api
from etl.http.budget import Slots
from etl.http.judging import excerpt, judge_status, retry_wish
from etl.http.platform import (
    Answer,
    Credentials,
    HttpSettings,
    Login,
    Platform,
    Reply,
)

__all__ = [
    "ACCOUNTS",
    "Answer",
    "Api",
    "Credentials",
    "HttpSettings",
    "Login",
    "Platform",
    "Registry",
    "Reply",
    "Slots",
    "excerpt",
    "judge_status",
    "open_api",
    "retry_wish",
]
