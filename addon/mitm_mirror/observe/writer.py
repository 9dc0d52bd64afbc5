"""Appends the access log's lines to a file or to standard output. The only I/O of this room.

A log must not cost the proxy anything: no call here raises after the constructor, and none waits for
a reader. What cannot be written is dropped and counted.
"""

import errno
import logging
import math
import os
import select
import stat
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from mitm_mirror.gathering import Schedule, at_once

logger = logging.getLogger(__name__)

ROTATION_CHECK_S = 1.0
PENDING_LIMIT_BYTES = 4 * 1024 * 1024
"""What may wait for a reader that does not read: some 10,000 lines. Files never come near it."""
_FILE_BATCH_BYTES = 1024 * 1024
_PIPE_BATCH_BYTES = getattr(select, "PIPE_BUF", 512)
"""POSIX: a pipe that polls writable takes this much without blocking, and in one piece."""


class LogWriter:
    """Appends lines to `path`; `-` is standard output.

    Lines are collected, and `schedule` is asked once for a turn to write them (`loop.call_soon`);
    without it every line is written at once. While lines wait for a reader `retry` is asked for a later turn
    (`loop.call_later`); without it they wait for the next line. A file that was renamed or deleted is
    created again, checked at most once in `ROTATION_CHECK_S` of `clock` (seconds, monotonic); one that was
    truncated is appended to. For one thread.

    Raises ValueError where `path` cannot be written now. Later failures drop lines, are warned about
    once a kind (their errno), and end when their cause does.
    """

    def __init__(
        self,
        path: str,
        *,
        schedule: Schedule = at_once,
        retry: Schedule | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._schedule = schedule
        self._clock = clock
        self._retry = retry
        self._scheduled = False
        self._retrying = False
        self._lines: deque[bytes] = deque()
        self._pending_bytes = 0
        self._batch = b""
        """What is being written: whole lines, or after a short write the rest of some."""
        self._mid_line = False
        """Whether `_batch` starts in the middle of a line, whose head is in the file."""
        self._warned: set[int] = set()
        self._closed = False
        self.dropped = 0
        """Lines that never reached the log, or not whole."""

        self._path = None if path == "-" else Path(path)
        self._stdout = None if self._path else sys.stdout
        self._fd: int | None = None
        try:
            if self._path:
                # Absolute: it is opened again later. Not resolved: a symlink may point elsewhere then.
                self._path = self._path.expanduser().absolute()
            self._use(_open(self._path) if self._path else sys.stdout.fileno())
        except (OSError, ValueError, RuntimeError, AttributeError) as error:
            # RuntimeError: `~nobody/log`. AttributeError: a process without a console has no sys.stdout.
            raise ValueError(f"mirror_access_log: cannot write {self._name}: {_reason(error)}") from error
        self._checked = clock()

    @property
    def _name(self) -> str:
        return str(self._path or "standard output")

    @property
    def pending(self) -> int:
        """Lines that are not written yet."""
        return len(self._lines) + self._batch.count(b"\n")

    def write(self, *lines: str) -> None:
        """Takes lines, without their newlines. Many at once cost less than one by one.

        Each that would be too much with what waits is dropped for itself.
        """
        if self._closed:
            self.dropped += len(lines)
            return
        raw = [line.encode("utf-8", "backslashreplace") + b"\n" for line in lines]
        size = sum(map(len, raw))
        if self._pending_bytes + size > PENDING_LIMIT_BYTES:
            raw, size = self._fitting(raw)
        self._lines += raw
        self._pending_bytes += size
        if raw and not self._scheduled:
            self._scheduled = True
            self._schedule(self.flush)

    def _fitting(self, raw: list[bytes]) -> tuple[list[bytes], int]:
        """(the lines for which there is room, their bytes): a long one must not cost those behind it."""
        fitting = []
        size = 0
        for line in raw:
            if self._pending_bytes + size + len(line) > PENDING_LIMIT_BYTES:
                self._drop(1, BlockingIOError(errno.EAGAIN, "nobody reads it fast enough"))
            else:
                fitting.append(line)
                size += len(line)
        return fitting, size

    def flush(self) -> None:
        """Writes what can be written without waiting; the rest stays for the next turn."""
        self._scheduled = False
        if self._closed:
            return  # its turn came after that
        if self._path:
            self._follow_rotation(self._path)
        try:
            while self._batch or self._lines:
                if not self._batch:
                    self._batch = self._next_batch()
                if self._fd is None or not self._write_batch(self._fd):
                    self._try_again()
                    return
        except BlockingIOError:
            self._try_again()
        except (OSError, ValueError) as error:
            # ValueError: somebody closed sys.stdout
            self._drop_pending(error)

    def _try_again(self) -> None:
        """A pipe's reader takes 64 KiB at most before we write again: it must not wait for our next line."""
        if self._retry is not None and not self._retrying:
            self._retrying = True
            self._retry(self._flush_again)

    def _flush_again(self) -> None:
        self._retrying = False
        self.flush()

    def close(self) -> None:
        """Writes what can be written without waiting, drops the rest, and closes the file."""
        if self._closed:
            return
        self._checked = -math.inf
        self.flush()
        self._closed = True
        if self._path and self._fd is not None:
            os.close(self._fd)
        self._fd = None
        if self.pending:
            self._drop_pending(BlockingIOError(errno.EAGAIN, "nobody reads it fast enough"))
        if self.dropped:
            logger.warning("mirror_access_log: lines dropped in all: %d", self.dropped)

    def _use(self, fd: int) -> None:
        self._fd = fd
        self._is_file = stat.S_ISREG(os.fstat(fd).st_mode)

    def _next_batch(self) -> bytes:
        # Whole lines: on standard output mitmdump prints between our batches, and must not print
        # into a line. A line above the limit is a batch of its own.
        limit = _FILE_BATCH_BYTES if self._is_file else _PIPE_BATCH_BYTES
        if self._pending_bytes <= limit:
            batch = b"".join(self._lines)
            self._lines.clear()
            return batch
        lines = [self._lines.popleft()]
        size = len(lines[0])
        while self._lines and size + len(self._lines[0]) <= limit:
            lines.append(self._lines.popleft())
            size += len(lines[-1])
        return b"".join(lines)

    def _write_batch(self, fd: int) -> bool:
        """Writes some of the batch; False where that would wait."""
        piece = self._batch
        if not self._is_file:
            if not _is_writable(fd):
                return False
            piece = piece[:_PIPE_BATCH_BYTES]
        if self._stdout:
            # Else the buffered half of a line that mitmdump printed would come out behind ours.
            self._stdout.flush()
        written = os.write(fd, piece)
        if written:
            self._mid_line = piece[written - 1 : written] != b"\n"
            self._batch = self._batch[written:]
            self._pending_bytes -= written
        return written > 0

    def _follow_rotation(self, path: Path) -> None:
        now = self._clock()
        if now - self._checked < ROTATION_CHECK_S:
            return
        self._checked = now
        try:
            if self._fd is not None and _is_same_file(path, self._fd):
                return
            fresh = _open(path)
        except OSError as error:
            self._warn(error)
            if self._fd is not None and os.fstat(self._fd).st_nlink == 0:
                # Deleted, and not to be created again: lines written to it would be lost unseen.
                os.close(self._fd)
                self._fd = None
            if self._fd is None:
                self._drop_pending(error)
            return
        if self._fd is not None:
            os.close(self._fd)
        self._drop_half_line()
        self._use(fresh)

    def _drop_half_line(self) -> None:
        """Its head is in the old file."""
        if self._mid_line:
            end = self._batch.index(b"\n") + 1
            self._batch = self._batch[end:]
            self._pending_bytes -= end
            self._mid_line = False
            self.dropped += 1

    def _drop_pending(self, error: Exception) -> None:
        # The rest of a line whose head is in the log stays: written first once the cause is gone, it
        # makes that line whole, and keeps it from running into the next.
        rest = self._batch[: self._batch.index(b"\n") + 1] if self._mid_line and self._fd is not None else b""
        count = self.pending - (1 if rest else 0)
        self._lines.clear()
        self._batch = rest
        self._mid_line = bool(rest)
        self._pending_bytes = len(rest)
        self._drop(count, error)

    def _drop(self, count: int, error: Exception) -> None:
        self.dropped += count
        self._warn(error)

    def _warn(self, error: Exception) -> None:
        kind = getattr(error, "errno", None) or 0
        if kind not in self._warned:
            self._warned.add(kind)
            logger.warning("mirror_access_log: cannot write %s: %s", self._name, _reason(error))


def _open(path: Path) -> int:
    # O_APPEND: after copytruncate the next line goes to the new end, not behind a hole.
    # O_NONBLOCK: a FIFO without a reader is an error at once. Windows has O_BINARY instead of it.
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    flags |= getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_BINARY", 0)
    # 0o640: an access log shows addresses and query strings.
    return os.open(path, flags, 0o640)


def _is_same_file(path: Path, fd: int) -> bool:
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    return os.path.samestat(there, os.fstat(fd))


def _is_writable(fd: int) -> bool:
    """Whether a write of `_PIPE_BATCH_BYTES` would not wait. Asked, since standard output cannot be set
    to non-blocking: that flag is shared with everybody who prints to the same terminal or pipe."""
    if not hasattr(select, "poll"):  # Windows: no way to ask
        return True
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    return bool(poll.poll(0))


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "its folder does not exist"
    if isinstance(error, OSError) and error.errno == errno.ENXIO:
        return "nobody reads this pipe"
    return (isinstance(error, OSError) and error.strerror) or str(error)
