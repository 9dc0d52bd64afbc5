"""Behind a second proxy, a real mitmdump, which is the only way out."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.client import RawConnection, proxy_get, send_raw
from lab.mirrored import MirroringTask
from lab.mitmdump import Mitmdump, StartMitmdump
from lab.tunnels import connect_tunnel, start_tls

CREDENTIALS = "user:secret"


@pytest.fixture
def second(tmp_path: Path, confdir: Path) -> Iterator[Mitmdump]:
    """The upstream proxy, without the addon; it wants a password."""
    options = {"confdir": str(confdir), "flow_detail": "1", "proxyauth": CREDENTIALS}
    with Mitmdump(tmp_path, options, addon=None) as mitmdump:
        yield mitmdump


def test_upstream(task: MirroringTask, begin: StartMitmdump, second: Mitmdump, authority: Path) -> None:
    mitmdump = begin(mode=f"upstream:http://127.0.0.1:{second.port}", upstream_auth=CREDENTIALS)

    answers = [
        proxy_get(mitmdump.port, "http://httpbin:8080/plain"),
        send_raw(mitmdump.port, b"GET http://httpbin:8080/no-host HTTP/1.0\r\n\r\n"),
    ]
    tls = start_tls(connect_tunnel(mitmdump.port, "httpbin:8080"), authority, "httpbin")
    with RawConnection(tls) as client:
        answers.append(client.exchange(b"GET /tls HTTP/1.1\r\nHost: httpbin:8080\r\n\r\n"))

    assert [answer.body for answer in answers] == [b"v1"] * 3
    for path in ("plain", "no-host", "tls"):
        second.wait_for_log(rf"GET http://127\.0\.0\.1:{task.v1.port}/{path}\b")
    task.check(mitmdump, [("httpbin:8080", "httpbin-shadow:8080")] * 3)
    for request in (*task.v1.requests, *task.v2.requests):
        assert request.values(b"proxy-authorization") == []
