"""A child process whose output is followed line by line, and which is certain to end."""

import contextlib
import os
import re
import signal as signals
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

START_TIMEOUT_S = 60.0
"""A bound for a loaded machine, not an expectation: waiting ends as soon as the thing happens."""
STOP_TIMEOUT_S = 60.0


class ProcessFailedError(RuntimeError):
    """A child ended, or did not do what was waited for. The message holds the end of its output."""


class Process:
    """A running child; its standard output and standard error are one stream of lines.

    It leads a session of its own: Ctrl-C in a terminal reaches us only, and we stop our children in
    order. Leaving the context ends the child and everything that it left behind.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str | Path],
        *,
        cwd: Path,
        env: Mapping[str, str] | None = None,
        pass_fds: Sequence[int] = (),
        log_file: Path | None = None,
    ) -> None:
        self.name = name
        self._lines: list[str] = []
        self._changed = threading.Condition()
        self._ended = False
        self._log_file = log_file
        self._child = subprocess.Popen(
            [str(part) for part in argv],
            cwd=cwd,
            env=None if env is None else dict(env),
            pass_fds=pass_fds,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="backslashreplace",
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, name=f"output of {name}", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def cpu_s(self) -> float:
        """The CPU time that it has taken so far, in seconds; its children's does not count."""
        return cpu_time_of(self.pid)

    @property
    def memory_bytes(self) -> int:
        """Its resident memory now; its children's does not count."""
        pages = Path(f"/proc/{self.pid}/statm").read_text(encoding="ascii").split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    @property
    def is_running(self) -> bool:
        return self._child.poll() is None

    @property
    def lines(self) -> list[str]:
        """All lines so far, without their ends."""
        with self._changed:
            return list(self._lines)

    @property
    def output(self) -> str:
        return "\n".join(self.lines)

    def wait_for_log(
        self, pattern: str, *, since: int = 0, timeout_s: float = START_TIMEOUT_S
    ) -> re.Match[str]:
        """The first match of `pattern` in a line from number `since` on (see `len(process.lines)`).

        Raises ProcessFailedError when the deadline passes, or the output ends, without one.
        """
        regex = re.compile(pattern)
        deadline = time.monotonic() + timeout_s
        position = since
        with self._changed:
            while True:
                for line in self._lines[position:]:
                    if match := regex.search(line):
                        return match
                position = max(position, len(self._lines))
                left = deadline - time.monotonic()
                if self._ended or left <= 0:
                    what = "ended" if self._ended else f"did not log it within {timeout_s:g} s"
                    raise ProcessFailedError(
                        self._describe(f"waited for {pattern!r}, but {self.name} {what}")
                    )
                self._changed.wait(left)

    def signal(self, number: signals.Signals) -> None:
        """Send a signal to the child itself, not to its children."""
        self._child.send_signal(number)

    def wait(self, timeout_s: float = STOP_TIMEOUT_S) -> int:
        """The exit status, once the child has ended and its output is read. Raises as `wait_for_log`."""
        try:
            status = self._child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise ProcessFailedError(
                self._describe(f"{self.name} did not end within {timeout_s:g} s")
            ) from None
        # The stream stays open for as long as a grandchild holds it, which may be for ever.
        self._reader.join(5.0)
        return status

    def stop(self, number: signals.Signals = signals.SIGTERM, timeout_s: float = STOP_TIMEOUT_S) -> int:
        """Ask the child to end, and return its exit status. Raises as `wait`."""
        if self.is_running:
            self.signal(number)
        return self.wait(timeout_s)

    def kill(self) -> None:
        """End the child and what is left of its session, now. For clean-up; it never raises."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signals.SIGKILL)
        self._child.wait()
        self._reader.join(5.0)
        if self._child.stdout is not None and not self._reader.is_alive():
            self._child.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self.is_running:
                self.stop()
        except ProcessFailedError:
            if error is None:
                raise
        finally:
            self.kill()

    def _read(self) -> None:
        assert self._child.stdout is not None
        with contextlib.ExitStack() as stack:
            log = stack.enter_context(self._log_file.open("a", encoding="utf-8")) if self._log_file else None
            for line in self._child.stdout:
                if log:
                    log.write(line)
                    log.flush()
                with self._changed:
                    self._lines.append(line.rstrip("\n"))
                    self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _describe(self, problem: str) -> str:
        tail = "\n".join(f"  {line}" for line in self._lines[-40:])
        return f"{problem}; the end of its output:\n{tail or '  (nothing)'}"


def is_alive(pid: int) -> bool:
    """Whether a process of this id is running. One that has ended but was not waited for is not."""
    return pid in _parents()


def cpu_time_of(pid: int) -> float:
    """Seconds of CPU that a running process has taken so far, to a hundredth."""
    stat = Path(f"/proc/{pid}/stat")
    if stat.exists():
        # Behind the name, which may hold anything, field 14 is the user's and 15 the system's share.
        fields = stat.read_text("utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    # Without /proc, as on macOS: `0:01.23`, with hours before where there are some.
    command = ["/bin/ps", "-o", "time=", "-p", str(pid)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    seconds = 0.0
    for part in text.strip().split(":"):
        seconds = seconds * 60 + float(part)
    return seconds


def children_of(pid: int) -> list[int]:
    """The ids of a process's children that are running, in ascending order."""
    return sorted(child for child, parent in _parents().items() if parent == pid)


def wait_until_gone(pid: int, timeout_s: float = STOP_TIMEOUT_S) -> bool:
    """Whether the process ended before the deadline. Polls: it is not our child, so nothing tells us."""
    deadline = time.monotonic() + timeout_s
    while is_alive(pid):
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.02)
    return True


def _parents() -> dict[int, int]:
    """The parent of every running process, by process id; what has ended is left out."""
    table = _rows_of_proc() if Path("/proc/self/stat").exists() else _rows_of_ps()
    return {pid: parent for pid, parent, state in table if state not in {"Z", "X"}}


def _rows_of_proc() -> list[tuple[int, int, str]]:
    # Not every Linux has ps: it is missing from slim container images.
    rows = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            # The name in parentheses may itself hold spaces and parentheses; the rest follows the last.
            state, parent = stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[:2]
            rows.append((int(stat.parent.name), int(parent), state))
    return rows


def _rows_of_ps() -> list[tuple[int, int, str]]:
    command = ["/bin/ps", "-A", "-o", "pid=,ppid=,state="]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return [(int(pid), int(parent), state[0]) for pid, parent, state in map(str.split, lines)]
