"""From ServiceEntry, WorkloadEntry and DestinationRule to endpoints."""

from collections import Counter

import pytest

from mitm_mirror.routing.decision import Answer, Endpoint, Forward

RULES = """
kind: VirtualService
apiVersion: networking.istio.io/v1
metadata: {name: a}
spec:
  hosts: [httpbin]
  http: [{route: [{destination: {%s}}]}]
"""
ENTRY = """
---
kind: ServiceEntry
apiVersion: networking.istio.io/v1
metadata: {name: %s, namespace: %s}
spec: {%s}
"""
PORT = "ports: [{number: 80, name: http, protocol: HTTP}]"
STATIC = f"{PORT}, resolution: STATIC"
DNS = f"{PORT}, resolution: DNS"
TWO_PORTS = "ports: [{number: 80, name: http, protocol: HTTP}, {number: 443, name: tls, protocol: HTTPS}]"


def entry(spec: str, name: str = "x", namespace: str = "default") -> str:
    return ENTRY % (name, namespace, spec)


@pytest.fixture
def endpoint(rules, head):
    """The endpoint, as (address, port, scheme, service port), that a destination leads to; None for a 503."""

    def of(destination: str, entries: str, chance: float = 0.0, port: int = 80):
        decision = rules(RULES % destination + entries).decide(head(port=port), lambda: chance)
        if isinstance(decision, Answer):
            assert (decision.status, decision.reason) == (503, "no_endpoint")
            return None
        assert isinstance(decision, Forward)
        found: Endpoint = decision.target.endpoint
        return (found.address, found.port, found.scheme, decision.target.port)

    return of


@pytest.mark.parametrize(
    ("destination", "spec", "expected"),
    [
        pytest.param(
            "host: b.example.com",
            f"hosts: [b.example.com], {DNS}",
            ("b.example.com", 80, "http", 80),
            id="DNS without endpoints is the host itself",
        ),
        pytest.param(
            "host: b.example.com",
            f"hosts: [b.example.com], {PORT}",
            ("b.example.com", 80, "http", 80),
            id="no resolution likewise",
        ),
        pytest.param(
            "host: b.example.com",
            "hosts: [b.example.com], ports: [{number: 80, name: http, targetPort: 8080}], resolution: DNS",
            ("b.example.com", 8080, None, 80),
            id="target port, and a protocol that is not said",
        ),
        pytest.param(
            "host: httpbin",
            f"hosts: [httpbin.default.svc.cluster.local], {STATIC}, endpoints: [{{address: '::1'}}]",
            ("::1", 80, "http", 80),
            id="a short name is the service of the same namespace",
        ),
        pytest.param(
            "host: httpbin",
            f"hosts: [httpbin], {DNS}",
            ("httpbin", 80, "http", 80),
            id="or the ServiceEntry that is named so",
        ),
        pytest.param(
            "host: b.example.com",
            f"hosts: [b.example.com], {DNS}, endpoints: [{{address: b1, ports: {{http: 81}}}}]",
            ("b1", 81, "http", 80),
            id="endpoint with a port by name",
        ),
        pytest.param(
            "host: b.example.com",
            f"hosts: [b.example.com], {TWO_PORTS}, resolution: DNS",
            ("b.example.com", 80, "http", 80),
            id="several ports: the one that the client addressed",
        ),
        pytest.param(
            "host: b.example.com, port: {number: 443}",
            f"hosts: [b.example.com], {TWO_PORTS}, resolution: DNS",
            ("b.example.com", 443, "https", 443),
            id="several ports: the one that the rule names",
        ),
        pytest.param(
            "host: b.example.com, port: {number: 81}",
            f"hosts: [b.example.com], {DNS}",
            None,
            id="a port that the service does not have",
        ),
        pytest.param(
            "host: b.example.com",
            f"hosts: [b.example.com], {STATIC}",
            None,
            id="STATIC, no endpoint",
        ),
        pytest.param(
            "host: b.example.com",
            f"hosts: ['*.example.com'], {PORT}",
            None,
            id="a wildcard is no place to go to",
        ),
        pytest.param("host: b.example.com", f"hosts: [c.example.com], {PORT}", None, id="an unknown host"),
    ],
)
def test_where_a_destination_is(endpoint, destination: str, spec: str, expected: object) -> None:
    assert endpoint(destination, entry(spec)) == expected


def test_a_single_port_serves_whatever_port_the_client_addressed(endpoint) -> None:
    assert endpoint("host: b", entry(f"hosts: [b], {DNS}"), port=9) == ("b", 80, "http", 80)


def test_endpoints_share_by_weight_and_no_weight_is_one(endpoint) -> None:
    endpoints = "[{address: 10.0.0.1, weight: 3}, {address: 10.0.0.2}]"
    spec = f"hosts: [b], {STATIC}, endpoints: {endpoints}"

    assert Counter(endpoint("host: b", entry(spec), i / 100)[0] for i in range(100)) == {
        "10.0.0.1": 75,
        "10.0.0.2": 25,
    }


