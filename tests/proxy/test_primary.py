"""What the access log says of a primary."""

import pytest
from mitmproxy import connection
from mitmproxy import flow as mitm_flow
from mitmproxy.test import tflow

from mitm_mirror.observe.record import AccessRecord, PickedHeaders, PrimaryOutcome
from mitm_mirror.proxy.exchange import Exchange, StreamTap
from mitm_mirror.proxy.flows import read_head
from mitm_mirror.proxy.primary import EndedPrimary, error_text
from mitm_mirror.proxy.retrying import PrimaryEnd, SentPrimary
from mitm_mirror.routing.decision import Answer, Endpoint, Forward, RuleRef, Target

RULE = RuleRef("default/httpbin", "http[0]", "rules/httpbin.yaml:9")
TARGET = Target("httpbin.default.svc.cluster.local", "v1", 8080, Endpoint("127.0.0.1", 8001))
FORWARD = Forward(RULE, TARGET, "address:22", "address", b"/path", (), (), ())


def test_record_of_an_answered_primary() -> None:
    flow = tflow.tflow(resp=True)
    record = EndedPrimary.of(flow, Exchange(read_head(flow), FORWARD, 3)).record()

    assert ("primary", PrimaryOutcome.OK, 200) == (record.copy, record.outcome, record.status)
    assert ("127.0.0.1:8001", TARGET.cluster) == (record.endpoint, record.destination)
    assert (flow.id, 3, "default/httpbin") == (record.id, record.rules_generation, record.virtual_service)
    assert (7, 7) == (record.request_bytes, record.response_bytes)
    assert b"" == record.original_target


def test_record_of_a_rewritten_primary_has_both_targets() -> None:
    flow = tflow.tflow(resp=True)
    exchange = Exchange(read_head(flow), FORWARD, 1)
    flow.request.path = "/rewritten"

    record = EndedPrimary.of(flow, exchange).record()

    assert (b"/path", b"/rewritten") == (record.original_target, record.target)


def test_record_of_a_streamed_body_counts_its_bytes() -> None:
    flow = tflow.tflow(resp=True)
    assert flow.response is not None
    flow.response.data.content = None
    tap = StreamTap(True)
    tap(b"12345")
    exchange = Exchange(read_head(flow), FORWARD, 1, response_body=tap)

    assert 5 == EndedPrimary.of(flow, exchange).record().response_bytes


@pytest.mark.parametrize(
    ("message", "server_connected", "client_connected", "complete", "expected"),
    [
        pytest.param("Client disconnected.", True, False, True, "client_gone", id="the client left"),
        pytest.param("peer closed connection", True, False, True, "client_gone", id="an HTTP/2 client left"),
        pytest.param(
            "peer closed", False, True, False, "client_gone", id="left before its request was complete"
        ),
        pytest.param("[Errno 111] Connect call failed", False, True, True, "connect_error", id="refused"),
        pytest.param("server closed connection", True, True, True, "error", id="the server hung up"),
        pytest.param(mitm_flow.Error.KILLED_MESSAGE, False, True, True, "error", id="killed by a person"),
    ],
)
def test_record_names_how_a_primary_failed(
    message: str, server_connected: bool, client_connected: bool, complete: bool, expected: str
) -> None:
    flow = tflow.tflow()
    flow.error = mitm_flow.Error(message)
    flow.client_conn.state = (
        connection.ConnectionState.OPEN if client_connected else connection.ConnectionState.CLOSED
    )
    if not server_connected:
        flow.server_conn.timestamp_tcp_setup = None
    if not complete:
        flow.request.timestamp_end = None

    record = EndedPrimary.of(flow, Exchange(read_head(flow), FORWARD, 1)).record()

    assert (record.outcome, record.status) == (PrimaryOutcome(expected), 0)


def test_an_answer_that_a_streamed_upload_did_not_get_keeps_its_reason() -> None:
    flow = tflow.tflow(err=True)
    flow.request.stream = True
    flow.request.timestamp_end = None
    flow.client_conn.state = connection.ConnectionState.OPEN

    record = EndedPrimary.of(
        flow, Exchange(read_head(flow), Answer(RULE, 404, (), b"", "no_route"), 1)
    ).record()

    assert (record.outcome, record.status) == (PrimaryOutcome.NO_ROUTE, 0)


