"""What has to come last in a hook of a flow: after every other addon.

An addon at the end of mitmproxy's chain comes last until another is added behind it, and mitmproxy takes 2 us
to ask it at each of a request's ten events. But it follows each hook of a flow with `update`, which all
addons get when all of them have had the hook, and in the same task (`AddonManager.handle_lifecycle`). Nothing
of the flow goes on before that; whatever `update` returns to await is awaited.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar

from mitmproxy import flow, http

LastHook = Callable[[http.HTTPFlow], Awaitable[None] | None]

_due: ContextVar[list[tuple[LastHook, http.HTTPFlow]] | None] = ContextVar("mirror_last_hook", default=None)
"""Of a task, as an `update` from elsewhere may come meanwhile: a person edits the flow. It is emptied when it
is taken: tasks that were begun meanwhile have the same list."""


def call_last(flow: http.HTTPFlow, hook: LastHook) -> None:
    """Call it in a hook of the flow: `hook` is to be called when the others have had theirs."""
    _due.set([(hook, flow)])


def run_last(flows: Sequence[flow.Flow]) -> Awaitable[None] | None:
    """Call it in `update`: calls the hook to which that belongs, if any, and returns what the hook does."""
    due = _due.get()
    if not due or len(flows) != 1 or flows[0] is not due[0][1]:
        return None
    hook, flow = due.pop()
    return hook(flow)
