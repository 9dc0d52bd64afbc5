"""What happens when our own code raises in a hook: the client must not feel it, a person must see it."""

import functools
import logging
from collections import Counter
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

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


def guarded(hook: Callable[Concatenate[Self, Args], Any]) -> Callable[Concatenate[Self, Args], None]:
    """A hook out of which no exception gets, since mitmproxy would log each one with a traceback."""

    @functools.wraps(hook)
    def wrapper(self: Self, /, *args: Args.args, **kwargs: Args.kwargs) -> None:
        try:
            hook(self, *args, **kwargs)
        except Exception as error:  # noqa: BLE001  (the guard itself: whatever it is, the flow goes on)
            self.bugs.report(hook.__name__, error)

    return wrapper
