"""The few expressions that views need and that each database spells differently.

Results are the same everywhere: text, seconds as a float, months as `YYYY-MM` in UTC.
"""

from __future__ import annotations

from alembic import op
from msgspec import Struct


class Words(Struct, frozen=True):
    """How one dialect writes things; `{}` stands for the expression."""

    text_: str
    seconds: str
    month_: str
    month_before_: str
    now: str
    """This moment, comparable with a stored one."""
    days_ago_: str
    elements: str
    """FROM item for the texts of a JSON array; its column is `value`."""

    def text(self, value: str) -> str:
        """A number as text."""
        return self.text_.format(value)

    def seconds_between(self, start: str, end: str) -> str:
        """Seconds from `start` to `end`, to the microsecond; NULL if either is."""
        return self.seconds.format(start=start, end=end)

    def month(self, moment: str) -> str:
        """The calendar month in UTC."""
        return self.month_.format(moment)

    def month_before(self, moment: str) -> str:
        """The month of the instant just before `moment`: the last one of a half-open range."""
        return self.month_before_.format(moment)

    def days_ago(self, days: int) -> str:
        """The moment `days` days before now."""
        return self.days_ago_.format(days)


_SQLITE_SECONDS = (
    "ROUND(CAST(strftime('%s', {end}) AS INTEGER) - CAST(strftime('%s', {start}) AS INTEGER)"
    " + CAST('0' || substr({end}, 20) AS REAL) - CAST('0' || substr({start}, 20) AS REAL), 6)"
)
"""SQLite's own date arithmetic ends at milliseconds; the fraction is added as text gives it."""

SQLITE = Words(
    text_="CAST({} AS TEXT)",
    seconds=_SQLITE_SECONDS,
    month_="substr({}, 1, 7)",
    month_before_="strftime('%Y-%m', {}, '-0.001 seconds')",
    now="strftime('%Y-%m-%d %H:%M:%f', 'now')",
    days_ago_="strftime('%Y-%m-%d %H:%M:%f', 'now', '-{} days')",
    elements="json_each(CASE json_type({0}) WHEN 'array' THEN {0} END)",
)
POSTGRESQL = Words(
    text_="CAST({} AS TEXT)",
    seconds="CAST(EXTRACT(EPOCH FROM {end} - {start}) AS DOUBLE PRECISION)",
    month_="to_char({} AT TIME ZONE 'UTC', 'YYYY-MM')",
    month_before_="to_char(({} - INTERVAL '1 microsecond') AT TIME ZONE 'UTC', 'YYYY-MM')",
    now="now()",
    days_ago_="now() - INTERVAL '{} days'",
    elements=("jsonb_array_elements_text(CASE jsonb_typeof({0}) WHEN 'array' THEN {0} END)"),
)


def _mysql(collation: str) -> Words:
    """JSON_TABLE ignores the session's collation, and MariaDB forgets that of a CAST in a view."""
    return Words(
        text_=f"CAST({{}} AS CHAR) COLLATE {collation}",
        seconds="TIMESTAMPDIFF(MICROSECOND, {start}, {end}) / 1e6",
        month_="DATE_FORMAT({}, '%Y-%m')",
        month_before_="DATE_FORMAT({} - INTERVAL 1 MICROSECOND, '%Y-%m')",
        now="UTC_TIMESTAMP(6)",
        days_ago_="UTC_TIMESTAMP(6) - INTERVAL {} DAY",
        elements=(
            "JSON_TABLE(CASE JSON_TYPE({0}) WHEN 'ARRAY' THEN {0} ELSE '[]' END, '$[*]' COLUMNS"
            f" (value VARCHAR(255) CHARACTER SET utf8mb4 COLLATE {collation} PATH '$'))"
        ),
    )


MYSQL = _mysql("utf8mb4_0900_bin")
MARIADB = _mysql("utf8mb4_nopad_bin")
_ALL = {"sqlite": SQLITE, "postgresql": POSTGRESQL, "mysql": MYSQL, "mariadb": MARIADB}


def words() -> Words:
    """Those of the database that is being migrated."""
    return _ALL[op.get_bind().dialect.name]
