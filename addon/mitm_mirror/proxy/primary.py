"""What the access log says of a primary."""

import re
from functools import lru_cache

import msgspec
from mitmproxy import connection, http

from mitm_mirror.observe.record import AccessRecord, PrimaryOutcome, format_address, pick_headers
from mitm_mirror.proxy.exchange import Exchange
from mitm_mirror.proxy.retrying import PrimaryEnd
from mitm_mirror.routing.decision import Answer, Forward
from mitm_mirror.routing.endpoint_state import LocalFailure
from mitm_mirror.text import decode

_PLAIN_ERRORS = (
    "[Errno ",
    "Certificate verify failed",
    "Connection killed",
    "Multiple exceptions",
    "TLS ",
    "The rules answer",
    "Timeout",
)
_PLAIN_ENDINGS = ("isconnected.", "closed connection", "body_size_limit.")
"""mitmproxy's errors that are about connections and never quote what came over them."""

_SENT_OUTCOMES = {
    PrimaryEnd.ANSWERED: PrimaryOutcome.OK,
    PrimaryEnd.CONNECT_FAILURE: PrimaryOutcome.CONNECT_ERROR,
    PrimaryEnd.RESET: PrimaryOutcome.ERROR,
    PrimaryEnd.NOT_HTTP: PrimaryOutcome.ERROR,
    PrimaryEnd.TIMEOUT: PrimaryOutcome.TIMEOUT,
    PrimaryEnd.NO_ENDPOINT: PrimaryOutcome.NO_ENDPOINT,
    PrimaryEnd.OVERFLOW: PrimaryOutcome.OVERFLOW,
    PrimaryEnd.CUT_SHORT: PrimaryOutcome.ERROR,
    PrimaryEnd.TOO_LARGE: PrimaryOutcome.ERROR,
    PrimaryEnd.EVENT_STREAM: PrimaryOutcome.ERROR,
}


_own_address = lru_cache(maxsize=64)(format_address)
"""Of the few that this proxy listens on; not of clients, whose ports are always others."""


class EndedPrimary(msgspec.Struct, frozen=True):
    """What a flow said of its primary when that ended: the record of it is made later, with many others."""

    flow_id: str
    exchange: Exchange
    client: connection.Client
    target: bytes
    http_version: bytes
    status: int
    request_bytes: int | None
    response_bytes: int | None
    began: float
    """UNIX seconds, as the others."""
    sent: float | None
    answered: float | None
    ended: float | None
    outcome: PrimaryOutcome
    error: str

    @classmethod
    def of(cls, flow: http.HTTPFlow, exchange: Exchange) -> "EndedPrimary":
        """Of a flow as it is now."""
        request, response, error = flow.request.data, flow.response, flow.error
        if exchange.request_body is not None:
            request_bytes: int | None = exchange.request_body.size
        else:
            request_bytes = None if request.content is None else len(request.content)
        status, response_bytes, answered = 0, None, None
        if response is not None:
            data = response.data
            status, answered = data.status_code, data.timestamp_start
            if exchange.response_body is not None:
                response_bytes = exchange.response_body.size
            elif data.content is not None:
                response_bytes = len(data.content)
        return cls(
            flow.id,
            exchange,
            flow.client_conn,
            request.path,
            request.http_version,
            status,
            request_bytes,
            response_bytes,
            request.timestamp_start,
            request.timestamp_end,
            answered,
            _ended(flow),
            primary_outcome(flow, exchange),
            error.msg if error else "",
        )

    def record(self) -> AccessRecord:
        """The access-log record of the copy that the client got its answer from."""
        exchange, client = self.exchange, self.client
        decision, head, sent = exchange.decision, exchange.head, exchange.sent
        endpoint = first_byte_ms = None
        authority = head.authority
        if isinstance(decision, Forward):
            authority = decision.authority
            if not exchange.answered_by_addon:
                endpoint = (exchange.target or decision.target).endpoint
        # Where we sent it and there is no head, the answer is ours.
        if self.answered is not None and self.sent is not None and (sent is None or sent.head_at):
            first_byte_ms = _milliseconds(self.sent, self.answered)
        return AccessRecord(  # by position, see there
            "primary",
            self.flow_id,
            self.began,
            head.client,
            head.method,
            self.target,
            decode(self.http_version),
            authority,
            self.outcome,
            client.peername[1],
            head.target if head.target != self.target else b"",
            self.status,
            self.request_bytes,
            self.response_bytes,
            None if self.ended is None else _milliseconds(self.began, self.ended),
            first_byte_ms,
            None,  # waited_ms
            decision.delay_s * 1000 or None,
            exchange.attempts or None,
            None if sent is None else sent.exhausted,
            primary_destination(decision),
            "" if endpoint is None else endpoint.host_port,
            _own_address(client.sockname[0], client.sockname[1]),
            client.sni or "",
            decision.rule.virtual_service,
            decision.rule.route,
            exchange.generation,
            error_text(self.error) if self.error else sent.error if sent else "",
            None,  # comparison
            0,  # compared_status
            pick_headers(head.headers),
        )


