"""From ServiceEntry, WorkloadEntry and DestinationRule to endpoints."""

from collections import Counter

import msgspec
import pytest

from mitm_mirror.routing.decision import Answer, Endpoint, Forward, PassThrough
from mitm_mirror.routing.explain import explain
from mitm_mirror.routing.explain_text import render_explanation
from mitm_mirror.routing.vantage import DEFAULT_VANTAGE, Vantage

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

    def of(
        destination: str,
        entries: str,
        chance: float = 0.0,
        port: int = 80,
        vantage: Vantage = DEFAULT_VANTAGE,
        **request: object,
    ):
        asked = msgspec.structs.replace(head(port=port), **request)
        decision = rules(RULES % destination + entries, vantage).decide(asked, lambda: chance)
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
            f"hosts: [b.example.com], {PORT}, resolution: DNS_ROUND_ROBIN",
            ("b.example.com", 80, "http", 80),
            id="DNS_ROUND_ROBIN likewise",
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


@pytest.mark.parametrize(
    ("specs", "vantage", "address"),
    [
        pytest.param([("one", ""), ("two", "")], Vantage(namespace="two"), "10.0.0.2", id="the own one"),
        pytest.param([("one", "01"), ("two", "02")], DEFAULT_VANTAGE, "10.0.0.1", id="the older"),
        pytest.param([("one", "02"), ("two", "01")], DEFAULT_VANTAGE, "10.0.0.2", id="the older, behind"),
        pytest.param([("one", ""), ("two", "01")], DEFAULT_VANTAGE, "10.0.0.2", id="what a cluster has"),
    ],
)
def test_which_namespace_defines_a_host(endpoint, specs, vantage: Vantage, address: str) -> None:
    text = ""
    for i, (namespace, created) in enumerate(specs, 1):
        spec = f"hosts: [b], {STATIC}, endpoints: [{{address: 10.0.0.{i}}}]"
        time = f", creationTimestamp: '2026-01-{created}T00:00:00Z'" if created else ""
        text += ENTRY % ("x", namespace + time, spec)

    assert {endpoint("host: b", text, chance, vantage=vantage)[0] for chance in (0.0, 0.9)} == {address}


@pytest.mark.parametrize(
    ("export_to", "namespace", "seen"),
    [
        ("", "other", True),
        ("[.]", "default", True),
        ("[.]", "other", False),
        ("[default]", "other", True),
        ("[a]", "default", False),
        ("['~']", "default", False),
    ],
)
def test_services_are_exported(endpoint, warned, export_to: str, namespace: str, seen: bool) -> None:
    export = f"exportTo: {export_to}, " if export_to else ""
    text = entry(f"{export}hosts: [b], {STATIC}, endpoints: [{{address: 10.0.0.1}}]", namespace=namespace)

    assert (endpoint("host: b", text) is not None) is seen
    assert [": spec.exportTo: warning: exported to " in issue for issue in warned(text)] == (
        [] if seen else [True]
    )


ORIGINAL = {"original_host": "192.0.2.7", "original_port": 8443}


@pytest.mark.parametrize(
    ("destination", "spec", "request_fields", "expected"),
    [
        pytest.param(
            "host: b.test", f"hosts: [b.test], {PORT}", ORIGINAL, ("192.0.2.7", 8443, "http", 80), id="NONE"
        ),
        pytest.param(
            "host: b.test",
            "hosts: [b.test], ports: [{number: 80, name: http, protocol: HTTPS, targetPort: 81}]",
            ORIGINAL,
            ("192.0.2.7", 81, "https", 80),
            id="NONE with another port",
        ),
        pytest.param(
            "host: b.test, subset: v1",
            f"hosts: [b.test], {PORT}",
            ORIGINAL,
            ("192.0.2.7", 8443, "http", 80),
            id="NONE knows no labels",
        ),
        pytest.param(
            "host: '*.b.test'",
            f"hosts: ['*.b.test'], {PORT}",
            ORIGINAL,
            ("192.0.2.7", 8443, "http", 80),
            id="NONE for a wildcard",
        ),
        pytest.param("host: b.test", f"hosts: [b.test], {PORT}", {}, None, id="NONE, and nobody knows"),
        pytest.param(
            "host: '*.b.test'",
            f"hosts: ['*.b.test'], {PORT}, resolution: DYNAMIC_DNS",
            {"authority": "httpbin:81", **ORIGINAL},
            ("httpbin", 81, "http", 80),
            id="DYNAMIC_DNS",
        ),
        pytest.param(
            "host: '*.b.test'",
            "hosts: ['*.b.test'], ports: [{number: 80, name: tls, protocol: TLS}], resolution: DYNAMIC_DNS",
            {"authority": "httpbin", **ORIGINAL},
            ("httpbin", 443, "https", 80),
            id="DYNAMIC_DNS by the port of its scheme",
        ),
        pytest.param(
            "host: '*.b.test', subset: v1",
            f"hosts: ['*.b.test'], {PORT}, resolution: DYNAMIC_DNS",
            ORIGINAL,
            None,
            id="DYNAMIC_DNS has no subsets",
        ),
    ],
)
def test_where_the_request_says_it(
    endpoint, destination: str, spec: str, request_fields: dict[str, object], expected: object
) -> None:
    host = "'*.b.test'" if "*" in spec else "b.test"

    assert endpoint(destination, entry(spec) + SUBSETS % ("b", host), **request_fields) == expected


