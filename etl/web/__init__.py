"""What the daemon shows over HTTP: `/healthz`, `/readyz`, `/metrics`, the status page, its runs.

    with serve(("127.0.0.1", 8080), database, config_of, state, metrics) as (host, port): ...

It only reads. No page holds a secret, and no page of another origin may use it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from etl.config import Config
from etl.daemon.state import DaemonState
from etl.db import Database
from etl.errors import Usage
from etl.metrics import Metrics
from etl.web.handler import Site, handler
from etl.web.server import Server

__all__ = ["serve"]


@contextmanager
def serve(
    listen: tuple[str, int],
    database: Database,
    config_of: Callable[[], Config],
    state: DaemonState,
    metrics: Metrics,
) -> Iterator[tuple[str, int]]:
    """Serves in threads meanwhile; gives the address, whose port is known when 0 was asked for.

    `config_of` is asked anew for each page: a reloaded configuration shows at once.
    Raises Usage when the address cannot be had.
    """
    site = Site(database, config_of, state, metrics, listen[0])
    try:
        server = Server(listen, handler(site))
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or error
        raise Usage(f"--listen {listen[0]}:{listen[1]}: {why}; name another address") from None
    thread = threading.Thread(target=server.run, name="web", daemon=True)
    thread.start()
    try:
        yield server.server_name, server.server_port
    finally:
        server.stop()
        thread.join()
