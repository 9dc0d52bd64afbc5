"""Sends a shadow for each byte on standard input, as the proxy's own pool does. Run by `sent_beside.py`."""

import asyncio
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "addon"))

from mitm_mirror.client.request import OutgoingRequest
from mitm_mirror.shadow.ending import Ending
from mitm_mirror.shadow.pool import ShadowPool
from mitm_mirror.shadow.settings import PoolSettings
from mitm_mirror.shadow.terms import Terms

_HEADERS = ((b"Host", b"httpbin-shadow:8080"), (b"User-Agent", b"bench/1.0"), (b"Accept", b"*/*"))


def _ignore(_ending: Ending[None]) -> None:
    """The mirror counts what came."""


async def _run(mirror_port: int) -> None:
    request = OutgoingRequest("http", "127.0.0.1", mirror_port, "", b"GET", b"/get", _HEADERS)
    terms = Terms(timeout_s=15.0)
    pool: ShadowPool[None] = ShadowPool(PoolSettings(), _ignore)
    pool.start()
    loop = asyncio.get_running_loop()
    ended = loop.create_future()

    def read() -> None:
        data = os.read(0, 65_536)
        if not data:
            loop.remove_reader(0)
            ended.set_result(None)
        for _ in data:
            pool.submit(request, b"", None, terms)

    loop.add_reader(0, read)
    await ended
    pool.drain(1.0)


if __name__ == "__main__":
    asyncio.run(_run(int(sys.argv[1])))
