"""The views, with their columns' types: a reading gives the same values from every database.

What they mean stands in the migrations that make them, and so in `data_dictionary`.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Boolean, Double, TableClause, column, table

from etl.schema import Instant, JsonText, LongText

_FLAG = Boolean(create_constraint=False)
_SECONDS: Double[float] = Double()
_TYPES: dict[str, Any] = {
    **dict.fromkeys(("is_final", "is_failure", "output_cut", "text_repaired", "fresh"), _FLAG),
    **dict.fromkeys(("duration_s", "waited_s", "median_s", "p95_s", "expected_every_s"), _SECONDS),
    **dict.fromkeys(
        (
            *("ordinal", "stdout_bytes", "stderr_bytes", "runs"),
            *("unfinished", "given_up", "rejects", "executions"),
        ),
        BigInteger(),
    ),
    **dict.fromkeys(("checked_since", "checked_until", "copied_until"), Instant()),
    "extra": JsonText(),
}


def _view(name: str, columns: str) -> TableClause:
    return table(name, *(column(each, _type(each)) for each in columns.split()))


def _type(name: str) -> Any:
    default = Instant() if name.endswith("_at") else LongText()
    return _TYPES.get(name, default)


executions = _view(
    "executions",
    "source api kind id name definition_id definition_name status upstream_status is_final"
    " is_failure created_at started_at finished_at duration_s waited_s changed_at upstream_gone_at",
)
failures = _view(
    "failures",
    "source api kind id part_id part_name definition_name status upstream_status started_at"
    " finished_at message stdout stderr",
)
failed_hosts = _view(
    "failed_hosts",
    "source record_id host_id ordinal host_ip entity_id idc_name os_type status status_text"
    " started_at finished_at stdout stderr message stdout_bytes stderr_bytes output_cut extra"
    " text_repaired first_synced_at changed_at script_hash user_name",
)
silent_hosts = _view(
    "silent_hosts",
    "source record_id host_id reason status started_at finished_at definition",
)
usual_durations = _view(
    "usual_durations", "source kind definition_id definition_name runs median_s p95_s"
)
source_freshness = _view(
    "source_freshness",
    "source api last_success_at copied_until expected_every_s fresh unfinished given_up rejects"
    " last_error",
)
coverage = _view(
    "coverage", "source month executions verdict checked_since checked_until checked_at"
)
VIEWS = (
    executions,
    failures,
    failed_hosts,
    silent_hosts,
    usual_durations,
    source_freshness,
    coverage,
)
