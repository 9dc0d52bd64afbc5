"""A shadow as one of mitmproxy's flows: the request as it was sent, the answer as it was received."""

from dataclasses import dataclass, field
from uuid import uuid4

from mitmproxy import connection, flow, http

from mitm_mirror.client.request import OutgoingRequest
from mitm_mirror.outcome import Outcome
from mitm_mirror.proxy.pairs import COPY, CUT, DESTINATION, PAIR
from mitm_mirror.shadow.answer import ShadowAnswer


@dataclass(slots=True)
class Sketch:
    """What has to be remembered of a shadow that is to become a flow."""

    client: connection.Client
    """The primary's: it is the same client's request. Not the flow, which the view may drop meanwhile."""
    body: bytes | None
    """The primary's own bytes, so that it costs no memory; None where they were streamed past us."""
    id: str = field(default_factory=lambda: str(uuid4()))
    """The flow's id, which the primary is told before there is a flow: it may be saved first."""


def make_shadow_flow(
    sketch: Sketch,
    request: OutgoingRequest,
    answer: ShadowAnswer | None,
    outcome: Outcome,
    error: str,
    *,
    pair: str,
    destination: str,
    submitted: float,
    ended: float,
) -> http.HTTPFlow:
    """The flow of a shadow that has ended; `submitted` and `ended` are UNIX seconds, `pair` the primary's id.

    It is no live flow: addons that change live traffic leave it alone, and nothing can hold it.
    """
    started = answer.started_at if answer else submitted
    server = connection.Server(address=(request.address, request.port))
    server.timestamp_start = started
    if request.scheme == "https":
        server.tls, server.sni = True, request.sni or request.address
    if answer is not None and answer.server is not None:
        server.peername = answer.server
    made = http.HTTPFlow(sketch.client, server)
    made.id = sketch.id
    # mitmproxy's word for a request that it sends again by itself: `intercept` lets it pass, and the
    # dumper says [replay] in the place of the client.
    made.is_replay = "request"
    made.request = http.Request(
        host=request.address,
        port=request.port,
        method=request.method,
        scheme=request.scheme.encode(),
        authority=b"",
        path=request.target,
        http_version=b"HTTP/1.1",
        headers=http.Headers(request.headers),
        content=sketch.body,
        trailers=None,
        timestamp_start=started,
        timestamp_end=started,
    )
    if answer is not None and answer.status:
        made.response = _response(answer)
        if not answer.complete:
            made.metadata[CUT] = True
    if outcome is not Outcome.OK:
        made.error = flow.Error(f"{outcome}: {error}" if error else outcome.value, ended)
    made.metadata.update({COPY: "shadow", PAIR: pair, DESTINATION: destination})
    return made


def _response(answer: ShadowAnswer) -> http.Response:
    headers = http.Headers(answer.headers)
    content: bytes | None = answer.body
    if not answer.complete and "content-encoding" in headers:
        # mitmproxy decodes a body at every turn, and half of one cannot be: HAR files would fail whole.
        content = None
    return http.Response(
        http_version=answer.http_version or b"HTTP/1.1",
        status_code=answer.status,
        reason=answer.reason,
        headers=headers,
        content=content,
        trailers=None,
        timestamp_start=answer.head_at,
        timestamp_end=answer.ended_at,
    )
