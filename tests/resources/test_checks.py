"""Semantic checks, each at its field, beside the rules of `istio_rules.yaml`; and what is not acted on."""
# ruff: noqa: E501, ISC004 - a table reads best with one case a line and whole messages

from typing import Any

import pytest
import yaml

from mitm_mirror.resources import not_acted_on
from mitm_mirror.resources.issue import Severity
from mitm_mirror.resources.load import load_text

ROUTE = "route: [{destination: {host: a}}]"


def findings(kind: str, spec: str, severity: Severity) -> list[str]:
    value = {
        "apiVersion": "networking.istio.io/v1",
        "kind": kind,
        "metadata": {"name": "a"},
        "spec": yaml.safe_load(spec),
    }
    issues = load_text(yaml.safe_dump(value), "f").issues
    return [
        f"{issue.path.removeprefix(f'{kind} default/a: ')}: {issue.message}"
        for issue in issues
        if issue.severity is severity
    ]


def errors(kind: str, spec: str) -> list[str]:
    return findings(kind, spec, Severity.ERROR)


def warnings(kind: str, spec: str) -> list[str]:
    return findings(kind, spec, Severity.WARNING)


def route(fields: str) -> str:
    return f"{{hosts: [a], http: [{{{fields}}}]}}"


@pytest.mark.parametrize(
    "fields",
    [
        ROUTE,
        f"match: [{{uri: {{prefix: ''}}}}], {ROUTE}",
        f"match: [{{headers: {{':authority': {{exact: ''}}, x: {{}}}}, queryParams: {{q: {{}}}}}}], {ROUTE}",
        f"match: [{{withoutHeaders: {{x: {{regex: '*'}}}}}}], {ROUTE}",
        "redirect: {uri: /x, redirectCode: 308, derivePort: FROM_REQUEST_PORT}",
        "directResponse: {status: 204}",
        "directResponse: {status: 599, body: {bytes: aGk=}}",
        f"rewrite: {{uriRegexRewrite: {{match: '/(a)', rewrite: '\\\\1\\\\\\\\\\0'}}}}, {ROUTE}".replace(
            "\\", "\\"
        ),
        f"{ROUTE}, mirrors: [{{destination: {{host: b}}, percentage: {{value: 0.5}}}}]",
        f"{ROUTE}, headers: {{request: {{set: {{host: x}}}}}}",
        "route: [{destination: {host: a}, weight: 0}, {destination: {host: b.c.svc.cluster.local.}, weight: 1}]",
    ],
    ids=lambda fields: fields[:40],
)
def test_valid_routes(fields: str) -> None:
    assert errors("VirtualService", route(fields)) == []


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (f"{ROUTE}, mirror: {{host: 'b:80'}}", ".mirror.host: 'b:80', expected a host name without port or scheme"),
        (f"{ROUTE}, mirror: {{host: 10.0.0.1}}", ".mirror.host: '10.0.0.1', not a host name: it ends in a number"),
        (f"{ROUTE}, match: [{{headers: {{x: {{prefix: ''}}}}}}]",
         ".match[0].headers.x.prefix: empty, expected a prefix"),
        (f"{ROUTE}, match: [{{headers: {{x: {{regex: '*'}}}}}}]",
         ".match[0].headers.x.regex: '*', not a regular expression of RE2: no argument for repetition operator: *"),
        (f"{ROUTE}, match: [{{headers: {{x: {{regex: {'a' * 1025}}}}}}}]",
         ".match[0].headers.x.regex: a regular expression of 1025 characters, expected at most 1024"),
        (f"{ROUTE}, rewrite: {{uriRegexRewrite: {{match: a, rewrite: '\\n'}}}}",
         ".rewrite.uriRegexRewrite.rewrite: '\\n', expected \\0 to \\9, or \\\\ for a backslash"),
        (f"{ROUTE}, headers: {{response: {{add: {{host: c}}}}}}",
         ".headers.response.add.host: host cannot be changed here"),
        (f"{ROUTE}, headers: {{request: {{remove: [':path']}}}}",
         ".headers.request.remove[0]: ':path': pseudo-headers cannot be changed"),
    ],
    ids=lambda text: text[:70],
)  # fmt: skip
def test_invalid_routes(fields: str, expected: str) -> None:
    assert errors("VirtualService", route(fields)) == [f"spec.http[0]{expected}"]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("{hosts: [a.*.b], http: [{" + ROUTE + "}]}",
         "spec.hosts[0]: 'a.*.b', expected * in the leftmost label only, as in *.example.com"),
        ("{hosts: ['a_b'], http: [{" + ROUTE + "}]}",
         "spec.hosts[0]: 'a_b', not a host name: 'a_b' may hold letters, digits and '-' between them"),
        ("{hosts: ['*.b.c', a.b.c], http: [{" + ROUTE + "}]}", "spec.hosts[1]: 'a.b.c', *.b.c above covers it already"),
    ],
    ids=lambda text: text[:50],
)  # fmt: skip
def test_invalid_virtual_services(spec: str, expected: str) -> None:
    assert errors("VirtualService", spec) == [expected]


