"""The primaries in flight, where their endpoints are counted: begun once, ended once, whatever happens."""

import asyncio
import logging
import time
import weakref
from collections.abc import Awaitable, Callable

from mitmproxy import http

from mitm_mirror.proxy.delays import Delays
from mitm_mirror.routing.cluster_state import Attempt, Entry, HealthChange, Waiting
from mitm_mirror.routing.cluster_states import ClusterStates
from mitm_mirror.routing.decision import Target
from mitm_mirror.routing.describe_cluster import describe_states
from mitm_mirror.routing.endpoint_state import LocalFailure

logger = logging.getLogger(__name__)


class Attempts:
    """By flow, for mitmproxy's event loop only. Nothing is asked as long as none is counted."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.states = ClusterStates(clock, self._on_change)
        self._clock = clock
        self._queue = Delays()
        self._open: weakref.WeakKeyDictionary[http.HTTPFlow, Attempt] = weakref.WeakKeyDictionary()
        self.by_client: dict[str, set[Attempt]] = {}
        """What has not ended, by mitmproxy's connection id. Empty, as in most proxies, no hook need ask."""
        self._timer: asyncio.Handle | None = None

    def enter(self, flow: http.HTTPFlow, target: Target) -> bool | Awaitable[bool]:
        """Whether the flow's request may be sent to `target`, which `is_tracked`; a limit may forbid it.

        From then on it is in flight until `end`, which has to come before it enters again, for a retry. An
        awaitable where it has to wait for a connection. It is also True where the client leaves
        meanwhile: mitmproxy then ends the flow.
        """
        turn = _Turn()
        entry = self.states.enter(target, turn.come)
        if isinstance(entry, Waiting):
            return self._wait(flow, entry, turn)
        return self._begin(flow, entry)

    async def _wait(self, flow: http.HTTPFlow, waiting: Waiting, turn: "_Turn") -> bool:
        try:
            await self._queue.hold_until(flow.client_conn.id, turn.over)
        except asyncio.CancelledError:
            if turn.entry is not None:
                turn.entry.end()
            raise
        finally:
            waiting.leave()
        return self._begin(flow, turn.entry) if turn.has_come else True

    def _begin(self, flow: http.HTTPFlow, entry: Entry) -> bool:
        if entry is None:
            return False
        self._open[flow] = entry
        self.by_client.setdefault(flow.client_conn.id, set()).add(entry)
        return True

    def answered(self, flow: http.HTTPFlow, status: int) -> None:
        """The head of an endpoint's answer has come."""
        attempt = self._open.get(flow)
        if attempt is not None:
            attempt.answered(status)

    def failed(self, flow: http.HTTPFlow, failure: LocalFailure) -> None:
        """The endpoint gave no answer, or no whole one, and that is not the client's doing."""
        attempt = self._open.get(flow)
        if attempt is not None:
            attempt.failed(failure)

    def end(self, flow: http.HTTPFlow) -> None:
        """The flow's request is over. Nothing where it has ended already, or was never counted."""
        attempt = self._open.pop(flow, None)
        if attempt is None:
            return
        attempts = self.by_client.get(flow.client_conn.id)
        if attempts is not None:
            attempts.discard(attempt)
            if not attempts:
                del self.by_client[flow.client_conn.id]
        attempt.end()

    def release(self, client: str) -> None:
        """The client (mitmproxy's connection id) has left: nothing of its is in flight any longer.

        No hook is sure to be a flow's last, and a request that were counted for ever would in the end
        leave no room for others.
        """
        self._queue.release(client)
        for attempt in self.by_client.pop(client, ()):
            attempt.end()

    def describe(self) -> list[str]:
        """What is in flight and what is ejected, in lines for people."""
        return describe_states(self.states, self._clock())

    def stop(self) -> None:
        """No ejection is looked after any longer."""
        if self._timer is not None:
            self._timer.cancel()

    def _on_change(self, change: HealthChange) -> None:
        target = change.target
        where = f"{target.endpoint.host_port} of {target.cluster}"
        if not change.ejected_for:
            logger.info("mirror: %s is let in again after %.1f s", where, change.seconds)
            return
        logger.warning("mirror: %s is ejected for %.1f s: %s", where, change.seconds, change.ejected_for)
        self.stop()
        self._timer = asyncio.get_running_loop().call_soon(self._look)

    def _look(self) -> None:
        # So that its return is logged when it happens, and not with the next request.
        seconds = self.states.advance()
        loop = asyncio.get_running_loop()
        self._timer = None if seconds is None else loop.call_later(seconds, self._look)


class _Turn:
    """A place in the queue for a connection."""

    def __init__(self) -> None:
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.has_come = False
        self.entry: Entry = None

    def come(self, entry: Entry) -> None:
        """What `ClusterStates.enter` calls when it is its turn."""
        self.has_come, self.entry = True, entry
        if not self.over.done():
            self.over.set_result(None)
