"""The worker's side of the pipes: every frame gets one result, and it ends with its input."""

import asyncio
import contextlib
import fcntl
import os
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import pytest

from mitm_mirror.client.request import Fields, OutgoingRequest
from mitm_mirror.client.upload import Upload
from mitm_mirror.outcome import Outcome
from mitm_mirror.shadow import process
from mitm_mirror.shadow import worker as worker_module
from mitm_mirror.shadow.answer import AnswerRoom, Want
from mitm_mirror.shadow.frames import FrameBuffer, FrameDecoder
from mitm_mirror.shadow.message import CHUNK_OVERHEAD_BYTES, FromWorker, ShadowResult, ToWorker
from mitm_mirror.shadow.tasks import Send
from mitm_mirror.shadow.worker import Worker


class Pipes:
    """The proxy's ends of a worker's pipes."""

    def __init__(self) -> None:
        self.worker_in, self.to_worker = os.pipe()
        self.from_worker, self.worker_out = os.pipe()
        for fd in (self.worker_in, self.from_worker, self.worker_out):
            os.set_blocking(fd, False)
        self.ended = asyncio.Event()
        self.frames = FrameDecoder()
        self.batches: list[list[ShadowResult]] = []
        self.taken: Counter[int] = Counter()
        self.open = [self.worker_in, self.to_worker, self.from_worker, self.worker_out]

    def close(self, *fds: int) -> None:
        for fd in fds:
            self.open.remove(fd)
            os.close(fd)

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            with contextlib.suppress(BlockingIOError):
                for frame in self.frames.feed(os.read(self.from_worker, 65536)):
                    if frame.kind == FromWorker.TAKEN:
                        self.taken.update(dict(msgspec.msgpack.decode(frame.message)))
                        continue
                    self.batches.append(msgspec.msgpack.decode(frame.message, type=list[ShadowResult]))
            await asyncio.sleep(0)

    @property
    def results(self) -> dict[int, ShadowResult]:
        return {result.number: result for batch in self.batches for result in batch}


@contextlib.asynccontextmanager
async def worker(send: Send, hurry: Callable[[], None] = lambda: None) -> AsyncIterator[Pipes]:
    pipes = Pipes()
    room = AnswerRoom()
    Worker(pipes.worker_in, pipes.worker_out, send, room, end=pipes.ended.set, hurry=hurry).start()
    try:
        yield pipes
    finally:
        loop = asyncio.get_running_loop()
        loop.remove_reader(pipes.worker_in)
        loop.remove_writer(pipes.worker_out)
        pipes.close(*list(pipes.open))


async def echo(
    number: int, request: OutgoingRequest, body: bytes | Upload, timeout_s: float, want: Want | None
) -> ShadowResult:
    if isinstance(body, Upload):
        body = b"".join([data async for data in body.pieces(joined=False)])
    return ShadowResult(number, Outcome.OK, 200, len(body), timeout_s, request.address)


def test_it_says_that_it_is_ready_and_answers_each_frame(kit: Any) -> None:
    async def test() -> None:
        async with worker(echo) as pipes:
            await pipes.until(lambda: pipes.batches == [[]])
            frames = FrameBuffer()
            for number in (7, 8):
                frames.add(kit.shadow(address=f"10.0.0.{number}"), number, 1.5, b"x" * number)
            frames.write_to(pipes.to_worker)
            await pipes.until(lambda: len(pipes.results) == 2)
        assert pipes.batches[1:] == [
            [
                ShadowResult(7, Outcome.OK, 200, 7, 1.5, "10.0.0.7"),
                ShadowResult(8, Outcome.OK, 200, 8, 1.5, "10.0.0.8"),
            ]
        ]  # one batch for one loop turn

    kit.run(test)


@pytest.mark.parametrize(("body_bytes", "hurries"), [(1000, 0), (2000, 1), (5000, 2)])
def test_it_hurries_where_much_waits_for_it(
    kit: Any, monkeypatch: pytest.MonkeyPatch, body_bytes: int, hurries: int
) -> None:
    monkeypatch.setattr(worker_module, "READ_BYTES", 2000)
    hurried: list[None] = []

    async def test() -> None:
        async with worker(echo, lambda: hurried.append(None)) as pipes:
            frames = FrameBuffer()
            frames.add(kit.shadow(), 7, 1.5, b"x" * body_bytes)
            frames.write_to(pipes.to_worker)
            await pipes.until(lambda: 7 in pipes.results)
        assert len(hurried) == hurries

    kit.run(test)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says how large a pipe is")
