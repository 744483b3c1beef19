"""`column IN (…)` for any number of values at the cost of one parameter.

SQLAlchemy writes a list of values out, a name and a parameter each, and the server parses it anew
for every number of them; here they travel as one JSON text (SQLite) or one array (PostgreSQL).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import ARRAY, ColumnElement, Connection, any_, bindparam, column, func, select

_AT_ONCE = {"sqlite": 10_000, "postgresql": 10_000}
_WRITTEN_OUT = 500


def among(
    connection: Connection, wanted: ColumnElement[Any], ids: Sequence[Any]
) -> Iterator[ColumnElement[bool]]:
    """Conditions that together mean `wanted IN ids`, one for each query it takes."""
    kind = connection.dialect.name
    size = _AT_ONCE.get(kind, _WRITTEN_OUT)
    for start in range(0, len(ids), size):
        some = ids[start : start + size]
        if kind == "sqlite":
            yield wanted.in_(select(column("value")).select_from(func.json_each(json.dumps(some))))
        elif kind == "postgresql":
            array: ARRAY[Any] = ARRAY(wanted.type)
            yield wanted == any_(bindparam(None, list(some), type_=array, unique=True))
        else:
            yield wanted.in_(some)
