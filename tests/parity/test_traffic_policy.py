"""DestinationRules: Envoy and the addon speak the same TLS, keep users alike, and eject alike."""

import contextlib
import select
import socket
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.backend import Backend, response
from lab.certificates import Authority
from lab.client import TIMEOUT_S
from lab.parity import PROXIES, Scene, Seen, parse_request

SERVER = "secure.test"
KEYS = 40  # so that each of three endpoints has one, but once in 3 million runs

# Of each service: the backends of its endpoints, and the trafficPolicy.
SERVICES: dict[str, tuple[list[str], str, Any]] = {
    "by-sni": (["tls"], "HTTP", {"tls": {"mode": "SIMPLE", "sni": SERVER}}),
    "by-host": (["tls"], "HTTP", {"tls": {"mode": "SIMPLE"}}),
    "by-name": (["tls"], "HTTP", {"tls": {"mode": "SIMPLE", "sni": "x.test", "subjectAltNames": [SERVER]}}),
    "other-name": (
        ["tls"],
        "HTTP",
        {"tls": {"mode": "SIMPLE", "sni": SERVER, "subjectAltNames": ["x.test"]}},
    ),
    "unverified": (
        ["tls"],
        "HTTP",
        {"tls": {"mode": "SIMPLE", "sni": "x.test", "insecureSkipVerify": True}},
    ),
    "mutual": (["mutual"], "HTTP", {"tls": {"mode": "MUTUAL", "sni": SERVER}}),
    "no-certificate": (["mutual"], "HTTP", {"tls": {"mode": "SIMPLE", "sni": SERVER}}),
    "disabled": (["plain"], "HTTPS", {"tls": {"mode": "DISABLE"}}),
    "header": (["a", "b", "c"], "HTTP", {"loadBalancer": {"consistentHash": {"httpHeaderName": "x-user"}}}),
    "query": (["a", "b", "c"], "HTTP", {"loadBalancer": {"consistentHash": {"httpQueryParameterName": "u"}}}),
    "maglev": (
        ["a", "b", "c"],
        "HTTP",
        {"loadBalancer": {"consistentHash": {"httpHeaderName": "x-user", "maglev": {"tableSize": 1009}}}},
    ),
    "cookie": (
        ["a", "b", "c"],
        "HTTP",
        {"loadBalancer": {"consistentHash": {"httpCookie": {"name": "u", "ttl": "1h", "path": "/p"}}}},
    ),
    "overflowing": (
        ["silent"],
        "HTTP",
        {"connectionPool": {"tcp": {"maxConnections": 1}, "http": {"http1MaxPendingRequests": 1}}},
    ),
    "ejecting": (
        ["plain", "failing"],
        "HTTP",
        {
            "loadBalancer": {"simple": "ROUND_ROBIN"},
            "outlierDetection": {
                "consecutive5xxErrors": 2,
                "baseEjectionTime": "1h",
                "maxEjectionPercent": 100,
            },
        },
    ),
}


@pytest.fixture(scope="module")
def scene(
    start_scene: Any, service: Any, virtual_service: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Scene]:
    folder: Path = tmp_path_factory.mktemp("certificates")
    authority = Authority(folder, "authority")
    server, client = authority.issue(SERVER, label="server"), authority.issue("client.test", label="client")
    names: list[str | None] = []
    own = {label: Backend(label) for label in ("plain", "a", "b", "c")}
    own["tls"] = Backend("tls", tls=authority.server_context(server, names, mutual=False))
    own["mutual"] = Backend("mutual", tls=authority.server_context(server, names, mutual=True))
    own["silent"] = Backend("silent", lambda _request: None)
    own["failing"] = Backend("failing", lambda _request: response(b"failing", "503 Service Unavailable"))
    documents = []
    for name, (labels, protocol, policy) in SERVICES.items():
        tls = policy.get("tls", {})
        if tls.get("mode") in ("SIMPLE", "MUTUAL") and not tls.get("insecureSkipVerify"):
            tls = {**tls, "caCertificates": str(authority.file)}
        if tls.get("mode") == "MUTUAL":
            tls |= {"clientCertificate": str(client.certificate), "privateKey": str(client.key)}
        rule = {"host": name, "trafficPolicy": {**policy, **({"tls": tls} if tls else {})}}
        documents += [
            service(name, [own[label].port for label in labels], protocol),
            {
                "apiVersion": "networking.istio.io/v1",
                "kind": "DestinationRule",
                "metadata": {"name": name},
                "spec": rule,
            },
            virtual_service(
                name, {"hosts": [f"{name}.test"], "http": [{"route": [{"destination": {"host": name}}]}]}
            ),
        ]
    to_host = [{"route": [{"destination": {"host": "by-host"}}]}]
    mirrored = [{"route": [{"destination": {"host": "disabled"}}], "mirror": {"host": "by-sni"}}]
    documents += [
        virtual_service("server", {"hosts": [SERVER], "http": to_host}),
        virtual_service("mirrored", {"hosts": ["mirrored.test"], "http": mirrored}),
    ]
    found, _ = start_scene(documents, own=own)
    yield found
    for backend in own.values():
        backend.stop()


