"""How many of the processor's instructions a request takes, mirrored and not. Part of `scripts/bench`.

Time on a shared machine moves by tens of per cent with what its neighbours do; the count of instructions
hardly does. Valgrind counts those of the proxy process; the system's own and the worker's are not in it.
"""

import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench_mirroring import Scenario
from lab.hammer import hammer
from lab.mitmdump import Mitmdump
from lab.origin import Origin
from lab.rules import make_task_rules

REQUESTS = 1_500
"""Enough for several of Python's full garbage collections, which cost as much as ten requests each."""
WARM_UP = 100
IDLE_S = 10.0
_START_TIMEOUT_S = 600.0
"""Under Valgrind Python runs some fifty times slower."""
_LEFT_BEHIND_S = 5.0
"""For shadows and log lines of the last requests."""
_SCENARIO = Scenario("healthy")


def has_valgrind() -> bool:
    """Whether instructions can be counted here."""
    return all(map(shutil.which, ("valgrind", "callgrind_control")))


def count_instructions(*, mirrored: bool) -> tuple[float, float]:
    """Instructions a request, of the proxy process: plain mitmdump, or with all mirrored and logged.

    (at least, at most). Timers run some fifty times as often for each request here as they do without
    Valgrind. So what the proxy does while nothing happens is measured too: taken off for the lower bound,
    as if it were as much under load, and not for the upper one. With mirroring both are high: copies and
    frames are gathered for some milliseconds before they are sent, and here no more than one request comes
    in that time. Raises RuntimeError where a shadow is missing, subprocess.CalledProcessError where
    Valgrind's control fails.
    """
    with (
        tempfile.TemporaryDirectory(prefix="mitm-mirror-bench-") as name,
        Origin("v1") as v1,
        Origin("v2") as v2,
    ):
        folder = Path(name)
        rules = make_task_rules(folder / "rules", v1.port, v2.port)
        mode = f"reverse:http://127.0.0.1:{v1.port}"
        counts = folder / "counts"
        valgrind = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={counts}"]
        options = {"mirror_rules": str(rules), "mirror_access_log": str(folder / "access.log")}
        if mirrored:
            proxy = Mitmdump(folder, options, mode=mode, wrapper=valgrind, wait=False)
        else:
            proxy = Mitmdump(folder, mode=mode, addon=None, wrapper=valgrind, wait=False)
        with proxy:
            proxy.wait_until_listening(timeout_s=_START_TIMEOUT_S)
            _hammer(proxy, WARM_UP)
            idle, idle_s = _counted(proxy, counts, lambda: time.sleep(IDLE_S))
            busy, busy_s = _counted(proxy, counts, lambda: _hammer(proxy, REQUESTS))
            delivered = v2.count
        expected = REQUESTS + WARM_UP if mirrored else 0
        if delivered != expected:
            raise RuntimeError(f"{delivered} shadows came to the mirror, expected {expected}")
    return (busy - idle / idle_s * busy_s) / REQUESTS, busy / REQUESTS


def _hammer(proxy: Mitmdump, total: int) -> None:
    hammer(proxy.port, _SCENARIO.request, connections=_SCENARIO.connections, total=total)
    time.sleep(_LEFT_BEHIND_S)


def _counted(proxy: Mitmdump, counts: Path, work: Callable[[], None]) -> tuple[int, float]:
    """Instructions of the proxy while `work` runs, and the seconds that it took."""
    _control(proxy, "--zero")
    start = time.monotonic()
    work()
    elapsed_s = time.monotonic() - start
    _control(proxy, "--dump")
    newest = max(counts.parent.glob(f"{counts.name}.*"), key=lambda path: path.stat().st_mtime_ns)
    for line in newest.read_text("utf-8", "replace").splitlines():
        if line.startswith("totals:"):
            return int(line.split()[1]), elapsed_s
    raise RuntimeError(f"no totals in {newest}")


def _control(proxy: Mitmdump, command: str) -> None:
    argv = ["callgrind_control", command, str(proxy.pid)]
    subprocess.run(argv, check=True, capture_output=True)
