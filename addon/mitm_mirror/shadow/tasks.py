"""The shadows that are being sent right now, one task each: what a worker and `LocalBackend` share."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from mitm_mirror.client.request import OutgoingRequest
from mitm_mirror.client.upload import Upload
from mitm_mirror.shadow.answer import Want
from mitm_mirror.shadow.message import CHUNK_OVERHEAD_BYTES, ShadowResult

Send = Callable[[int, OutgoingRequest, bytes | Upload, float, Want | None], Awaitable[ShadowResult]]


class ShadowTasks:
    """Needs a running event loop. Numbers are the pool's; one that is not known (any more) is passed over:
    the proxy may still feed a shadow that has ended here."""

    def __init__(
        self, send: Send, on_result: Callable[[ShadowResult], None], on_taken: Callable[[int, int], None]
    ) -> None:
        """`on_taken(number, bytes)` tells what of an upload has been sent; see `FromWorker.TAKEN`."""
        self._send = send
        self._on_result = on_result
        self._on_taken = on_taken
        self._loop = asyncio.get_running_loop()
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._uploads: dict[int, Upload] = {}
        self._wants: dict[int, Want] = {}

    def want(self, number: int, want: Want) -> None:
        """Keep of the next request's answer, which has that number, what is wanted."""
        self._wants[number] = want

    def send(self, number: int, request: OutgoingRequest, body: bytes, timeout_s: float) -> None:
        """Send a request with its whole body."""
        self._start(number, request, body, timeout_s)

    def open(self, number: int, request: OutgoingRequest, timeout_s: float) -> None:
        """Send a request whose body comes by `put` and `end`; `timeout_s` counts from `end`."""
        upload = self._uploads[number] = Upload(partial(self._taken, number))
        self._start(number, request, upload, timeout_s)

    def put(self, number: int, data: bytes) -> None:
        """The next piece of an upload."""
        upload = self._uploads.get(number)
        if upload is not None:
            upload.put(data)

    def end(self, number: int) -> None:
        """The upload is complete."""
        upload = self._uploads.get(number)
        if upload is not None:
            upload.end()

    def abort(self, number: int) -> None:
        """Stop at once; there is no result then."""
        self._wants.pop(number, None)
        task = self._tasks.get(number)
        if task is not None:
            task.cancel()

    def abort_all(self) -> None:
        """Stop all of them."""
        for task in self._tasks.values():
            task.cancel()

    def _start(self, number: int, request: OutgoingRequest, body: bytes | Upload, timeout_s: float) -> None:
        want = self._wants.pop(number, None)
        task = self._loop.create_task(self._serve(number, request, body, timeout_s, want))
        self._tasks[number] = task
        task.add_done_callback(partial(self._forget, number))

    async def _serve(
        self,
        number: int,
        request: OutgoingRequest,
        body: bytes | Upload,
        timeout_s: float,
        want: Want | None,
    ) -> None:
        self._on_result(await self._send(number, request, body, timeout_s, want))

    def _taken(self, number: int, size: int) -> None:
        self._on_taken(number, size + CHUNK_OVERHEAD_BYTES)

    def _forget(self, number: int, _: asyncio.Task[None]) -> None:
        del self._tasks[number]
        self._uploads.pop(number, None)
