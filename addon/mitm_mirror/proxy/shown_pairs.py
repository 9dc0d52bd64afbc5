"""Shows shadows as flows: in the view of a UI, and to every other addon by the response hooks."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial

from mitmproxy import ctx, hooks, http
from mitmproxy.addons.view import View

from mitm_mirror.observe.compare import Comparison
from mitm_mirror.observe.inspect import describe_end, pair_result
from mitm_mirror.outcome import Outcome
from mitm_mirror.proxy.audience import is_wanted
from mitm_mirror.proxy.bugs import BugCounter, guarded
from mitm_mirror.proxy.kept_shadows import KeptShadows
from mitm_mirror.proxy.pairs import tell_primary, tell_shadow, tie_shadow
from mitm_mirror.proxy.shadow_flow import Sketch, make_shadow_flow
from mitm_mirror.proxy.shadows import Shadow
from mitm_mirror.shadow.answer import COMPARED_BYTES
from mitm_mirror.shadow.ending import Ending

logger = logging.getLogger(__name__)

SHOWN_BYTES = COMPARED_BYTES
"""What is kept of an answer's body: as much as is compared."""


class ShownPairs:
    """Makes the flows of one addon's shadows. For mitmproxy's event loop only."""

    def __init__(self, bugs: BugCounter) -> None:
        self.bugs = bugs
        self.kept = KeptShadows()
        self._choice = "auto"
        self.wanted = False
        """Whether shadows become flows now."""
        self._due: deque[tuple[hooks.Hook, Callable[[], Awaitable[None]]]] = deque()
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    def configure(self, choice: str, kept: int, kept_bytes: int) -> None:
        """`choice` is `mirror_flows`; the others bound what the view keeps."""
        self._choice = choice
        self.look_again()
        self.kept.limit = kept
        self.kept.limit_bytes = kept_bytes

    def look_again(self) -> None:
        """What `auto` means may be something else now: a person begins to save flows."""
        self.wanted = is_wanted(self._choice)

    def sketch(self, primary: http.HTTPFlow, shadow: Shadow, body: bytes | None) -> None:
        """Called when a shadow is about to be sent."""
        shadow.sketch = Sketch(primary.client_conn, body)
        tie_shadow(primary, shadow.copy.destination, shadow.sketch.id)

    @guarded
    def ended(
        self,
        shadow: Shadow,
        outcome: Outcome,
        error: str,
        ending: Ending[Shadow] | None,
        comparison: Comparison | None = None,
    ) -> None:
        """Shows how a pair ended, with the shadow's flow where one was sent."""
        result = pair_result(outcome, comparison)
        text = describe_end(outcome, error, comparison)
        destination = shadow.copy.destination
        if shadow.sketch is not None and shadow.request is not None:
            answer = ending.result.answer if ending and ending.result else None
            made = make_shadow_flow(
                shadow.sketch,
                shadow.request,
                answer,
                outcome,
                error,
                pair=shadow.id,
                destination=destination,
                submitted=shadow.submitted,
                ended=time.time(),
            )
            cut = answer is not None and answer.status and outcome is Outcome.OK and not answer.complete
            kept = f", {len(answer.body) if answer else 0} bytes of its body are kept" if cut else ""
            tell_shadow(made, result, text + kept, comparison)
            self._show(made)
        primary = shadow.flow()
        if primary is not None:
            tell_primary(primary, destination, result, text)
            update = hooks.UpdateHook([primary])
            self._later(update, partial(ctx.master.addons.trigger_event, update))

    def open(self) -> None:
        """Begin, or begin again after `close`."""
        self._closed = False

    def close(self) -> None:
        """Shows now what is still due: the loop will not run again before files are closed."""
        self._closed = True
        if self._task is not None:
            self._task.cancel()
        while self._due:
            hook, _ = self._due.popleft()
            # Unlike `trigger_event` it passes over hooks that are coroutines, with an error in the log.
            ctx.master.addons.trigger(hook)

    def _show(self, shadow: http.HTTPFlow) -> None:
        view = ctx.master.addons.get("view")
        if isinstance(view, View):
            self.kept.add(shadow, view)
        # Only the last hook of a flow: those before it are for what mitmproxy is about to send itself,
        # and would route, answer or change the copy.
        hook = hooks.all_hooks["error" if shadow.error else "response"](shadow)
        self._later(hook, partial(ctx.master.addons.handle_lifecycle, hook))

    def _later(self, hook: hooks.Hook, run: Callable[[], Awaitable[None]]) -> None:
        """In order, and not from within a worker's answer: other addons may take their time."""
        if self._closed:
            ctx.master.addons.trigger(hook)
            return
        self._due.append((hook, run))
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run_due())

    async def _run_due(self) -> None:
        while self._due:
            # As many in one turn of the loop as the turns before it brought. One a turn would fall behind for
            # good where a turn serves several requests, and then the view's bound holds no memory back.
            for _ in range(len(self._due)):
                if not self._due:
                    return  # `close` showed the rest while an addon took its time
                _, run = self._due.popleft()
                await run()
            await asyncio.sleep(0)  # live traffic gets its turn in between