def primary_duration_ms(flow: http.HTTPFlow) -> float | None:
    """From the request's head to the end of its answer, or to the error; None where neither is known."""
    ended = _ended(flow)
    return None if ended is None else _milliseconds(flow.request.timestamp_start, ended)


def _ended(flow: http.HTTPFlow) -> float | None:
    response, error = flow.response, flow.error
    return (
        (response and response.data.timestamp_end)
        or (error and error.timestamp)
        or flow.request.data.timestamp_end
    )


def primary_destination(decision: Forward | Answer) -> str:
    """The cluster that the request went to, or would have; empty where the route has none."""
    return decision.destination if isinstance(decision, Answer) else decision.target.cluster


def error_text(message: str) -> str:
    """What may be logged of mitmproxy's error: texts about a malformed message quote its headers."""
    if message.startswith(_PLAIN_ERRORS) or message.endswith(_PLAIN_ENDINGS):
        return message
    return re.split(r"[:'\"(]", message, maxsplit=1)[0].strip()


def primary_outcome(flow: http.HTTPFlow, exchange: Exchange) -> PrimaryOutcome:
    """How a primary ended; call it when it has."""
    if flow.error is None and exchange.sent is not None:
        return _SENT_OUTCOMES[exchange.sent.end]
    if flow.error is None:
        if isinstance(exchange.decision, Answer):
            return PrimaryOutcome(exchange.decision.reason)
        return PrimaryOutcome.ADDON_ANSWER if exchange.answered_by_addon else PrimaryOutcome.OK
    if flow.error.msg == flow.error.KILLED_MESSAGE:
        return PrimaryOutcome.ERROR
    if _is_client_gone(flow):
        return PrimaryOutcome.CLIENT_GONE
    if isinstance(exchange.decision, Answer):
        return PrimaryOutcome(exchange.decision.reason)  # which a streamed upload did not get
    return PrimaryOutcome.ERROR if _was_connected(flow) else PrimaryOutcome.CONNECT_ERROR


def upstream_failure(flow: http.HTTPFlow) -> LocalFailure | None:
    """What the error of a forwarded flow says about its endpoint; None where it is not to blame."""
    if flow.error is None or flow.error.msg == flow.error.KILLED_MESSAGE or _is_client_gone(flow):
        return None
    return LocalFailure.RESET if _was_connected(flow) else LocalFailure.CONNECT


def _is_client_gone(flow: http.HTTPFlow) -> bool:
    # mitmproxy has one class of error for both sides; the client is gone where we cannot read from
    # it any more, or where its request was awaited and is not complete.
    client_reads = flow.client_conn.state & connection.ConnectionState.CAN_READ
    return not client_reads or (flow.request.timestamp_end is None and not flow.request.stream)


def _was_connected(flow: http.HTTPFlow) -> bool:
    return flow.server_conn.timestamp_tcp_setup is not None


def _milliseconds(start: float, end: float) -> float:
    """Between two of mitmproxy's times. They are the wall's: where it was set back meanwhile, it is 0."""
    return max(0.0, end - start) * 1000
