"""Which VirtualService a request belongs to, and the table as people see it."""

import pytest

from mitm_mirror.routing.decision import Answer, PassThrough


def service(name: str, hosts: str, namespace: str = "default") -> str:
    """A VirtualService that answers with its own name."""
    return f"""
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  hosts: [{hosts}]
  http: [{{match: [{{method: {{exact: GET}}}}], directResponse: {{status: 200, body: {{string: {name}}}}}}}]
"""


HOSTS = "".join(
    [
        service("exact", "a.example.com"),
        service("wildcard", "'*.example.com'"),
        service("short", "reviews", "prod"),
        service("address", "10.0.0.1, '::1'"),
        service("everything", "'*'"),
    ]
)


@pytest.mark.parametrize(
    ("authority", "name"),
    [
        pytest.param("a.example.com", "exact", id="exact"),
        pytest.param("A.Example.com:8080", "exact", id="case and port do not count"),
        pytest.param("a.example.com.", "exact", id="trailing dot"),
        pytest.param("b.example.com", "wildcard", id="wildcard"),
        pytest.param("example.com", "everything", id="a wildcard needs a label"),
        pytest.param("reviews", "short", id="short name"),
        pytest.param("reviews.prod:80", "short", id="with namespace"),
        pytest.param("reviews.prod.svc.cluster.local", "short", id="fully qualified"),
        pytest.param("reviews.default.svc.cluster.local", "everything", id="another namespace's"),
        pytest.param("10.0.0.1:80", "address", id="IPv4"),
        pytest.param("[::1]:80", "address", id="IPv6"),
        pytest.param("", "everything", id="no Host"),
    ],
)
def test_the_best_host_decides(rules, head, draws, authority: str, name: str) -> None:
    decision = rules(HOSTS).decide(head(authority=authority), draws())

    assert isinstance(decision, Answer)
    assert decision.body == name.encode()


def test_there_is_no_falling_through_to_a_wider_host(rules, head, draws) -> None:
    decision = rules(HOSTS).decide(head(authority="a.example.com", method="POST"), draws())

    assert isinstance(decision, Answer)
    assert (decision.reason, decision.rule.virtual_service) == ("no_route", "default/exact")


def test_of_two_for_one_host_the_first_wins_whole(rules, head, draws, warned) -> None:
    text = service("first", "a.example.com") + service("second", "b.example.com, a.example.com")

    table = rules(text)

    bodies = {
        host: table.decide(head(authority=host), draws()).body for host in ("a.example.com", "b.example.com")
    }
    assert bodies == {"a.example.com": b"first", "b.example.com": b"second"}
    assert warned(text) == [
        (
            "rules.yaml:15:26: VirtualService default/second: spec.hosts[1]: warning: "
            "host a.example.com belongs to "
            "VirtualService default/first (rules.yaml:7); its rules are used, not these"
        )
    ]
    assert (table.virtual_service_count, table.host_count, table.route_count) == (2, 2, 2)


def test_of_two_short_names_the_first_gets_the_bare_one(rules, head, draws, warned) -> None:
    """A name that is written short goes before one that is only a service's short name."""
    text = (
        service("full", "reviews.dev.svc.cluster.local")
        + service("first", "reviews", "prod")
        + service("second", "reviews", "test")
    )
    table = rules(text)

    bodies = [
        table.decide(head(authority=f"reviews{dot}"), draws()).body for dot in ("", ".dev", ".prod", ".test")
    ]

    assert bodies == [b"first", b"full", b"first", b"second"]
    assert warned(text) == [
        (
            "rules.yaml:23:11: VirtualService test/second: spec.hosts[0]: warning: "
            "requests for reviews alone go by "
            "VirtualService prod/first; this one answers for reviews.test.svc.cluster.local"
        )
    ]


def test_a_service_without_a_route_that_could_match_lets_requests_through(rules, head, draws) -> None:
    text = service("a", "httpbin").replace("method: {exact: GET}", "gateways: [gw]") + service("b", "'*'")

    assert rules(text).decide(head(), draws()) == PassThrough()


def test_the_rules_for_people(rules, http) -> None:
    table = rules(
        http("""
  - name: images
    match: [{uri: {prefix: /img}, headers: {end-user: {exact: jason}}}]
    redirect: {authority: img.example.com, prefixRewrite: /}
  - match: [{uri: {exact: /health}}]
    directResponse: {status: 200, body: {string: ok}}
  - route:
    - {destination: {host: httpbin, subset: v1}, weight: 80}
    - {destination: {host: other.example.com}, weight: 20}
    mirrors:
    - {destination: {host: httpbin, subset: v2}, percentage: {value: 2.5}}
    - {destination: {host: nobody}}
""")
    )

    assert table.describe().splitlines() == [
        "httpbin.default.svc.cluster.local",
        "  VirtualService default/httpbin  rules.yaml:23",
        "    images  rules.yaml:29",
        "      match uri prefix /img, header end-user exact jason",
        "      redirect 301: authority img.example.com, another prefix",
        "    http[1]  rules.yaml:32",
        "      match uri exact /health",
        "      answer 200 with 2 bytes",
        "    http[2]  rules.yaml:34",
        "      to weight 80 httpbin.default.svc.cluster.local port 80 subset v1",
        "        endpoint http://10.0.0.1:80",
        "      to weight 20 other.example.com port 80",
        "        endpoint http://10.0.0.1:80 weight 1",
        "        endpoint http://10.0.0.2:80 weight 1",
        "        chosen by LEAST_REQUEST",
        "      mirror 2.5% httpbin.default.svc.cluster.local port 80 subset v2",
        "        endpoint http://10.0.0.2:80",
        "      mirror 100% nobody.default.svc.cluster.local any port",
        "        no endpoint",
    ]
