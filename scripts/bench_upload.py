"""What a large streamed upload costs in memory, when it is mirrored. Part of `scripts/bench`."""

import socket
import tempfile
import time
from pathlib import Path

from lab.client import RawConnection, send_raw
from lab.mitmdump import Mitmdump
from lab.origin import Origin
from lab.rules import HOST, make_task_rules
from lab.usage import usage_of

UPLOAD_BYTES = 1_000_000_000
MEMORY_LIMIT_BYTES = 150_000_000
"""Beyond what a process holds before it: `mirror_queue_bytes`, and as much for pipes and allocators."""
_PIECE = b"x" * 65_536


def bench_upload() -> list[tuple[str, int, int]]:
    """(process, bytes before, peak) of the proxy and its worker, over one upload that is mirrored.

    Raises RuntimeError where it is not answered 200, or does not come whole to the mirror.
    """
    with (
        tempfile.TemporaryDirectory(prefix="mitm-mirror-bench-") as name,
        Origin("v1") as v1,
        Origin("v2") as v2,
    ):
        folder = Path(name)
        rules = make_task_rules(folder / "rules", v1.port, v2.port)
        options = {"mirror_rules": str(rules), "stream_large_bodies": "1m", "mirror_body_limit": "2g"}
        mode = f"reverse:http://127.0.0.1:{v1.port}"
        with Mitmdump(folder, options, mode=mode) as proxy:
            _warm_up(proxy.port, v2)
            (worker,) = proxy.worker_pids
            pids = {"proxy": proxy.pid, "worker": worker}
            before = {name: usage_of(pid).resident_bytes for name, pid in pids.items()}
            started = time.monotonic()
            status = _upload(proxy.port)
            print(f"  {UPLOAD_BYTES / 1e9:g} GB in {time.monotonic() - started:.1f} s, answered {status}")
            v2.count_awaited(2, 60)
            peaks = {name: usage_of(pid).peak_bytes for name, pid in pids.items()}
            proxy.stop()
            totals = proxy.totals()
        if status != 200 or totals != {"shadows": 2, "ok": 2, "pending": 0}:
            raise RuntimeError(f"the upload was answered {status}, the shadows ended as {totals}")
    return [(name, before[name], peaks[name]) for name in pids]


def _warm_up(port: int, mirror: Origin) -> None:
    """One request: a worker that is still starting takes nothing, and counts for less than it holds later.

    Raises RuntimeError where that does not come to the mirror.
    """
    send_raw(port, f"GET /get HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode())
    if mirror.count_awaited(1, 20) < 1:
        raise RuntimeError("the first request has not come to the mirror")


def _upload(port: int) -> int:
    """The status that the upload gets."""
    connection = socket.create_connection(("127.0.0.1", port))
    head = f"PUT /upload HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {UPLOAD_BYTES}\r\n\r\n"
    connection.sendall(head.encode())
    left = UPLOAD_BYTES
    while left:
        piece = _PIECE[: min(left, len(_PIECE))]
        connection.sendall(piece)
        left -= len(piece)
    return RawConnection(connection).receive().status
