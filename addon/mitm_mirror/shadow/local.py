"""Sends shadows from the running event loop (`mirror_workers=0`), for debugging.

No process, no pipes: a breakpoint in the sender works. It costs the client what the worker process
is there to save.
"""

import asyncio

from mitm_mirror.client.request import Fields, OutgoingRequest
from mitm_mirror.client.settings import ClientSettings
from mitm_mirror.observe.compare import Comparison
from mitm_mirror.shadow.answer import AnswerRoom, PrimaryAnswer, Want
from mitm_mirror.shadow.backend import BackendOwner, WaitingFile
from mitm_mirror.shadow.message import ShadowResult
from mitm_mirror.shadow.sender import Sender
from mitm_mirror.shadow.tasks import ShadowTasks

_IDLE_SWEEP_S = 0.5


class LocalBackend:
    """A `Backend` without a process of its own. Needs a running event loop."""

    pid = None

    def __init__(self, settings: ClientSettings, owner: BackendOwner) -> None:
        room = AnswerRoom()
        self._sender = Sender(
            settings,
            room=room,
            on_connected=lambda connection: owner.backend_connected([connection]),
        )
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._shadows = ShadowTasks(self._sender.send, room, self)
        self._sweeper = self._loop.create_task(self._sweep())
        self._loop.call_soon(owner.backend_ready)

    def want(self, number: int, want: Want) -> None:
        self._shadows.want(number, want)

    def send(self, number: int, request: OutgoingRequest, body: bytes, timeout_s: float) -> None:
        self._shadows.send(number, request, body, timeout_s)

    def open(self, number: int, request: OutgoingRequest, timeout_s: float) -> None:
        self._shadows.open(number, request, timeout_s)

    def put(self, number: int, data: bytes) -> None:
        self._shadows.put(number, data)

    def end(self, number: int, trailers: Fields) -> None:
        self._shadows.end(number, trailers)

    def primary(self, number: int, answer: PrimaryAnswer, body: bytes) -> None:
        self._shadows.primary(number, answer, body)

    def forget(self, number: int) -> None:
        self._shadows.forget(number)

    def abort(self, number: int) -> None:
        self._shadows.abort(number)

    def waiting_files(self) -> list[WaitingFile]:
        return []

    def kill(self) -> None:
        self.close()
        self._loop.call_soon(self._owner.backend_gone, "was stopped", "")

    def close(self) -> None:
        self._sweeper.cancel()
        self._shadows.abort_all()

    def join(self, timeout_s: float) -> None:
        """Nothing to wait for: tasks end only once the loop runs again."""

    def task_result(self, result: ShadowResult) -> None:
        self._owner.backend_results([result])

    def task_taken(self, number: int, size: int) -> None:
        self._owner.backend_taken([(number, size)])

    def task_compared(self, number: int, comparison: Comparison) -> None:
        self._owner.backend_compared([(number, comparison)])

    async def _sweep(self) -> None:
        try:
            while True:
                await asyncio.sleep(_IDLE_SWEEP_S)
                await self._sender.close_expired()
        finally:
            await self._sender.aclose()
