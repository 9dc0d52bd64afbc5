"""Sends the primaries of routes with `timeout` or `retries`: mitmproxy can do neither for an upstream."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

from mitmproxy import connection, ctx, http
from mitmproxy.utils import human

from mitm_mirror.client.client import Client
from mitm_mirror.client.settings import ClientSettings
from mitm_mirror.proxy.attempts import Attempts
from mitm_mirror.proxy.exchange import Exchange
from mitm_mirror.proxy.flows import (
    RoutedRequest,
    is_grpc,
    is_upstream_mode,
    make_answer,
    primary_request,
    upstream_address,
)
from mitm_mirror.proxy.retrying import PrimaryEnd, Retrier, SentPrimary
from mitm_mirror.routing.decision import Forward, Sending, Target
from mitm_mirror.routing.endpoint_state import LocalFailure
from mitm_mirror.routing.local_reply import local_reply
from mitm_mirror.routing.overflow import LATE_BODY, overflow_answer
from mitm_mirror.routing.retry import AttemptEnd, AttemptResult
from mitm_mirror.routing.view import RequestView

logger = logging.getLogger(__name__)

ANSWER_LIMIT_BYTES = 64 * 1024 * 1024
"""What one answer may hold where mitmproxy's `body_size_limit` does not say: it cannot be streamed."""

_IDLE_SWEEP_S = 0.5

_NO_HEAD = b"upstream connect error or disconnect/reset before headers. %breset reason: %b"
_RETRIED = b"retried and the latest "
_REPLIES: dict[PrimaryEnd, tuple[int, bytes]] = {
    # Status and text of Envoy 1.40, but for the last three, which it has no need for: it streams.
    PrimaryEnd.TIMEOUT: (504, LATE_BODY),
    PrimaryEnd.CONNECT_FAILURE: (503, b"remote connection failure"),
    PrimaryEnd.RESET: (503, b"connection termination"),
    PrimaryEnd.NOT_HTTP: (502, b"protocol error"),
    PrimaryEnd.NO_ENDPOINT: (503, b"no healthy upstream"),
    PrimaryEnd.CUT_SHORT: (502, b"upstream disconnected before its answer was complete"),
    PrimaryEnd.TOO_LARGE: (502, b"upstream answer too large for a route with timeout or retries"),
    PrimaryEnd.EVENT_STREAM: (502, b"upstream answer is an event stream, the route has timeout or retries"),
}
_LOCAL_FAILURES = {
    AttemptEnd.CONNECT_FAILURE: LocalFailure.CONNECT,
    AttemptEnd.RESET: LocalFailure.RESET,
    AttemptEnd.NOT_HTTP: LocalFailure.RESET,
    AttemptEnd.TIMEOUT: LocalFailure.TIMEOUT,
}
_WITHOUT_HEAD = frozenset({PrimaryEnd.CONNECT_FAILURE, PrimaryEnd.RESET, PrimaryEnd.NOT_HTTP})


_ONCE = Sending(None, None, lambda _: None)
_PLAINLY = "it is sent without the route's timeout and retries"
_NO_UNIX = "it does not get to its endpoint: mitmproxy connects to no Unix socket"


def needs_sender(forward: Forward) -> bool:
    """Whether it is for a `PrimarySender` at all. An endpoint at a Unix socket, to which mitmproxy cannot
    connect, is sent to from here as well."""
    return forward.sending is not None or forward.target.endpoint.is_unix


