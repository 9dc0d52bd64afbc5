"""The proxy's handle on one worker process: its pipes, its end. Linux and macOS."""

import asyncio
import fcntl
import logging
import os
import select
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec

from mitm_mirror.client.request import Fields, OutgoingRequest
from mitm_mirror.client.settings import ClientSettings
from mitm_mirror.observe.compare import Comparison
from mitm_mirror.shadow.answer import PrimaryAnswer, Want
from mitm_mirror.shadow.backend import BackendOwner, WaitingFile
from mitm_mirror.shadow.frames import GATHER_S, Frame, FrameBuffer, FrameDecoder
from mitm_mirror.shadow.message import FromWorker, ShadowResult, SocketPair, ToWorker

logger = logging.getLogger(__name__)

_SOURCE_ROOT = str(Path(__file__).resolve().parents[2])

_BOOT = (
    "import sys\n"
    "if sys.argv[1] not in sys.path: sys.path.insert(0, sys.argv[1])\n"
    "from mitm_mirror.shadow.worker import main\n"
    "main()\n"
)
"""mitmproxy adds a script's folder to sys.path only while it loads, and a child inherits none of it."""

_PIPE_BYTES = 1024 * 1024
"""What Linux lets everyone ask for (/proc/sys/fs/pipe-max-size); the default of 64 KiB is one body."""

_READ_BYTES = 64 * 1024

_GATHER_BYTES = 256 * 1024
"""So much is written with the next turn of the loop: a quarter of the pipe."""

_REAP_S = 1.0
"""How long the event loop may stand still for a killed process to end, which takes it milliseconds."""

_LAST_WORDS_LINES = 20
_LINE_BYTES = 1000
"""Of a line that the worker writes to stderr, so that a runaway one does not fill the log."""


