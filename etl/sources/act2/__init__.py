"""Cloud-Act2: scripts on hosts; one execution is a job record, each host leaves a result."""

from __future__ import annotations

from etl.source import Source
from etl.sources.act2.access import platform
from etl.sources.act2.outlook import outlook
from etl.sources.act2.scan import inventory, inventory_cost, ping, refresh, scan
from etl.sources.act2.settings import Act2Settings, identity
from etl.sources.act2.tables import HOST_RESULTS, JOB_RECORDS

__all__ = ["SOURCE", "Act2Settings"]

SOURCE = Source(
    api="act2",
    stream="job_records",
    settings=Act2Settings,
    tables=(JOB_RECORDS, HOST_RESULTS),
    platform=platform,
    identity=identity,
    scan=scan,
    refresh=refresh,
    inventory=inventory,
    inventory_cost=inventory_cost,
    remembers=(
        "started_at",
        "finished_at",
        "execute_status",
        "result_status",
        "host_result_count",
    ),
    ping=ping,
    outlook=outlook,
)
