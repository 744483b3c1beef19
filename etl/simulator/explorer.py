"""Answers as NebulaGraph Explorer's workflow API does.

Source of truth: samples/explorer, and the codes of the published pages. Go writes its JSON.
"""

import base64
import binascii
import json
import secrets
from collections.abc import Callable
from typing import Any

from etl.simulator import gojson
from etl.simulator.graphs import SUCCESS, Job, Task
from etl.simulator.setting import Setting, int64, last_page_offset, window
from etl.simulator.times import GO_ZERO, GO_ZERO_MS, from_ms, rfc3339
from etl.simulator.wire import Request, Response

PREFIX = "/api-open/v1"
COOKIE = "explorer_token"
Fields = dict[str, Any]


class ErrorAnswer(Exception):
    """A failure in Explorer's envelope."""

    def __init__(self, code: int, message: str) -> None:
        """`code` has eight digits; the first three are its class."""
        super().__init__(message)
        self.code = code


class Explorer:
    """The server; its sessions live in its memory, as the real one's do."""

    def __init__(self, setting: Setting) -> None:
        """Knows the ready token from the start."""
        self._world, self._quirks, self._credentials, _ = setting
        self._sessions: set[str] = set()
        self._logins = 0
        self._ready_token_lives = True

    def restart(self, *, keep_ready_token: bool = False) -> None:
        """Every session is forgotten; tokens that have not expired are refused from now on."""
        self._sessions.clear()
        self._logins = 0
        self._ready_token_lives = keep_ready_token

    def revive_ready_token(self) -> None:
        """The ready token is accepted again."""
        self._ready_token_lives = True

    def answer(self, request: Request) -> Response:
        """The answer to one request."""
        try:
            if request.path == PREFIX + "/connect":
                return self._connect(request)
            self._check_session(request)
            return _success(self._route(request)())
        except ErrorAnswer as error:
            return self.fail(error.code, str(error))

    def refuse(self) -> Response:
        """What a request with an unknown session is told."""
        return self.fail(40104001, "ErrSession: session is invalid or has expired")

    def fail(self, code: int, message: str) -> Response:
        """A failure; its HTTP status is the class of its code (900 means 500), or 200."""
        status = code // 100_000
        body = gojson.dumps({"code": code, "message": message}) + b"\n"
        real = 500 if status == 900 else status
        return Response(200 if self._quirks.explorer_errors_as_200 else real, body)

    def _route(self, request: Request) -> Callable[[], Fields]:
        parts = request.path.removeprefix(PREFIX + "/").split("/")
        if request.method != "GET":
            raise ErrorAnswer(40404000, "ErrNotFound: no such route")
        match parts:
            case ["jobs"]:
                return lambda: self._list(request, None)
            case ["workflows", workflow, "jobs"]:
                return lambda: self._list(request, workflow)
            case ["jobs", job]:
                return lambda: self._detail(self._job(job))
            case ["jobs", job, "tasks", task, "sample_result"]:
                return lambda: self._sample(self._job(job), task, request.params.get("limit"))
        raise ErrorAnswer(40404000, "ErrNotFound: no such route")

    # login

    def _connect(self, request: Request) -> Response:
        if request.method != "POST":
            raise ErrorAnswer(40404000, "ErrNotFound: no such route")
        want = [self._credentials.explorer_user, self._credentials.explorer_password]
        if self._login(request) != want or not self._graphd_matches(request.body):
            raise ErrorAnswer(40004000, "ErrBadRequest: failed to connect: invalid credentials")
        limit = self._quirks.explorer_session_limit
        if limit is not None and self._logins >= limit:
            raise ErrorAnswer(40004000, "ErrBadRequest: create session failed: too many sessions")
        self._logins += 1
        token = self._jwt(want)
        self._sessions.add(token)
        response = _success({})
        response.headers.append(("Set-Cookie", self._cookie(token)))
        return response

    def _login(self, request: Request) -> list[str] | None:
        try:
            encoded = request.headers.get("authorization", "").removeprefix("Bearer ")
            text = base64.b64decode(encoded, validate=True).decode()
            if self._quirks.explorer_version == "3.2":
                return text.split(":", 1)
            pair = json.loads(text)
        except (ValueError, binascii.Error):
            return None
        return pair if isinstance(pair, list) else None

    def _graphd_matches(self, body: bytes) -> bool:
        try:
            graphd = json.loads(body)
        except ValueError:
            return False
        return isinstance(graphd, dict) and (graphd.get("address"), graphd.get("port")) == (
            self._credentials.explorer_address,
            self._credentials.explorer_port,
        )

    def _jwt(self, login: list[str]) -> str:
        """A token that, like the real one, contains the password."""
        claims = {"jti": secrets.token_hex(8), "username": login[0], "password": login[1]}
        parts = (gojson.plain({"alg": "HS256", "typ": "JWT"}), gojson.plain(claims))
        head = ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)
        return f"{head}.{secrets.token_urlsafe(32)}"

    def _cookie(self, token: str) -> str:
        tail = {"plain": "HttpOnly", "stray": "#; HttpOnly", "secure": "HttpOnly; Secure"}
        same_site = "; SameSite=None" if self._quirks.explorer_cookie == "secure" else ""
        attributes = tail[self._quirks.explorer_cookie]
        return f"{COOKIE}={token}; Path=/; Max-Age=259200; {attributes}{same_site}"

    def _check_session(self, request: Request) -> None:
        for part in request.headers.get("cookie", "").split(";"):
            name, _, token = part.strip().partition("=")
            if name == COOKIE and self._known(token):
                return
        raise ErrorAnswer(40104001, "ErrSession: session is invalid or has expired")

    def _known(self, token: str) -> bool:
        ready = self._ready_token_lives and token == self._credentials.explorer_token
        return ready or token in self._sessions

    # list

    def _list(self, request: Request, workflow: str | None) -> Fields:
        params = request.params
        page, size = self._page_of(params)
        wanted = self._filter_of(params)
        newest_first = wanted.get("orderByCreateTime", "desc") != "asc"
        total, jobs = self._find(wanted, workflow, (page - 1) * size, size, newest_first)
        items = [self._item(job) for job in jobs]
        names = ("Page", "PageSize") if self._quirks.explorer_capitals else ("page", "pageSize")
        shown = None if not items and self._quirks.explorer_null_items else items
        return {"items": shown, "total": total, names[0]: page, names[1]: size}

    def _page_of(self, params: dict[str, str]) -> tuple[int, int]:
        page, size = (int64(params.get(name, "0")) for name in ("page", "pageSize"))
        if page is None or size is None or page < 0 or size < 0:
            raise ErrorAnswer(40004001, "ErrParam: page and pageSize must be numbers")
        size = size or 10
        return page or 1, min(size, self._quirks.explorer_page_size_max or size)

    def _filter_of(self, params: dict[str, str]) -> Fields:
        ignores = self._quirks.explorer_ignores
        if ignores == "filter" or not params.get("filter"):
            return {}
        try:
            wanted = json.loads(params["filter"])
        except ValueError:
            wanted = None
        if not isinstance(wanted, dict):
            raise ErrorAnswer(40004001, "ErrParam: filter is not a JSON object")
        unknown = {
            "nothing": (),
            "order": ("orderByCreateTime",),
            "window": ("fromCreateTime", "toCreateTime"),
        }[ignores]
        return {name: value for name, value in wanted.items() if name not in unknown}

    def _find(
        self, wanted: Fields, workflow: str | None, offset: int, size: int, newest_first: bool
    ) -> tuple[int, list[Job]]:
        jobs = self._world.explorer.jobs
        since, until = window(
            self._quirks.explorer_window,
            _epoch(wanted, "fromCreateTime"),
            _epoch(wanted, "toCreateTime"),
        )
        start = 0 if since is None else jobs.before(since)
        stop = len(jobs) if until is None else max(start, jobs.before(until))
        span = range(start, stop)
        name, status = wanted.get("name"), wanted.get("status")
        if name or status is not None or workflow is not None:
            found = [
                job
                for job in jobs.page(span, 0, len(span), newest_first=newest_first)
                if (not name or name in job.name)
                and status in (None, job.status)
                and workflow in (None, job.workflow_id)
            ]
            offset = self._clip(offset, size, len(found))
            return len(found), found[offset : offset + size]
        offset = self._clip(offset, size, len(span))
        return len(span), jobs.page(span, offset, size, newest_first=newest_first)

    def _clip(self, offset: int, size: int, total: int) -> int:
        if self._quirks.beyond_end == "repeat":
            return last_page_offset(offset, size, total)
        return offset

    # records

    def _item(self, job: Job) -> Fields:
        item: Fields = {
            "id": job.id,
            "name": job.name,
            "workflowId": job.workflow_id,
            "workflowName": job.workflow_name,
            "status": job.status,
        }
        if self._quirks.explorer_null_tasks:
            item["tasks"] = None
        return self._with_times(item, job.began, job.ended) | {"createTime": job.created}

    def _detail(self, job: Job) -> Fields:
        detail: Fields = {
            "id": job.id,
            "name": job.name,
            "workflowId": job.workflow_id,
            "workflowName": job.workflow_name,
            "status": job.status,
            "tasks": [self._task(task) for task in job.tasks],
        }
        if self._quirks.explorer_detail_null_tasks:
            detail["tasks"] = None
        return self._with_times(detail, job.began, job.ended) | {"createTime": job.created}

    def _task(self, task: Task) -> Fields:
        began, ended = (
            None if at is None else rfc3339(from_ms(at)) for at in (task.began, task.ended)
        )
        named: Fields = {"id": task.id, "name": task.name}
        return self._with_times(named, began, ended, GO_ZERO) | {"status": task.status}

    def _with_times(
        self, record: Fields, began: object, ended: object, go_ms: object = GO_ZERO_MS
    ) -> Fields:
        quirk = self._quirks.explorer_none
        none = {"null": None, "zero": 0, "empty": "", "go": GO_ZERO, "go_ms": go_ms}.get(quirk)
        for name, value in (("runBeginTime", began), ("runEndTime", ended)):
            if value is not None:
                record[name] = value
            elif quirk != "absent":
                record[name] = none
        return record

    def _job(self, text: str) -> Job:
        job_id = int64(text)
        job = None if job_id is None else self._world.explorer.jobs.get(job_id)
        if job is None:
            raise ErrorAnswer(40404000, f"ErrNotFound: job {text} does not exist")
        return job

    def _sample(self, job: Job, task_id: str, limit_text: str | None) -> Fields:
        limit = int64(limit_text)
        if limit is None or limit < 0:
            raise ErrorAnswer(40004001, "ErrParam: limit is required")
        most = self._quirks.explorer_sample_max
        if most is not None and limit > most:
            raise ErrorAnswer(40004001, f"ErrParam: limit must not be above {most}")
        task = job.task(task_id)
        if task is None:
            raise ErrorAnswer(40404000, f"ErrNotFound: task {task_id} does not exist")
        rows = task.sample if task.status == SUCCESS else None
        if rows is None:
            return self._no_sample()
        items = [list(row) for row in rows[:limit]]
        return {"items": None if not items and self._quirks.explorer_null_sample else items}

    def _no_sample(self) -> Fields:
        form = self._quirks.explorer_sample_of_unfinished
        if form == "error":
            raise ErrorAnswer(self._quirks.explorer_sample_error, "the task has no result")
        return {"items": [] if form == "empty" else None}


def _epoch(wanted: Fields, name: str) -> int | None:
    value = wanted.get(name)
    if value is not None and not isinstance(value, int):
        raise ErrorAnswer(40004001, f"ErrParam: {name} must be a number")
    return value or None


def _success(data: Fields) -> Response:
    return Response(200, gojson.dumps({"code": 0, "data": data, "message": "Success"}) + b"\n")
