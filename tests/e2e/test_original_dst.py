"""Destinations that are where the client said, in a real mitmdump."""

from pathlib import Path

import pytest

from lab.backend import Backend
from lab.client import send_raw
from lab.mitmdump import StartMitmdump
from lab.rules import write_atomically

RULES = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: anywhere}
spec:
  hosts: ["*.anywhere.test"]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: %s
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: anywhere}
spec:
  hosts: [localhost, a.anywhere.test]
  http:
  - route: [{destination: {host: "*.anywhere.test"}, headers: {request: {set: {x-rule: "1"}}}}]
    mirror: {host: httpbin.default.svc.cluster.local, subset: v2}
"""


@pytest.mark.parametrize(
    ("mode", "resolution", "uri", "host"),
    [
        pytest.param("regular", "NONE", "http://127.0.0.1:{v1}", "a.anywhere.test", id="regular, NONE"),
        pytest.param("reverse:http://127.0.0.1:{v2}", "NONE", "", "localhost:{v1}", id="reverse, NONE"),
        pytest.param(
            "regular", "DYNAMIC_DNS", "http://127.0.0.1:{v2}", "localhost:{v1}", id="regular, DYNAMIC_DNS"
        ),
        pytest.param(
            "reverse:http://127.0.0.1:{v2}", "DYNAMIC_DNS", "", "localhost:{v1}", id="reverse, DYNAMIC_DNS"
        ),
    ],
)
def test_the_request_says_where_it_goes(
    v1: Backend,
    v2: Backend,
    rules: Path,
    start: StartMitmdump,
    mode: str,
    resolution: str,
    uri: str,
    host: str,
) -> None:
    ports = {"v1": v1.port, "v2": v2.port}
    write_atomically(rules / "anywhere.yaml", RULES % resolution)
    mitmdump = start(mode=mode.format(**ports))
    lines = [f"GET {uri.format(**ports)}/x HTTP/1.1", f"Host: {host.format(**ports)}", "Connection: close"]

    answer = send_raw(mitmdump.port, "\r\n".join([*lines, "", ""]).encode())
    v2.wait_for_count(1)

    assert answer.status == 200
    (primary,) = v1.requests
    assert primary.target == b"/x"
    assert [primary.values(name) for name in (b"host", b"x-rule")] == [
        [host.format(**ports).encode()],
        [b"1"],
    ]
    (shadow,) = v2.requests
    assert b"-shadow" in shadow.values(b"host")[0]
