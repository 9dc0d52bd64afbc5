"""Sends recorded requests through mitmproxy's hooks, as if their clients were there."""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable

from mitmproxy import http
from mitmproxy.addons.clientplayback import ReplayHandler
from mitmproxy.options import Options

from mitm_mirror.proxy.playback.pace import Pace
from mitm_mirror.proxy.playback.recording import RecordedRequest

AT_A_TIME = 64
"""Requests that are under way. More would only wait for one another: one process serves them all."""

_PATIENCE_S = 0.01


class Player:
    """Plays one recording. What comes over one client connection is sent one after the other."""

    def __init__(
        self,
        options: Options,
        *,
        on_played: Callable[[http.HTTPFlow], None],
        is_behind: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`on_played` is told of each flow that has ended. While `is_behind`, nothing further is sent.

        No client waits, so mirrors that are slower than their primaries slow the replay down, in the place
        of losing shadows.
        """
        self._options = options
        self._on_played = on_played
        self._is_behind = is_behind
        self._clock = clock
        self._sleep = sleep
        self._slots = asyncio.Semaphore(AT_A_TIME)
        self._began = 0.0

    async def play(self, requests: list[RecordedRequest], pace: Pace) -> None:
        """Sends all of `requests`, which are in the order in which they were received.

        The list is emptied, so that each is let go, and its answer, once it is played.
        """
        due_times = pace.due_times([request.started for request in requests])
        clients: dict[str, deque[tuple[float, http.HTTPFlow]]] = {}
        for request, due in zip(requests, due_times, strict=True):
            clients.setdefault(request.client, deque()).append((due, request.flow))
        requests.clear()
        self._began = self._clock()
        async with asyncio.TaskGroup() as group:
            for flows in clients.values():
                group.create_task(self._play_client(flows))

    async def _play_client(self, flows: deque[tuple[float, http.HTTPFlow]]) -> None:
        while flows:
            due, flow = flows.popleft()
            wait_s = self._began + due - self._clock()
            if wait_s > 0:
                await self._sleep(wait_s)
            async with self._slots:
                while self._is_behind():
                    await self._sleep(_PATIENCE_S)
                await ReplayHandler(flow, self._options).replay()
            self._on_played(flow)
