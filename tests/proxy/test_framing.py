from collections.abc import Callable

import pytest
from mitmproxy import connection, http
from mitmproxy.test import tflow

from mitm_mirror.proxy.framing import UnframedUploads
from mitm_mirror.proxy.upstream_address import UpstreamAddress


def make_upload(
    scheme: str = "https", host: str = "10.0.0.1", version: str = "HTTP/2.0", **fields: str
) -> http.HTTPFlow:
    flow = tflow.tflow()
    flow.request = http.Request.make("POST", f"{scheme}://10.0.0.1:443/")
    flow.request.data.host = host
    flow.request.http_version = version
    flow.request.headers.clear()
    flow.request.headers.update({name.replace("_", "-"): value for name, value in fields.items()})
    flow.request.stream = True
    flow.server_conn = connection.Server(address=None)
    return flow


def make_server(alpn: bytes | None, host: str = "10.0.0.1", port: int = 443) -> connection.Server:
    server = connection.Server(address=(host, port))
    server.alpn = alpn
    return server


def framing(flow: http.HTTPFlow) -> str | None:
    found: str | None = flow.request.headers.get("transfer-encoding")
    return found


@pytest.mark.parametrize(
    ("flow", "server", "expected"),
    [
        pytest.param(make_upload(), make_server(b"http/1.1"), "chunked", id="HTTP/1.1"),
        pytest.param(make_upload(), make_server(b""), "chunked", id="no ALPN"),
        pytest.param(make_upload(version="HTTP/3"), make_server(b""), "chunked", id="from HTTP/3"),
        pytest.param(make_upload(), make_server(b"h2"), None, id="HTTP/2"),
        pytest.param(make_upload(), make_server(b"h3"), None, id="HTTP/3"),
        pytest.param(make_upload(), make_server(b"", "10.0.0.2"), None, id="another host"),
        pytest.param(make_upload(), make_server(b"", port=444), None, id="another port"),
        pytest.param(
            make_upload(host=UpstreamAddress("10.0.0.1", "a.example")),
            make_server(b"", UpstreamAddress("10.0.0.1", "b.example")),
            None,
            id="another server of the same address",
        ),
        pytest.param(make_upload(content_length="3"), make_server(b""), None, id="sized"),
        pytest.param(make_upload(version="HTTP/1.1"), make_server(b""), None, id="from HTTP/1.1"),
    ],
)
def test_what_the_server_chooses_in_tls_decides(
    flow: http.HTTPFlow, server: connection.Server, expected: str | None
) -> None:
    uploads = UnframedUploads()
    uploads.expect(flow)
    uploads.connected(flow.client_conn)
    assert framing(flow) is None, "before TLS nobody knows"

    uploads.agreed(flow.client_conn, server)

    assert framing(flow) == expected


def test_clear_text_that_is_streamed_from_its_beginning_is_framed_at_once() -> None:
    flow = make_upload("http")
    UnframedUploads().expect(flow)
    assert framing(flow) == "chunked"


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        pytest.param("10.0.0.1", "chunked", id="HTTP/1"),
        pytest.param(UpstreamAddress("10.0.0.1", http2=True), None, id="HTTP/2 without asking"),
    ],
)
def test_clear_text_that_is_streamed_half_way_is_framed_when_connected(
    host: str, expected: str | None
) -> None:
    flow = make_upload("http", host)
    flow.request.stream = False
    uploads = UnframedUploads()
    uploads.expect(flow)
    flow.request.stream = True

    uploads.connected(flow.client_conn)

    assert framing(flow) == expected


def buffer(uploads: UnframedUploads, flow: http.HTTPFlow) -> None:
    flow.request.stream = False


def send(uploads: UnframedUploads, flow: http.HTTPFlow) -> None:
    flow.server_conn = make_server(b"h2")


def forget(uploads: UnframedUploads, flow: http.HTTPFlow) -> None:
    uploads.forget(flow)
    uploads.forget(flow)  # `request` and `error` may both come


def release(uploads: UnframedUploads, flow: http.HTTPFlow) -> None:
    uploads.release(flow.client_conn.id)
    uploads.release(flow.client_conn.id)


@pytest.mark.parametrize("before", [buffer, send, forget, release], ids=lambda act: act.__name__)
def test_what_is_buffered_or_sent_or_over_is_left_alone(
    before: Callable[[UnframedUploads, http.HTTPFlow], None],
) -> None:
    flow = make_upload()
    uploads = UnframedUploads()
    uploads.expect(flow)
    before(uploads, flow)

    uploads.agreed(flow.client_conn, make_server(b"http/1.1"))

    assert framing(flow) is None


def test_another_client_is_left_alone() -> None:
    flow, stranger = make_upload(), make_upload()
    uploads = UnframedUploads()
    uploads.expect(flow)

    uploads.agreed(stranger.client_conn, make_server(b"http/1.1"))

    assert framing(flow) is None
