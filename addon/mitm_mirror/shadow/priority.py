"""Lets the rest of the machine go first: nobody waits for a shadow.

A proxy that is busy gives its processor to a worker that wakes up, hundreds of times a second, and finds its
caches emptied when it has it back. That costs a primary more than the worker's work itself.
"""

import os
from pathlib import Path

NICENESS = 10
"""A tenth of the weight of a process that has none: enough for hundreds of shadows a second where others
want all of the processor. In the scheduling class "idle" they would be late for their timeouts."""

_AUTOGROUP = Path("/proc/self/autogroup")


def step_back() -> None:
    """Lowers this process's own priority. Call it once."""
    os.nice(NICENESS)


def step_back_as_session(autogroup: Path = _AUTOGROUP) -> bool:
    """Lowers the priority of this process's session; False where the system wants to be asked again.

    Linux may share processors among sessions, and only within one by niceness (sched(7), "The autogroup
    feature"). A worker's session has nobody else in it.
    """
    try:
        autogroup.write_text(str(NICENESS), encoding="ascii")
    except BlockingIOError:
        return False  # without privileges: one such change in 0.1 s, whoever makes it
    except OSError:
        return True  # a system without it, or one that does not let us: what `step_back` did has to do
    return True
