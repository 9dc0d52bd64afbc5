"""What the access log says of a shadow."""

import weakref

from mitmproxy.test import tflow

from mitm_mirror.client.request import OutgoingRequest
from mitm_mirror.observe.compare import NotCompared, not_compared
from mitm_mirror.observe.ledger import Ledger, MirrorKey
from mitm_mirror.observe.record import AccessRecord, PickedHeaders
from mitm_mirror.outcome import Outcome
from mitm_mirror.proxy.exchange import Exchange
from mitm_mirror.proxy.flows import read_head
from mitm_mirror.proxy.shadows import Shadow, shadow_record
from mitm_mirror.routing.decision import Endpoint, Forward, HeaderOperations, MirrorCopy, RuleRef, Target
from mitm_mirror.shadow.ending import Ending
from mitm_mirror.shadow.message import ShadowResult

RULE = RuleRef("default/httpbin", "http[0]", "rules/httpbin.yaml:9")
V1 = Target("httpbin.default.svc.cluster.local", "v1", 8080, Endpoint("127.0.0.1", 8001))
V2 = Target("httpbin.default.svc.cluster.local", "v2", 8080, Endpoint("127.0.0.1", 8002))
COPY = MirrorCopy(V2.cluster, None, V2, "httpbin-shadow:8080", "httpbin", HeaderOperations(), None)


def test_every_field_of_a_record_is_what_its_name_says() -> None:
    """Records are made by position: values that are all different show each in its place."""
    flow = tflow.tflow()
    flow.client_conn.peername = ("192.0.2.1", 1111)
    exchange = Exchange(read_head(flow), Forward(RULE, V1, "a", "a", b"/", (), (), (COPY,)), 9)
    pair = Ledger().open(MirrorKey("default/httpbin", "http[0]", V2.cluster))
    shadow = Shadow(pair, COPY, exchange, weakref.ref(flow), flow.id, 100.0)
    refused = shadow_record(shadow, Outcome.PAUSED, "", None, None, 0)
    fields = ((b"Referer", b"referer"), (b"User-Agent", b"agent"))
    shadow.request = OutgoingRequest("http", "127.0.0.1", 8002, "", b"GET", b"/sent", fields)
    shadow.body_bytes = 5
    result = ShadowResult(1, Outcome.OK, 207, 3, 7.5, "", http2=True)
    comparison = not_compared(NotCompared.NO_PRIMARY)
    ending = Ending(shadow, Outcome.OK, result, 2.5, "")

    assert shadow_record(shadow, Outcome.OK, "why", ending, comparison, 418) == AccessRecord(
        copy="shadow",
        id=flow.id,
        start_time=100.0,
        client="192.0.2.1",
        client_port=0,
        method="GET",
        target=b"/sent",
        original_target=b"",
        http_version="HTTP/2.0",
        authority="httpbin-shadow:8080",
        status=207,
        request_bytes=5,
        response_bytes=3,
        duration_ms=7.5,
        first_byte_ms=None,
        waited_ms=2.5,
        delay_ms=None,
        attempts=None,
        retries_exhausted=None,
        destination=V2.cluster,
        endpoint="127.0.0.1:8002",
        proxy_address="",
        server_name="",
        virtual_service="default/httpbin",
        route="http[0]",
        rules_generation=9,
        outcome=Outcome.OK,
        error="why",
        comparison=comparison,
        compared_status=418,
        headers=PickedHeaders(referer="referer", user_agent="agent"),
    )
    assert (refused.target, refused.status, refused.request_bytes) == (b"/path", 0, None)