def test_a_mirror_goes_where_its_request_says(rules, head) -> None:
    text = (RULES % "host: b").replace("}]}]", "}], mirror: {host: c}}]")
    static = f"hosts: [b], {STATIC}, endpoints: [{{address: 10.0.0.1}}]"
    table = rules(text + entry(static) + entry(f"hosts: [c], {PORT}", "c"))

    known = table.decide(msgspec.structs.replace(head(), **ORIGINAL), lambda: 0.0).mirrors[0]
    unknown = table.decide(head(), lambda: 0.0).mirrors[0]

    assert (known.outcome, known.target.endpoint) == (None, Endpoint("192.0.2.7", 8443, "http"))
    assert (str(unknown.outcome), unknown.target) == ("no_endpoint", None)


def test_it_is_said_to_people(rules, head) -> None:
    table = rules(RULES % "host: b" + entry(f"hosts: [b], {PORT}"))

    assert "  endpoint where the client addressed its request" in table.describe()
    assert "endpoint  http://192.0.2.7:8443" in render_explanation(
        explain(table, msgspec.structs.replace(head(), **ORIGINAL))
    )
    assert "the request does not say where it is to go" in render_explanation(explain(table, head()))


ADDRESSES = """
kind: VirtualService
apiVersion: networking.istio.io/v1
metadata: {name: a}
spec:
  hosts: [%s]
  http: [{directResponse: {status: 201}}]
"""


@pytest.mark.parametrize(
    ("hosts", "addresses", "authority", "found"),
    [
        pytest.param("b.test", "[10.1.0.1]", "10.1.0.1:80", True, id="its address"),
        pytest.param("b.test", "[10.1.0.1/32]", "10.1.0.1", True, id="a range of one"),
        pytest.param("b.test", "['2001:db8::1']", "[2001:db8::1]:80", True, id="IPv6"),
        pytest.param("'*.test'", "[10.1.0.1]", "10.1.0.1", True, id="of a service that a wildcard covers"),
        pytest.param("b.test", "[10.1.0.1, 10.1.0.2]", "10.1.0.2", False, id="the first alone"),
        pytest.param("b.test", "[10.1.0.0/24]", "10.1.0.1", False, id="no range"),
        pytest.param("c.test", "[10.1.0.1]", "10.1.0.1", False, id="of a service without rules"),
    ],
)
def test_addresses(rules, head, hosts: str, addresses: str, authority: str, found: bool) -> None:
    text = ADDRESSES % hosts + entry(f"hosts: [b.test], addresses: {addresses}, {STATIC}")
    asked = head(authority=authority)

    assert (rules(text).decide(asked, lambda: 0.0) != PassThrough()) is found
    gateway = rules(text.replace("spec:", "spec:\n  gateways: [gw]", 1), Vantage(("default/gw",)))
    assert gateway.decide(asked, lambda: 0.0) == PassThrough(), "a gateway has no addresses of services"


def test_addresses_that_do_nothing_are_named(warned) -> None:
    tcp = PORT.replace("HTTP", "TCP")
    assert (
        warned(entry(f"hosts: [b.test], addresses: [10.0.0.0/8, 10.1.0.1], {tcp}, resolution: STATIC")) == []
    )
    text = entry(f"hosts: [b.test], addresses: [10.0.0.0/8, 10.1.0.1], {STATIC}")

    assert [issue.partition("warning: ")[2] for issue in warned(text)] == [
        "10.0.0.0/8: not used, as requests are routed by Host, which is no range",
        "10.1.0.1: not used, as of several addresses the first one counts",
    ]


TLS_RULE = """
---
kind: DestinationRule
apiVersion: networking.istio.io/v1
metadata: {name: b}
spec: {host: b.test, trafficPolicy: {tls: {%s}}}
"""


@pytest.mark.parametrize(
    ("tls", "protocol", "names"),
    [
        pytest.param("mode: SIMPLE", "HTTP", ("a", "b"), id="SIMPLE"),
        pytest.param("mode: SIMPLE, subjectAltNames: [c]", "HTTP", ("c",), id="the rule's own go before"),
        pytest.param("mode: DISABLE", "HTTPS", None, id="no TLS"),
        pytest.param("", "HTTPS", ("a", "b"), id="TLS by the port's protocol"),
        pytest.param("", "HTTP", None, id="none of both"),
    ],
)
def test_subject_alt_names(rules, head, tls: str, protocol: str, names: object) -> None:
    spec = f"hosts: [b.test], {DNS}, subjectAltNames: [a, b]".replace("HTTP}", f"{protocol}}}")
    text = RULES % "host: b.test" + entry(spec) + (TLS_RULE % tls if tls else "")

    found = rules(text).decide(head(), lambda: 0.0).target.endpoint.tls

    assert (found and found.subject_alt_names) == names


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


def test_an_endpoint_without_an_address_is_left_out_with_a_warning(endpoint, warned) -> None:
    spec = f"hosts: [b], {STATIC}, endpoints: [{{address: ''}}, {{address: 10.0.0.2}}]"

    warnings = warned(entry(spec))

    assert len(warnings) == 1
    assert "ServiceEntry default/x: spec.endpoints[0].address: " in warnings[0]
    assert warnings[0].endswith(
        "expected an IP address, a DNS name or a Unix socket; the endpoint is left out"
    )
