"""The platforms that can be copied: every module here that holds a `SOURCE` is one.

Nothing lists them: a directory added to `__path__` adds its platforms.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING

from etl.errors import Usage
from etl.hints import did_you_mean

if TYPE_CHECKING:
    from etl.source import Source


def names() -> list[str]:
    """The words that `api:` may have, sorted; imports none of them."""
    found = {module.name for module in pkgutil.iter_modules(__path__)}
    return sorted(name for name in found if not name.startswith("_"))


def known(api: str) -> str:
    """`api`, if there is such a platform. Raises Usage for an unknown one."""
    there = names()
    if api not in there:
        raise Usage(f"there is no platform {api!r}; {did_you_mean(api, there)}")
    return api


def find(api: str) -> Source:
    """The platform of that name; imports only its module. Raises Usage for an unknown one."""
    found: Source = importlib.import_module(f"{__name__}.{known(api)}").SOURCE
    return found
