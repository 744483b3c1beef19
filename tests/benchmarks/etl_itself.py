"""`etl sync`, as a user runs it; prints when the last transaction was committed.

python -m benchmarks.etl_itself URL DATABASE IN_FLIGHT DIRECTORY SOURCE…
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import event, pool

from benchmarks.data import PROJECT
from etl.cli import main

WORK = {"graph": 903, "scripts": 603, "quality": 200}
"""Requests of each source, as others ask; what is in flight is shared out as they are."""
_SOURCES = {
    "graph": '{{api: explorer, url: "{url}", token: "t", concurrency: {share}}}',
    "scripts": '{{api: act2, url: "{url}", concurrency: {share}}}',
    "quality": """\
{{api: dataarts, url: "{url}", project_id: "{project}", workspace: "w", token: "t",
     rate_limit: none, concurrency: {share}}}""",
}


def schedules(url: str, in_flight: int, sources: Sequence[str]) -> str:
    """A `schedules.yaml` for `sources`, which together have so many in flight."""
    whole = sum(WORK[name] for name in sources)
    shares = {name: max(1, round(in_flight * WORK[name] / whole)) for name in sources}
    shares[sources[0]] = max(1, in_flight - sum(shares[name] for name in sources[1:]))
    lines = [
        f"  {name}: {_SOURCES[name].format(url=url, project=PROJECT, share=share)}"
        for name, share in shares.items()
    ]
    return "\n".join(["defaults: {page_size: 100}", "sources:", *lines, ""])


def _run(url: str, database: str, in_flight: int, directory: str, sources: Sequence[str]) -> None:
    last = 0.0

    def committed(*_: object) -> None:
        nonlocal last
        last = time.monotonic()

    event.listen(pool.Pool, "checkin", committed)
    config = Path(directory, "schedules.yaml")
    config.write_text(schedules(url, in_flight, sources))
    sys.argv = ["etl", "--config", str(config), "--database", database, "sync"]
    try:
        main()
    finally:
        sys.stdout.write(f"\n{last}\n")


if __name__ == "__main__":
    _, _url, _database, _in_flight, _directory, *_sources = sys.argv
    _run(_url, _database, int(_in_flight), _directory, _sources)
