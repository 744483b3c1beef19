"""`etl sync`, as a user runs it; prints when the last transaction was committed.

python -m benchmarks.etl_itself URL DATABASE IN_FLIGHT DIRECTORY [without-quality]
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from sqlalchemy import event, pool

from benchmarks.data import PROJECT
from etl.cli import main

_SCHEDULES = """\
defaults: {{page_size: 100}}
sources:
  graph: {{api: explorer, url: "{url}", token: "t", concurrency: {graph}}}
  scripts: {{api: act2, url: "{url}", concurrency: {scripts}}}
  quality:
    {{api: dataarts, url: "{url}", project_id: "{project}", workspace: "w", token: "t",
     rate_limit: none, concurrency: {quality}}}
"""


def schedules(url: str, in_flight: int, *, with_quality: bool) -> str:
    """What is in flight is shared out as the work is: 903 requests, 603 and 200."""
    scripts = max(1, round(in_flight * (0.35 if with_quality else 0.4)))
    quality = max(1, round(in_flight * 0.12)) if with_quality else 1
    graph = max(1, in_flight - scripts - (quality if with_quality else 0))
    text = _SCHEDULES.format(
        url=url, graph=graph, scripts=scripts, quality=quality, project=PROJECT
    )
    return text if with_quality else text[: text.index("  quality:")]


def _run(url: str, database: str, in_flight: int, directory: str, *, with_quality: bool) -> None:
    last = 0.0

    def committed(*_: object) -> None:
        nonlocal last
        last = time.monotonic()

    event.listen(pool.Pool, "checkin", committed)
    config = Path(directory, "schedules.yaml")
    config.write_text(schedules(url, in_flight, with_quality=with_quality))
    sys.argv = ["etl", "--config", str(config), "--database", database, "sync"]
    try:
        main()
    finally:
        sys.stdout.write(f"\n{last}\n")


if __name__ == "__main__":
    _, _url, _database, _in_flight, _directory, *_rest = sys.argv
    _run(_url, _database, int(_in_flight), _directory, with_quality=_rest != ["without-quality"])