class PrimarySender:
    """Sends primaries from mitmproxy's event loop. One of them per addon instance."""

    def __init__(
        self, settings: ClientSettings, attempts: Attempts, is_own_address: Callable[[str, int], bool]
    ) -> None:
        self._settings = settings
        self._attempts = attempts
        self._is_own_address = is_own_address
        self._client: Client | None = None
        self._sweeper: asyncio.Task[None] | None = None
        self._under_way: dict[str, set[asyncio.Task[SentPrimary]]] = {}
        self._warned: set[str] = set()

    @property
    def under_way(self) -> int:
        """Primaries that are being sent."""
        return sum(map(len, self._under_way.values()))

    def takes(self, flow: http.HTTPFlow, forward: Forward) -> Sending | None:
        """How to send the primary of a flow that `needs_sender`; None where mitmproxy is to send it.

        What the route asks for and cannot have is said once a kind.
        """
        reason = self._obstacle(flow, forward)
        if reason is None:
            return forward.sending or _ONCE
        self._warn(forward, reason)
        return None

    def _obstacle(self, flow: http.HTTPFlow, forward: Forward) -> str | None:
        """Why mitmproxy has to send it."""
        request, endpoint = flow.request, forward.target.endpoint
        if request.stream:
            return "mitmproxy streams the request"
        if "upgrade" in request.headers:
            return "the request upgrades the connection"
        if request.is_http2 and is_grpc(request):
            return "the request is gRPC, whose status comes in trailers"
        if is_upstream_mode(flow):
            return "all goes through an upstream proxy"
        if (request.data.host, request.data.port) != (endpoint.address, endpoint.port):
            return "another addon sends the request elsewhere"
        if self._is_own_address(endpoint.address, endpoint.port):
            return "its endpoint is this proxy itself"
        return None

    def _warn(self, forward: Forward, reason: str) -> None:
        if reason not in self._warned:
            self._warned.add(reason)
            logger.warning(
                "mirror: %s %s: %s, so %s; said once.",
                forward.rule.virtual_service,
                forward.rule.route,
                reason,
                _NO_UNIX if forward.target.endpoint.is_unix else _PLAINLY,
            )

    async def send(self, flow: http.HTTPFlow, exchange: Exchange, forward: Forward, sending: Sending) -> None:
        """Sets the flow's response. It has none where the client has left, which mitmproxy finds out itself,
        and where only mitmproxy can write the request, which it then does."""
        retrier = Retrier(self._start())
        request = RoutedRequest.of(flow)
        body = flow.request.raw_content or b""
        flow.server_conn = connection.Server(address=None)
        if sending.timeout_s is not None and exchange.waited_s:
            sending = replace(sending, timeout_s=max(0.0, sending.timeout_s - exchange.waited_s))
        task = asyncio.get_running_loop().create_task(
            retrier.send(
                sending,
                forward.target,
                lambda target: primary_request(request, forward, target, body),
                body,
                limit_bytes=_answer_limit(),
                watcher=_FlowWatcher(flow, exchange, forward, self._attempts),
            )
        )
        client = flow.client_conn.id
        self._under_way.setdefault(client, set()).add(task)
        try:
            sent = await task
        except asyncio.CancelledError:
            current = asyncio.current_task()
            if current is not None and current.cancelling():
                raise  # the proxy ends
            return
        finally:
            tasks = self._under_way[client]
            tasks.discard(task)
            if not tasks:
                del self._under_way[client]
        if sent.end is PrimaryEnd.UNSENDABLE:
            self._warn(forward, f"the request cannot be written as HTTP ({sent.error})")
            return
        exchange.sent = sent
        if sent.end is PrimaryEnd.EVENT_STREAM or sent.end is PrimaryEnd.TOO_LARGE:
            logger.warning("mirror: %s %s: %s", forward.rule.virtual_service, forward.rule.route, sent.error)
        _answer(flow, exchange, forward, sent)

    def release(self, client: str) -> None:
        """The client (mitmproxy's connection id) has left: its requests are given up."""
        for task in self._under_way.get(client, ()):
            task.cancel()

    def close(self) -> None:
        """Close the idle connections, as soon as the event loop runs again."""
        if self._sweeper is not None:
            self._sweeper.cancel()

    def _start(self) -> Client:
        if self._client is None:
            self._client = Client(self._settings)
            self._sweeper = asyncio.get_running_loop().create_task(_sweep(self._client))
        return self._client


async def _sweep(client: Client) -> None:
    try:
        while True:
            await asyncio.sleep(_IDLE_SWEEP_S)
            await client.close_expired()
    finally:
        await client.aclose()


def _answer_limit() -> int:
    limit: int | None = human.parse_size(ctx.options.body_size_limit)
    return ANSWER_LIMIT_BYTES if limit is None else limit


@dataclass(frozen=True, slots=True)
class _FlowWatcher:
    """Counts the attempts of one flow."""

    flow: http.HTTPFlow
    exchange: Exchange
    forward: Forward
    attempts: Attempts

    async def enter(self, target: Target) -> bool:
        may_go = self.attempts.enter(self.flow, target) if target.is_tracked else True
        return may_go if isinstance(may_go, bool) else await may_go

    def ended(self, target: Target, result: AttemptResult) -> None:
        if result.status:
            self.attempts.answered(self.flow, result.status)
        failure = _LOCAL_FAILURES.get(result.end)
        if failure is not None and not result.blameless:
            self.attempts.failed(self.flow, failure)
        self.attempts.end(self.flow)
        self.exchange.attempts += 1
        _show_target(self.flow, self.exchange, self.forward, target)


def _show_target(flow: http.HTTPFlow, exchange: Exchange, forward: Forward, target: Target) -> None:
    """Tells the UIs, and whatever else looks at the flow, which server was asked last."""
    exchange.target = target
    endpoint, data = target.endpoint, flow.request.data
    data.host, data.port = upstream_address(data.scheme, endpoint, forward.sni), endpoint.port
    flow.server_conn = connection.Server(address=(endpoint.address, endpoint.port))


def _answer(flow: http.HTTPFlow, exchange: Exchange, forward: Forward, sent: SentPrimary) -> None:
    head = sent.head
    if head is not None:
        version, status, reason, fields = head.http_version, head.status, head.reason, head.headers
        headers = http.Headers(fields)
        flow.response = http.Response(version, status, reason, headers, sent.body, None, sent.head_at, None)
        return
    if sent.end is PrimaryEnd.OVERFLOW:
        overflow = overflow_answer(exchange.head, forward)
        flow.response = make_answer(flow, overflow.status, overflow.headers, overflow.body)
        return
    status, text = _REPLIES[sent.end]
    if sent.end in _WITHOUT_HEAD:
        text = _NO_HEAD % (_RETRIED if sent.attempts > 1 else b"", text)
    flow.response = make_answer(
        flow, *local_reply(RequestView(exchange.head), status, text, forward.response_headers)
    )
