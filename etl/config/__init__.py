"""Environment and schedules.yaml become frozen settings; nothing else reads either.

`load` checks the shape of the whole file and resolves nothing; what a command asks for is resolved
when it asks. Every mistake is a Usage that names file, key, what came and what would be right, and
never a secret.
"""

from importlib import resources

from etl.config.entries import Command, Entry, Options
from etl.config.firings import next_run_at
from etl.config.model import (
    Config,
    Configured,
    expected_every_s,
    load,
    stale_after,
    unscheduled,
)

__all__ = [
    "Command",
    "Config",
    "Configured",
    "Entry",
    "Options",
    "expected_every_s",
    "load",
    "next_run_at",
    "stale_after",
    "template",
    "unscheduled",
]


def template() -> str:
    """The commented schedules.yaml that `etl init` writes: every setting with its default."""
    return (resources.files(__name__) / "template.yaml").read_text("utf-8")
