"""mitmproxy in the place of the service: its clients know nothing of a proxy."""

import socket
from pathlib import Path

import httpx
import pytest

from lab.client import TIMEOUT_S, RawConnection
from lab.mirrored import MirroringTask
from lab.mitmdump import StartMitmdump
from lab.tunnels import Http2Context, start_tls


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_reverse(task: MirroringTask, begin: StartMitmdump, authority: Path, scheme: str) -> None:
    """Plain, over TLS and HTTP/2. The upstream of the mode is nowhere: nobody asks it, as rules say where."""
    mitmdump = begin(mode=f"reverse:{scheme}://127.0.0.1:9")
    url = f"https://127.0.0.1:{mitmdump.port}/http2"
    hosts = [("httpbin:8080", "httpbin-shadow:8080"), ("httpbin", "httpbin-shadow")]

    def connect() -> socket.socket:
        return socket.create_connection(("127.0.0.1", mitmdump.port))

    with RawConnection(connect()) as plain, RawConnection(start_tls(connect(), authority, "httpbin")) as tls:
        answers = [
            client.exchange(f"GET /x HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            for client in (plain, tls)
            for host, _ in hosts
        ]
    with httpx.Client(http2=True, verify=Http2Context(authority), timeout=TIMEOUT_S) as http2:
        answer = http2.post(
            url, headers={"host": "httpbin"}, content=b"body", extensions={"sni_hostname": "httpbin"}
        )

    assert [answer.body for answer in answers] == [b"v1"] * 4
    assert (answer.http_version, answer.text) == ("HTTP/2", "v1")
    assert task.v1.requests[-1].body == b"body"
    records = task.check(mitmdump, [*hosts, *hosts, ("httpbin", "httpbin-shadow")])
    assert [record["server_name"] for record in records] == [None, None, "httpbin", "httpbin", "httpbin"]
