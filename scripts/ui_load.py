"""Mirrors many flows in mitmweb, and prints its memory and how fast its UI answers meanwhile.

usage: python scripts/ui_load.py [REQUESTS [mirror_flows [mirror_flows_kept]]]
"""

import json
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from lab.load import Load
from lab.mitmdump import Mitmdump
from lab.rules import HOST
from lab.ui import task_scene, web_options

GET = f"GET http://{HOST}/get HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()
STEPS = 10


def main(requests: int = 100_000, mirror_flows: str = "on", kept: int = 5000) -> None:
    """Prints one line after each tenth of the requests."""
    with tempfile.TemporaryDirectory() as folder, task_scene(Path(folder), keep_requests=False) as scene:
        options, url = web_options(scene)
        options |= {"mirror_flows": mirror_flows, "mirror_flows_kept": str(kept)}
        with Mitmdump(scene.folder, options, program="mitmweb") as mitmweb:
            print(f"mirror_flows={mirror_flows} mirror_flows_kept={kept}")
            for step in range(1, STEPS + 1):
                load = Load(mitmweb.port, GET, total=requests // STEPS)
                load.wait_for_progress(requests // STEPS // 2)
                busy_ms = _answer_ms(url, "options.json")
                result = load.join(1200)
                scene.v2.wait_for_count(requests // STEPS * step)
                print(
                    f"{requests // STEPS * step:>7} requests: {mitmweb.memory_bytes / 1e6:.0f} MB, "
                    f"{result.rate:.0f} requests/s, UI answers in {busy_ms:.0f} ms under load and in "
                    f"{_answer_ms(url, 'options.json'):.0f} ms after it; errors: {len(result.errors)}",
                    flush=True,
                )
            started = time.monotonic()
            flows = json.loads(_get(url, "flows"))
            shadows = sum(flow["comment"].startswith("shadow ") for flow in flows)
            print(
                f"the whole list, {len(flows) - shadows} primaries and {shadows} shadows, in "
                f"{time.monotonic() - started:.1f} s"
            )


def _answer_ms(url: str, page: str) -> float:
    started = time.monotonic()
    _get(url, page)
    return (time.monotonic() - started) * 1000


def _get(url: str, page: str) -> bytes:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url.replace("/?", f"/{page}?"), timeout=300) as answer:
        return bytes(answer.read())


if __name__ == "__main__":
    requests, mirror_flows, kept = (*sys.argv[1:4], *("100000", "on", "5000")[len(sys.argv) - 1 :])
    main(int(requests), mirror_flows, int(kept))