@pytest.mark.parametrize("hosts", ["[10.0.0.1]", "['::1']", "['*.a.b', a.b]", "['*-x.a']", "[a.b.]"])
def test_valid_hosts(hosts: str) -> None:
    assert errors("VirtualService", f"{{hosts: {hosts}, http: [{{{ROUTE}}}]}}") == []


PORTS = "ports: [{number: 80, name: http, protocol: HTTP}]"


@pytest.mark.parametrize(
    ("kind", "spec", "expected"),
    [
        ("DestinationRule", "{host: a, subsets: [{name: x, labels: {version: 'a b'}}]}",
         "spec.subsets[0].labels.version: 'a b', expected letters, digits and '-', '_', '.' between them, at most 63"),
        ("DestinationRule", "{host: a, subsets: [{name: x, trafficPolicy: {tls: {mode: MUTUAL, clientCertificate: k}}}]}",
         "spec.subsets[0].trafficPolicy.tls.privateKey: missing, mode MUTUAL needs it"),
        ("ServiceEntry", "{hosts: [a, b], resolution: DNS, ports: [{number: 80, name: x}]}",
         "spec.ports[0].protocol: missing, several hosts need HTTP, HTTP2, GRPC, HTTPS or TLS"),
        ("ServiceEntry", f"{{hosts: [a], {PORTS}, resolution: STATIC, endpoints: [{{address: 'unix://x'}}]}}",
         "spec.endpoints[0].address: 'unix://x', expected unix:///path or unix://@name"),
        ("ServiceEntry", f"{{hosts: [a], {PORTS}, resolution: STATIC, endpoints: [{{address: 'unix:///x/'}}]}}",
         "spec.endpoints[0].address: 'unix:///x/', expected unix:///path or unix://@name"),
    ],
    ids=lambda text: text[-60:],
)  # fmt: skip
def test_invalid_other_kinds(kind: str, spec: str, expected: str) -> None:
    assert errors(kind, spec) == [expected]


@pytest.mark.parametrize(
    ("kind", "spec"),
    [
        (
            "ServiceEntry",
            f"{{hosts: [a], {PORTS}, resolution: STATIC, endpoints: [{{address: 'unix:///x'}}]}}",
        ),
        (
            "ServiceEntry",
            f"{{hosts: [a], {PORTS}, resolution: STATIC, endpoints: [{{address: 'unix://@x'}}]}}",
        ),
        ("ServiceEntry", f"{{hosts: [a], {PORTS}, resolution: STATIC, endpoints: [{{network: west}}]}}"),
        ("WorkloadEntry", "{address: 'unix:///x'}"),
        ("WorkloadEntry", "{network: west}"),
    ],
    ids=["socket", "abstract socket", "network alone", "workload at a socket", "workload of a network"],
)
def test_endpoints_that_are_valid_and_left_out(kind: str, spec: str) -> None:
    """That they are left out is said where the endpoints of a service are gathered."""
    assert errors(kind, spec) == []


