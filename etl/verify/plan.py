"""What a verify would do and cost, said before anything is asked."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct
from sqlalchemy import Connection, func, select

from etl.passes import Configured
from etl.verify import held
from etl.verify.ranges import Range, months, nothing


class Plan(Struct, frozen=True):
    """The windows of one source, each with its executions here and the requests it may take."""

    source: str
    windows: Sequence[tuple[Range, int, int]]
    why_not: str | None = None
    """Why there is no window."""

    @property
    def requests(self) -> int:
        """About how many in all, by what the database holds."""
        return sum(requests for _, _, requests in self.windows)


def plan(
    connection: Connection,
    configured: Configured,
    *,
    since: datetime | None,
    until: datetime | None,
    now: datetime,
) -> Plan:
    """Asks the database alone."""
    source, name = configured.source, configured.name
    table = source.tables[0]
    found = []
    for window in months(connection, name, table, since=since, until=until, now=now):
        statement = select(func.count()).where(held.within(table, name, window))
        executions = int(connection.execute(statement).scalar_one())
        cost = source.inventory_cost(configured.settings, executions)
        found.append((window, executions, cost))
    return Plan(name, found, None if found else nothing(connection, name, until or now))
