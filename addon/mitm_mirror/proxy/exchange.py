"""What the addon remembers of one flow between its hooks, and what the access log says of it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from mitmproxy import http

from mitm_mirror.observe.record import AccessRecord, PrimaryOutcome, format_address, pick_headers
from mitm_mirror.routing.decision import Answer, Forward, Target
from mitm_mirror.routing.request import RequestHead

Stream = Callable[[bytes], Iterable[bytes] | bytes] | bool


@dataclass(slots=True)
class Exchange:
    """One matched request on its way."""

    head: RequestHead
    decision: Forward | Answer
    generation: int
    """Of the rule set that decided."""
    request_body: "StreamTap | None" = None
    """Set where mitmproxy streams the request."""
    response_body: "StreamTap | None" = None
    """Set where mitmproxy streams the response."""
    logged: bool = False


@dataclass(slots=True)
class StreamTap:
    """Stands in a body that mitmproxy streams: counts its bytes, and keeps them up to `keep_bytes`."""

    inner: Stream
    """What was set before us: True, or another addon's function, whose output is what goes on."""
    keep_bytes: int
    size: int = 0
    chunks: list[bytes] = field(default_factory=list)
    overflowed: bool = False

    def __call__(self, data: bytes) -> Iterable[bytes]:
        chunks: Iterable[bytes] = (data,) if data else ()
        if callable(self.inner):
            made = self.inner(data)
            chunks = ((made,) if made else ()) if isinstance(made, bytes) else tuple(made)
        for chunk in chunks:
            self.size += len(chunk)
            if self.overflowed:
                continue
            if self.size > self.keep_bytes:
                self.overflowed = True
                self.chunks.clear()
            else:
                self.chunks.append(chunk)
        return chunks

    @property
    def body(self) -> bytes | None:
        """The whole body; None where it was larger than `keep_bytes`."""
        return None if self.overflowed else b"".join(self.chunks)


def primary_record(flow: http.HTTPFlow, exchange: Exchange) -> AccessRecord:
    """The access-log record of the copy that the client got its answer from."""
    request, response, error = flow.request, flow.response, flow.error
    decision = exchange.decision
    started = request.timestamp_start
    ended = (response and response.timestamp_end) or (error and error.timestamp) or request.timestamp_end
    forward = decision if isinstance(decision, Forward) else None
    client = flow.client_conn
    return AccessRecord(
        copy="primary",
        id=flow.id,
        start_time=started,
        client=exchange.head.client,
        client_port=client.peername[1],
        method=exchange.head.method,
        target=request.data.path,
        original_target=exchange.head.target if exchange.head.target != request.data.path else b"",
        http_version=request.http_version,
        authority=forward.authority if forward else exchange.head.authority,
        status=response.status_code if response else 0,
        request_bytes=_body_size(request, exchange.request_body),
        response_bytes=_body_size(response, exchange.response_body) if response else None,
        duration_ms=(ended - started) * 1000 if ended else None,
        first_byte_ms=_first_byte_ms(flow),
        delay_ms=decision.delay_s * 1000 or None,
        destination=forward.target.cluster if forward else _answered_for(decision),
        endpoint=endpoint_of(forward.target) if forward else "",
        proxy_address=format_address(client.sockname[0], client.sockname[1]),
        server_name=client.sni or "",
        virtual_service=decision.rule.virtual_service,
        route=decision.rule.route,
        rules_generation=exchange.generation,
        outcome=_primary_outcome(flow, decision),
        error=error.msg if error else "",
        headers=pick_headers(exchange.head.headers),
    )


def endpoint_of(target: Target) -> str:
    """`127.0.0.1:8001`."""
    return format_address(target.endpoint.address, target.endpoint.port)


def _answered_for(decision: Forward | Answer) -> str:
    return decision.destination if isinstance(decision, Answer) else decision.target.cluster


def _primary_outcome(flow: http.HTTPFlow, decision: Forward | Answer) -> PrimaryOutcome:
    if flow.error is None:
        return PrimaryOutcome(decision.reason) if isinstance(decision, Answer) else PrimaryOutcome.OK
    # mitmproxy has one class of error and tells them apart by their text only.
    if "client disconnected" in flow.error.msg.lower():
        return PrimaryOutcome.CLIENT_GONE
    if flow.server_conn.timestamp_tcp_setup is None or not flow.server_conn.timestamp_start:
        return PrimaryOutcome.CONNECT_ERROR
    return PrimaryOutcome.ERROR


def _first_byte_ms(flow: http.HTTPFlow) -> float | None:
    sent = flow.request.timestamp_end
    if flow.response is None or sent is None:
        return None
    return max(0.0, flow.response.timestamp_start - sent) * 1000


def _body_size(message: http.Message, tap: StreamTap | None) -> int | None:
    if tap is not None:
        return tap.size
    content = message.raw_content
    return None if content is None else len(content)