class WorkerProcess:
    """A `Backend` that is a child process. Needs a running event loop."""

    def __init__(self, settings: ClientSettings, owner: BackendOwner) -> None:
        """Raises OSError where the system cannot start a process."""
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._out = FrameBuffer()
        self._decoder = FrameDecoder()
        self._result_decoder = msgspec.msgpack.Decoder(list[ShadowResult])
        self._taken_decoder = msgspec.msgpack.Decoder(list[tuple[int, int]])
        self._compared_decoder = msgspec.msgpack.Decoder(list[tuple[int, Comparison]])
        self._connected_decoder = msgspec.msgpack.Decoder(list[SocketPair])
        self._flush_planned = False
        self._gathering: asyncio.TimerHandle | None = None
        self._ready = False
        self._closed = False
        self._stderr_rest = b""
        self._stderr_ended = False
        self._last_words: deque[str] = deque(maxlen=_LAST_WORDS_LINES)
        # -P: the current folder must not shadow modules. A session of its own: a Ctrl-C on the
        # terminal is for the proxy, and a worker that is still starting does not ignore it yet.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", _BOOT, _SOURCE_ROOT],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
        )
        assert self._process.stdin
        assert self._process.stdout
        assert self._process.stderr
        self._stdin = self._process.stdin
        self._stdout = self._process.stdout
        self._stderr = self._process.stderr
        for pipe in (self._stdin, self._stdout, self._stderr):
            os.set_blocking(pipe.fileno(), False)
        _enlarge(self._stdin.fileno())
        self._loop.add_reader(self._stdout.fileno(), self._read_stdout)
        self._loop.add_reader(self._stderr.fileno(), self._read_stderr)
        self._out.add(settings)
        self._flush()

    @property
    def pid(self) -> int:
        return self._process.pid

    def want(self, number: int, want: Want) -> None:
        self._out.add(want, number, kind=ToWorker.WANT)

    def send(self, number: int, request: OutgoingRequest, body: bytes, timeout_s: float) -> None:
        self._out.add(request, number, timeout_s, body)
        self._plan_flush()

    def open(self, number: int, request: OutgoingRequest, timeout_s: float) -> None:
        self._out.add(request, number, timeout_s, kind=ToWorker.UPLOAD)
        self._plan_flush()

    def put(self, number: int, data: bytes) -> None:
        self._add_bare(ToWorker.CHUNK, number, data)

    def end(self, number: int, trailers: Fields) -> None:
        if not trailers:
            self._add_bare(ToWorker.END, number)
        elif not self._closed:
            self._out.add(trailers, number, kind=ToWorker.END)
            self._plan_flush()

    def primary(self, number: int, answer: PrimaryAnswer, body: bytes) -> None:
        if not self._closed:
            self._out.add(answer, number, body=body, kind=ToWorker.PRIMARY)
            self._plan_flush()

    def forget(self, number: int) -> None:
        self._add_bare(ToWorker.FORGET, number)

    def abort(self, number: int) -> None:
        self._add_bare(ToWorker.ABORT, number)

    def waiting_files(self) -> list[WaitingFile]:
        if self._closed:
            return []
        files = [
            WaitingFile(self._stdout.fileno(), select.POLLIN, self._read_stdout),
        ]
        if not self._stderr_ended:
            files.append(WaitingFile(self._stderr.fileno(), select.POLLIN, self._read_stderr))
        if self._out:
            files.append(WaitingFile(self._stdin.fileno(), select.POLLOUT, self._flush))
        return files

    def kill(self) -> None:
        self._process.kill()  # its stdout closes, which is how its end is noticed

    def close(self) -> None:
        self._read_stderr()
        self._close_pipes()

    def join(self, timeout_s: float) -> None:
        try:
            self._process.wait(max(timeout_s, 0.0))
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _add_bare(self, kind: ToWorker, number: int, data: bytes = b"") -> None:
        if not self._closed:
            self._out.add_bare(kind, number, data)
            self._plan_flush()

    def _plan_flush(self) -> None:
        if not self._flush_planned:
            self._flush_planned = True
            self._gathering = self._loop.call_later(GATHER_S, self._flush)
        elif self._gathering is not None and self._out.size >= _GATHER_BYTES:
            self._stop_gathering()
            self._loop.call_soon(self._flush)

    def _stop_gathering(self) -> None:
        if self._gathering is not None:
            self._gathering.cancel()
            self._gathering = None

    def _flush(self) -> None:
        if self._closed:
            return
        self._stop_gathering()
        try:
            done = self._out.write_to(self._stdin.fileno())
        except OSError:
            # The worker is gone or going. Its stdout says so too, after the results it still wrote.
            self._loop.remove_writer(self._stdin.fileno())
            self._out = FrameBuffer()
            return
        if done:
            self._loop.remove_writer(self._stdin.fileno())
            self._flush_planned = False
        else:  # the plan stays: the pipe says when there is room again
            self._flush_planned = True
            self._loop.add_writer(self._stdin.fileno(), self._flush)

    def _read_stdout(self) -> None:
        while not self._closed:
            try:
                data = os.read(self._stdout.fileno(), _READ_BYTES)
            except BlockingIOError:
                return
            if not data:
                self._gone()
                return
            try:
                frames = self._decoder.feed(data)
                calls = [self._read_frame(frame) for frame in frames]
            except (msgspec.DecodeError, MemoryError) as error:
                logger.warning(
                    "mirror: shadow worker %d wrote a broken frame (%s).", self.pid, type(error).__name__
                )
                self._gone()
                return
            if frames and not self._ready:
                self._be_ready()
            for call in calls:
                if call is not None:
                    call()
            if len(data) < _READ_BYTES:
                return

    def _read_frame(self, frame: Frame) -> Callable[[], None] | None:
        """What to call for a frame. Raises msgspec.DecodeError."""
        if frame.kind == FromWorker.TAKEN:
            return partial(self._owner.backend_taken, self._taken_decoder.decode(frame.message))
        if frame.kind == FromWorker.COMPARED:
            return partial(self._owner.backend_compared, self._compared_decoder.decode(frame.message))
        if frame.kind == FromWorker.CONNECTED:
            return partial(self._owner.backend_connected, self._connected_decoder.decode(frame.message))
        results = self._result_decoder.decode(frame.message)
        return partial(self._owner.backend_results, results) if results else None

    def _be_ready(self) -> None:
        self._ready = True
        while self._last_words:
            self._log_line(self._last_words.popleft())
        self._owner.backend_ready()

    def _read_stderr(self) -> None:
        if self._closed:  # in the same round of poll in which its stdout said the end
            return
        try:
            data = os.read(self._stderr.fileno(), _READ_BYTES)
        except BlockingIOError:
            return
        if not data:
            self._loop.remove_reader(self._stderr.fileno())
            self._stderr_ended = True
            data = b"\n" if self._stderr_rest else b""
        *lines, rest = (self._stderr_rest + data).split(b"\n")
        self._stderr_rest = rest[:_LINE_BYTES]
        for raw in lines:
            line = raw[:_LINE_BYTES].decode("utf-8", "replace").rstrip()
            if self._ready:
                self._log_line(line)
            else:  # a traceback while it starts becomes one message with its end
                self._last_words.append(line)

    def _log_line(self, line: str) -> None:
        logger.warning("mirror: shadow worker %d: %s", self.pid, line)

    def _gone(self) -> None:
        """Its stdout is closed or makes no sense: reap it and tell the owner."""
        self._process.kill()  # no effect on one that ended by itself, also not on its exit status
        self._read_stderr()
        self._close_pipes()
        try:
            how = _describe_exit(self._process.wait(_REAP_S))
        except subprocess.TimeoutExpired:  # stuck in the kernel; subprocess reaps it with a later child
            how = "does not end even when killed"
        self._owner.backend_gone(how, "\n".join(self._last_words))

    def _close_pipes(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._stop_gathering()
        self._loop.remove_writer(self._stdin.fileno())
        self._loop.remove_reader(self._stdout.fileno())
        self._loop.remove_reader(self._stderr.fileno())
        for pipe in (self._stdin, self._stdout, self._stderr):
            pipe.close()
        self._out = FrameBuffer()


def _describe_exit(status: int) -> str:
    if status >= 0:
        return f"exited with status {status}"
    try:
        return f"was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"was ended by signal {-status}"


def _enlarge(fd: int) -> None:
    """Ask for a larger pipe, where that exists; refused (EPERM past the user's total), it works as it is."""
    if sys.platform == "linux":
        try:
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        except OSError as error:
            logger.debug("The shadow worker's pipe keeps its size: %s", error)
