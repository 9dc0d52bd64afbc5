"""What the shadow tests share: loopback mirrors that keep the bytes they get, and a way to await endings."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from lab import loopback
from mitm_mirror.client.request import OutgoingRequest
from mitm_mirror.shadow.ending import Ending
from mitm_mirror.upstream_tls import UpstreamTls


def shadow(
    port: int = 0,
    *,
    scheme: str = "http",
    address: str = "127.0.0.1",
    sni: str = "",
    method: bytes = b"GET",
    target: bytes = b"/",
    headers: tuple[tuple[bytes, bytes], ...] = ((b"Host", b"httpbin-shadow:8080"),),
    tls: UpstreamTls | None = None,
) -> OutgoingRequest:
    return OutgoingRequest(scheme, address, port, sni, method, target, headers, tls)


class Endings:
    """An `on_end` that keeps what it is told."""

    def __init__(self) -> None:
        self.all: list[Ending[Any]] = []
        self._changed = asyncio.Event()

    def __call__(self, ending: Ending[Any]) -> None:
        self.all.append(ending)
        self._changed.set()

    @property
    def outcomes(self) -> dict[Any, str]:
        return {ending.token: str(ending.outcome) for ending in self.all}

    async def until(self, count: int) -> None:
        while len(self.all) < count:
            self._changed.clear()
            await self._changed.wait()


class Kit:
    """The above for tests: helper modules cannot be imported under pytest's importlib mode."""

    OK = loopback.OK
    Endings = Endings
    serve = staticmethod(loopback.serve)
    shadow = staticmethod(shadow)
    run = staticmethod(loopback.run)
    poll_until: Callable[[Callable[[], bool]], Awaitable[None]] = staticmethod(loopback.poll_until)


@pytest.fixture
def kit() -> type[Kit]:
    return Kit
