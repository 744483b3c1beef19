"""What Act2 holds: job records, and for each the rows that its hosts left.

Source of truth: [live] samples detail_*.json and result_*.json. The times of a row are those of
its record; a running record ends when it starts; (record, host) may come more than once.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from threading import RLock

from etl.simulator import gojson
from etl.simulator.locks import locked
from etl.simulator.timeline import Generated, Timeline
from etl.simulator.times import Now, ms

MASTER = "3f2b1c88-master"


def uuid_like(seed: str) -> str:
    """Text in the shape of a UUID, not a valid version 4: Act2's ids look like this."""
    digits = hashlib.md5(seed.encode(), usedforsecurity=False).hexdigest()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


@lru_cache(maxsize=4096)
def _entity_id(host_id: str) -> str:
    return uuid_like("entity " + host_id).upper()


@dataclass(slots=True, frozen=True)
class Host:
    """A machine that the master knows; `ip` may be several with commas, or empty."""

    id: str
    ip: str
    os_type: str = "linux"
    idc_name: str = "杭州"
    entity: str = ""

    @property
    def entity_id(self) -> str:
        """Upper case, one for each host: `entity`, or one derived from the id."""
        return self.entity or _entity_id(self.id)


@dataclass(slots=True)
class HostRow:
    """What one host answered; `status` "" is one that has not (yet)."""

    host: Host
    status: str = ""
    stdout: str = ""
    stderr: str = ""
    message: str = ""


@dataclass(slots=True, frozen=True)
class Script:
    """What an operator sends to hosts; with urls it is a file job: a row for each url and host."""

    text: str = "#!/bin/bash\ndf -h"
    script_type: str = "bash"
    provider: str = "salt"
    user: str = "conf"
    timeout: int = 300
    args: str = ""
    password: str = ""
    env: tuple[tuple[str, str], ...] | None = None
    urls: tuple[str, ...] = ()

    @property
    def pattern(self) -> str:
        """file for the distribution of urls, script otherwise."""
        return "file" if self.urls else "script"

    @property
    def body(self) -> str:
        """The `script` of the record: the text, or the urls as a JSON array."""
        return gojson.text(self.urls) if self.urls else self.text

    @property
    def kind(self) -> str:
        """The `scriptType` of the record."""
        return "url" if self.urls else self.script_type

    def parameters(self) -> str:
        """The JSON text of `parameters`, in the order of the samples."""
        return gojson.text(
            {
                "pattern": self.pattern,
                "script": self.body,
                "scriptType": self.kind,
                "params": {"args": self.args} if self.args else None,
                "runas": "root",
                "password": self.password,
                "timeout": self.timeout,
                "env": None if self.env is None else dict(self.env),
                "extendData": None,
                "realTimeOutput": False,
            }
        )


@dataclass(slots=True)
class Record:
    """One execution of a script; `rows` are what the join finds, hidden ones it does not."""

    id: str
    start: datetime
    end: datetime | None = None
    execute_status: str = "doing"
    result_status: str = ""
    callback: str = ""
    hosts: str = "[]"
    provider: str = "salt"
    script: str = ""
    script_type: str = "bash"
    pattern: str = "script"
    timeout: int = 300
    parameters: str = ""
    master_id: str = MASTER
    user: str = "conf"
    execute_id: str = ""
    rows: list[HostRow] = field(default_factory=list)
    hidden: bool = False
    short_reads: list[int] = field(default_factory=list)

    @property
    def time(self) -> int:
        """Act2 lists by start."""
        return ms(self.start)

    def read_rows(self) -> list[HostRow]:
        """The rows that one reading sees; each announced short read shows only its share."""
        rows = [] if self.hidden else self.rows
        return rows[: self.short_reads.pop(0)] if self.short_reads else rows


def host_pool(count: int) -> list[Host]:
    """So many hosts in three data centres; the same for the same count."""
    idcs, systems = ("杭州", "青岛", "shanghai-b"), ("linux", "linux", "windows", "aix")
    return [
        Host(uuid_like(f"host {n}"), f"10.{n % 3}.0.{n + 1}", systems[n % 4], idcs[n % 3])
        for n in range(count)
    ]


class Scripts:
    """The records, and what operators and agents may do to them."""

    def __init__(self, now: Now) -> None:
        """No records yet; `pool` holds the hosts that a script goes to if none are named."""
        self._now = now
        self.lock = RLock()
        self.records: Timeline[Record, str] = Timeline()
        self.pool = host_pool(12)
        self._started = 0

    @locked
    def generate(self, generated: Generated[Record, str]) -> None:
        """Replaces all records by generated ones."""
        self.records = Timeline(generated)

    @locked
    def add(self, record: Record) -> Record:
        """Puts a ready-made record into the list."""
        self.records.add(record.id, record.time, record)
        return record

    @locked
    def start(
        self,
        script: Script | None = None,
        hosts: Sequence[Host] | int = 3,
        at: datetime | None = None,
    ) -> Record:
        """A new record that runs, with a row without status for each host (and url)."""
        script = script or Script()
        targets = self.pool[:hosts] if isinstance(hosts, int) else list(hosts)
        self._started += 1
        key = f"{self._started}"
        return self.add(
            Record(
                uuid_like("record " + key),
                at or self._now(),
                hosts=gojson.text([host.id for host in targets]),
                provider=script.provider,
                script=script.body,
                script_type=script.kind,
                pattern=script.pattern,
                timeout=script.timeout,
                parameters=script.parameters(),
                user=script.user,
                execute_id=uuid_like("execution " + key),
                rows=[HostRow(host) for host in targets for _ in script.urls or ("",)],
            )
        )

    @locked
    def finish(
        self,
        record_id: str,
        result: str = "success",
        at: datetime | None = None,
        answers: Mapping[str, HostRow] | None = None,
    ) -> Record:
        """The record is done; `answers` by host id, other hosts take the record's result."""
        record = self.records.own(record_id)
        record.execute_status, record.result_status = "done", result
        record.end = at or self._now()
        for row in record.rows:
            answer = (answers or {}).get(row.host.id) or HostRow(row.host, result)
            row.status, row.stdout = answer.status, answer.stdout
            row.stderr, row.message = answer.stderr, answer.message
        return record

    @locked
    def edit(self, record_id: str) -> Record:
        """The record itself, for any other change; KeyError if there is none."""
        return self.records.own(record_id)

    @locked
    def hide_rows(self, record_id: str) -> None:
        """No row of the record joins: it is counted but never listed, a hole."""
        self.records.own(record_id).hidden = True

    @locked
    def show_rows(self, record_id: str) -> None:
        """The rows are there (again)."""
        self.records.own(record_id).hidden = False

    @locked
    def rewrite_rows(self, record_id: str, rows: Iterable[HostRow]) -> None:
        """Other rows in the place of the old ones."""
        self.records.own(record_id).rows = list(rows)

    @locked
    def add_row(self, record_id: str, row: HostRow) -> None:
        """One more row, as an agent that answers late leaves it."""
        self.records.own(record_id).rows.append(row)

    @locked
    def shorten(self, record_id: str, reads: int = 1, keep: int = 0) -> None:
        """The next readings (page or result) see only the first `keep` rows: a rewrite race."""
        self.records.own(record_id).short_reads += [keep] * reads

    @locked
    def delete(self, record_id: str) -> None:
        """The record is gone (the real server never deletes; an operator at the database may)."""
        self.records.remove(record_id)
