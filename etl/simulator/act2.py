"""Answers as a Cloud-Act2 master does, in the shape of the live server or of the published page.

Source of truth: samples/act2, byte for byte. Errors come with HTTP 200; GET needs a Content-Type.
"""

import base64
import binascii
import zlib
from collections.abc import Callable
from datetime import datetime
from typing import Any

from etl.simulator import gojson
from etl.simulator.scripts import HostRow, Record
from etl.simulator.setting import Setting, int64, last_page_offset
from etl.simulator.times import GO_ZERO, plain, rfc3339
from etl.simulator.wire import Request, Response

PREFIX = "/api/v1/job/record"
PAGE, DETAIL, RESULT = PREFIX + "/page", PREFIX, PREFIX + "/result"
_DOC_NAMES = {
    "startTime": "start_time",
    "endTime": "end_time",
    "executeStatus": "execute_status",
    "resultStatus": "result_status",
    "scriptType": "script_type",
    "pattern": "module_name",
}
DATABASE_DOWN = "dial tcp 127.0.0.1:3306: connect: connection refused"
_LIVE_ONLY = frozenset({"masterId", "user", "executeId"})


class ErrorAnswer(Exception):
    """`status: error` with this message."""


class Act2:
    """The server; it keeps nothing of its own."""

    def __init__(self, setting: Setting) -> None:
        """Serves the world's records."""
        self._world, self._quirks, self._credentials, _ = setting
        self._reads = 0

    def answer(self, request: Request) -> Response:
        """The answer to one request."""
        handlers = {PAGE: self._page, DETAIL: self._detail, RESULT: self._result}
        handler = handlers.get(request.path)
        if handler is None:
            return Response(404, b"404 page not found\n", "text/plain; charset=utf-8")
        if request.method != "GET":
            return Response(405, b"", "")
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type != "application/json":
            return Response(415, b"", "")
        if self._quirks.act2_auth == "forbidden":
            return self.forbid()
        return self._enveloped(lambda: self._authorized(request, handler))

    def forbid(self) -> Response:
        """What the shipped policy answers to every GET."""
        return Response(403, b"Forbidden\n", "text/plain; charset=utf-8")

    def fail(self, message: str) -> Response:
        """An error in the shape that is served."""
        if self._quirks.act2_shape == "doc":
            transient = message.startswith("dial tcp")
            return Response(500 if transient else 400, gojson.dumps({"message": message}))
        return _envelope("error", message, None)

    def _enveloped(self, content: Callable[[], object]) -> Response:
        try:
            value = content()
        except ErrorAnswer as error:
            return self.fail(str(error))
        if self._quirks.act2_shape == "doc":
            return Response(200, gojson.dumps(value))
        return _envelope("success", "", value)

    def _authorized(self, request: Request, handler: Callable[[dict[str, str]], object]) -> object:
        if self._quirks.act2_auth == "basic":
            self._check_basic(request.headers.get("authorization", ""))
        return handler(request.params)

    def _check_basic(self, header: str) -> None:
        scheme, _, encoded = header.partition(" ")
        try:
            text = base64.b64decode(encoded, validate=True).decode()
        except (ValueError, binascii.Error):
            text = ""
        user, colon, password = text.partition(":")
        if scheme.lower() != "basic" or not colon:
            raise ErrorAnswer("invalid authorization data")
        if (user, password) != (self._credentials.act2_user, self._credentials.act2_password):
            raise ErrorAnswer("invalid user")

    # pages

    def _page(self, params: dict[str, str]) -> object:
        number, size = _int(params, "pageNo") or 1, _int(params, "pageSize") or 10
        if number < 0 or size < 0:
            raise ErrorAnswer("Error 1064: You have an error in your SQL syntax")
        size = min(size, self._quirks.act2_page_size_max or size)
        total = len(self._world.act2.records)
        records = self._records((number - 1) * size, size, total)
        doc = self._quirks.act2_shape == "doc"
        listed: object = [self._doc_item(record) for record in records] if doc else None
        if not doc and total:
            listed = self._page_rows(records)
        names = ("pageNo", "pageSize", "pageCount", "totalCount")
        figures = dict(zip(names, (number, size, -(-total // size), total), strict=True))
        if doc:
            return {"list": listed, **figures}
        return {name[0].upper() + name[1:]: n for name, n in figures.items()} | {"List": listed}

    def _records(self, offset: int, size: int, total: int) -> list[Record]:
        if self._quirks.beyond_end == "repeat":
            offset = last_page_offset(offset, size, total)
        newest_first = self._quirks.act2_order == "desc"
        records = self._world.act2.records
        if self._quirks.act2_unordered:
            mixed = sorted(records, key=lambda record: zlib.crc32(record.id.encode()))
            return mixed[offset : offset + size]
        return records.page(range(total), offset, size, newest_first=newest_first)

    def _page_rows(self, records: list[Record]) -> list[dict[str, str]]:
        """The rows of all records, mixed: neither sorted nor the rows of a record together."""
        pairs = [(record, row) for record in records for row in record.read_rows()]
        pairs.sort(key=lambda pair: (pair[1].host.id, zlib.crc32(pair[0].id.encode())))
        return [self._row(record, row) for record, row in pairs]

    # one record

    def _detail(self, params: dict[str, str]) -> object:
        record = self._world.act2.records.get(_id(params))
        if record is None:
            raise ErrorAnswer("record not found")
        return self._doc_record(record) if self._quirks.act2_shape == "doc" else self._full(record)

    def _full(self, record: Record) -> dict[str, Any]:
        """The 16 fields in the order of detail_ok.json."""
        return {
            "id": record.id,
            "startTime": self._time(record.start),
            "endTime": self._record_end(record),
            "executeStatus": record.execute_status,
            "resultStatus": record.result_status,
            "callback": record.callback,
            "hosts": record.hosts,
            "provider": record.provider,
            "script": record.script,
            "scriptType": record.script_type,
            "pattern": record.pattern,
            "timeout": record.timeout,
            "parameters": record.parameters,
            "masterId": record.master_id,
            "user": record.user,
            "executeId": record.execute_id,
        }

    def _doc_record(self, record: Record) -> dict[str, Any]:
        full = self._full(record)
        return {_DOC_NAMES.get(k, k): v for k, v in full.items() if k not in _LIVE_ONLY}

    def _doc_item(self, record: Record) -> dict[str, Any]:
        """A "JobRecordItem", which nobody defines."""
        whole, form = self._doc_record(record), self._quirks.act2_doc_item
        if form == "id":
            return {"id": record.id}
        left_out = ("start_time", "end_time") if form == "no_times" else ()
        return {name: value for name, value in whole.items() if name not in left_out}

    # its rows

    def _result(self, params: dict[str, str]) -> object:
        record = self._world.act2.records.get(_id(params))
        rows = [] if record is None else self._result_rows(record)
        if self._quirks.act2_shape == "live":
            return rows
        for row in rows:
            del row["osType"]
        form = self._quirks.act2_doc_result
        as_object = form == "object" or (form == "auto" and len(rows) == 1)
        return rows[0] if as_object and rows else rows

    def _result_rows(self, record: Record) -> list[dict[str, str]]:
        if self._quirks.act2_reshuffle:
            self._reads += 1
        salt = f"{record.id}{self._reads}"
        rows = sorted(record.read_rows(), key=lambda row: zlib.crc32((salt + row.host.id).encode()))
        return [self._row(record, row) for row in rows]

    def _row(self, record: Record, row: HostRow) -> dict[str, str]:
        """The 12 strings in the order of result_ok.json."""
        host = row.host
        end = self._record_end(record)
        if end == GO_ZERO and not self._quirks.act2_zero_row_times:
            end = ""
        return {
            "recordId": record.id,
            "hostIp": host.ip,
            "hostId": host.id,
            "entityId": host.entity_id,
            "osType": host.os_type,
            "startTime": self._time(record.start),
            "endTime": end,
            "status": row.status,
            "idcName": host.idc_name,
            "stdout": row.stdout,
            "stderr": row.stderr,
            "message": row.message,
        }

    def _record_end(self, record: Record) -> str:
        if record.end is None:
            running = record.execute_status.lower() in ("doing", "init")
            return self._time(record.start) if running else GO_ZERO
        return self._time(record.end)

    def _time(self, at: datetime) -> str:
        return plain(at) if self._quirks.act2_time_format == "plain" else rfc3339(at)


def _envelope(status: str, message: str, content: object) -> Response:
    return Response(200, gojson.dumps({"status": status, "message": message, "content": content}))


def _int(params: dict[str, str], name: str) -> int:
    number = int64(params.get(name))
    if number is None:
        raise ErrorAnswer(f"{name} is not int")
    return number


def _id(params: dict[str, str]) -> str:
    if not params.get("id"):
        raise ErrorAnswer("id can not be null")
    return params["id"]
