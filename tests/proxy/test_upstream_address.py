"""Which connections mitmproxy may share between flows."""

from mitmproxy.connection import Server
from mitmproxy.io import tnetstring
from mitmproxy.proxy.layers.http import GetHttpConnection

from mitm_mirror.proxy.upstream_address import UpstreamAddress
from mitm_mirror.upstream_tls import UpstreamTls

A = UpstreamAddress("10.0.0.1", "a.example", UpstreamTls(verify=False))
SAME = UpstreamAddress("10.0.0.1", "a.example", UpstreamTls(verify=False))
OTHERS = [
    UpstreamAddress("10.0.0.1", "b.example", UpstreamTls(verify=False)),
    UpstreamAddress("10.0.0.1", "a.example", UpstreamTls()),
    UpstreamAddress("10.0.0.1", "a.example"),
    UpstreamAddress("10.0.0.1"),
    UpstreamAddress("10.0.0.1", "a.example", UpstreamTls(verify=False), http2=True),
    UpstreamAddress("10.0.0.2", "a.example", UpstreamTls(verify=False)),
]


def shares(flow_host: str, connection_host: str) -> bool:
    server = Server(address=(connection_host, 443))
    server.tls = True
    return GetHttpConnection((flow_host, 443), True, None, "tcp").connection_spec_matches(server)


def test_only_flows_with_equal_tls_settings_share_a_connection() -> None:
    assert shares(A, SAME)
    assert shares(UpstreamAddress("10.0.0.1"), UpstreamAddress("10.0.0.1"))
    assert [other for other in OTHERS if shares(A, other) or shares(other, A)] == []


def test_to_everybody_else_it_is_the_host() -> None:
    assert A == "10.0.0.1"
    assert (A != "10.0.0.1") is False
    assert A != OTHERS[0]
    assert {A: 1}["10.0.0.1"] == 1
    assert tnetstring.loads(tnetstring.dumps(A)) == "10.0.0.1"
