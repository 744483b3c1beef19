"""DataArts Studio: the instances of data-quality jobs, a list for each workspace."""

from __future__ import annotations

from etl.http import Platform
from etl.source import Source
from etl.sources.dataarts.answers import judge
from etl.sources.dataarts.asking_again import refresh
from etl.sources.dataarts.auth import credentials
from etl.sources.dataarts.outlook import outlook
from etl.sources.dataarts.pinging import ping
from etl.sources.dataarts.reading import inventory, inventory_cost, scan
from etl.sources.dataarts.settings import DEFAULT_RATE, DataArtsSettings, account, identity
from etl.sources.dataarts.tables import QUALITY_INSTANCES


def platform(settings: DataArtsSettings) -> Platform:
    """How to speak with it. Raises Usage when the signer of access_key is not installed."""
    return Platform(
        url=settings.base_url,
        account=account(settings),
        credentials=credentials(settings),
        judge=judge,
        headers={"workspace": settings.workspace, "Content-Type": "application/json"},
        rate_limit=DEFAULT_RATE,
    )


SOURCE = Source(
    api="dataarts",
    stream="quality_instances",
    settings=DataArtsSettings,
    tables=(QUALITY_INSTANCES,),
    platform=platform,
    identity=identity,
    scan=scan,
    refresh=refresh,
    inventory=inventory,
    inventory_cost=inventory_cost,
    ping=ping,
    outlook=outlook,
)