def test_a_delegate_cannot_delegate() -> None:
    assert errors("VirtualService", "{http: [{delegate: {name: b}}]}") == [
        "spec.http[0].delegate: not allowed in a VirtualService without hosts: a delegate cannot delegate"
    ]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (route(f"{ROUTE}, mirrorPercentage: {{value: 5}}"),
         "spec.http[0].mirrorPercentage: does nothing without mirror; in mirrors each has its own percentage"),
        (route(f"{ROUTE}, mirror: {{host: b}}, mirrorPercentage: {{}}"),
         "spec.http[0].mirrorPercentage: empty, which means 0 percent; leave it out for 100"),
        (route(f"{ROUTE}, mirror: {{host: b}}, mirrorPercentage: {{value: 0.00001}}"),
         "spec.http[0].mirrorPercentage.value: 1e-05, below 0.0001 it counts as 0"),
        (route("redirect: {uri: /}, corsPolicy: {allowOrigins: [{exact: a}]}"),
         "spec.http[0].corsPolicy: never used: only answers of destinations get CORS headers"),
        (route("redirect: {uri: /}, mirror: {host: b}"),
         "spec.http[0].mirror: never used: a route without destinations is not mirrored"),
        (route("redirect: {uri: /, redirectCode: 304}"),
         "spec.http[0].redirect.redirectCode: 304: a cluster has no such redirect; expected 301, 302, 303, 307 or 308"),
    ],
    ids=lambda text: text[-60:],
)  # fmt: skip
def test_valid_but_hardly_meant(spec: str, expected: str) -> None:
    assert errors("VirtualService", spec) == []
    assert warnings("VirtualService", spec) == [expected]


