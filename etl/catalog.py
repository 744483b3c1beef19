"""All tables that hold rows of sources, those of a platform that was added yesterday too."""

from __future__ import annotations

from sqlalchemy import Table

import etl.ledger.tables  # noqa: F401 - declares the ledger
from etl import sources
from etl.schema import metadata


def tables_of_sources() -> list[Table]:
    """Parents first: those with a column `source`, and those below them that have none."""
    for api in sources.names():
        sources.find(api)
    found: list[Table] = []
    for table in metadata.sorted_tables:
        above = {key.column.table for key in table.foreign_keys}
        if "source" in table.c or above & set(found):
            found.append(table)
    return found
