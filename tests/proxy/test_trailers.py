"""Trailers of a request reach mitmproxy's HTTP/2 clients, and never its HTTP/1 client."""

import pytest
from mitmproxy import connection, http
from mitmproxy.test import tflow

from mitm_mirror.proxy.trailers import LateTrailers
from mitm_mirror.proxy.upstream_address import UpstreamAddress


def make_flow(scheme: str = "https", host: str = "10.0.0.1", *, alpn: bytes | None = None) -> http.HTTPFlow:
    flow = tflow.tflow()
    flow.request = http.Request.make("POST", f"{scheme}://10.0.0.1:443/")
    flow.request.data.host = host
    flow.request.http_version = "HTTP/2.0"
    flow.request.trailers = http.Headers(x_sum="6")
    flow.server_conn = make_server(alpn)
    return flow


def make_server(alpn: bytes | None, host: str = "10.0.0.1", port: int = 443) -> connection.Server:
    server = connection.Server(address=(host, port))
    server.alpn = alpn
    return server


@pytest.mark.parametrize(
    ("flow", "is_kept"),
    [
        pytest.param(make_flow(alpn=b"h2"), True, id="HTTP/2"),
        pytest.param(make_flow(alpn=b"h3"), True, id="HTTP/3"),
        pytest.param(make_flow("http", UpstreamAddress("10.0.0.1", http2=True), alpn=b"h2"), True, id="h2c"),
        pytest.param(make_flow(alpn=b"http/1.1"), False, id="HTTP/1.1"),
        pytest.param(make_flow(alpn=b""), False, id="no ALPN"),
        pytest.param(make_flow("http"), False, id="clear text"),
    ],
)
def test_of_a_streamed_body_they_follow_its_connection(flow: http.HTTPFlow, is_kept: bool) -> None:
    flow.request.stream = True

    LateTrailers().settle(flow)

    assert bool(flow.request.trailers) is is_kept


@pytest.mark.parametrize(
    ("host", "is_kept"),
    [
        pytest.param("10.0.0.1", False, id="HTTP/1"),
        pytest.param(UpstreamAddress("10.0.0.1", http2=True), True, id="HTTP/2 without asking"),
    ],
)
def test_of_a_body_that_goes_on_in_clear_text_it_is_known(host: str, is_kept: bool) -> None:
    flow = make_flow("http", host)

    LateTrailers().settle(flow)

    assert bool(flow.request.trailers) is is_kept


@pytest.mark.parametrize(
    ("server", "is_kept"),
    [
        pytest.param(make_server(b"h2"), True, id="HTTP/2"),
        pytest.param(make_server(b"http/1.1"), False, id="HTTP/1.1"),
        pytest.param(make_server(b""), False, id="no ALPN"),
        pytest.param(make_server(b"", "10.0.0.2"), True, id="another host"),
        pytest.param(make_server(b"", port=444), True, id="another port"),
    ],
)
def test_of_a_body_that_goes_on_in_tls_the_handshake_decides(
    server: connection.Server, is_kept: bool
) -> None:
    flow, trailers = make_flow(), LateTrailers()

    trailers.settle(flow)
    assert flow.request.trailers, "before TLS nobody knows"
    trailers.agreed(flow.client_conn, server)

    assert bool(flow.request.trailers) is is_kept


@pytest.mark.parametrize("end", ["sent", "answered", "client left", "another client"])
def test_what_is_not_waiting_any_more_keeps_what_was_sent(end: str) -> None:
    flow, trailers = make_flow(), LateTrailers()
    trailers.settle(flow)
    client = flow.client_conn

    if end == "sent":
        flow.server_conn = make_server(b"h2")
    elif end == "answered":
        trailers.forget(flow)
        trailers.forget(flow)  # or failed after it
    elif end == "client left":
        trailers.release(client.id)
    else:
        client = make_flow().client_conn
    trailers.agreed(client, make_server(b"http/1.1"))

    assert flow.request.trailers


def test_a_flow_that_is_replayed_has_another_client_than_its_connection() -> None:
    flow, trailers = make_flow(), LateTrailers()
    flow.is_replay = "request"
    trailers.settle(flow)

    trailers.agreed(flow.client_conn.copy(), make_server(b"http/1.1"))

    assert not flow.request.trailers
    assert trailers._waiting == {}


def test_nothing_is_remembered_of_requests_that_are_settled() -> None:
    trailers = LateTrailers()
    dropped, answered, streamed = make_flow(), make_flow(), make_flow(alpn=b"h2")
    streamed.request.stream = True
    for flow in (dropped, answered, streamed):
        trailers.settle(flow)
    trailers.agreed(dropped.client_conn, make_server(b""))
    trailers.forget(answered)

    assert trailers._waiting == {}
