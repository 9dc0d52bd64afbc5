"""HTTP/2 on either side of real mitmdump: both copies say the same in the same version."""

import signal
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.backend import Backend
from lab.client import RawConnection
from lab.http2 import Fields, Http2Backend, Http2Request, break_off_http2, send_http2
from lab.mitmdump import StartMitmdump
from lab.rules import HOST, SHADOW_HOST, endpoints_text, write_atomically

REVERSE = "reverse:https://127.0.0.1:9"


def pseudo(method: str = "POST", path: str = "/post?a=%2F") -> Fields:
    written = {":method": method, ":scheme": "https", ":authority": HOST, ":path": path}
    return [(name.encode(), value.encode()) for name, value in written.items()]


@pytest.fixture
def backends(rules: Path) -> Iterator[tuple[Http2Backend, Http2Backend]]:
    """Both versions speak HTTP/2 in clear text, and the port says so."""
    with Http2Backend("v1") as v1, Http2Backend("v2") as v2:
        text = endpoints_text(v1.port, v2.port).replace("protocol: HTTP\n", "protocol: HTTP2\n")
        write_atomically(rules / "httpbin-endpoints.yaml", text)
        yield v1, v2


def without_authority(request: Http2Request) -> tuple[Fields, Fields, bytes, Fields]:
    """(pseudo fields in one order, fields, body, trailers); the scheme is the upstream's."""
    own = [item for item in request.fields if item[0].startswith(b":") and item[0] != b":authority"]
    rest = [item for item in request.fields if not item[0].startswith(b":")]
    return sorted(own), rest, bytes(request.body), request.trailers


CRUMBS = [(b"cookie", b"a=1"), (b"x-b", b"2"), (b"cookie", b"b=2"), (b"x-b", b"1"), (b"te", b"trailers")]


@pytest.mark.parametrize("options", [{}, {"stream_large_bodies": "1"}], ids=["buffered", "streamed"])
@pytest.mark.parametrize(
    ("fields", "body", "trailers"),
    [
        pytest.param([*pseudo("GET", "/get"), *CRUMBS], b"", [], id="no body"),
        pytest.param([*pseudo(), *CRUMBS], b"x" * 3000, [], id="body without a length"),
        pytest.param([*pseudo(), (b"content-length", b"3")], b"abc", [], id="body with a length"),
        pytest.param([*pseudo("HEAD", "/")], b"", [], id="HEAD"),
        pytest.param([*pseudo(), (b"content-length", b"0")], b"", [], id="empty body with a length"),
        pytest.param([*pseudo(), *CRUMBS], b"abc", [(b"x-sum", b"6"), (b"x-b", b"3")], id="trailers"),
        pytest.param([*pseudo("GET", "/get")], b"", [(b"x-sum", b"0")], id="trailers of no body"),
    ],
)
def test_http2_from_end_to_end(
    backends: tuple[Http2Backend, Http2Backend],
    start: StartMitmdump,
    trusting: ssl.SSLContext,
    options: dict[str, str],
    fields: Fields,
    body: bytes,
    trailers: Fields,
) -> None:
    mitmdump = start(mode=REVERSE, **options)
    request = Http2Request(fields, bytearray(body), trailers)
    status, answer = send_http2(mitmdump.port, trusting, "httpbin", request)
    [primary], [shadow] = (backend.wait_for_count(1) for backend in backends)
    assert mitmdump.stop(signal.SIGINT) == 0

    assert (status, answer) == (200, b"" if fields[0][1] == b"HEAD" else b"v1")
    assert (primary.values(b":authority"), shadow.values(b":authority")) == (
        [HOST.encode()],
        [SHADOW_HOST.encode()],
    )
    assert without_authority(shadow) == without_authority(primary)
    assert (primary.body, primary.trailers) == (body, trailers)
    assert mitmdump.totals() == {"shadows": 1, "ok": 1, "pending": 0}


