"""Sends shadows over httpx and discards what the mirrors answer."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpcore
import httpx

from mitm_mirror.outcome import Outcome
from mitm_mirror.shadow.errors import classify
from mitm_mirror.shadow.message import ShadowRequest, ShadowResult
from mitm_mirror.shadow.outgoing import build_request
from mitm_mirror.shadow.settings import SenderSettings
from mitm_mirror.shadow.tls import ShadowTls
from mitm_mirror.upstream_tls import UpstreamTls

logger = logging.getLogger(__name__)

Endpoint = tuple[str, str, int, str, UpstreamTls | None]
"""Scheme, address, port, SNI and TLS settings: what has to be equal for a connection to be used again."""


@dataclass(slots=True)
class _IdleSlot:
    transport: httpx.AsyncBaseTransport
    expires_at: float


class _OpenedStream:
    """The TCP stream under a TLS handshake, so that it can be closed.

    httpcore closes it when the handshake fails, but forgets it when the handshake is cancelled, as
    our deadline does: a mirror that hangs there would cost one socket a shadow.
    """

    def __init__(self) -> None:
        self._stream: httpcore.AsyncNetworkStream | None = None

    async def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """For httpcore's `trace` extension."""
        if event == "connection.connect_tcp.complete":
            self._stream = info["return_value"]

    async def aclose(self) -> None:
        """Close it; harmless where it is closed already."""
        if self._stream is not None:
            await self._stream.aclose()


class Sender:
    """One client of all mirrors. Needs a running event loop; one task per shadow calls `send`.

    One transport with one connection per shadow in flight, kept idle by endpoint: httpx's own pool
    scans all of its connections for every request, which costs four fifths of the throughput.
    """

    def __init__(
        self,
        settings: SenderSettings,
        clock: Callable[[], float] = time.monotonic,
        make_transport: Callable[[UpstreamTls | None], httpx.AsyncBaseTransport] | None = None,
        report: Callable[[str], None] = logger.warning,
    ) -> None:
        """`report` gets a line when a bug of ours ends a shadow, once a kind.

        Raises OSError where `settings.ca_file` cannot be read.
        """
        # httpx tells whole URLs at INFO, httpcore headers of answers at DEBUG.
        for name in ("httpx", "httpcore"):
            logging.getLogger(name).setLevel(logging.WARNING)
        self._settings = settings
        self._clock = clock
        self._report = report
        self._reported: set[str] = set()
        self._idle: dict[Endpoint, deque[_IdleSlot]] = {}
        self._idle_count = 0
        if make_transport is None:
            shadow_tls = ShadowTls(settings)

            def make_transport(tls: UpstreamTls | None) -> httpx.AsyncBaseTransport:
                return httpx.AsyncHTTPTransport(
                    verify=shadow_tls.context(tls),
                    trust_env=False,  # an inherited HTTP_PROXY would send shadows back through us
                    limits=httpx.Limits(max_connections=1, keepalive_expiry=None),
                )

        self._make_transport = make_transport

    async def send(self, number: int, request: ShadowRequest, body: bytes, timeout_s: float) -> ShadowResult:
        """Send one shadow, read its answer to the end and say how it went. Raises nothing but cancellation.

        It is sent at most once. httpcore looks whether the mirror has closed an idle connection before
        it writes to it, and then opens a new one; a close that comes later is an error, since the
        mirror may have done the request already, and the second copy of a write is worse than none.
        """
        started = self._clock()
        status = received = 0
        outcome, text = Outcome.OK, ""
        endpoint = (request.scheme, request.address, request.port, request.sni, request.tls)
        transport = None
        opened = _OpenedStream()
        try:
            outgoing = build_request(request, body)
            if request.scheme == "https":
                outgoing.extensions["trace"] = opened.trace
            transport = self._take(endpoint)
            async with asyncio.timeout(timeout_s):
                response = await transport.handle_async_request(outgoing)
                status = response.status_code
                try:
                    async for chunk in response.aiter_raw():
                        received += len(chunk)
                finally:
                    await response.aclose()
            await self._keep(endpoint, transport)
            transport = None
        except Exception as error:  # noqa: BLE001  each one is classified, bugs are reported
            outcome, text = self._explain(error)
        finally:
            if transport is not None:
                await self._close(transport)
                await self._close(opened)
        duration_ms = (self._clock() - started) * 1000
        return ShadowResult(number, outcome, status, received, duration_ms, text)

    async def close_expired(self) -> None:
        """Close the connections that have been idle for too long."""
        now = self._clock()
        expired = []
        for endpoint, slots in list(self._idle.items()):
            while slots and slots[0].expires_at <= now:
                expired.append(self._drop_oldest(endpoint))
        for transport in expired:
            await self._close(transport)

    async def aclose(self) -> None:
        """Close all idle connections."""
        while self._idle:
            await self._close(self._drop_oldest(next(iter(self._idle))))

    @property
    def idle_connections(self) -> int:
        """Connections that wait to be used again."""
        return self._idle_count

    def _take(self, endpoint: Endpoint) -> httpx.AsyncBaseTransport:
        slots = self._idle.get(endpoint)
        # The youngest first, so that the others can expire; where it has expired, all have.
        if slots and slots[-1].expires_at > self._clock():
            slot = slots.pop()
            self._idle_count -= 1
            if not slots:
                del self._idle[endpoint]
            return slot.transport
        return self._make_transport(endpoint[-1])

    async def _keep(self, endpoint: Endpoint, transport: httpx.AsyncBaseTransport) -> None:
        slot = _IdleSlot(transport, self._clock() + self._settings.idle_expiry_s)
        self._idle.setdefault(endpoint, deque()).append(slot)
        self._idle_count += 1
        if self._idle_count > self._settings.max_idle_connections:
            oldest = min(self._idle, key=lambda key: self._idle[key][0].expires_at)
            await self._close(self._drop_oldest(oldest))

    def _drop_oldest(self, endpoint: Endpoint) -> httpx.AsyncBaseTransport:
        slots = self._idle[endpoint]
        transport = slots.popleft().transport
        self._idle_count -= 1
        if not slots:
            del self._idle[endpoint]
        return transport

    async def _close(self, closable: "httpx.AsyncBaseTransport | _OpenedStream") -> None:
        try:
            await closable.aclose()
        except Exception as error:  # noqa: BLE001  as above
            # The connection is given up either way; a failing close changes no shadow's outcome.
            self._explain(error)

    def _explain(self, error: Exception) -> tuple[Outcome, str]:
        known = classify(error)
        if known is not None:
            return known
        kind, place = type(error).__name__, _innermost_place(error)
        if (kind_and_place := f"{kind} at {place}") not in self._reported:
            self._reported.add(kind_and_place)
            # Without the message or a traceback: both may quote the request.
            self._report(f"A shadow ended with an unexpected {kind_and_place}; said once.")
        return Outcome.PROTOCOL_ERROR, f"unexpected {kind} while sending"


def _innermost_place(error: BaseException) -> str:
    trace = error.__traceback__
    if trace is None:
        return "an unknown place"
    while trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_globals.get('__name__', '?')}:{trace.tb_lineno}"
