"""Trailers of a request reach each server that speaks HTTP/2, and hurt none that does not."""

import signal
import ssl
from pathlib import Path

import pytest

from lab.alpn import Place, pseudo
from lab.backend import Backend
from lab.http2 import Fields, Http2Backend, Http2Request, send_http2, send_http2_at_once
from lab.mitmdump import Mitmdump, StartMitmdump
from lab.wire import Message

REVERSE = "reverse:https://127.0.0.1:9"
OPTIONS = pytest.mark.parametrize("options", [{}, {"stream_large_bodies": "1"}], ids=["buffered", "streamed"])
TRAILERS: Fields = [(b"x-sum", b"6"), (b"x-sum", b"7")]
BODIES = (b"", b"abc", b"x" * 10_000)


def uploads(*paths: str, body: bytes = b"abc") -> list[Http2Request]:
    return [Http2Request(pseudo("POST", path), bytearray(body), TRAILERS) for path in paths]


def stop(mitmdump: Mitmdump) -> None:
    assert mitmdump.stop(signal.SIGINT) == 0
    assert "crashed" not in mitmdump.output
    assert "Traceback" not in mitmdump.output


def check(server: Backend | Http2Backend, request: Message | Http2Request) -> None:
    """It has the trailers if it came in HTTP/2, and never two framings."""
    framings = [*request.values(b"content-length"), *request.values(b"transfer-encoding")]
    assert request.values(b"x-sum") == []
    if isinstance(request, Http2Request):
        assert request.trailers == TRAILERS
        assert request.values(b"transfer-encoding") == []
    else:
        assert isinstance(server, Backend)
        assert len(framings) <= 1
        assert server.errors == []


@OPTIONS
@pytest.mark.parametrize(
    ("primary", "mirror"),
    [("h2", "h2"), ("h2", "http/1.1"), ("http/1.1", "h2"), ("http/1.1", "http/1.1"), ("", "")],
    ids=["HTTP/2", "mirror HTTP/1.1", "primary HTTP/1.1", "HTTP/1.1", "no ALPN"],
)
def test_each_copy_has_them_if_its_protocol_does(
    place: Place,
    start: StartMitmdump,
    trusting: ssl.SSLContext,
    options: dict[str, str],
    primary: str,
    mirror: str,
) -> None:
    v1, v2 = place.server("v1", primary), place.server("v2", mirror)
    place.write(v1, v2)
    mitmdump = start(mode=REVERSE, mirror_rules=str(place.rules), **options)
    for count, body in enumerate(BODIES, 1):
        [request] = uploads(f"/{count}", body=body)
        assert send_http2(mitmdump.port, trusting, "uploads", request) == (200, b"v1")
        v2.wait_for_count(count)
    stop(mitmdump)

    for server in (v1, v2):
        assert [bytes(request.body) for request in server.requests] == list(BODIES)
        for request in server.requests:
            check(server, request)
    assert mitmdump.totals() == {"shadows": 3, "ok": 3, "pending": 0}


@OPTIONS
@pytest.mark.parametrize("alpn", ["h2", "http/1.1"])
def test_several_that_wait_for_one_handshake(
    place: Place, start: StartMitmdump, trusting: ssl.SSLContext, options: dict[str, str], alpn: str
) -> None:
    """Also of requests that are not mirrored."""
    v1, v2 = place.server("v1", alpn), place.server("v2", "h2")
    place.write(v1, v2)
    mitmdump = start(mode=REVERSE, mirror_rules=str(place.rules), **options)

    requests = uploads("/1", "/alone/2", "/3", "/alone/4", "/5")
    answers = send_http2_at_once(mitmdump.port, trusting, "uploads", requests)
    v2.wait_for_count(3)
    stop(mitmdump)

    assert answers == [(200, b"v1")] * 5
    assert (len(v1.requests), len(v2.requests)) == (5, 3)
    for server in (v1, v2):
        for request in server.requests:
            assert request.body == b"abc"
            check(server, request)
    assert mitmdump.totals() == {"shadows": 3, "ok": 3, "pending": 0}


@pytest.mark.parametrize("alpn", ["h2", "http/1.1"])
def test_a_host_without_rules(
    place: Place, start: StartMitmdump, trusting: ssl.SSLContext, alpn: str
) -> None:
    v1 = place.server("v1", alpn)
    place.write(v1, v1)
    mitmdump = start(
        mode=f"reverse:https://127.0.0.1:{v1.port}", mirror_rules=str(place.rules), ssl_insecure="true"
    )
    request = Http2Request(pseudo("POST", "/", "other.example"), bytearray(b"abc"), TRAILERS)
    assert send_http2(mitmdump.port, trusting, "uploads", request) == (200, b"v1")
    stop(mitmdump)

    [seen] = v1.requests
    check(v1, seen)


@pytest.mark.parametrize("alpn", ["h2", "http/1.1"])
def test_a_replay(
    place: Place, start: StartMitmdump, trusting: ssl.SSLContext, tmp_path: Path, alpn: str
) -> None:
    recorded = tmp_path / "recorded.flows"
    v1, v2 = place.http2("v1"), place.http2("v2")
    place.write(v1, v2)
    mitmdump = start(
        mode=REVERSE,
        mirror_rules=str(place.rules),
        mirror_flows="off",  # else the shadow would be replayed as well
        save_stream_file=str(recorded),
    )
    [request] = uploads("/1")
    assert send_http2(mitmdump.port, trusting, "uploads", request) == (200, b"v1")
    v2.wait_for_count(1)
    stop(mitmdump)

    again = place.server("v1", alpn)
    place.write(again, v2)
    mitmdump = start(mirror_rules=str(place.rules), arguments=["-C", str(recorded)])
    assert mitmdump.wait() == 0, mitmdump.output
    assert "crashed" not in mitmdump.output

    [seen] = again.requests
    assert bytes(seen.body) == b"abc"
    check(again, seen)
    assert [shadow.trailers for shadow in v2.wait_for_count(2)] == [TRAILERS] * 2


@pytest.mark.parametrize("alpn", ["h2", "http/1.1"])
def test_a_route_whose_primary_we_send(
    place: Place, start: StartMitmdump, trusting: ssl.SSLContext, alpn: str
) -> None:
    v1, v2 = place.server("v1", alpn), place.server("v2", "h2")
    place.write(v1, v2)
    mitmdump = start(
        mode=REVERSE,
        mirror_rules=str(place.rules),
        mirror_access_log="-",
        mirror_access_log_format="json",
    )
    for count, body in enumerate(BODIES, 1):
        [request] = uploads("/timed", body=body)
        assert send_http2(mitmdump.port, trusting, "uploads", request) == (200, b"v1")
        v2.wait_for_count(count)
    stop(mitmdump)

    assert mitmdump.output.count('"attempts":1') == 3
    for server in (v1, v2):
        assert [bytes(request.body) for request in server.requests] == list(BODIES)
        for request in server.requests:
            check(server, request)
    assert mitmdump.totals() == {"shadows": 3, "ok": 3, "pending": 0}
