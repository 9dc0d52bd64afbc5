"""Mirroring as mitmproxy documents it: copy the flow and replay it.

After mitmproxy's examples/addons/duplicate-modify-replay.py.
"""

import os

from mitmproxy import ctx, http

MIRROR_PORT = int(os.environ["BENCH_MIRROR_PORT"])


def request(flow: http.HTTPFlow) -> None:
    if flow.is_replay == "request":
        return
    copy = flow.copy()
    copy.request.host = "127.0.0.1"
    copy.request.port = MIRROR_PORT
    ctx.master.commands.call("replay.client", [copy])
