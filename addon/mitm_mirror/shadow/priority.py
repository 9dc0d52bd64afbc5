"""Lets the rest of the machine go first, as far as there is room: nobody waits for a shadow.

Linux may share processors among sessions before it does among processes (sched(7), "The autogroup feature"),
and a worker has a session of its own. So it gets as much as the proxy, which gives it its processor hundreds
of times a second and finds cold caches when it is back: that costs a primary more than the worker's work.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path

NICENESS = 10
"""Of the session: a tenth of the weight of one that has none."""

STARVED_SHARE = 0.4
"""Of its time, in which the process waits for a processor: where more than a tenth's weight is wanted, others
want all of it, and shadows would be late for their time-outs."""

PATIENCE_S = 10.0
"""So long after it was starved the session keeps its full weight."""

HURRY_S = 2.0
"""So long after there was a pile."""

_PROC = Path("/proc/self")


class SessionPriority:
    """Holds the session's niceness at `NICENESS`, and at 0 where the process would starve.

    Niceness of the process itself would not do: without privileges it cannot be taken back. On a system
    without such sessions, or that does not tell how long a process waits, nothing is changed. In a control
    group of its own for processors, as in most containers, Linux takes the change and heeds the group alone.
    """

    def __init__(self, proc: Path = _PROC, clock: Callable[[], float] = time.monotonic) -> None:
        """`proc` has `autogroup` and `schedstat`, which stay open: a process may run out of descriptors."""
        self._autogroup = _open(proc / "autogroup", os.O_WRONLY)
        self._schedstat = _open(proc / "schedstat", os.O_RDONLY)
        self._clock = clock
        self._niceness = 0
        self._looked_at = self._back_at = clock()
        self._waited_s = self._read_waited()

    def look(self) -> None:
        """Sees how long the process had to wait since the last look. Call it once in a second or so."""
        waited_s = self._read_waited()
        if waited_s is None or self._waited_s is None:
            return
        now = self._clock()
        share = (waited_s - self._waited_s) / max(now - self._looked_at, 0.001)
        self._looked_at, self._waited_s = now, waited_s
        if share > STARVED_SHARE:
            self._back_at = now + PATIENCE_S
        self._ask(NICENESS if now >= self._back_at else 0)

    def hurry(self) -> None:
        """There is a pile, and the proxy has little room for one: full weight, now and for a moment."""
        self._back_at = max(self._back_at, self._clock() + HURRY_S)
        self._ask(0)

    def _ask(self, niceness: int) -> None:
        if niceness == self._niceness or self._autogroup is None:
            return
        try:
            os.write(self._autogroup, str(niceness).encode("ascii"))
        except OSError:
            # Not now: without privileges there is one such change in 0.1 s, whoever makes it. The next look
            # or pile asks again.
            return
        self._niceness = niceness

    def _read_waited(self) -> float | None:
        """Seconds since the start in which the process, its first thread, was ready to run and did not."""
        if self._schedstat is None:
            return None
        try:
            _, waited, turns = map(int, os.pread(self._schedstat, 100, 0).split())
        except (OSError, ValueError):
            return None
        return waited / 1e9 if turns else None  # a kernel that does not count says 0 to all


def _open(path: Path, flags: int) -> int | None:
    try:
        return os.open(path, flags)
    except OSError:
        return None
