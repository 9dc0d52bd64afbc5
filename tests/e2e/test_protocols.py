"""Odd but legal ways to say HTTP/1: what the primary gets, the mirror gets."""

import base64
import hashlib
import signal
import socket
from pathlib import Path

import pytest

from lab.backend import Backend
from lab.client import RawConnection, send_raw
from lab.mitmdump import StartMitmdump
from lab.rules import HOST, SHADOW_HOST, endpoints_text, write_atomically
from lab.wire import Message

REVERSE = "reverse:http://127.0.0.1:9"


def without_host(request: Message) -> tuple[bytes, list[tuple[bytes, bytes]], bytes]:
    return (
        request.start_line,
        [item for item in request.fields if item[0].lower() != b"host"],
        request.raw_body,
    )


@pytest.mark.parametrize(
    ("mode", "request_text"),
    [
        pytest.param(REVERSE, f"HEAD /h HTTP/1.1\r\nHost: {HOST}\r\n\r\n", id="HEAD"),
        pytest.param(
            REVERSE, f"GET / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 2\r\n\r\nab", id="GET, body"
        ),
        pytest.param(REVERSE, f"POST / HTTP/1.1\r\nHost: {HOST}\r\n\r\n", id="POST, no framing"),
        pytest.param(
            REVERSE,
            f"POST / HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n"
            "2\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
            id="chunked",
        ),
        pytest.param(
            "regular", f"GET http://{HOST}/a?b HTTP/1.1\r\nHost: {HOST}\r\n\r\n", id="absolute form"
        ),
        pytest.param(
            "regular", f"GET http://{HOST}/ HTTP/1.1\r\nHost: other\r\n\r\n", id="absolute form, other Host"
        ),
        pytest.param(REVERSE, "OPTIONS * HTTP/1.1\r\nHost: " + HOST + "\r\n\r\n", id="asterisk form"),
    ],
)
def test_both_copies_are_equal(
    v1: Backend, v2: Backend, rules: Path, start: StartMitmdump, mode: str, request_text: str
) -> None:
    text = (rules / "httpbin.yaml").read_text(encoding="utf-8")
    write_atomically(
        rules / "httpbin.yaml", text.replace("    - httpbin\n", "    - httpbin\n    - other\n", 1)
    )
    mitmdump = start(mode=mode)
    assert send_raw(mitmdump.port, request_text.encode()).status == 200
    v2.wait_for_count(1)
    assert mitmdump.stop(signal.SIGINT) == 0

    [primary], [shadow] = v1.requests, v2.requests
    assert without_host(shadow) == without_host(primary)
    for copy in (primary, shadow):
        assert not (copy.values(b"content-length") and copy.values(b"transfer-encoding"))
    assert mitmdump.totals() == {"shadows": 1, "ok": 1, "pending": 0}


def test_http10(v1: Backend, v2: Backend, start: StartMitmdump) -> None:
    """mitmproxy writes the version on, and so the primary gets it; a copy is always HTTP/1.1."""
    mitmdump = start(mode=REVERSE)
    answer = send_raw(
        mitmdump.port, f"POST /p HTTP/1.0\r\nHost: {HOST}\r\nContent-Length: 2\r\n\r\nab".encode()
    )
    v2.wait_for_count(1)
    assert mitmdump.stop(signal.SIGINT) == 0

    [primary], [shadow] = v1.requests, v2.requests
    assert answer.status == 200
    assert primary.start_line == b"POST /p HTTP/1.0"
    assert shadow.start_line == b"POST /p HTTP/1.1"
    assert without_host(shadow)[1:] == without_host(primary)[1:]


def test_a_request_in_a_tunnel(v1: Backend, v2: Backend, start: StartMitmdump) -> None:
    """CONNECT itself is not mirrored; what comes through its tunnel is."""
    mitmdump = start()
    with RawConnection(mitmdump.port) as client:
        client.send(f"CONNECT {HOST} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
        assert client.receive(has_body=False).status == 200
        assert client.exchange(f"GET /in HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()).status == 200
    v2.wait_for_count(1)
    assert mitmdump.stop(signal.SIGINT) == 0

    [primary], [shadow] = v1.requests, v2.requests
    assert without_host(shadow) == without_host(primary)
    assert shadow.values(b"host") == [SHADOW_HOST.encode()]
    assert mitmdump.totals() == {"shadows": 1, "ok": 1, "pending": 0}


def test_a_websocket_goes_through_and_is_a_named_loss(v2: Backend, rules: Path, start: StartMitmdump) -> None:
    def accept(request: Message) -> bytes:
        key = request.values(b"sec-websocket-key")[0] + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accepted = base64.b64encode(hashlib.sha1(key).digest())  # noqa: S324 - RFC 6455 asks for it
        hello = b"\x81\x05hello"  # a frame of text
        lines = [b"HTTP/1.1 101 Switching Protocols", b"Upgrade: websocket", b"Connection: Upgrade"]
        return b"\r\n".join([*lines, b"Sec-WebSocket-Accept: " + accepted, b"", hello])

    with Backend("v1", accept) as v1:
        write_atomically(rules / "httpbin-endpoints.yaml", endpoints_text(v1.port, v2.port))
        mitmdump = start(mode=REVERSE)
        key = base64.b64encode(b"0123456789abcdef").decode()
        lines = [f"GET /ws HTTP/1.1\r\nHost: {HOST}", "Upgrade: websocket", "Connection: Upgrade"]
        lines += [f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13", "", ""]
        with socket.create_connection(("127.0.0.1", mitmdump.port), 60.0) as client:
            client.sendall("\r\n".join(lines).encode())
            seen = b""
            while not seen.endswith(b"hello"):
                data = client.recv(1 << 16)
                assert data, seen
                seen += data
        assert seen.startswith(b"HTTP/1.1 101 ")
        assert mitmdump.stop(signal.SIGINT) == 0

    assert v2.requests == []
    assert mitmdump.totals() == {"shadows": 1, "protocol_error": 1, "pending": 0}


def test_a_client_that_leaves_before_the_answer(v2: Backend, rules: Path, start: StartMitmdump) -> None:
    """Its request was complete, so the primary got it, and the mirror does."""
    with Backend("v1", lambda _: None) as v1:
        write_atomically(rules / "httpbin-endpoints.yaml", endpoints_text(v1.port, v2.port))
        mitmdump = start(mode=REVERSE)
        with RawConnection(mitmdump.port) as client:
            client.send(f"POST /p HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 2\r\n\r\nab".encode())
            v1.wait_for_count(1)
        v2.wait_for_count(1)
        assert mitmdump.stop(signal.SIGINT) == 0
        [primary], [shadow] = v1.requests, v2.requests

    assert without_host(shadow) == without_host(primary)
    assert mitmdump.totals() == {"shadows": 1, "ok": 1, "pending": 0}
