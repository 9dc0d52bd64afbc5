"""Sends shadows from the running event loop (`mirror_workers=0`), for debugging.

No process, no pipes: a breakpoint in the sender works. It costs the client what the worker process
is there to save.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any

from mitm_mirror.client.request import OutgoingRequest
from mitm_mirror.client.settings import ClientSettings
from mitm_mirror.shadow.backend import BackendOwner, WaitingFile
from mitm_mirror.shadow.sender import Sender

_IDLE_SWEEP_S = 0.5


class LocalBackend:
    """A `Backend` without a process of its own. Needs a running event loop."""

    pid = None

    def __init__(self, settings: ClientSettings, owner: BackendOwner) -> None:
        self._sender = Sender(settings)
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._spawn(self._sweep())
        self._loop.call_soon(owner.backend_ready)

    def send(self, number: int, request: OutgoingRequest, body: bytes, timeout_s: float) -> None:
        self._spawn(self._send(number, request, body, timeout_s))

    def waiting_files(self) -> list[WaitingFile]:
        return []

    def kill(self) -> None:
        self.close()
        self._loop.call_soon(self._owner.backend_gone, "was stopped", "")

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()

    def join(self, timeout_s: float) -> None:
        """Nothing to wait for: tasks end only once the loop runs again."""

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send(self, number: int, request: OutgoingRequest, body: bytes, timeout_s: float) -> None:
        self._owner.backend_results([await self._sender.send(number, request, body, timeout_s)])

    async def _sweep(self) -> None:
        try:
            while True:
                await asyncio.sleep(_IDLE_SWEEP_S)
                await self._sender.close_expired()
        finally:
            await self._sender.aclose()