POLICY_PLACES = {
    "trafficPolicy.": "trafficPolicy: {%s}",
    "trafficPolicy.portLevelSettings.*.": "trafficPolicy: {portLevelSettings: [{port: {number: 80}, %s}]}",
    "subsets.*.trafficPolicy.": "subsets: [{name: a, trafficPolicy: {%s}}]",
    "subsets.*.trafficPolicy.portLevelSettings.*.":
        "subsets: [{name: a, trafficPolicy: {portLevelSettings: [{port: {number: 80}, %s}]}}]",
}  # fmt: skip
POLICY_SETTINGS = {
    "loadBalancer.localityLbSetting": "loadBalancer: {localityLbSetting: {enabled: true}}",
    "loadBalancer.zoneAwareLbSetting": "loadBalancer: {zoneAwareLbSetting: {enabled: true}}",
    "loadBalancer.warmup": "loadBalancer: {warmup: {duration: 1s}}",
    "loadBalancer.warmupDurationSecs": "loadBalancer: {warmupDurationSecs: 1s}",
    "connectionPool.tcp.connectTimeout": "connectionPool: {tcp: {connectTimeout: 1s}}",
    "connectionPool.tcp.tcpKeepalive": "connectionPool: {tcp: {tcpKeepalive: {probes: 1}}}",
    "connectionPool.tcp.maxConnectionDuration": "connectionPool: {tcp: {maxConnectionDuration: 1s}}",
    "connectionPool.tcp.idleTimeout": "connectionPool: {tcp: {idleTimeout: 1s}}",
    "connectionPool.http.idleTimeout": "connectionPool: {http: {idleTimeout: 1s}}",
    "connectionPool.http.maxRequestsPerConnection": "connectionPool: {http: {maxRequestsPerConnection: 1}}",
    "connectionPool.http.maxRetries": "connectionPool: {http: {maxRetries: 1}}",
    "connectionPool.http.maxConcurrentStreams": "connectionPool: {http: {maxConcurrentStreams: 1}}",
    "connectionPool.http.http2KeepAlive": "connectionPool: {http: {http2KeepAlive: {interval: 1s, timeout: 1s}}}",
    "tls.mode": "tls: {mode: ISTIO_MUTUAL}",
    "tls.credentialName": "tls: {mode: SIMPLE, credentialName: a}",
    "tls.caCrl": "tls: {mode: SIMPLE, caCrl: /a}",
    "tunnel": "tunnel: {targetHost: a, targetPort: 80}",
    "proxyProtocol": "proxyProtocol: {}",
    "retryBudget": "retryBudget: {}",
}


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("tls: {mode: SIMPLE, clientCertificate: a}",
         ["spec.trafficPolicy.tls.clientCertificate: does nothing in mode SIMPLE; MUTUAL presents it"]),
        ("portLevelSettings: [{port: {number: 80}, tls: {}}, {port: {number: 80}, tls: {}}]",
         ["spec.trafficPolicy.portLevelSettings[1].port: never used: settings for port 80 stand above already"]),
        ("tls: {mode: SIMPLE, sni: a, caCertificates: system, subjectAltNames: [c]}", []),
        ("loadBalancer: {simple: RANDOM}", []),
        ("loadBalancer: {consistentHash: {httpCookie: {name: a, ttl: 0s, path: /a, attributes: [{name: Secure}]}}}", []),
        ("loadBalancer: {consistentHash: {ringHash: {minimumRingSize: 9}}}",
         ["spec.trafficPolicy.loadBalancer.consistentHash: no key: chance decides; expected one of "
          "httpHeaderName, httpCookie, useSourceIp, httpQueryParameterName"]),
        ("loadBalancer: {consistentHash: {useSourceIp: true, minimumRingSize: 9}}",
         ["spec.trafficPolicy.loadBalancer.consistentHash.minimumRingSize: deprecated, use ringHash"]),
        ("tls: {mode: DISABLE, insecureSkipVerify: true, caCertificates: a}", []),
        ("connectionPool: {http: {http1MaxPendingRequests: 1}}",
         ["spec.trafficPolicy.connectionPool.http.http1MaxPendingRequests: does nothing here without "
          "tcp.maxConnections: no request waits"]),
    ],
    ids=["client certificate in SIMPLE", "port twice", "SIMPLE", "RANDOM", "cookie", "no key", "old ring size",
         "fields beside DISABLE", "nothing to wait for"],
)  # fmt: skip
def test_traffic_policies_that_are_valid(policy: str, expected: list[str]) -> None:
    spec = f"{{host: a, trafficPolicy: {{{policy}}}}}"

    assert errors("DestinationRule", spec) == []
    assert warnings("DestinationRule", spec) == expected


# One spec for each row of the table; a row without one fails the test below.
NOT_ACTED_ON: dict[str, dict[str, str]] = {
    "VirtualService": {
        "tcp": "{hosts: [a], tcp: [{route: [{destination: {host: a}}]}]}",
        "tls": "{hosts: [a], tls: [{match: [{sniHosts: [a]}], route: [{destination: {host: a}}]}]}",
        "http.*.retries.retryRemoteLocalities": route(
            f"{ROUTE}, retries: {{attempts: 1, retryRemoteLocalities: true}}"
        ),
        "http.*.mirrorPercent": route(f"{ROUTE}, mirror: {{host: b}}, mirrorPercent: 5"),
        **{
            f"http.*.headers.{side}.{name}.*": route(f"{ROUTE}, headers: {{{side}: {{{name}: {{x: '%A%'}}}}}}")
            for side in ("request", "response")
            for name in ("set", "add")
        },
        **{
            f"http.*.route.*.headers.{side}.{name}.*": route(
                f"route: [{{destination: {{host: a}}, headers: {{{side}: {{{name}: {{x: 5%%}}}}}}}}]"
            )
            for side in ("request", "response")
            for name in ("set", "add")
        },
    },
    "DestinationRule": {
        **{
            f"{place}{path}": f"{{host: a, {form % settings}}}"
            for place, form in POLICY_PLACES.items()
            for path, settings in POLICY_SETTINGS.items()
            if "portLevel" not in place or path not in ("tunnel", "proxyProtocol", "retryBudget")
        },
    },
    "ServiceEntry": {
        **{
            f"endpoints.*.{name}": f"{{hosts: [a], {PORTS}, resolution: DNS, endpoints: [{{address: b, {name}: c}}]}}"
            for name in ("network", "locality", "serviceAccount")
        },
    },
    "WorkloadEntry": {
        name: f"{{address: b, {name}: c}}" for name in ("network", "locality", "serviceAccount")
    },
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        pytest.param(kind, path, id=f"{kind} {path}")
        for kind, rows in not_acted_on.ROWS.items()
        for path in dict.fromkeys(row.path for row in rows)
    ],
)
def test_each_row_of_the_table_warns_once(kind: str, path: str) -> None:
    (warning,) = warnings(kind, NOT_ACTED_ON[kind][path])
    place, _, message = warning.partition(": ")

    assert [part for part in path.split(".") if part != "*"][-1] in place
    assert message in {row.message for row in not_acted_on.ROWS[kind] if row.path == path}