WORKLOADS = "".join(
    f"""
---
kind: WorkloadEntry
apiVersion: networking.istio.io/v1
metadata: {{name: {name}, namespace: {namespace}, labels: {metadata}}}
spec: {{address: {address}, labels: {labels}, ports: {{http: 90}}}}
"""
    for name, namespace, metadata, address, labels in [
        ("w1", "default", "{}", "10.0.0.1", "{app: b, version: v1}"),
        ("w2", "default", "{version: v2}", "10.0.0.2", "{app: b, version: v1}"),
        ("w3", "default", "{}", "10.0.0.3", "{app: c, version: v1}"),
        ("w4", "other", "{}", "10.0.0.4", "{app: b, version: v1}"),
    ]
)
SUBSETS = """
---
kind: DestinationRule
apiVersion: networking.istio.io/v1
metadata: {name: %s}
spec: {host: %s, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}, {name: all}]}
"""


@pytest.mark.parametrize(
    ("subset", "selector", "addresses"),
    [
        pytest.param("v1", "{app: b}", {"10.0.0.1"}, id="all labels of selector and subset, same namespace"),
        pytest.param("v2", "{app: b}", {"10.0.0.2"}, id="labels in metadata go before those in spec"),
        pytest.param("all", "{app: b}", {"10.0.0.1", "10.0.0.2"}, id="a subset without labels is all of it"),
        pytest.param(
            "all", "{}", {"10.0.0.1", "10.0.0.2", "10.0.0.3"}, id="an empty selector takes the namespace"
        ),
        pytest.param("v2", "{app: c}", {None}, id="nobody has these labels"),
    ],
)
def test_workload_entries_by_selector(
    endpoint, subset: str, selector: str, addresses: set[str | None]
) -> None:
    spec = f"hosts: [b.default.svc.cluster.local], {STATIC}, workloadSelector: {{labels: {selector}}}"
    text = entry(spec) + WORKLOADS + SUBSETS % ("b", "b")

    found = {endpoint(f"host: b, subset: {subset}", text, i / 10) for i in range(10)}

    assert {place and place[0] for place in found} == addresses
    assert {place and place[1] for place in found} <= {90, None}


@pytest.mark.parametrize("host", ["b", "'*.default.svc.cluster.local'", "'*'"])
def test_a_destination_rules_host_may_be_a_wildcard(endpoint, host: str) -> None:
    spec = f"hosts: [b.default.svc.cluster.local], {STATIC}, endpoints: [{{address: 10.0.0.1}}]"

    assert endpoint("host: b, subset: all", entry(spec) + SUBSETS % ("b", host)) == (
        "10.0.0.1",
        80,
        "http",
        80,
    )


def test_subsets_of_two_destination_rules_add_up_and_the_first_wins(endpoint) -> None:
    spec = f"hosts: [b], {STATIC}, endpoints: [{{address: 10.0.0.1, labels: {{version: v1}}}}]"
    second = (SUBSETS % ("second", "b")).replace(
        "{name: v1, labels: {version: v1}}", "{name: v1, labels: {is: old}}"
    )
    second = second.replace("name: all", "name: more")
    text = entry(spec) + SUBSETS % ("first", "b") + second

    assert endpoint("host: b, subset: v1", text) is not None
    assert endpoint("host: b, subset: more", text) is not None


def test_service_entries_of_one_namespace_add_up(endpoint) -> None:
    specs = [f"hosts: [b], {STATIC}, endpoints: [{{address: 10.0.0.{i}}}]" for i in (1, 2)]
    text = "".join(entry(spec, f"x{i}") for i, spec in enumerate(specs))

    assert {endpoint("host: b", text, chance)[0] for chance in (0.0, 0.5)} == {"10.0.0.1", "10.0.0.2"}


def test_of_two_namespaces_the_first_wins(endpoint, warned) -> None:
    specs = [f"hosts: [b], {STATIC}, endpoints: [{{address: 10.0.0.{i}}}]" for i in (1, 2)]
    text = entry(specs[0], "x", "one") + entry(specs[1], "x", "two")

    assert {endpoint("host: b", text, chance)[0] for chance in (0.0, 0.9)} == {"10.0.0.1"}
    assert warned(text) == [
        (
            "rules.yaml:12:16: ServiceEntry two/x: spec.hosts[0]: warning: "
            "host b is used as namespace one defines it, "
            "not as here"
        )
    ]


@pytest.mark.parametrize("address", ["'unix:///tmp/socket'", "''"])
def test_an_endpoint_without_an_address_is_left_out_with_a_warning(endpoint, warned, address: str) -> None:
    spec = f"hosts: [b], {STATIC}, endpoints: [{{address: {address}}}, {{address: 10.0.0.2}}]"

    warnings = warned(entry(spec))

    assert len(warnings) == 1
    assert "ServiceEntry default/x: spec.endpoints[0].address: " in warnings[0]
    assert warnings[0].endswith("expected an IP address or a DNS name; the endpoint is left out")
