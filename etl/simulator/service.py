"""Serves a living world until told to stop: the simulators as `etl simulate` shows them."""

import threading
from collections.abc import Callable
from datetime import datetime

from etl.simulator.credentials import Credentials
from etl.simulator.server import Simulator
from etl.simulator.world import World

LOG_LIMIT = 1000


def serve(
    port: int,
    seed: int,
    now: datetime | None,
    stop: threading.Event,
    announce: Callable[[str], None],
) -> None:
    """Serves on 127.0.0.1 (port 0: a free one) until `stop` is set; `announce` gets a short text.

    With `now` None the world lives by the real clock; otherwise it begins at `now` and goes on.
    """
    world = World.believable(seed, now, lively=True)
    with Simulator(world, port=port, log_limit=LOG_LIMIT) as simulator:
        announce(announcement(simulator))
        stop.wait()


def announcement(simulator: Simulator) -> str:
    """Where the platforms are and with what they let you in, as lines for a shell."""
    own = simulator.credentials
    lines = [
        f"Explorer, Act2, DataArts and IAM are simulated at {simulator.url}; Ctrl-C ends it.",
        "Their executions go on as time does. To try schedules.yaml against them:",
        "",
        *(f"export {name}={value}" for name, value in environment(simulator).items()),
        "",
        f"The password of {own.huawei_user} is {own.huawei_password} (put it into the file that",
        "schedules.yaml names). Instead of the token, Explorer takes "
        f"{own.explorer_user} / {own.explorer_password}",
        f"with graphd {own.explorer_address}:{own.explorer_port}; DataArts takes the access key",
        f"{own.access_key} with the secret key {own.secret_key}.",
    ]
    return "\n".join(lines)


def environment(simulator: Simulator) -> dict[str, str]:
    """What the example schedules.yaml reads from the environment."""
    own: Credentials = simulator.credentials
    return {
        "EXPLORER_URL": simulator.explorer_url,
        "EXPLORER_TOKEN": own.explorer_token,
        "ACT2_URL": simulator.act2_url,
        "DATAARTS_URL": simulator.dataarts_url,
        "HUAWEI_PROJECT_ID": own.project_id,
        "DATAARTS_WORKSPACE": own.workspace,
        "IAM_URL": simulator.iam_url,
        "HUAWEI_DOMAIN": own.huawei_domain,
        "HUAWEI_USER": own.huawei_user,
    }
