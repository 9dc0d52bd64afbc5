"""The shadow worker: a child process that sends what it reads on standard input.

It reads frames (see `message`), sends their requests all at once (the proxy limits how many it hands over),
and writes what became of them, gathered for some milliseconds. It ends when its standard input closes,
which the death of the proxy brings about as well. It imports neither mitmproxy nor pydantic.
"""

import asyncio
import fcntl
import gc
import importlib.util
import os
import resource
import signal
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import cast

import msgspec

from mitm_mirror.client.request import Fields, OutgoingRequest
from mitm_mirror.client.settings import ClientSettings
from mitm_mirror.observe.compare import Comparison
from mitm_mirror.outcome import Outcome
from mitm_mirror.shadow.answer import AnswerRoom, PrimaryAnswer, Want
from mitm_mirror.shadow.frames import GATHER_S, Frame, FrameBuffer, FrameDecoder
from mitm_mirror.shadow.lookups import LookupSharingLoop
from mitm_mirror.shadow.message import FromWorker, ShadowResult, SocketPair, ToWorker
from mitm_mirror.shadow.priority import SessionPriority
from mitm_mirror.shadow.sender import Sender
from mitm_mirror.shadow.tasks import Send, ShadowTasks

READ_BYTES = 256 * 1024
"""One read takes a quarter of the pipe at most, so that answers get their turn in between."""

_RESOLVER_THREADS = 32
"""Names are looked up by threads: more than asyncio's 6 on two cores, so that it takes as many names whose
resolver is silent to hold up another (see `LookupSharingLoop`)."""

_IDLE_SWEEP_S = 0.5


class Worker:
    """Reads requests from one pipe and writes results to another. Needs a running event loop."""

    def __init__(
        self,
        in_fd: int,
        out_fd: int,
        send: Send,
        room: AnswerRoom,
        *,
        end: Callable[[], None],
        hurry: Callable[[], None],
    ) -> None:
        """Both descriptors are non-blocking. `end` is called when either pipe's other end is gone,
        `hurry` where a quarter of the pipe or more was waiting."""
        self._in_fd = in_fd
        self._out_fd = out_fd
        self._end = end
        self._hurry = hurry
        self._pile_bytes = _pile_bytes(in_fd)
        self._loop = asyncio.get_running_loop()
        self._decoder = FrameDecoder()
        self._request_decoder = msgspec.msgpack.Decoder(OutgoingRequest)
        self._want_decoder = msgspec.msgpack.Decoder(Want)
        self._primary_decoder = msgspec.msgpack.Decoder(PrimaryAnswer)
        self._trailers_decoder = msgspec.msgpack.Decoder(Fields)
        self._shadows = ShadowTasks(send, room, self)
        self._results: list[ShadowResult] = []
        self._taken: dict[int, int] = {}
        self._compared: list[tuple[int, Comparison]] = []
        self._out = FrameBuffer()
        self._flush_planned = False
        self._gathering: asyncio.TimerHandle | None = None
        self._broken_frames = 0

    def start(self) -> None:
        """Begin to read, and tell the proxy so with an empty list of results."""
        self._out.add([])
        self._flush()
        self._loop.add_reader(self._in_fd, self._read)

    def _read(self) -> None:
        try:
            data = os.read(self._in_fd, READ_BYTES)
        except BlockingIOError:
            return
        if not data:
            self._loop.remove_reader(self._in_fd)
            self._end()
            return
        if len(data) >= self._pile_bytes:
            self._hurry()
        for frame in self._decoder.feed(data):
            self._take(frame)

    def _take(self, frame: Frame) -> None:
        if frame.kind <= ToWorker.UPLOAD:
            self._begin(frame)
        elif frame.kind == ToWorker.CHUNK:
            self._shadows.put(frame.number, frame.body)
        elif frame.kind == ToWorker.END:
            trailers = self._trailers_decoder.decode(frame.message) if frame.message else ()
            self._shadows.end(frame.number, trailers)
        elif frame.kind == ToWorker.WANT:
            self._shadows.want(frame.number, self._want_decoder.decode(frame.message))
        elif frame.kind == ToWorker.PRIMARY:
            primary = self._primary_decoder.decode(frame.message)
            self._shadows.primary(frame.number, primary, frame.body)
        elif frame.kind == ToWorker.FORGET:
            self._shadows.forget(frame.number)
        else:
            self._shadows.abort(frame.number)

    def _begin(self, frame: Frame) -> None:
        try:
            request = self._request_decoder.decode(frame.message)
        except msgspec.DecodeError as error:
            self._broken_frames += 1
            if self._broken_frames == 1:
                kind = type(error).__name__  # its message may quote the frame
                _say(f"A frame is broken ({kind}); further ones are not reported.")
            self._shadows.abort(frame.number)
            text = "the worker could not read the request"
            self.task_result(ShadowResult(frame.number, Outcome.PROTOCOL_ERROR, 0, 0, 0.0, text))
            return
        if frame.kind == ToWorker.UPLOAD:
            self._shadows.open(frame.number, request, frame.timeout_s)
        else:
            self._shadows.send(frame.number, request, frame.body, frame.timeout_s)

    def task_result(self, result: ShadowResult) -> None:
        self._results.append(result)
        self._plan_flush()
        if self._gathering is not None and self._shadows.count <= 1:
            # It was the last one: nothing more to gather, and the next one may wait for its slot.
            self._gathering.cancel()
            self._gathering = None
            self._loop.call_soon(self._flush)

    def task_taken(self, number: int, size: int) -> None:
        self._taken[number] = self._taken.get(number, 0) + size
        self._plan_flush()

    def task_compared(self, number: int, comparison: Comparison) -> None:
        self._compared.append((number, comparison))
        self._plan_flush()

    def add_connection(self, connection: SocketPair) -> None:
        """Tell of a connection now, as its first request is about to be written."""
        self._out.add([connection], kind=FromWorker.CONNECTED)
        self._flush()

    def _plan_flush(self) -> None:
        if not self._flush_planned:
            self._flush_planned = True
            self._gathering = self._loop.call_later(GATHER_S, self._flush)

    def _flush(self) -> None:
        self._gathering = None
        if self._taken:
            self._out.add(list(self._taken.items()), kind=FromWorker.TAKEN)
            self._taken = {}
        if self._results:
            self._out.add(self._results)
            self._results = []
        if self._compared:
            self._out.add(self._compared, kind=FromWorker.COMPARED)
            self._compared = []
        try:
            done = self._out.write_to(self._out_fd)
        except BrokenPipeError:
            self._end()
            return
        if done:
            self._loop.remove_writer(self._out_fd)
            self._flush_planned = False
        else:  # the plan stays: the pipe says when there is room again
            self._loop.add_writer(self._out_fd, self._flush)


