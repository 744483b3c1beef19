"""DataArts' table: the instances of data-quality jobs."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, NamedTuple

from etl.schema import (
    BIG,
    EXTRA,
    REPAIRED,
    STATUS,
    Instant,
    LongText,
    column,
    data_table,
    key,
)


class QualityInstance(NamedTuple):
    """One run of a quality task or a consistency task."""

    instance_id: Annotated[int, key(BIG, "DataArts' id of the instance.")]
    name: Annotated[str | None, column(LongText(), "The instance's name, usually the task's.")]
    task_id: Annotated[int | None, column(BIG, "The quality task that was run.")]
    task_type: Annotated[str | None, column(LongText(), "QUALITY_TASK or CONSISTENCY_TASK.")]
    status: Annotated[str, column(STATUS, "Status in the vocabulary of all sources.")]
    run_status: Annotated[str | None, column(LongText(), "DataArts' own word: SUCCESS, …")]
    notify_status: Annotated[str | None, column(LongText(), "What became of the notification.")]
    started_at: Annotated[datetime | None, column(Instant(), "When it began.")]
    finished_at: Annotated[datetime | None, column(Instant(), "When it ended; NULL before.")]
    extra: Annotated[str | None, EXTRA]
    text_repaired: Annotated[bool, REPAIRED]


QUALITY_INSTANCES = data_table(
    "quality_instances",
    QualityInstance,
    "DataArts' quality instances: each is one run of a quality or consistency task.",
    kind="quality_instance",
    gone=True,
    indexes=(
        ("started_at",),
        ("source", "task_id", "started_at"),
        ("status", "finished_at"),
        ("source", "changed_at"),
    ),
)
