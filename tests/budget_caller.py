"""A process that calls as often as it may: its arguments are URL PLATFORM RATE SECONDS SEAT.

It asks for /SEAT with eight threads, and prints its name at the first answer.
"""

from __future__ import annotations

import sys
import threading
import time

from http_kit import platform, settings

from etl.clock import Clock
from etl.db import open_database
from etl.http import open_api
from etl.ledger import budget
from etl.units import Rate

THREADS = 8


def main() -> None:
    url, upstream, rate, seconds, seat = sys.argv[1:]
    database = open_database(url)
    with open_api(
        platform(upstream, rate_limit=Rate.parse(rate)),
        settings(concurrency=THREADS),
        stop=threading.Event(),
        clock=Clock(),
        accounts=budget.accounts(database, seat),
    ) as api:
        api.get(f"/{seat}")
        print(seat, flush=True)  # noqa: T201 - the parent waits for it
        end = time.monotonic() + float(seconds)

        def go_on(_: int) -> None:
            while time.monotonic() < end:
                api.get(f"/{seat}")

        for future in api.map(go_on, range(THREADS)):
            future.result()
    database.close()


if __name__ == "__main__":
    main()
