"""Bodies that mitmproxy streams reach the mirror while they come, and no mirror slows them down."""

import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.backend import Backend
from lab.client import RawConnection, send_raw
from lab.mitmdump import StartMitmdump
from lab.rules import HOST, endpoints_text, write_atomically

HEAD = f"POST http://{HOST}/post HTTP/1.1\r\nHost: {HOST}\r\n"
STREAMED = {"stream_large_bodies": "1k"}


def sized(body: bytes, promised: int | None = None) -> bytes:
    return f"{HEAD}Content-Length: {promised or len(body)}\r\n\r\n".encode() + body


@pytest.fixture
def deaf(rules: Path, v1: Backend) -> Iterator[None]:
    """The mirror accepts connections (the system does) and never reads."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        write_atomically(rules / "httpbin-endpoints.yaml", endpoints_text(v1.port, listener.getsockname()[1]))
        yield


def test_a_mirror_that_does_not_read_costs_its_shadow_and_nothing_else(
    deaf: None, v1: Backend, start: StartMitmdump
) -> None:
    mitmdump = start(**STREAMED, mirror_queue_bytes="1m")
    body = b"x" * (8 << 20)

    answer = send_raw(mitmdump.port, sized(body))

    assert (answer.status, answer.raw_body) == (200, b"v1")
    assert v1.requests[0].raw_body == body
    assert mitmdump.stop(signal.SIGINT) == 0
    assert mitmdump.totals() == {"shadows": 1, "queue_full": 1, "pending": 0}


@pytest.mark.parametrize(
    "half",
    [
        pytest.param(sized(b"x" * 5_000, promised=10_000), id="sized"),
        pytest.param(
            f"{HEAD}Transfer-Encoding: chunked\r\n\r\n1388\r\n".encode() + b"x" * 5_000 + b"\r\n",
            id="chunked",
        ),
    ],
)
def test_a_client_that_leaves_half_way_ends_the_shadow(
    v1: Backend, v2: Backend, start: StartMitmdump, half: bytes
) -> None:
    mitmdump = start(**STREAMED, flow_detail="1")
    with RawConnection(mitmdump.port) as leaving:
        leaving.send(half)
        v2.wait_for_partial(5_000)
    mitmdump.wait_for_log("peer closed connection without sending complete")
    [error] = v2.wait_for_errors(1)  # the half that it got, and long before the proxy ends
    assert error.startswith("cut off")
    assert send_raw(mitmdump.port, sized(b"y" * 5_000)).status == 200
    v2.wait_for_count(1)

    assert mitmdump.stop(signal.SIGINT) == 0
    assert mitmdump.totals() == {"shadows": 2, "ok": 1, "cancelled": 1, "pending": 0}
    assert [len(request.raw_body) for request in v2.requests] == [5_000]
    assert v2.errors == [error]


@pytest.mark.parametrize(
    ("head", "body", "wire"),
    [
        pytest.param("Content-Length: 3000\r\n", b"x" * 3000, b"x" * 3000, id="sized"),
        pytest.param(
            "Transfer-Encoding: chunked\r\n",
            b"3\r\nabc\r\n5;ext=1\r\ndefgh\r\n0\r\n\r\n",
            b"3\r\nabc\r\n5\r\ndefgh\r\n0\r\n\r\n",
            id="chunked and small: nobody knew",
        ),
        pytest.param("Transfer-Encoding: chunked\r\n", b"0\r\n\r\n", b"0\r\n\r\n", id="chunked and empty"),
        pytest.param("Content-Length: 0\r\n", b"", b"", id="empty"),
        pytest.param(
            "Expect: 100-continue\r\nContent-Length: 3000\r\n", b"x" * 3000, b"x" * 3000, id="100-continue"
        ),
    ],
)
def test_both_copies_have_the_same_framing(
    v1: Backend, v2: Backend, start: StartMitmdump, head: str, body: bytes, wire: bytes
) -> None:
    mitmdump = start(**STREAMED)
    assert send_raw(mitmdump.port, f"{HEAD}{head}\r\n".encode() + body).status == 200
    v2.wait_for_count(1)
    assert mitmdump.stop(signal.SIGINT) == 0

    [primary], [shadow] = v1.requests, v2.requests
    names = ("content-length", "transfer-encoding", "expect")
    assert [primary.values(name.encode()) for name in names] == [
        shadow.values(name.encode()) for name in names
    ]
    assert primary.raw_body == shadow.raw_body == wire
    assert mitmdump.totals() == {"shadows": 1, "ok": 1, "pending": 0}
