"""Clients that have mitmproxy set as their proxy; no name of theirs is in any DNS."""

from pathlib import Path

import httpx

from lab.client import TIMEOUT_S, RawConnection, send_raw
from lab.mirrored import MirroringTask
from lab.mitmdump import StartMitmdump
from lab.tunnels import Http2Context, connect_tunnel, start_tls

PLAIN = [
    ("GET http://httpbin:8080/known-to-rules-only HTTP/1.1\r\nHost: httpbin:8080", "httpbin", ":8080"),
    ("GET http://127.0.0.1:1/host-counts-not-url HTTP/1.1\r\nHost: httpbin", "httpbin", ""),
    ("GET http://httpbin:8080/no-host-at-all HTTP/1.0", "httpbin", ":8080"),
]
"""Requests, and the host and port that both versions have to see."""


def test_plain(task: MirroringTask, begin: StartMitmdump) -> None:
    mitmdump = begin()

    answers = [send_raw(mitmdump.port, f"{head}\r\n\r\n".encode()) for head, _, _ in PLAIN]

    assert [answer.body for answer in answers] == [b"v1"] * 3
    assert [request.target for request in task.v1.requests] == [
        b"/known-to-rules-only",
        b"/host-counts-not-url",
        b"/no-host-at-all",
    ]
    task.check(mitmdump, [(f"{host}{port}", f"{host}-shadow{port}") for _, host, port in PLAIN])


def test_connect(task: MirroringTask, begin: StartMitmdump, authority: Path) -> None:
    """With TLS inside, without, and with HTTP/2 inside."""
    mitmdump = begin()
    raw = b"GET /x HTTP/1.1\r\nHost: httpbin:8080\r\n\r\n"
    proxy = f"http://127.0.0.1:{mitmdump.port}"

    tls = start_tls(connect_tunnel(mitmdump.port, "httpbin:8080"), authority, "httpbin")
    with RawConnection(tls) as client:
        answers = [client.exchange(raw), client.exchange(raw)]
    with RawConnection(connect_tunnel(mitmdump.port, "httpbin:8080")) as client:
        answers.append(client.exchange(raw))
    with httpx.Client(http2=True, proxy=proxy, verify=Http2Context(authority), timeout=TIMEOUT_S) as http2:
        got = http2.get("https://httpbin:8080/x")
        posted = http2.post("https://httpbin:8080/x", content=iter([b"of no ", b"known length"]))

    assert [answer.body for answer in answers] == [b"v1"] * 3
    assert [(answer.http_version, answer.text) for answer in (got, posted)] == [("HTTP/2", "v1")] * 2
    task.check(mitmdump, [("httpbin:8080", "httpbin-shadow:8080")] * 5)
    for backend in (task.v1, task.v2):
        assert {request.body for request in backend.requests} == {b"", b"of no known length"}
