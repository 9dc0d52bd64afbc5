"""mitm-mirror with a clock around each of its parts that mitmproxy or the event loop calls. Loaded in the
place of `addon/addon.py`; when mitmproxy ends, the seconds of each go to the file `BENCH_TIMES`, as JSON.

Of a part that calls another one, that one's time is taken off, and so is the garbage collector's, which runs
whenever something is made.
"""

import functools
import gc
import json
import os
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "addon"))

from mitm_mirror.observe.access_log import AccessLog
from mitm_mirror.proxy.addon import MirrorAddon
from mitm_mirror.proxy.mirrors import Mirrors
from mitm_mirror.proxy.tail import MirrorTail
from mitm_mirror.shadow.pool import ShadowPool
from mitm_mirror.shadow.process import WorkerProcess

_PARTS: tuple[tuple[type, str, str], ...] = (
    (MirrorAddon, "requestheaders", "hook requestheaders: the decision"),
    (MirrorAddon, "request", "other hooks"),
    (MirrorAddon, "responseheaders", "other hooks"),
    (MirrorAddon, "response", "other hooks"),
    (MirrorAddon, "update", "what comes last in hooks"),
    (MirrorTail, "requestheaders", "what comes last in hooks"),
    (MirrorTail, "request", "last in request: the request is taken"),
    (MirrorTail, "responseheaders", "what comes last in hooks"),
    (MirrorTail, "response", "last in response: the answer is taken"),
    (Mirrors, "_send_gathered", "copies, and their accounting"),
    (AccessLog, "_write", "lines of the access log"),
    (WorkerProcess, "_flush", "pipe to the worker"),
    (WorkerProcess, "_read_stdout", "results of the worker"),
    (ShadowPool, "_sweep_and_plan", "deadlines"),
)


class Clocks:
    """What was measured so far."""

    def __init__(self) -> None:
        self.requests = 0
        self._parts_s: defaultdict[str, float] = defaultdict(float)
        self._collector_s = 0.0
        self._inner_s = 0.0
        """Of the part that is running: what the parts that it called took."""
        self._collecting_since = 0.0

    def around(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same function with a clock."""

        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            outer_s, self._inner_s = self._inner_s, 0.0
            start = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                whole_s = time.perf_counter() - start
                self._parts_s[part] += whole_s - self._inner_s
                self._inner_s = outer_s + whole_s

        return timed

    def collecting(self, phase: str, _info: dict[str, int]) -> None:
        """For `gc.callbacks`."""
        if phase == "start":
            self._collecting_since = time.perf_counter()
            return
        seconds = time.perf_counter() - self._collecting_since
        self._collector_s += seconds
        self._inner_s += seconds

    def running(self) -> None:
        """What was measured so far belongs to the start."""
        self._parts_s.clear()
        self._collector_s = 0.0
        self.requests = 0

    def save(self) -> None:
        """Writes what has been measured."""
        times = {"requests": self.requests, "collector_s": self._collector_s, "parts_s": self._parts_s}
        Path(os.environ["BENCH_TIMES"]).write_text(json.dumps(times), "utf-8")


clocks = Clocks()
for owner, name, part in _PARTS:
    setattr(owner, name, clocks.around(part, getattr(owner, name)))
gc.callbacks.append(clocks.collecting)

# Only now: the addon binds what it gives to others when it is made.
from mitm_mirror.script import addon, script_names  # noqa: E402


def requestheaders(data: Any) -> Any:
    clocks.requests += 1
    return addon.requestheaders(data)


def running() -> None:
    addon.running()
    clocks.running()


def done() -> None:
    addon.done()
    clocks.save()


globals().update({**script_names, "requestheaders": requestheaders, "running": running, "done": done})