def test_of_a_small_pipe_a_quarter_is_much(kit: Any) -> None:
    hurried: list[None] = []

    async def test() -> None:
        async with worker(echo, lambda: hurried.append(None)) as pipes:
            frames = FrameBuffer()
            frames.add(kit.shadow(), 7, 1.5, bytes(fcntl.fcntl(pipes.to_worker, fcntl.F_GETPIPE_SZ) // 4))
            frames.write_to(pipes.to_worker)
            await pipes.until(lambda: 7 in pipes.results)
        assert len(hurried) == 1

    kit.run(test)


def test_what_is_wanted_of_an_answer_is_told_to_who_sends_it(kit: Any) -> None:
    async def test() -> None:
        wants: dict[int, Want | None] = {}

        async def send(
            number: int, request: OutgoingRequest, body: bytes | Upload, timeout_s: float, want: Want | None
        ) -> ShadowResult:
            wants[number] = want
            return await echo(number, request, body, timeout_s, want)

        async with worker(send) as pipes:
            frames = FrameBuffer()
            frames.add(Want(100), 1, kind=ToWorker.WANT)
            frames.add(kit.shadow(), 1)
            frames.add(kit.shadow(), 2)
            frames.add(Want(300), 3, kind=ToWorker.WANT)
            frames.add(["broken"], 3)
            frames.add(Want(400), 4, kind=ToWorker.WANT)
            frames.add_bare(ToWorker.ABORT, 4)
            for number in (3, 4):
                frames.add(kit.shadow(), number)
            frames.write_to(pipes.to_worker)
            await pipes.until(lambda: len(wants) == 4)
        assert wants == {1: Want(100), 2: None, 3: None, 4: None}

    kit.run(test)


def test_an_upload_is_sent_piece_by_piece(kit: Any) -> None:
    async def test() -> None:
        async with worker(echo) as pipes:
            frames = FrameBuffer()
            frames.add(kit.shadow(), 1, 2.5, kind=ToWorker.UPLOAD)
            for data in (b"one", b"three", b"x" * 50_000):
                frames.add_bare(ToWorker.CHUNK, 1, data)
            frames.write_to(pipes.to_worker)
            await pipes.until(lambda: pipes.taken[1] == 50_008 + 3 * CHUNK_OVERHEAD_BYTES)
            assert 1 not in pipes.results
            frames.add_bare(ToWorker.END, 1)
            frames.write_to(pipes.to_worker)
            await pipes.until(lambda: 1 in pipes.results)
        assert pipes.results[1] == ShadowResult(1, Outcome.OK, 200, 50_008, 2.5, "127.0.0.1")

    kit.run(test)


@pytest.mark.parametrize("trailers", [(), ((b"x-a", b"\xff"), (b"x-a", b""))], ids=["without", "with"])
def test_the_end_of_an_upload_brings_its_trailers(kit: Any, trailers: Fields) -> None:
    async def test() -> None:
        seen: list[Fields] = []

        async def send(
            number: int, request: OutgoingRequest, body: bytes | Upload, timeout_s: float, want: Want | None
        ) -> ShadowResult:
            result = await echo(number, request, body, timeout_s, want)
            assert isinstance(body, Upload)
            seen.append(body.trailers)
            return result

        async with worker(send) as pipes:
            frames = FrameBuffer()
            frames.add(kit.shadow(), 1, kind=ToWorker.UPLOAD)
            frames.add_bare(ToWorker.CHUNK, 1, b"one")
            if trailers:
                frames.add(trailers, 1, kind=ToWorker.END)
            else:
                frames.add_bare(ToWorker.END, 1)
            frames.write_to(pipes.to_worker)
            await pipes.until(lambda: 1 in pipes.results)
        assert seen == [trailers]

    kit.run(test)


def test_an_aborted_upload_ends_without_a_result(kit: Any) -> None:
    async def test() -> None:
        cancelled = asyncio.Event()

        async def send(
            number: int, request: OutgoingRequest, body: bytes | Upload, timeout_s: float, want: Want | None
        ) -> ShadowResult:
            try:
                return await echo(number, request, body, timeout_s, want)
            except asyncio.CancelledError:
                cancelled.set()
                raise

        async with worker(send) as pipes:
            frames = FrameBuffer()
            frames.add(kit.shadow(), 1, kind=ToWorker.UPLOAD)
            frames.add_bare(ToWorker.CHUNK, 1, b"half")
            frames.write_to(pipes.to_worker)
            await pipes.until(lambda: pipes.taken[1] == 4 + CHUNK_OVERHEAD_BYTES)
            frames.add_bare(ToWorker.ABORT, 1)
            for late in (ToWorker.CHUNK, ToWorker.END, ToWorker.ABORT):  # on their way as it ended
                frames.add_bare(late, 1, b"")
            frames.add(kit.shadow(), 2)
            frames.write_to(pipes.to_worker)
            await pipes.until(lambda: 2 in pipes.results)
        assert cancelled.is_set()
        assert set(pipes.results) == {2}

    kit.run(test)


def test_a_slow_shadow_does_not_hold_up_the_next(kit: Any) -> None:
    async def test() -> None:
        release = asyncio.Event()

        async def send(
            number: int, request: OutgoingRequest, body: bytes | Upload, timeout_s: float, want: Want | None
        ) -> ShadowResult:
            if number == 1:
                await release.wait()
            return await echo(number, request, body, timeout_s, want)

        async with worker(send) as pipes:
            frames = FrameBuffer()
            frames.add(kit.shadow(), 1)
            frames.add(kit.shadow(), 2)
            frames.write_to(pipes.to_worker)
            await pipes.until(lambda: 2 in pipes.results)
            assert 1 not in pipes.results
            release.set()
            await pipes.until(lambda: 1 in pipes.results)

    kit.run(test)


def test_a_broken_frame_ends_its_shadow_and_not_the_worker(
    kit: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    async def test() -> None:
        async with worker(echo) as pipes:
            frames = FrameBuffer()
            frames.add(["s3cret"], 1)
            frames.add({"s3cret": 1}, 2)
            frames.add(kit.shadow(), 3)
            frames.write_to(pipes.to_worker)
            await pipes.until(lambda: len(pipes.results) == 3)
        outcomes = {number: result.outcome for number, result in pipes.results.items()}
        assert outcomes == {1: Outcome.PROTOCOL_ERROR, 2: Outcome.PROTOCOL_ERROR, 3: Outcome.OK}

    kit.run(test)
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "s3cret" not in said


def test_results_wait_until_the_proxy_reads_them(kit: Any) -> None:
    async def send(
        number: int, request: OutgoingRequest, body: bytes | Upload, timeout_s: float, want: Want | None
    ) -> ShadowResult:
        return ShadowResult(number, Outcome.OK, 200, 0, 0.0, "x" * 50_000)

    async def test() -> None:
        async with worker(send) as pipes:
            frames = FrameBuffer()
            for number in range(40):  # 2 MB of results, much more than the pipe holds
                frames.add(kit.shadow(), number)
            frames.write_to(pipes.to_worker)
            await pipes.until(lambda: len(pipes.results) == 40)

    kit.run(test)


@pytest.mark.parametrize("end", ["to_worker", "from_worker"])
def test_it_ends_when_the_proxy_is_gone(kit: Any, end: str) -> None:
    async def test() -> None:
        async with worker(echo) as pipes:
            await pipes.until(lambda: pipes.batches == [[]])
            if end == "from_worker":
                frames = FrameBuffer()
                frames.add(kit.shadow(), 1)
                frames.write_to(pipes.to_worker)
            pipes.close(getattr(pipes, end))
            await pipes.ended.wait()

    kit.run(test)


def test_the_child_imports_neither_the_proxy_nor_pydantic() -> None:
    code = "import sys, mitm_mirror.shadow.worker; print(*sys.modules)"
    run = subprocess.run(
        [
            sys.executable,
            "-P",
            "-c",
            f"import sys; sys.path.insert(0, sys.argv[1]); {code}",
            process._SOURCE_ROOT,
        ],
        check=True,
        capture_output=True,
        text=True,
    )

    assert {"mitmproxy", "pydantic", "yaml", "re2"} & set(run.stdout.split()) == set()
