"""NebulaGraph Explorer: jobs of graph workflows, their tasks, a sample of each task's result."""

from __future__ import annotations

from etl.http import Platform
from etl.source import Source
from etl.sources.explorer.answers import judge
from etl.sources.explorer.items import REMEMBERED
from etl.sources.explorer.outlook import outlook
from etl.sources.explorer.scan import inventory, inventory_cost, ping, refresh, scan
from etl.sources.explorer.session import credentials
from etl.sources.explorer.settings import ExplorerSettings, account, identity
from etl.sources.explorer.tables import JOBS, SAMPLE_ROWS, TASKS


def platform(settings: ExplorerSettings) -> Platform:
    """How to speak with one Explorer."""
    return Platform(
        url=settings.base_url,
        account=account(settings),
        credentials=credentials(settings),
        judge=judge,
    )


SOURCE = Source(
    api="explorer",
    stream="jobs",
    settings=ExplorerSettings,
    tables=(JOBS, TASKS, SAMPLE_ROWS),
    platform=platform,
    identity=identity,
    scan=scan,
    refresh=refresh,
    inventory=inventory,
    inventory_cost=inventory_cost,
    remembers=REMEMBERED,
    ping=ping,
    outlook=outlook,
)
