"""Clients that reach mitmproxy as a SOCKS proxy, and leave the resolution of names to it."""

from pathlib import Path

from lab.client import RawConnection
from lab.mirrored import MirroringTask
from lab.mitmdump import StartMitmdump
from lab.tunnels import socks5_tunnel, start_tls


def test_socks5(task: MirroringTask, begin: StartMitmdump, authority: Path) -> None:
    mitmdump = begin(mode="socks5")
    raw = b"GET /x HTTP/1.1\r\nHost: httpbin:8080\r\n\r\n"

    with RawConnection(socks5_tunnel(mitmdump.port, "httpbin", 8080)) as client:
        answers = [client.exchange(raw), client.exchange(raw)]
    tls = start_tls(socks5_tunnel(mitmdump.port, "httpbin", 8080), authority, "httpbin")
    with RawConnection(tls) as client:
        answers.append(client.exchange(raw))
    with RawConnection(socks5_tunnel(mitmdump.port, "httpbin", 8080)) as client:
        # The host that the SOCKS proxy was asked for is all there is.
        answers.append(client.exchange(b"GET /no-host-at-all HTTP/1.0\r\n\r\n"))

    assert [answer.body for answer in answers] == [b"v1"] * 4
    task.check(mitmdump, [("httpbin:8080", "httpbin-shadow:8080")] * 4)
