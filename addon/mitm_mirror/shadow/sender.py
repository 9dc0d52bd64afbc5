"""Sends shadows, and discards what the mirrors answer unless somebody wants it."""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

from mitm_mirror.client.answer import AnswerHead
from mitm_mirror.client.client import Client
from mitm_mirror.client.request import OutgoingRequest
from mitm_mirror.client.settings import ClientSettings
from mitm_mirror.client.upload import Upload
from mitm_mirror.outcome import Outcome
from mitm_mirror.shadow.answer import AnswerKeeper, AnswerRoom, Want
from mitm_mirror.shadow.message import ShadowResult, SocketPair

logger = logging.getLogger(__name__)


class _Discarded:
    """An answer of which nothing is kept but its status and size."""

    def __init__(self) -> None:
        self.status = 0
        self.size = 0
        self.http2 = False

    def head(self, head: AnswerHead) -> None:
        self.status = head.status
        self.http2 = head.http_version == b"HTTP/2.0"

    def chunk(self, data: bytes) -> None:
        self.size += len(data)


class Sender:
    """Sends shadows over one client. Needs a running event loop; one task per shadow calls `send`."""

    def __init__(
        self,
        settings: ClientSettings,
        clock: Callable[[], float] = time.monotonic,
        report: Callable[[str], None] = logger.warning,
        wall_clock: Callable[[], float] = time.time,
        room: AnswerRoom | None = None,
        on_connected: Callable[[SocketPair], None] | None = None,
    ) -> None:
        """`report` gets a line when a bug of ours ends a shadow, once a kind. `room` is for the answers that
        are kept, and is shared with whoever gets them. `on_connected`: see `FromWorker.CONNECTED`.

        Raises OSError where `settings.ca_file` cannot be read.
        """
        self._clock = clock
        self._wall_clock = wall_clock
        self._room = room or AnswerRoom()
        self._on_connected = on_connected
        tell = None if on_connected is None else self._tell_connected
        self._client = Client(settings, clock, report=report, on_connected=tell)

    async def send(
        self, number: int, request: OutgoingRequest, body: bytes | Upload, timeout_s: float, want: Want | None
    ) -> ShadowResult:
        """Send one shadow, read its answer to the end, say how it went. Raises nothing but cancellation."""
        started = self._clock()
        keeper = None if want is None else AnswerKeeper(want, self._room, self._wall_clock)
        sink = keeper or _Discarded()
        try:
            sent = await self._client.send(request, body, timeout_s, sink)
        except asyncio.CancelledError:
            if keeper is not None:
                keeper.drop()
            raise
        return ShadowResult(
            number,
            sent.outcome,
            sink.status,
            sink.size,
            (self._clock() - started) * 1000,
            sent.error,
            sent.blameless,
            keeper.answer(whole=sent.outcome is Outcome.OK) if keeper else None,
            sink.http2,
        )

    def _tell_connected(self, own: tuple[Any, ...], server: tuple[Any, ...]) -> None:
        if self._on_connected is not None:
            # Without what IPv6 adds: flow and scope.
            self._on_connected(((own[0], own[1]), (server[0], server[1])))

    async def close_expired(self) -> None:
        """Close the connections that have been idle for too long."""
        await self._client.close_expired()

    async def aclose(self) -> None:
        """Close all idle connections."""
        await self._client.aclose()