def main() -> None:
    """Run a worker on this process's standard input and output until the input closes."""
    # A Ctrl-C or a service manager's stop goes to the whole group; the proxy drains and then
    # closes our standard input, so dying here would lose what could still be sent.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    in_fd, out_fd = _claim_pipes()
    _allow_many_sockets()
    _settle_sniffio()
    settings = _read_settings(in_fd)
    with asyncio.Runner(loop_factory=LookupSharingLoop) as runner:
        runner.run(_run(in_fd, out_fd, settings))


async def _run(in_fd: int, out_fd: int, settings: ClientSettings) -> None:
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(_RESOLVER_THREADS, "resolver"))
    room = AnswerRoom()

    def tell_connected(connection: SocketPair) -> None:
        worker.add_connection(connection)

    sender = Sender(settings, report=_say, room=room, on_connected=tell_connected)
    os.set_blocking(in_fd, False)
    os.set_blocking(out_fd, False)
    priority = SessionPriority()
    # Not sys.exit: that would wait for a thread that hangs in the resolver.
    worker = Worker(in_fd, out_fd, sender.send, room, end=lambda: os._exit(0), hurry=priority.hurry)
    worker.start()
    gc.freeze()  # what is imported by now stays; do not look through it again and again
    while True:
        await asyncio.sleep(_IDLE_SWEEP_S)
        priority.look()
        await sender.close_expired()


def _pile_bytes(fd: int) -> int:
    """A read of so much is a pile. The proxy asks for a pipe that holds four times `READ_BYTES`, and may not
    get it."""
    if sys.platform != "linux":
        return READ_BYTES
    return min(READ_BYTES, fcntl.fcntl(fd, fcntl.F_GETPIPE_SZ) // 4)


def _say(line: str) -> None:
    """One line on stderr, which the proxy puts into its log."""
    sys.stderr.write(f"{line}\n")


def _settle_sniffio() -> None:
    """Let httpcore's `import sniffio`, four times a request, fail at once where it is not installed.

    Python remembers what it has found, not what it has not: each attempt searches all of sys.path,
    a quarter of the worker's time. None in sys.modules is how import is told not to look.
    """
    if importlib.util.find_spec("sniffio") is None:
        cast(dict[str, ModuleType | None], sys.modules)["sniffio"] = None


def _claim_pipes() -> tuple[int, int]:
    """Take standard input and output away, so that nothing that a library prints gets between frames."""
    in_fd, out_fd = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    sys.stdout = sys.stderr  # which is written line by line; stdout would keep its lines until the end
    return in_fd, out_fd


def _allow_many_sockets() -> None:
    """Raise the soft limit of open files: 1024, a common one, is less than what may be in flight."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65536 if hard == resource.RLIM_INFINITY else min(hard, 65536)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError) as error:  # macOS: the kernel's own limit may be below both
            _say(f"The limit of {soft} open files stays: {error}")


def _read_settings(in_fd: int) -> ClientSettings:
    """The first frame. The proxy sends nothing after it before it has heard from us."""
    decoder = FrameDecoder()
    while data := os.read(in_fd, READ_BYTES):
        for frame in decoder.feed(data):
            return msgspec.msgpack.decode(frame.message, type=ClientSettings)
    os._exit(0)
