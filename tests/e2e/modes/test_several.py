"""One mitmproxy with several modes at once: one set of rules, one account."""

from lab.client import RawConnection, proxy_get, send_raw
from lab.mirrored import MirroringTask
from lab.mitmdump import StartMitmdump
from lab.tunnels import socks5_tunnel


def test_three_modes_at_once(task: MirroringTask, begin: StartMitmdump) -> None:
    mitmdump = begin(mode=["regular", "socks5", "reverse:http://127.0.0.1:9"])
    regular = mitmdump.port_of("HTTP(S) proxy")
    socks = mitmdump.port_of("SOCKS v5 proxy")
    reverse = mitmdump.port_of("reverse proxy to http://127.0.0.1:9")

    with RawConnection(socks5_tunnel(socks, "httpbin", 8080)) as client:
        answers = [
            proxy_get(regular, "http://httpbin:8080/regular"),
            client.exchange(b"GET /socks HTTP/1.1\r\nHost: httpbin:8080\r\n\r\n"),
            send_raw(reverse, b"GET /reverse HTTP/1.1\r\nHost: httpbin:8080\r\n\r\n"),
        ]

    assert [answer.body for answer in answers] == [b"v1"] * 3
    assert [request.target for request in task.v1.requests] == [b"/regular", b"/socks", b"/reverse"]
    records = task.check(mitmdump, [("httpbin:8080", "httpbin-shadow:8080")] * 3)
    addresses = [f"127.0.0.1:{port}" for port in (regular, socks, reverse)]
    assert [record["proxy_address"] for record in records] == addresses
