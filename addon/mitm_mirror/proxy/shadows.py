"""One shadow on its way, and what the access log says of it."""

import weakref

import msgspec
from mitmproxy import http

from mitm_mirror.client.request import OutgoingRequest
from mitm_mirror.observe.compare import Comparison
from mitm_mirror.observe.ledger import OpenPair
from mitm_mirror.observe.record import AccessRecord, pick_headers
from mitm_mirror.outcome import Outcome
from mitm_mirror.proxy.compared import ComparedRequest
from mitm_mirror.proxy.exchange import Exchange
from mitm_mirror.proxy.loops import Key
from mitm_mirror.proxy.shadow_flow import Sketch
from mitm_mirror.proxy.uploads import ShadowUpload
from mitm_mirror.routing.decision import MirrorCopy
from mitm_mirror.shadow.ending import Ending
from mitm_mirror.shadow.message import ShadowResult


class Shadow(msgspec.Struct):
    """One (matched request, mirror policy) pair from its opening to its end."""

    pair: OpenPair
    copy: MirrorCopy
    exchange: Exchange
    flow: "weakref.ref[http.HTTPFlow]"
    """Weak: a shadow that waits must not keep a flow that the view has dropped."""
    id: str
    submitted: float
    """UNIX seconds."""
    may_be_back: bool = False
    """Whether its request may itself be a shadow that came back, see `LoopGuard`."""
    is_shown: bool = False
    """Whether `mirror_flows` wants its pair to be shown."""
    request: OutgoingRequest | None = None
    body_bytes: int | None = None
    loop_key: Key | None = None
    """Where its Host has no suffix, and it is under way."""
    upload: ShadowUpload | None = None
    """Where the body comes in pieces."""
    compared: ComparedRequest | None = None
    """Where its answer is compared."""
    number: int = 0
    """The pool's, where it is compared."""
    is_third: bool = False
    """Whether it goes to the version that the primary goes to."""
    ending: Ending["Shadow"] | None = None
    """How it ended, while its log line waits for the comparison."""
    sketch: Sketch | None = None
    """Where it is to become a flow."""


def shadow_record(
    shadow: Shadow,
    outcome: Outcome,
    error: str,
    ending: Ending[Shadow] | None,
    comparison: Comparison | None,
    compared_status: int,
) -> AccessRecord:
    """The record of a shadow that has ended; `ending` is None where it was never submitted."""
    exchange, copy = shadow.exchange, shadow.copy
    result = ending.result if ending else None
    rule = exchange.decision.rule
    request = shadow.request
    target = copy.target
    return AccessRecord(  # by position, see there
        "shadow",
        shadow.id,
        shadow.submitted,
        exchange.head.client,
        exchange.head.method,
        request.target if request else exchange.head.target,
        "HTTP/2.0" if _is_http2(request, result) else "HTTP/1.1",
        copy.authority,
        outcome,
        0,  # client_port
        b"",  # original_target
        result.status if result else 0,
        shadow.upload.size_bytes if shadow.upload else shadow.body_bytes,
        result.response_bytes if result else None,
        result.duration_ms if result else None,
        None,  # first_byte_ms
        ending.waited_ms if ending else None,
        None,  # delay_ms
        None,  # attempts
        None,  # retries_exhausted
        copy.destination,
        target.endpoint.host_port if target else "",
        "",  # proxy_address
        "",  # server_name
        rule.virtual_service,
        rule.route,
        exchange.generation,
        error,
        comparison,
        compared_status,
        pick_headers(request.headers if request else exchange.head.headers),
    )


def _is_http2(request: OutgoingRequest | None, result: ShadowResult | None) -> bool:
    """What was spoken; where nothing was answered, what would have been. TLS decides it by its handshake."""
    if result is not None and result.status:
        return result.http2
    return request is not None and request.http2 and request.scheme == "http"