def observe(scene: Scene, *texts: str) -> list[dict[str, Seen]]:
    return scene.observe([parse_request(text, "") for text in texts])


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        pytest.param("by-sni.test", "tls", id="the SNI's certificate"),
        pytest.param(SERVER, "tls", id="without sni Host's"),
        pytest.param("by-name.test", "tls", id="a subjectAltName"),
        pytest.param("unverified.test", "tls", id="any"),
        pytest.param("mutual.test", "mutual", id="with a certificate of our own"),
        pytest.param("disabled.test", "plain", id="plain on a port of protocol HTTPS"),
        pytest.param("mirrored.test", "plain + tls", id="to a mirror"),
    ],
)
def test_tls(scene: Scene, host: str, expected: str) -> None:
    text = f"GET /x?y | Host: {host}"
    (seen,) = observe(scene, text)

    assert [seen[proxy].outcome for proxy in PROXIES] == [expected, expected]
    request = parse_request(text, "")
    assert seen["addon"].comparable(request) == seen["envoy"].comparable(request)


@pytest.mark.parametrize(
    "host",
    [
        pytest.param("by-host.test", id="not Host's certificate"),
        pytest.param("other-name.test", id="no such subjectAltName"),
        pytest.param("no-certificate.test", id="the server wants one of ours"),
    ],
)
def test_nothing_is_sent_where_tls_fails(scene: Scene, host: str) -> None:
    (seen,) = observe(scene, f"GET / | Host: {host}")

    # As for every connection that fails: mitmproxy answers 502 where Envoy answers 503.
    assert [seen[proxy].outcome for proxy in PROXIES] == ["503", "502"]


@pytest.mark.parametrize(
    ("host", "text"),
    [
        ("header.test", "GET / | Host: header.test | X-User: {}"),
        ("maglev.test", "GET / | Host: maglev.test | X-User: {}"),
        ("query.test", "GET /?u={} | Host: query.test"),
    ],
)
def test_a_key_keeps_its_endpoint(scene: Scene, host: str, text: str) -> None:
    texts = [text.format(key) for key in range(KEYS)]
    first, second = observe(scene, *texts), observe(scene, *texts)

    for proxy in PROXIES:
        outcomes = [seen[proxy].outcome for seen in first]
        assert outcomes == [seen[proxy].outcome for seen in second]
        assert set(outcomes) == {"a", "b", "c"}


def test_a_cookie_is_made_and_keeps_its_endpoint(scene: Scene) -> None:
    (made,) = observe(scene, "GET / | Host: cookie.test")
    cookies = {proxy: made[proxy].response.values(b"set-cookie") for proxy in PROXIES}
    attributes = {proxy: [cookie.partition(b";")[2] for cookie in cookies[proxy]] for proxy in PROXIES}
    assert attributes["addon"] == attributes["envoy"] != []

    given = [cookies[proxy][0].partition(b";")[0].decode() for proxy in PROXIES]
    kept = observe(scene, *(f"GET / | Host: cookie.test | Cookie: {cookie}" for cookie in given))

    for proxy, seen in zip(PROXIES, kept, strict=True):
        assert seen[proxy].outcome == made[proxy].outcome
        assert not seen[proxy].response.values(b"set-cookie")


def test_an_endpoint_that_fails_is_ejected(scene: Scene) -> None:
    observed = observe(scene, *["GET / | Host: ejecting.test"] * 40)

    statuses = {proxy: Counter(seen[proxy].response.status for seen in observed) for proxy in PROXIES}
    assert statuses["addon"] == {200: 38, 503: 2}
    # Envoy's main thread tells its workers of an ejection, and they may choose the endpoint meanwhile.
    # Without an ejection every second request fails.
    assert statuses["envoy"] in [{200: 40 - failed, 503: failed} for failed in range(2, 16)]


@pytest.mark.parametrize("proxy", PROXIES)
def test_one_request_is_under_way_one_waits_and_the_third_is_refused(scene: Scene, proxy: str) -> None:
    port = scene.envoy.port if proxy == "envoy" else scene.mitmdump.port
    request = b"GET / HTTP/1.1\r\nHost: overflowing.test\r\nX-Parity: 0\r\n\r\n"
    silent = scene.backends["silent"]
    silent.clear()
    with contextlib.ExitStack() as stack:
        sockets = [
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S))
            for _ in range(3)
        ]
        for each in sockets:
            each.sendall(request)
            # In Envoy a request also waits while its connection is made.
            silent.wait_for_count(1)
        # The other two never get an answer.
        readable, _, _ = select.select(sockets, [], [], TIMEOUT_S)
        statuses = [each.recv(1 << 16).split(b" ")[1] for each in readable]

    assert statuses == [b"503"]
