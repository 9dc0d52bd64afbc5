"""Primaries and mirrors at IPv6 addresses and Unix sockets, as the rules write them."""

import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.backend import Backend
from lab.client import send_raw
from lab.mitmdump import StartMitmdump
from lab.rules import HOST, SHADOW_HOST, endpoints_text, write_atomically

POST = f"POST http://{HOST}/a%2Fb HTTP/1.1\r\nHost: {HOST}\r\nX-B: 1\r\nContent-Length: 3\r\n\r\nabc".encode()


def unix_listener(path: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    return listener


@pytest.fixture(params=["IPv6", "Unix sockets", "abstract Unix sockets"])
def places(request: pytest.FixtureRequest, tmp_path: Path, rules: Path) -> Iterator[tuple[Backend, Backend]]:
    listeners, places = [], []
    for label in ("v1", "v2"):
        if request.param == "IPv6":
            listeners.append(socket.create_server(("::1", 0), family=socket.AF_INET6))
            port = listeners[-1].getsockname()[1]
            places.append(("address: '::1'", f"ports:\n      http: {port}"))
        elif request.param == "Unix sockets":
            listeners.append(unix_listener(str(tmp_path / label)))
            places.append((f"address: 'unix://{tmp_path / label}'", ""))
        else:
            name = f"mitm-mirror-test-{tmp_path.name}-{label}"
            listeners.append(unix_listener(f"\0{name}"))
            places.append((f"address: 'unix://@{name}'", ""))
    text = endpoints_text(1, 2)
    for number, (address, ports) in enumerate(places, 1):
        text = text.replace("address: 127.0.0.1", address, 1)
        text = text.replace(f"ports:\n      http: {number}", ports)
    write_atomically(rules / "httpbin-endpoints.yaml", text)
    with Backend("v1", listener=listeners[0]) as v1, Backend("v2", listener=listeners[1]) as v2:
        yield v1, v2


def test_both_copies_arrive(places: tuple[Backend, Backend], start: StartMitmdump) -> None:
    v1, v2 = places
    mitmdump = start()
    answers = [send_raw(mitmdump.port, POST) for _ in range(2)]
    v2.wait_for_count(2)
    assert mitmdump.stop(signal.SIGINT) == 0

    assert [(answer.status, answer.raw_body) for answer in answers] == [(200, b"v1")] * 2
    assert mitmdump.totals() == {"shadows": 2, "ok": 2, "pending": 0}
    assert {request.values(b"host")[0].decode() for request in v2.requests} == {SHADOW_HOST}
    without_host = [
        [(r.start_line, [f for f in r.fields if f[0] != b"Host"], r.raw_body) for r in backend.requests]
        for backend in places
    ]
    assert without_host[0] == without_host[1]
    assert v1.errors == v2.errors == []


def test_a_socket_that_is_not_there(v1: Backend, rules: Path, start: StartMitmdump) -> None:
    text = endpoints_text(v1.port, 2).replace("ports:\n      http: 2", "")
    head, _, tail = text.rpartition("address: 127.0.0.1")
    write_atomically(rules / "httpbin-endpoints.yaml", f"{head}address: unix:///nowhere/s{tail}")
    mitmdump = start(mirror_access_log="-")
    assert send_raw(mitmdump.port, POST).status == 200
    assert mitmdump.stop(signal.SIGINT) == 0

    assert mitmdump.totals() == {"shadows": 1, "connect_error": 1, "pending": 0}
    assert any("endpoint=unix:///nowhere/s" in line for line in mitmdump.lines)


def test_a_streamed_request_does_not_get_to_a_unix_socket_and_that_is_said(
    tmp_path: Path, v2: Backend, rules: Path, start: StartMitmdump
) -> None:
    path = tmp_path / "v1"
    text = endpoints_text(1, v2.port).replace("address: 127.0.0.1", f"address: 'unix://{path}'", 1)
    write_atomically(rules / "httpbin-endpoints.yaml", text.replace("ports:\n      http: 1", "", 1))
    with Backend("v1", listener=unix_listener(str(path))) as v1:
        mitmdump = start(stream_large_bodies="1")
        assert send_raw(mitmdump.port, POST).status == 502
        mitmdump.wait_for_log("mitmproxy connects to no Unix socket")
        assert v1.requests == []
