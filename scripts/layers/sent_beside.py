"""What mirroring takes of the machine and not of the proxy: a sender and a worker of their own send as many
shadows to the mirror. The proxy tells them how many, and does nothing else."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

from mitmproxy import http

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "addon"))

from mitm_mirror.shadow.frames import GATHER_S

_SENDER = Path(__file__).with_name("sender.py")


class SentBeside:
    def __init__(self) -> None:
        self._count = 0
        self._sender: subprocess.Popen[bytes] | None = None

    def running(self) -> None:
        argv = [sys.executable, str(_SENDER), os.environ["BENCH_MIRROR_PORT"]]
        self._sender = subprocess.Popen(argv, stdin=subprocess.PIPE, bufsize=0, start_new_session=True)

    def request(self, _flow: http.HTTPFlow) -> None:
        self._count += 1
        if self._count == 1:
            asyncio.get_running_loop().call_later(GATHER_S, self._tell)

    def _tell(self) -> None:
        assert self._sender is not None
        assert self._sender.stdin is not None
        count, self._count = self._count, 0
        self._sender.stdin.write(bytes(count))

    def done(self) -> None:
        if self._sender is not None:
            assert self._sender.stdin is not None
            self._sender.stdin.close()
            self._sender.wait()


addons = [SentBeside()]