@pytest.mark.parametrize(
    ("head", "body"),
    [
        pytest.param(
            "GET /get HTTP/1.1\r\nX-B: 1\r\nx-a: 2\r\nConnection: keep-alive\r\n", b"", id="no body"
        ),
        pytest.param("POST /p HTTP/1.1\r\nContent-Length: 3\r\n", b"abc", id="sized"),
        pytest.param(
            "POST /p HTTP/1.1\r\nTransfer-Encoding: chunked\r\n", b"3\r\nabc\r\n0\r\n\r\n", id="chunked"
        ),
    ],
)
def test_http1_clients_of_http2_servers(
    backends: tuple[Http2Backend, Http2Backend], start: StartMitmdump, head: str, body: bytes
) -> None:
    mitmdump = start(mode="reverse:http://127.0.0.1:9")
    with RawConnection(mitmdump.port) as client:
        answer = client.exchange(f"{head}Host: {HOST}\r\n\r\n".encode() + body)
    [primary], [shadow] = (backend.wait_for_count(1) for backend in backends)
    assert mitmdump.stop(signal.SIGINT) == 0

    assert (answer.status, answer.body) == (200, b"v1")
    assert shadow.values(b":authority") == [SHADOW_HOST.encode()]
    assert without_authority(shadow) == without_authority(primary)


@pytest.mark.parametrize("options", [{}, {"stream_large_bodies": "1"}], ids=["buffered", "streamed"])
def test_http2_clients_of_http1_servers(
    v1: Backend, v2: Backend, start: StartMitmdump, trusting: ssl.SSLContext, options: dict[str, str]
) -> None:
    """The body gets a framing, crumbs are joined, trailers are left out of both."""
    mitmdump = start(mode=REVERSE, **options)
    request = Http2Request([*pseudo(), *CRUMBS], bytearray(b"abc"), [(b"x-sum", b"6")])
    assert send_http2(mitmdump.port, trusting, "httpbin", request) == (200, b"v1")
    v2.wait_for_count(1)
    assert mitmdump.stop(signal.SIGINT) == 0

    [primary], [shadow] = v1.requests, v2.requests
    assert primary.values(b"cookie") == [b"a=1; b=2"]
    assert primary.body == b"abc"
    assert primary.values(b"content-length") == ([b"3"] if not options else [])
    assert primary.values(b"transfer-encoding") == ([] if not options else [b"chunked"])
    assert shadow.raw_body == primary.raw_body
    assert [item for item in shadow.fields if item[0].lower() != b"host"] == [
        item for item in primary.fields if item[0].lower() != b"host"
    ]
    assert v1.errors == v2.errors == []


@pytest.mark.parametrize("reset", [True, False], ids=["its stream is reset", "its connection is gone"])
def test_an_http2_client_that_leaves_half_way_ends_the_shadow(
    backends: tuple[Http2Backend, Http2Backend], start: StartMitmdump, trusting: ssl.SSLContext, reset: bool
) -> None:
    v1, v2 = backends
    mitmdump = start(mode=REVERSE, stream_large_bodies="1")
    half = Http2Request(pseudo(), bytearray(b"x" * 5_000))
    break_off_http2(mitmdump.port, trusting, "httpbin", half, lambda: v2.wait_for_partial(5_000), reset=reset)
    [primary], [shadow] = v1.wait_for_broken_off(1), v2.wait_for_broken_off(1)
    whole = Http2Request(pseudo(), bytearray(b"y" * 5_000))
    assert send_http2(mitmdump.port, trusting, "httpbin", whole) == (200, b"v1")
    v2.wait_for_count(1)
    assert mitmdump.stop(signal.SIGINT) == 0

    assert without_authority(shadow) == without_authority(primary)
    assert shadow.body == half.body
    assert [request.body for request in v2.requests] == [whole.body]
    assert mitmdump.totals() == {"shadows": 2, "ok": 1, "cancelled": 1, "pending": 0}
