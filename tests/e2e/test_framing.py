"""What an HTTP/2 client uploads without a length never reaches an HTTP/1 server as a request of its own."""

import signal
import ssl

import pytest

from lab.alpn import CLEAR, TLS, Place, pseudo
from lab.backend import Backend
from lab.http2 import Fields, Http2Request, send_http2, send_http2_at_once
from lab.mitmdump import StartMitmdump

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: victim.example\r\n\r\n"
BODY = SMUGGLED + b"x" * 4000
STREAMED = {"stream_large_bodies": "2k"}
"""From its beginning where the addon mirrors it. Else mitmproxy sees half-way that the body is large."""


def assert_chunked(backend: Backend, count: int = 1) -> None:
    """It got so many requests, and each is the upload in chunks."""
    assert len(backend.requests) == count
    for request in backend.requests:
        assert request.values(b"transfer-encoding") == [b"chunked"]
        assert request.values(b"content-length") == []
        assert request.body == BODY
    assert backend.errors == []


@pytest.mark.parametrize("alpn", ["http/1.1", ""], ids=["http/1.1 in ALPN", "no ALPN"])
def test_both_copies_of_a_streamed_upload_are_chunked_where_tls_servers_choose_http1(
    place: Place, start: StartMitmdump, trusting: ssl.SSLContext, alpn: str
) -> None:
    v1, v2 = place.http1("v1", alpn), place.http1("v2", alpn)
    place.write(v1, v2)
    mitmdump = start(mode="reverse:https://127.0.0.1:9", mirror_rules=str(place.rules), **STREAMED)

    answer = send_http2(
        mitmdump.port, trusting, "uploads", Http2Request(pseudo("POST", "/up"), bytearray(BODY))
    )
    v2.wait_for_count(1)
    assert mitmdump.stop(signal.SIGINT) == 0

    assert answer == (200, b"v1")
    assert_chunked(v1)
    assert_chunked(v2)
    assert v1.requests[0].raw_body == v2.requests[0].raw_body
    assert mitmdump.totals() == {"shadows": 1, "ok": 1, "pending": 0}


def test_neither_copy_has_a_transfer_encoding_where_tls_servers_choose_http2(
    place: Place, start: StartMitmdump, trusting: ssl.SSLContext
) -> None:
    v1, v2 = place.http2("v1"), place.http2("v2")
    place.write(v1, v2)
    mitmdump = start(mode="reverse:https://127.0.0.1:9", mirror_rules=str(place.rules), **STREAMED)

    answer = send_http2(
        mitmdump.port, trusting, "uploads", Http2Request(pseudo("POST", "/up"), bytearray(BODY))
    )
    copies = [*v1.wait_for_count(1), *v2.wait_for_count(1)]
    assert mitmdump.stop(signal.SIGINT) == 0

    assert answer == (200, b"v1")
    assert len(copies) == 2
    for request in copies:
        assert request.values(b"transfer-encoding") == request.values(b"content-length") == []
        assert request.body == BODY
    assert mitmdump.totals() == {"shadows": 1, "ok": 1, "pending": 0}


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param(pseudo("POST", "/alone"), id="without a mirror"),
        pytest.param(pseudo("GET", "/alone"), id="with a method that has no body as a rule"),
        pytest.param(pseudo("POST", "/", "other.example"), id="to a host without rules"),
    ],
)
@pytest.mark.parametrize("scheme", ["https", "http"])
def test_an_upload_that_is_not_mirrored_is_chunked_too(
    place: Place,
    start: StartMitmdump,
    trusting: ssl.SSLContext,
    fields: Fields,
    scheme: str,
) -> None:
    v1 = place.http1("v1", "http/1.1") if scheme == "https" else place.stack.enter_context(Backend("v1"))
    place.write(v1, v1, TLS if scheme == "https" else CLEAR)
    mitmdump = start(
        mode=f"reverse:{scheme}://127.0.0.1:{v1.port}",
        mirror_rules=str(place.rules),
        ssl_insecure="true",
        **STREAMED,
    )

    answer = send_http2(mitmdump.port, trusting, "uploads", Http2Request(fields, bytearray(BODY)))
    assert mitmdump.stop(signal.SIGINT) == 0

    assert answer == (200, b"v1")
    assert_chunked(v1)


def test_uploads_that_wait_for_the_same_handshake_are_all_chunked(
    place: Place, start: StartMitmdump, trusting: ssl.SSLContext
) -> None:
    v1, v2 = place.http1("v1", "http/1.1"), place.http1("v2", "http/1.1")
    place.write(v1, v2)
    mitmdump = start(mode="reverse:https://127.0.0.1:9", mirror_rules=str(place.rules), **STREAMED)
    requests = [Http2Request(pseudo("POST", f"/{number}"), bytearray(BODY)) for number in range(5)]

    answers = send_http2_at_once(mitmdump.port, trusting, "uploads", requests)
    v2.wait_for_count(5)
    assert mitmdump.stop(signal.SIGINT) == 0

    assert answers == [(200, b"v1")] * 5
    assert_chunked(v1, 5)
    assert_chunked(v2, 5)
    assert mitmdump.totals() == {"shadows": 5, "ok": 5, "pending": 0}


def test_uploads_to_servers_of_both_versions_get_what_each_needs(
    place: Place, start: StartMitmdump, trusting: ssl.SSLContext
) -> None:
    """One client connection, two handshakes at once, and only one of them ends in HTTP/1.1."""
    v1, other = place.http1("v1", "http/1.1"), place.http2("other")
    place.write(v1, other)
    mitmdump = start(
        mode=f"reverse:https://127.0.0.1:{other.port}",
        mirror_rules=str(place.rules),
        ssl_insecure="true",
        **STREAMED,
    )
    hosts = [("uploads.example", "/alone"), ("other.example", "/")] * 3
    requests = [Http2Request(pseudo("POST", path, host), bytearray(BODY)) for host, path in hosts]

    answers = send_http2_at_once(mitmdump.port, trusting, "uploads", requests)
    assert mitmdump.stop(signal.SIGINT) == 0

    assert answers == [(200, b"v1"), (200, b"other")] * 3
    assert_chunked(v1, 3)
    for request in other.wait_for_count(3):
        assert request.values(b"transfer-encoding") == []
        assert request.body == BODY
