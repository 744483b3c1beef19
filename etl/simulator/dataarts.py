"""Answers as DataArts Studio's list of quality instances does, behind its gateway.

Source of truth: samples/dataarts/instances.json, and the vendor's own SDK as the reader.
"""

from typing import Any

from etl.simulator import gojson
from etl.simulator.gateway import Gateway
from etl.simulator.quality import Instance
from etl.simulator.setting import Setting, int64, last_page_offset, window
from etl.simulator.wire import Request, Response

_TEXT_FILTERS = ("name", "task_type", "run_status", "notify_status")


class ErrorAnswer(Exception):
    """A 400 of the service, with its code."""

    def __init__(self, code: str, message: str) -> None:
        """`code` is the service's, such as DLM.4001."""
        super().__init__(message)
        self.code = code


class DataArts:
    """The server behind the gateway."""

    def __init__(self, setting: Setting, gateway: Gateway) -> None:
        """Serves the world's instances to whom the gateway lets pass."""
        self._world, self._quirks, self._credentials, _ = setting
        self._gateway = gateway

    def answer(self, request: Request) -> Response:
        """The answer to one request."""
        parts = request.path.split("/")
        if len(parts) != 5 or parts[3:] != ["quality", "instances"] or request.method != "GET":
            message = "The API does not exist or has not been published in the environment"
            return self._gateway.error(404, "0101", message)
        refusal = self._gateway.check(request, parts[2])
        if refusal is not None:
            return refusal
        try:
            return Response(200, gojson.plain(self._list(request)) + b"\n")
        except ErrorAnswer as error:
            return self._gateway.error(400, error.code, str(error))

    def _list(self, request: Request) -> dict[str, Any]:
        workspace = request.headers.get("workspace", "")
        if workspace not in self._credentials.workspaces:
            raise ErrorAnswer("DLM.4001", "The instance or workspace does not exist.")
        params = request.params
        limit, offset = self._limit(params), _number(params, "offset") or 0
        if self._quirks.dataarts_offset == "pages":
            offset *= limit
        elif self._quirks.dataarts_offset == "pages from 1":
            offset = max(0, offset - 1) * limit
        count, found = self._find(workspace, params, offset, limit)
        return {"count": count, "resources": [self._resource(instance) for instance in found]}

    def _limit(self, params: dict[str, str]) -> int:
        limit = _number(params, "limit")
        most = self._quirks.dataarts_limit_max
        if limit is None:
            return self._quirks.dataarts_limit_default
        if limit <= most and limit > 0:
            return limit
        if limit > most and self._quirks.dataarts_limit_over == "clamp":
            return most
        raise ErrorAnswer("DLM.4000", f"limit must be between 1 and {most}")

    def _find(
        self, workspace: str, params: dict[str, str], offset: int, limit: int
    ) -> tuple[int, list[Instance]]:
        instances = self._world.dataarts.instances(workspace)
        since, until = _number(params, "start_time"), _number(params, "end_time")
        ends, refused = 2 - (since, until).count(None), self._quirks.dataarts_refuses_window
        if (refused == "every" and ends) or (refused == "lone" and ends == 1):
            raise ErrorAnswer("DLM.4000", "start_time and end_time are not accepted")
        if self._quirks.dataarts_ignores_window:
            since = until = None
        since, until = window(self._quirks.dataarts_window, since, until)
        start = 0 if since is None else instances.before(since)
        stop = len(instances) if until is None else max(start, instances.before(until))
        span, newest_first = range(start, stop), self._quirks.dataarts_order == "desc"
        wanted = {name: params[name] for name in _TEXT_FILTERS if params.get(name)}
        if not wanted:
            offset = self._clip(offset, limit, len(span))
            return len(span), instances.page(span, offset, limit, newest_first=newest_first)
        every = instances.page(span, 0, len(span), newest_first=newest_first)
        found = [instance for instance in every if _matches(instance, wanted)]
        offset = self._clip(offset, limit, len(found))
        return len(found), found[offset : offset + limit]

    def _clip(self, offset: int, limit: int, total: int) -> int:
        if self._quirks.beyond_end == "repeat":
            return last_page_offset(offset, limit, total)
        return offset

    def _resource(self, instance: Instance) -> dict[str, Any]:
        resource: dict[str, Any] = {
            "id": instance.id,
            "name": instance.name,
            "task_id": instance.task_id,
            "task_type": instance.task_type,
            "run_status": instance.run_status,
            "notify_status": instance.notify_status,
            "start_time": instance.start,
        }
        none = self._quirks.dataarts_none
        if instance.end is not None or none != "absent":
            resource["end_time"] = 0 if instance.end is None and none == "zero" else instance.end
        return resource


def _matches(instance: Instance, wanted: dict[str, str]) -> bool:
    """A name matches where it contains the text, the other filters where they are equal."""
    return all(
        text in instance.name if name == "name" else text == getattr(instance, name)
        for name, text in wanted.items()
    )


def _number(params: dict[str, str], name: str) -> int | None:
    if name not in params:
        return None
    number = int64(params[name])
    if number is None or number < 0:
        raise ErrorAnswer("DLM.4000", f"{name} is not a number")
    return number
