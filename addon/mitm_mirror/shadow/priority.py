"""Lets the rest of the machine go first, as far as there is room: nobody waits for a shadow.

Linux may share processors among sessions before it does among processes (sched(7), "The autogroup feature"),
and a worker has a session of its own. So it gets as much as the proxy, which gives it its processor hundreds
of times a second and finds cold caches when it is back: that costs a primary more than the worker's work.
"""

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
    without such sessions, or that does not tell how long a process waits, nothing is changed.
    """

    def __init__(self, proc: Path = _PROC, clock: Callable[[], float] = time.monotonic) -> None:
        """`proc` is the folder of `autogroup` and `schedstat`."""
        self._autogroup = proc / "autogroup"
        self._schedstat = proc / "schedstat"
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
        if niceness == self._niceness:
            return
        try:
            self._autogroup.write_text(str(niceness), encoding="ascii")
        except OSError:
            # A system without it; or not now: without privileges there is one such change in 0.1 s, whoever
            # makes it, and all descriptors may be taken. The next look or pile asks again.
            return
        self._niceness = niceness

    def _read_waited(self) -> float | None:
        """Seconds since the start in which the process, its first thread, was ready to run and did not."""
        try:
            return int(self._schedstat.read_text(encoding="ascii").split()[1]) / 1e9
        except (OSError, IndexError, ValueError):
            return None