def test_record_of_what_another_addon_answered_names_no_endpoint() -> None:
    flow = tflow.tflow(resp=True)

    record = EndedPrimary.of(flow, Exchange(read_head(flow), FORWARD, 1, answered_by_addon=True)).record()

    assert (record.outcome, record.endpoint) == (PrimaryOutcome.ADDON_ANSWER, "")


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        pytest.param(
            "Cannot parse HTTP response: Invalid header line: b'Set-Cookie sid=SECRET'",
            "Cannot parse HTTP response",
            id="a header line without a colon",
        ),
        pytest.param("HTTP/1 protocol error: b'SECRET'", "HTTP/1 protocol error", id="h11 quotes it"),
        pytest.param(
            "Received b'SECRET' header", "Received b", id="an unknown text is cut at the first quote"
        ),
        pytest.param(
            "[Errno 111] Connect call failed ('127.0.0.1', 8001)",
            "[Errno 111] Connect call failed ('127.0.0.1', 8001)",
            id="about the connection only",
        ),
        pytest.param("Client disconnected.", "Client disconnected.", id="the client left"),
        pytest.param("server closed connection", "server closed connection", id="the server hung up"),
    ],
)
def test_what_a_message_carried_does_not_get_into_the_log(message: str, expected: str) -> None:
    assert error_text(message) == expected


def test_record_of_an_answer_names_its_reason() -> None:
    flow = tflow.tflow(resp=True)
    decision = Answer(RULE, 503, (), b"", "no_endpoint", destination="outbound|8080|v3|httpbin")

    record = EndedPrimary.of(flow, Exchange(read_head(flow), decision, 1)).record()

    assert (PrimaryOutcome.NO_ENDPOINT, "outbound|8080|v3|httpbin") == (record.outcome, record.destination)
    assert "" == record.endpoint


def test_every_field_of_a_record_is_what_its_name_says() -> None:
    """Records are made by position: values that are all different show each in its place."""
    flow = tflow.tflow(resp=True)
    assert flow.response is not None
    flow.client_conn.peername, flow.client_conn.sockname = ("192.0.2.1", 1111), ("192.0.2.2", 2222)
    flow.client_conn.sni = "sni.example"
    flow.request.timestamp_start, flow.request.timestamp_end = 100.0, 101.0
    flow.response.timestamp_start, flow.response.timestamp_end = 103.0, 107.0
    flow.request.raw_content, flow.response.raw_content = b"12345", b"123"
    flow.response.status_code = 207
    flow.request.headers["x-request-id"] = "request-id"
    forward = Forward(RULE, TARGET, "authority:22", "sni", b"/rewritten", (), (), (), delay_s=0.5)
    sent = SentPrimary(PrimaryEnd.ANSWERED, TARGET, 4, exhausted=True, error="why")
    exchange = Exchange(read_head(flow), forward, 9, attempts=4, sent=sent)
    flow.request.path = "/rewritten"

    assert EndedPrimary.of(flow, exchange).record() == AccessRecord(
        copy="primary",
        id=flow.id,
        start_time=100.0,
        client="192.0.2.1",
        client_port=1111,
        method="GET",
        target=b"/rewritten",
        original_target=b"/path",
        http_version="HTTP/1.1",
        authority="authority:22",
        status=207,
        request_bytes=5,
        response_bytes=3,
        duration_ms=7000.0,
        first_byte_ms=None,
        waited_ms=None,
        delay_ms=500.0,
        attempts=4,
        retries_exhausted=True,
        destination=TARGET.cluster,
        endpoint="127.0.0.1:8001",
        proxy_address="192.0.2.2:2222",
        server_name="sni.example",
        virtual_service="default/httpbin",
        route="http[0]",
        rules_generation=9,
        outcome=PrimaryOutcome.OK,
        error="why",
        comparison=None,
        compared_status=0,
        headers=PickedHeaders(request_id="request-id"),
    )
    exchange.sent = None
    assert EndedPrimary.of(flow, exchange).record().first_byte_ms == 2000.0
