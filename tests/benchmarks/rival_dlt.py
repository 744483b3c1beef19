"""What both dlt contestants share: the pipeline, its destination, its settings."""

from __future__ import annotations

import os
import time
from typing import Any

import dlt
from dlt.destinations import postgres, sqlalchemy

from benchmarks.rival_tables import done


def load(resources: Any, database: str, in_flight: int, directory: str) -> None:
    """One run of the pipeline into `database`."""
    os.environ["EXTRACT__WORKERS"] = str(in_flight)
    os.environ["EXTRACT__MAX_PARALLEL_ITEMS"] = str(in_flight)
    os.environ["DESTINATION__SQLALCHEMY__CREATE_PRIMARY_KEYS"] = "true"
    os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
    os.environ["RUNTIME__LOG_LEVEL"] = "ERROR"
    # dlt wants a host even where a query names a socket, which libpq then takes.
    database = database.replace("@/", "@localhost/")
    destination = sqlalchemy(database) if database.startswith("sqlite") else postgres(database)
    pipeline = dlt.pipeline(
        pipeline_name="benchmark",
        pipelines_dir=directory,
        destination=destination,
        dataset_name="main" if database.startswith("sqlite") else "rival",
    )
    pipeline.run(resources).raise_on_failed_jobs()
    done(time.monotonic())
