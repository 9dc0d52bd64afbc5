"""What happens when our own code raises in a hook: the client must not feel it, a person must see it."""

import functools
import inspect
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, cast

logger = logging.getLogger(__name__)


class BugCounter:
    """Counts exceptions of our own by kind, and logs the first of each kind with its traceback."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def report(self, where: str, error: Exception) -> None:
        """Takes note of `error`; call it while it is being handled."""
        kind = f"{type(error).__name__} in {where}"
        self.counts[kind] += 1
        if self.counts[kind] == 1:
            logger.error(
                "mirror: %s: a bug of mitm-mirror; the flow goes on without it. Further ones are only "
                "counted, see mirror.stats.",
                kind,
                exc_info=error,
            )


class HasBugCounter(Protocol):
    """An addon whose hooks are guarded."""

    bugs: BugCounter


Self = TypeVar("Self", bound=HasBugCounter)
Args = ParamSpec("Args")


def guarded(
    hook: Callable[Concatenate[Self, Args], Any],
) -> Callable[Concatenate[Self, Args], Awaitable[None] | None]:
    """A hook out of which no exception gets, since mitmproxy would log each one with a traceback.

    A hook may return something to await, which is then guarded as well; else None is returned, and
    mitmproxy has nothing to wait for. Being cancelled is no bug and goes through.
    """
    if len(inspect.signature(hook).parameters) == 2:  # itself, and what each of mitmproxy's hooks gets
        return cast(Callable[Concatenate[Self, Args], Awaitable[None] | None], _guarded_hook(hook))

    @functools.wraps(hook)
    def wrapper(self: Self, /, *args: Args.args, **kwargs: Args.kwargs) -> Awaitable[None] | None:
        try:
            pending: Awaitable[None] | None = hook(self, *args, **kwargs)
        except Exception as error:  # noqa: BLE001  (the guard itself: whatever it is, the flow goes on)
            self.bugs.report(hook.__name__, error)
            return None
        return None if pending is None else finish(pending, self.bugs, hook.__name__)

    return wrapper


def _guarded_hook(hook: Callable[..., Any]) -> Callable[..., Awaitable[None] | None]:
    """The same for one argument: to take and pass on any costs as much again as the call."""

    @functools.wraps(hook)
    def wrapper(self: HasBugCounter, data: Any, /) -> Awaitable[None] | None:
        try:
            pending: Awaitable[None] | None = hook(self, data)
        except Exception as error:  # noqa: BLE001  (as above)
            self.bugs.report(hook.__name__, error)
            return None
        return None if pending is None else finish(pending, self.bugs, hook.__name__)

    return wrapper


async def finish(pending: Awaitable[None], bugs: BugCounter, where: str) -> None:
    """Awaits what a hook returned, and lets no exception out."""
    try:
        await pending
    except Exception as error:  # noqa: BLE001  (as above)
        bugs.report(where, error)
