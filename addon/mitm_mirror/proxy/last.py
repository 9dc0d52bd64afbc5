"""What has to come last in a hook of a flow: after every other addon.

An addon at the end of mitmproxy's chain comes last until another is added behind it, and mitmproxy takes 2 us
to ask it at each of a request's ten events. But it follows each hook of a flow with `update`, which all
addons get when all of them have had the hook, and in the same task (`AddonManager.handle_lifecycle`). Nothing
of the flow goes on before that; whatever `update` returns to await is awaited.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar

from mitmproxy import flow, http

from mitm_mirror.proxy.bugs import HasBugCounter, finish
from mitm_mirror.proxy.exchange import Exchange

LastHook = Callable[[http.HTTPFlow, Exchange | None], Awaitable[None] | None]

DueHooks = list[tuple[LastHook, http.HTTPFlow, Exchange | None]]

last_hook: ContextVar[DueHooks | None] = ContextVar("mirror_last_hook", default=None)
"""`last_hook.set([(hook, flow, exchange)])` in a hook of the flow has `hook(flow, exchange)` called when the
others have had theirs.

Of a task, as an `update` from elsewhere may come meanwhile: a person edits the flow. The list is emptied when
it is taken: tasks that were begun meanwhile have the same one.
"""


def run_last(self: HasBugCounter, flows: Sequence[flow.Flow], /) -> Awaitable[None] | None:
    """An addon's `update`: calls the hook to which that belongs, if any, and returns what the hook does.

    No exception gets out of either, as with `guarded`.
    """
    due = last_hook.get()
    if not due or len(flows) != 1 or flows[0] is not due[0][1]:
        return None
    hook, flow, exchange = due.pop()
    try:
        pending = hook(flow, exchange)
    except Exception as error:  # noqa: BLE001  (a guard: whatever it is, the flow goes on)
        self.bugs.report(hook.__name__, error)
        return None
    return None if pending is None else finish(pending, self.bugs, hook.__name__)
