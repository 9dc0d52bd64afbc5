"""Mirroring with httpx out of the hook: a task of mitmproxy's own event loop for each shadow."""

import asyncio
import os

import httpx
from mitmproxy import http


class HttpxHook:
    def __init__(self) -> None:
        self._url = f"http://127.0.0.1:{os.environ['BENCH_MIRROR_PORT']}"
        self._client = httpx.AsyncClient(trust_env=False, timeout=15)
        self._tasks: set[asyncio.Task[None]] = set()

    def request(self, flow: http.HTTPFlow) -> None:
        copy = httpx.Request(
            flow.request.method,
            self._url + flow.request.path,
            headers=flow.request.headers.fields,
            content=flow.request.raw_content,
        )
        task = asyncio.get_running_loop().create_task(self._send(copy))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send(self, copy: httpx.Request) -> None:
        try:
            await self._client.send(copy)
        except httpx.HTTPError:
            return  # a mirror's failure is nobody's here: nothing is counted


addons = [HttpxHook()]
