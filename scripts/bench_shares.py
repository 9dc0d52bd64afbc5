"""Which parts of this addon take how much of the proxy's time, seen from within. Part of `scripts/bench`.

A ratio of two proxies moves by some per cent from run to run, whatever is done; the share of one part in one
process does not. What is not in it: what mitmproxy takes for asking one addon more, what the event loop takes
for timers and pipes, and that mitmproxy itself takes longer for the same work beside a worker.
"""

import json
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from bench_mirroring import Scenario
from lab.contenders import LAYERS
from lab.hammer import hammer
from lab.mitmdump import Mitmdump
from lab.origin import Origin
from lab.rules import make_task_rules
from lab.usage import exact_cpu_s

REQUESTS = 5_000
_SETTLE_S = 0.5
_SCENARIO = Scenario("healthy")


@dataclass(frozen=True, slots=True)
class Shares:
    """Microseconds for one request."""

    cpu_us: float
    """All that the proxy process takes."""
    collector_us: float
    """Python's garbage collector, whoever made what it looks through. In no part."""
    parts_us: dict[str, float]
    """Of this addon, the largest first."""


def bench_shares() -> Shares:
    """Measures one proxy that mirrors and logs all.

    Raises RuntimeError where a shadow is missing.
    """
    with (
        tempfile.TemporaryDirectory(prefix="mitm-mirror-bench-") as name,
        Origin("v1") as v1,
        Origin("v2") as v2,
    ):
        folder = Path(name)
        times = folder / "times.json"
        rules = make_task_rules(folder / "rules", v1.port, v2.port)
        options = {"mirror_rules": str(rules), "mirror_access_log": str(folder / "access.log")}
        mode = f"reverse:http://127.0.0.1:{v1.port}"
        env = {"BENCH_TIMES": str(times)}
        with Mitmdump(folder, options, mode=mode, addon=LAYERS / "timed.py", env=env) as proxy:
            before_s = exact_cpu_s(proxy.pid)
            hammer(proxy.port, _SCENARIO.request, connections=_SCENARIO.connections, total=REQUESTS)
            time.sleep(_SETTLE_S)
            cpu_us = (exact_cpu_s(proxy.pid) - before_s) / REQUESTS * 1e6
            proxy.stop()
        measured = json.loads(times.read_text("utf-8"))
        requests, delivered = measured["requests"], v2.count
    if requests != REQUESTS or delivered != REQUESTS:
        raise RuntimeError(f"{requests} requests came, and {delivered} shadows to the mirror, of {REQUESTS}")
    parts = sorted(measured["parts_s"].items(), key=lambda item: -item[1])
    return Shares(
        cpu_us,
        measured["collector_s"] / REQUESTS * 1e6,
        {part: seconds / REQUESTS * 1e6 for part, seconds in parts},
    )
