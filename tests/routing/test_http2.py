"""To which endpoints HTTP/2 is spoken."""

import pytest

from mitm_mirror.resources.load import load_text
from mitm_mirror.routing.compile import compile_table
from mitm_mirror.routing.decision import Forward
from mitm_mirror.routing.request import RequestHead

RULES = """
kind: ServiceEntry
apiVersion: networking.istio.io/v1
metadata: {name: a}
spec:
  hosts: [a.example.com]
  ports: [{number: 80, name: p, protocol: %s}]
  resolution: STATIC
  endpoints: [{address: 10.0.0.1}]
---
kind: VirtualService
apiVersion: networking.istio.io/v1
metadata: {name: a}
spec:
  hosts: [a.example.com]
  http: [{route: [{destination: {host: a.example.com}}]}]
---
kind: DestinationRule
apiVersion: networking.istio.io/v1
metadata: {name: a}
spec:
  host: a.example.com
  trafficPolicy: {connectionPool: {http: {%s}}}
"""
NOTHING = "maxRetries: 7"
UPGRADE = "h2UpgradePolicy: UPGRADE"
DO_NOT_UPGRADE = "h2UpgradePolicy: DO_NOT_UPGRADE"


@pytest.mark.parametrize(
    ("protocol", "policy", "expected"),
    [
        ("HTTP", NOTHING, False),
        ("HTTPS", NOTHING, False),
        ("HTTP2", NOTHING, True),
        ("GRPC", NOTHING, True),
        ("grpc-web", NOTHING, True),
        ("HTTP", UPGRADE, True),
        ("HTTPS", UPGRADE, True),
        ("HTTP", "h2UpgradePolicy: DEFAULT", False),
        ("HTTP", DO_NOT_UPGRADE, False),
        # The port's own protocol is no upgrade.
        ("HTTP2", DO_NOT_UPGRADE, True),
        ("HTTP2", "useClientProtocol: true", False),
    ],
)
def test_the_port_or_the_destination_rule_says_so(protocol: str, policy: str, expected: bool) -> None:
    loaded = load_text(RULES % (protocol, policy), "rules.yaml")
    assert not [issue for issue in loaded.issues if issue.severity == "error"]
    table, _ = compile_table(loaded.resources)
    head = RequestHead("GET", "http", "a.example.com", b"/", ((b"Host", b"a.example.com"),), 80, "10.1.1.1")

    decision = table.decide(head, lambda: 0.0)

    assert isinstance(decision, Forward)
    assert decision.target.endpoint.http2 is expected
