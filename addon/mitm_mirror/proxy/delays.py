"""Requests that are held before they go on: by a fault, or until there is a connection."""

import asyncio
from collections.abc import Callable
from typing import Protocol


class Timer(Protocol):
    """What a schedule gives back: `asyncio.TimerHandle` is one."""

    def cancel(self) -> object: ...


Schedule = Callable[[float, Callable[[], None]], Timer]
"""Calls a function after so many seconds."""


class Delays:
    """Holds requests on mitmproxy's event loop, each no longer than its client stays.

    Nothing waits for them at shutdown: mitmproxy cancels what is still held.
    """

    def __init__(self, schedule: Schedule | None = None) -> None:
        """`schedule` is the running loop's clock where nothing else is given."""
        self._schedule = schedule
        self._held: dict[str, set[asyncio.Future[None]]] = {}

    @property
    def held(self) -> int:
        """Requests that are held now."""
        return sum(map(len, self._held.values()))

    async def hold(self, client: str, delay_s: float) -> None:
        """Returns after `delay_s`, or as soon as the client (mitmproxy's connection id) has left.

        That it has left mitmproxy finds out itself: it looks after each hook, and ends the flow.
        """
        loop = asyncio.get_running_loop()
        over = loop.create_future()
        timer = (self._schedule or loop.call_later)(delay_s, lambda: _settle(over))
        try:
            await self.hold_until(client, over)
        finally:
            timer.cancel()

    async def hold_until(self, client: str, over: "asyncio.Future[None]") -> None:
        """Returns when `over` is done, which it also is as soon as the client has left."""
        self._held.setdefault(client, set()).add(over)
        try:
            await over
        finally:
            held = self._held.get(client)
            if held is not None:
                held.discard(over)
                if not held:
                    del self._held[client]

    def release(self, client: str) -> None:
        """The client has left: none of its requests needs to be held any longer."""
        for over in self._held.get(client, ()):
            _settle(over)


def _settle(over: "asyncio.Future[None]") -> None:
    if not over.done():
        over.set_result(None)
