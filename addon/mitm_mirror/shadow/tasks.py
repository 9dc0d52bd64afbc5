"""The shadows that are being sent right now, one task each: what a worker and `LocalBackend` share."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Protocol

import msgspec

from mitm_mirror.client.request import Fields, OutgoingRequest
from mitm_mirror.client.upload import Upload
from mitm_mirror.observe.compare import Comparison
from mitm_mirror.outcome import Outcome
from mitm_mirror.shadow.answer import AnswerRoom, PrimaryAnswer, Want
from mitm_mirror.shadow.comparer import Comparer
from mitm_mirror.shadow.message import CHUNK_OVERHEAD_BYTES, ShadowResult

Send = Callable[[int, OutgoingRequest, bytes | Upload, float, Want | None], Awaitable[ShadowResult]]


class TasksOwner(Protocol):
    """Who hears of them."""

    def task_result(self, result: ShadowResult) -> None:
        """A shadow ended."""

    def task_taken(self, number: int, size: int) -> None:
        """So much of an upload has been sent; see `FromWorker.TAKEN`."""

    def task_compared(self, number: int, comparison: Comparison) -> None:
        """A shadow whose result was told before was compared."""


class ShadowTasks:
    """Needs a running event loop. Numbers are the pool's; one that is not known (any more) is passed over:
    the proxy may still feed a shadow that has ended here."""

    def __init__(self, send: Send, room: AnswerRoom, owner: TasksOwner) -> None:
        """`room` is where `send` takes the memory for answers from."""
        self._send = send
        self._room = room
        self._owner = owner
        self._comparer = Comparer(room, owner.task_compared)
        self._loop = asyncio.get_running_loop()
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._uploads: dict[int, Upload] = {}
        self._wants: dict[int, Want] = {}

    def want(self, number: int, want: Want) -> None:
        """Keep of the next request's answer, which has that number, what is wanted."""
        self._wants[number] = want
        if want.compare is not None:
            self._comparer.expect(number, want.compare)

    @property
    def count(self) -> int:
        """Shadows that have not ended; one whose result is being told still counts."""
        return len(self._tasks)

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

    def end(self, number: int, trailers: Fields) -> None:
        """The upload is complete, but for its trailers."""
        upload = self._uploads.get(number)
        if upload is not None:
            upload.end(trailers)

    def primary(self, number: int, answer: PrimaryAnswer, body: bytes) -> None:
        """What the primary was answered."""
        self._comparer.primary(number, answer, body)

    def forget(self, number: int) -> None:
        """Do not compare this one; it is sent all the same."""
        self._comparer.forget(number)

    def abort(self, number: int) -> None:
        """Stop at once; there is no result then."""
        self._wants.pop(number, None)
        self._comparer.forget(number)
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
        result = await self._send(number, request, body, timeout_s, want)
        if want is None:
            self._owner.task_result(result)
        else:
            self._end_wanted(number, result, want)

    def _end_wanted(self, number: int, result: ShadowResult, want: Want) -> None:
        """Hands on what is to be shown, and keeps what is to be compared."""
        answer = result.answer
        assert answer is not None
        shown = None
        if want.body_bytes is not None:
            body = answer.body[: want.body_bytes]
            complete = answer.complete and len(body) == len(answer.body)
            shown = msgspec.structs.replace(answer, body=body, complete=complete)
        self._owner.task_result(msgspec.structs.replace(result, answer=shown))
        if result.outcome is Outcome.OK and self._comparer.expects(number):
            self._comparer.shadow(number, answer)
        else:
            self._comparer.forget(number)
            self._room.give_back(len(answer.body))

    def _taken(self, number: int, size: int) -> None:
        self._owner.task_taken(number, size + CHUNK_OVERHEAD_BYTES)

    def _forget(self, number: int, _: asyncio.Task[None]) -> None:
        del self._tasks[number]
        self._uploads.pop(number, None)
