"""Who may pass to DataArts: tokens, signatures, the key's lock, and the limit of calls per user.

Source of truth: the published error codes of the gateway (APIGW.0301, .0307, .0308).
"""

import base64
import hashlib
import itertools
import json
import time
from collections import deque
from datetime import datetime, timedelta
from typing import Any

from etl.simulator import gojson, signing
from etl.simulator.setting import Setting
from etl.simulator.wire import Request, Response

LOCK_TIME = timedelta(minutes=5)
_PUBLISHED = "The throttling threshold has been reached: policy user over ratelimit"


class Gateway:
    """IAM and the API gateway; tokens and bad attempts live in its memory."""

    def __init__(self, setting: Setting) -> None:
        """Knows the ready token from the start."""
        _, self._quirks, self._credentials, self._wall = setting
        self._tokens: dict[str, datetime] = {}
        self._revoked: set[str] = set()
        self._issued = 0
        self._bad_attempts: deque[datetime] = deque()
        self._locked_until: datetime | None = None
        self._calls: deque[float] = deque()
        self._request_ids = itertools.count(1)

    def revoke_tokens(self) -> None:
        """Every token given so far is dead, the ready one too."""
        self._tokens.clear()
        self._revoked.add(self._credentials.dataarts_token)

    def revive_ready_token(self) -> None:
        """The ready token is accepted again."""
        self._revoked.clear()

    @property
    def key_locked(self) -> bool:
        """Whether too many bad attempts have locked the access key."""
        return self._locked_until is not None and self._wall() < self._locked_until

    def error(self, status: int, code: str, message: str) -> Response:
        """An error in the gateway's or the service's envelope; `code` "0301" gets the prefix."""
        full = code if "." in code else f"{self._quirks.dataarts_prefix}.{code}"
        number = hashlib.md5(
            str(next(self._request_ids)).encode(), usedforsecurity=False
        ).hexdigest()
        body = {"error_code": full, "error_msg": message, "request_id": number}
        return Response(status, gojson.plain(body) + b"\n")

    def refuse(self) -> Response:
        """What a dead token is told."""
        return self.error(401, "0301", "Incorrect IAM authentication information: token expires")

    # IAM

    def issue(self, request: Request) -> Response:
        """POST /v3/auth/tokens: 201 with the token in a header, or 401."""
        if request.path != "/v3/auth/tokens" or request.method != "POST":
            return _iam_error(404, "The resource could not be found.", "Not Found")
        try:
            login, project = _identity(json.loads(request.body))
        except (ValueError, KeyError, TypeError):
            return _iam_error(400, "Expecting to find valid JSON in request body.", "Bad Request")
        own = self._credentials
        if login != (own.huawei_domain, own.huawei_user, own.huawei_password):
            return _iam_error(401, "The username or password is wrong.", "Unauthorized")
        if project != own.project_id:
            return _iam_error(401, "Could not find project.", "Unauthorized")
        return self._issued_token()

    def _issued_token(self) -> Response:
        expires = self._wall() + timedelta(seconds=self._quirks.iam_token_lifetime_s)
        self._issued += 1
        token = _token(f"{self._issued} {expires}", self._quirks.iam_token_bytes)
        self._tokens[token] = expires
        body = {
            "token": {
                "expires_at": expires.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
                "methods": ["password"],
                "project": {"id": self._credentials.project_id, "name": "simulated"},
                "user": {"name": self._credentials.huawei_user},
            }
        }
        headers = [("X-Subject-Token", token)]
        return Response(201, gojson.plain(body), "application/json; charset=UTF-8", headers)

    # calls

    def check(self, request: Request, project: str) -> Response | None:
        """The refusal of a call; None lets it pass."""
        refusal = self._unknown(request)
        if refusal is None and self._over_limit():
            return self._throttled()
        if refusal is None and project != self._credentials.project_id:
            return self.error(403, "0302", "The project is not accessible to this user")
        return refusal

    def _unknown(self, request: Request) -> Response | None:
        token = request.headers.get("x-auth-token")
        if token is not None:
            return None if self._token_lives(token) else self.refuse()
        header = request.headers.get("authorization", "")
        signed = signing.parse(header)
        if signed is None:
            return self.error(401, "0301", "Incorrect IAM authentication information")
        if self.key_locked:
            return self.error(401, "0301", "The access key is locked after too many bad attempts")
        fault = self._signature_fault(request, signed)
        return None if fault is None else self._bad_attempt(fault)

    def _token_lives(self, token: str) -> bool:
        if token == self._credentials.dataarts_token:
            return token not in self._revoked
        expires = self._tokens.get(token)
        return expires is not None and self._wall() < expires

    def _signature_fault(self, request: Request, signed: signing.Signed) -> str | None:
        if signed.access != self._credentials.access_key:
            return "the access key does not exist"
        return signing.fault_of(request, signed, self._credentials.secret_key, self._wall())

    def _bad_attempt(self, fault: str) -> Response:
        now, attempts = self._wall(), self._bad_attempts
        attempts.append(now)
        while attempts[0] <= now - LOCK_TIME:
            attempts.popleft()
        if len(attempts) > self._quirks.dataarts_bad_attempts:
            self._locked_until = now + LOCK_TIME
            attempts.clear()
        return self.error(401, "0301", f"Incorrect IAM authentication information: {fault}")

    def _over_limit(self) -> bool:
        """Counts the call, a refused one too: one user owns the token, the login and the key."""
        if self._quirks.dataarts_rate_limit is None:
            return False
        most, seconds = self._quirks.dataarts_rate_limit
        now, calls = time.monotonic(), self._calls
        while calls and calls[0] <= now - seconds:
            calls.popleft()
        calls.append(now)
        return len(calls) > most

    def _throttled(self) -> Response:
        most, seconds = self._quirks.dataarts_rate_limit or (40, 10.0)
        message = f"{_PUBLISHED},limit:{most},time:{seconds:g} second"
        answer = self.error(429, "0308", message)
        if self._quirks.dataarts_retry_after is not None:
            answer.headers.append(("Retry-After", self._quirks.dataarts_retry_after))
        return answer


def _identity(body: Any) -> tuple[tuple[str, str, str], str]:
    user = body["auth"]["identity"]["password"]["user"]
    login = (user["domain"]["name"], user["name"], user["password"])
    return login, body["auth"]["scope"]["project"]["id"]


def _token(seed: str, length: int) -> str:
    digest = hashlib.shake_256(seed.encode()).digest(length)
    return "MII" + base64.b64encode(digest).decode()[: length - 3].replace("/", "-")


def _iam_error(status: int, message: str, title: str) -> Response:
    error = {"error": {"code": status, "message": message, "title": title}}
    return Response(status, gojson.plain(error))