@pytest.mark.parametrize(
    "policy",
    [
        *(
            f"loadBalancer: {{simple: {simple}}}"
            for simple in ("UNSPECIFIED", "LEAST_CONN", "LEAST_REQUEST", "ROUND_ROBIN", "PASSTHROUGH")
        ),
        "loadBalancer: {consistentHash: {useSourceIp: true, maglev: {tableSize: 7}}}",
        "connectionPool: {tcp: {maxConnections: 1}, http: {http1MaxPendingRequests: 1, http2MaxRequests: 1}}",
        "outlierDetection: {consecutive5xxErrors: 1, interval: 1s, maxEjectionPercent: 100}",
    ],
)
def test_policies_that_are_acted_on(policy: str) -> None:
    assert warnings("DestinationRule", f"{{host: a, trafficPolicy: {{{policy}}}}}") == []


@pytest.mark.parametrize(
    ("load_balancer", "expected"),
    [
        ("consistentHash: {httpHeaderName: 'a b'}", "consistentHash.httpHeaderName: 'a b' is not a header name"),
        ("consistentHash: {httpCookie: {name: 'a;b'}}", "consistentHash.httpCookie.name: 'a;b' is not a cookie name"),
        ("consistentHash: {httpCookie: {name: a, path: '/;b'}}",
         "consistentHash.httpCookie.path: '/;b', expected a path without ';' or control characters"),
        ('consistentHash: {httpCookie: {name: a, attributes: [{name: b, value: "c\\nd"}]}}',
         "consistentHash.httpCookie.attributes[0].value: 'c\\nd', expected no ';' or control characters"),
    ],
    ids=lambda text: text[-50:],
)  # fmt: skip
def test_invalid_load_balancers(load_balancer: str, expected: str) -> None:
    spec = f"{{host: a, trafficPolicy: {{loadBalancer: {{{load_balancer}}}}}}}"

    assert errors("DestinationRule", spec) == [f"spec.trafficPolicy.loadBalancer.{expected}"]


@pytest.mark.parametrize(
    "spec",
    [
        f"{{hosts: [a], gateways: [mesh], exportTo: [], http: [{{{ROUTE}, match: [{{gateways: [mesh]}}]}}]}}",
        f"{{hosts: [a], http: [{{{ROUTE}, match: [{{name: x, statPrefix: y}}], headers: {{request: {{set: {{a: b}}}}}}}}]}}",
    ],
    ids=["empty and mesh", "without effect on routing"],
)
def test_what_is_acted_on_or_has_no_effect_does_not_warn(spec: str) -> None:
    assert warnings("VirtualService", spec) == []


def test_table_names_fields_that_exist() -> None:
    every: Any = {kind: {row.path for row in rows} for kind, rows in not_acted_on.ROWS.items()}

    assert {kind: set(rows) for kind, rows in NOT_ACTED_ON.items()} == every
