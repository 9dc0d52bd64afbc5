"""The answers to requests that a limit of their destination turns away, or lets wait for too long."""

from mitm_mirror.routing.decision import Answer, Forward
from mitm_mirror.routing.local_reply import local_reply
from mitm_mirror.routing.request import RequestHead
from mitm_mirror.routing.view import RequestView

_BODY = b"upstream connect error or disconnect/reset before headers. reset reason: overflow"
LATE_BODY = b"upstream request timeout"
"""What Envoy says where a route's timeout has passed."""


def overflow_answer(head: RequestHead, forward: Forward) -> Answer:
    """A 503 as Envoy 1.40 writes it, with the route's response operations. It is not mirrored, as there."""
    overloaded = ((b"x-envoy-overloaded", b"true"),)
    reply = local_reply(RequestView(head), 503, _BODY, forward.response_headers, headers=overloaded)
    return Answer(forward.rule, *reply, "overflow", forward.target.cluster, forward.delay_s)


def late_answer(head: RequestHead, forward: Forward) -> Answer:
    """Envoy's 504 where the route's timeout passes while the request waits for a connection."""
    reply = local_reply(RequestView(head), 504, LATE_BODY, forward.response_headers)
    return Answer(forward.rule, *reply, "timeout", forward.target.cluster, forward.delay_s)
