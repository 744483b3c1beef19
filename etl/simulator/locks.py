"""One lock for a whole world: what is served is never half changed."""

from collections.abc import Callable
from functools import update_wrapper
from threading import RLock
from typing import Concatenate, ParamSpec, Protocol, TypeVar

Params = ParamSpec("Params")
Result = TypeVar("Result")


class Guarded(Protocol):
    """Anything that shares its world's lock."""

    lock: RLock


Self = TypeVar("Self", bound=Guarded)


def locked(
    method: Callable[Concatenate[Self, Params], Result],
) -> Callable[Concatenate[Self, Params], Result]:
    """Runs the method while its world stands still."""

    def guarded(self: Self, /, *args: Params.args, **kwargs: Params.kwargs) -> Result:
        with self.lock:
            return method(self, *args, **kwargs)

    update_wrapper(guarded, method)
    return guarded
