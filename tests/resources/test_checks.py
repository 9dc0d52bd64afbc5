"""Semantic checks, each at its field: what Istio's validation refuses, and what is not acted on."""
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
        ("name: x", ": expected route, redirect or directResponse"),
        (f"{ROUTE}, redirect: {{uri: /}}", ".route: not allowed beside redirect"),
        (f"{ROUTE}, directResponse: {{status: 200}}", ".route: not allowed beside directResponse"),
        ("redirect: {uri: /}, directResponse: {status: 200}", ".directResponse: not allowed beside redirect"),
        ("redirect: {uri: /}, rewrite: {uri: /}", ".rewrite: not allowed beside redirect"),
        ("directResponse: {status: 200}, fault: {abort: {httpStatus: 500, percentage: {value: 1}}}", ".fault: not allowed beside directResponse"),
        (f"delegate: {{name: x}}, {ROUTE}", ".route: not allowed beside delegate"),
        (f"{ROUTE}, fault: {{}}", ".fault: expected delay, abort or both"),
        (f"{ROUTE}, corsPolicy: {{allowOrigins: [{{exact: a}}], allowMethods: [x]}}",
         ".corsPolicy.allowMethods[0]: 'x', expected one of GET, HEAD, POST, PUT, PATCH, DELETE, CONNECT, OPTIONS, TRACE, *"),
        (f"{ROUTE}, mirror: {{host: b}}, mirrors: [{{destination: {{host: b}}}}]", ".mirrors: not allowed beside mirror"),
        (f"{ROUTE}, mirrors: [{{}}]", ".mirrors[0].destination: missing"),
        (f"{ROUTE}, mirrors: [{{destination: {{host: b}}, percentage: {{value: -1}}}}]",
         ".mirrors[0].percentage.value: -1, expected 0 to 100"),
        (f"{ROUTE}, mirror: {{host: b}}, mirrorPercentage: {{value: 100.5}}",
         ".mirrorPercentage.value: 100.5, expected 0 to 100"),
        (f"{ROUTE}, mirror: {{host: b}}, mirrorPercent: 101", ".mirrorPercent: 101, expected 0 to 100"),
        (f"{ROUTE}, mirror: {{host: ''}}", ".mirror.host: missing"),
        (f"{ROUTE}, mirror: {{host: '*'}}", ".mirror.host: '*', expected one host"),
        (f"{ROUTE}, mirror: {{host: 'b:80'}}", ".mirror.host: 'b:80', expected a host name without port or scheme"),
        (f"{ROUTE}, mirror: {{host: 10.0.0.1}}", ".mirror.host: '10.0.0.1', not a host name: it ends in a number"),
        (f"{ROUTE}, mirror: {{host: b, port: {{number: 70000}}}}", ".mirror.port.number: 70000, expected 1 to 65535"),
        (f"{ROUTE}, mirror: {{host: b, port: {{}}}}", ".mirror.port.number: 0, expected 1 to 65535"),
        (f"{ROUTE}, mirror: {{host: b, subset: v_1}}",
         ".mirror.subset: 'v_1', expected letters, digits and '-' between them, at most 63"),
        ("route: [{weight: 5}]", ".route[0].destination: missing"),
        ("route: [{destination: {host: a}, weight: -1}]", ".route[0].weight: -1, expected 0 or more"),
        ("route: [{destination: {host: a}}, {destination: {host: b}}]",
         ".route: the weights add up to 0, expected one above 0"),
        (f"{ROUTE}, match: [{{uri: {{exact: a, regex: b}}}}]",
         ".match[0].uri: exact and regex, expected one of exact, prefix and regex"),
        (f"{ROUTE}, match: [{{uri: {{}}}}]", ".match[0].uri: empty, expected one of exact, prefix and regex"),
        (f"{ROUTE}, match: [{{method: {{prefix: ''}}}}]", ".match[0].method.prefix: empty, expected a prefix"),
        (f"{ROUTE}, match: [{{headers: {{x: {{prefix: ''}}}}}}]",
         ".match[0].headers.x.prefix: empty, expected a prefix"),
        (f"{ROUTE}, match: [{{uri: {{regex: ''}}}}]", ".match[0].uri.regex: empty, expected a regular expression"),
        (f"{ROUTE}, match: [{{uri: {{regex: '(?=a)'}}}}]",
         ".match[0].uri.regex: '(?=a)', not a regular expression of RE2: invalid perl operator: (?="),
        (f"{ROUTE}, match: [{{headers: {{x: {{regex: '*'}}}}}}]",
         ".match[0].headers.x.regex: '*', not a regular expression of RE2: no argument for repetition operator: *"),
        (f"{ROUTE}, match: [{{headers: {{x: {{regex: {'a' * 1025}}}}}}}]",
         ".match[0].headers.x.regex: a regular expression of 1025 characters, expected at most 1024"),
        (f"{ROUTE}, match: [{{headers: {{'a b': {{exact: x}}}}}}]",
         '.match[0].headers["a b"]: \'a b\' is not a header name'),
        (f"{ROUTE}, match: [{{port: 65536}}]", ".match[0].port: 65536, expected 1 to 65535"),
        ("redirect: {}", ".redirect: expected uri, prefixRewrite, authority, scheme, port or derivePort"),
        ("redirect: {uri: /, redirectCode: 200}", ".redirect.redirectCode: 200, expected 300 to 399"),
        ("redirect: {scheme: ftp}", ".redirect.scheme: 'ftp', expected http or https"),
        ("redirect: {port: 80, derivePort: FROM_REQUEST_PORT}", ".redirect.derivePort: not allowed beside port"),
        ("redirect: {port: 65536}", ".redirect.port: 65536, expected 1 to 65535"),
        ("redirect: {uri: /, prefixRewrite: /}", ".redirect.prefixRewrite: not allowed beside uri"),
        ("redirect: {prefixRewrite: /}, match: [{uri: {exact: /a}}]",
         ".redirect.prefixRewrite: needs every uri match of this route to be a prefix"),
        ("directResponse: {}", ".directResponse.status: 0, expected 200 to 599"),
        ("directResponse: {status: 600}", ".directResponse.status: 600, expected 200 to 599"),
        ("directResponse: {status: 200, body: {string: a, bytes: aGk=}}",
         ".directResponse.body: string and bytes, expected one of them"),
        (f"directResponse: {{status: 200, body: {{string: {'a' * 1048577}}}}}",
         ".directResponse.body: 1048577 bytes, expected at most 1048576"),
        (f"{ROUTE}, rewrite: {{}}", ".rewrite: expected uri, uriRegexRewrite or authority"),
        (f"{ROUTE}, rewrite: {{uri: /, uriRegexRewrite: {{match: a, rewrite: b}}}}",
         ".rewrite.uriRegexRewrite: not allowed beside uri"),
        (f"{ROUTE}, rewrite: {{uriRegexRewrite: {{match: a, rewrite: ''}}}}",
         ".rewrite.uriRegexRewrite.rewrite: empty, expected a replacement"),
        (f"{ROUTE}, rewrite: {{uriRegexRewrite: {{match: a, rewrite: '\\1'}}}}",
         ".rewrite.uriRegexRewrite.rewrite: \\1, but match has 0 groups"),
        (f"{ROUTE}, rewrite: {{uriRegexRewrite: {{match: a, rewrite: '\\n'}}}}",
         ".rewrite.uriRegexRewrite.rewrite: '\\n', expected \\0 to \\9, or \\\\ for a backslash"),
        (f"{ROUTE}, headers: {{request: {{set: {{'a b': c}}}}}}",
         '.headers.request.set["a b"]: \'a b\' is not a header name'),
        (f"{ROUTE}, headers: {{response: {{add: {{host: c}}}}}}",
         ".headers.response.add.host: host cannot be changed here"),
        (f"{ROUTE}, headers: {{request: {{remove: [':path']}}}}",
         ".headers.request.remove[0]: ':path': pseudo-headers cannot be changed"),
        (f'{ROUTE}, headers: {{request: {{set: {{a: "b\\nc"}}}}}}',
         ".headers.request.set.a: 'b\\nc', a header value cannot hold control characters"),
        (f"{ROUTE}, rewrite: {{authority: x}}, headers: {{request: {{set: {{Host: z}}}}}}",
         ".headers.request: Host is given more than once (with rewrite.authority)"),
    ],
    ids=lambda text: text[:70],
)  # fmt: skip
def test_invalid_routes(fields: str, expected: str) -> None:
    assert errors("VirtualService", route(fields)) == [f"spec.http[0]{expected}"]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("{hosts: [a]}", "spec: expected http, tcp or tls routes"),
        ("{gateways: [g], http: [{" + ROUTE + "}]}", "spec.gateways: not allowed without hosts"),
        ("{hosts: [a.*.b], http: [{" + ROUTE + "}]}",
         "spec.hosts[0]: 'a.*.b', expected * in the leftmost label only, as in *.example.com"),
        ("{hosts: [''], http: [{" + ROUTE + "}]}", "spec.hosts[0]: empty, expected a host name"),
        ("{hosts: ['a_b'], http: [{" + ROUTE + "}]}",
         "spec.hosts[0]: 'a_b', not a host name: 'a_b' may hold letters, digits and '-' between them"),
        ("{hosts: [a, A], http: [{" + ROUTE + "}]}", "spec.hosts[1]: 'A', a above covers it already"),
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
        ("DestinationRule", "{}", "spec.host: missing"),
        ("DestinationRule", "{host: a, subsets: [{}]}", "spec.subsets[0].name: missing"),
        ("DestinationRule", "{host: a, subsets: [{name: x}, {name: x}]}",
         "spec.subsets[1].name: 'x', another subset has this name"),
        ("DestinationRule", "{host: a, subsets: [{name: x, labels: {version: 'a b'}}]}",
         "spec.subsets[0].labels.version: 'a b', expected letters, digits and '-', '_', '.' between them, at most 63"),
        ("DestinationRule", "{host: a, trafficPolicy: {}}", "spec.trafficPolicy: empty, expected at least one setting"),
        ("DestinationRule", "{host: a, trafficPolicy: {tunnel: {targetHost: a, targetPort: 80}, proxyProtocol: {}}}",
         "spec.trafficPolicy.proxyProtocol: not allowed beside tunnel"),
        ("DestinationRule", "{host: a, trafficPolicy: {portLevelSettings: [{tls: {}}]}}",
         "spec.trafficPolicy.portLevelSettings[0].port: missing, expected the number of a service's port"),
        ("DestinationRule", "{host: a, trafficPolicy: {portLevelSettings: [{port: {number: 80}}]}}",
         "spec.trafficPolicy.portLevelSettings[0]: empty, expected at least one setting beside the port"),
        ("DestinationRule", "{host: a, trafficPolicy: {tls: {mode: MUTUAL, privateKey: k}}}",
         "spec.trafficPolicy.tls.clientCertificate: missing, mode MUTUAL needs it"),
        ("DestinationRule", "{host: a, subsets: [{name: x, trafficPolicy: {tls: {mode: MUTUAL, clientCertificate: k}}}]}",
         "spec.subsets[0].trafficPolicy.tls.privateKey: missing, mode MUTUAL needs it"),
        ("DestinationRule", "{host: a, trafficPolicy: {tls: {mode: SIMPLE, insecureSkipVerify: true, caCertificates: system}}}",
         "spec.trafficPolicy.tls.caCertificates: not allowed beside insecureSkipVerify, which checks nothing"),
        ("DestinationRule", "{host: a, trafficPolicy: {tls: {mode: SIMPLE, insecureSkipVerify: true, subjectAltNames: [c]}}}",
         "spec.trafficPolicy.tls.subjectAltNames: not allowed beside insecureSkipVerify, which checks nothing"),
        ("DestinationRule", "{host: a, trafficPolicy: {tls: {mode: SIMPLE, insecureSkipVerify: true, credentialName: c}}}",
         "spec.trafficPolicy.tls.credentialName: not allowed beside insecureSkipVerify, which checks nothing"),
        ("DestinationRule", "{host: a, trafficPolicy: {tls: {mode: MUTUAL, credentialName: c, caCertificates: d}}}",
         "spec.trafficPolicy.tls.caCertificates: not allowed beside credentialName"),
        ("ServiceEntry", f"{{{PORTS}, resolution: DNS}}", "spec.hosts: missing"),
        ("ServiceEntry", f"{{hosts: ['*'], {PORTS}, resolution: STATIC}}", "spec.hosts[0]: '*', expected a host"),
        ("ServiceEntry", f"{{hosts: ['*.a'], {PORTS}, resolution: DNS}}",
         "spec.hosts[0]: '*.a', a wildcard has no address to look up; add endpoints"),
        ("ServiceEntry", "{hosts: [a], resolution: DNS, ports: [{name: http}]}", "spec.ports[0].number: missing"),
        ("ServiceEntry", "{hosts: [a], resolution: DNS, ports: [{number: 80}]}", "spec.ports[0].name: missing"),
        ("ServiceEntry", "{hosts: [a], resolution: DNS, ports: [{number: 80, name: x, protocol: SMTP}]}",
         "spec.ports[0].protocol: 'SMTP', expected one of GRPC, GRPC-WEB, HTTP, HTTP2, HTTP_PROXY, HTTPS, MONGO, "
         "MYSQL, REDIS, TCP, TLS, UDP"),
        ("ServiceEntry", "{hosts: [a, b], resolution: DNS, ports: [{number: 80, name: x}]}",
         "spec.ports[0].protocol: missing, several hosts need HTTP, HTTP2, GRPC, HTTPS or TLS"),
        ("ServiceEntry", "{hosts: [a], resolution: DNS, ports: [{number: 80, name: x}, {number: 80, name: z}]}",
         "spec.ports[1].number: 80, another port has this number"),
        ("ServiceEntry", "{hosts: [a], resolution: DNS, ports: [{number: 80, name: x}, {number: 81, name: x}]}",
         "spec.ports[1].name: 'x', another port has this name"),
        ("ServiceEntry", "{hosts: [a], resolution: DNS, ports: [{number: 80, name: x, targetPort: 65536}]}",
         "spec.ports[0].targetPort: 65536, expected 1 to 65535"),
        ("ServiceEntry", f"{{hosts: [a], {PORTS}, endpoints: [{{address: 10.0.0.1}}]}}",
         "spec.endpoints: not allowed with resolution NONE, expected STATIC or DNS"),
        ("ServiceEntry", f"{{hosts: [a], {PORTS}, resolution: STATIC, endpoints: [{{address: b}}]}}",
         "spec.endpoints[0].address: 'b', expected an IP address (or resolution DNS)"),
        ("ServiceEntry", f"{{hosts: [a], {PORTS}, resolution: DNS, endpoints: [{{address: 'b:80'}}]}}",
         "spec.endpoints[0].address: 'b:80', expected an IP address or host name without port"),
        ("ServiceEntry", f"{{hosts: [a], {PORTS}, resolution: STATIC, endpoints: [{{address: 'unix://x'}}]}}",
         "spec.endpoints[0].address: 'unix://x', expected unix:///path or unix://@name"),
        ("ServiceEntry", f"{{hosts: [a], {PORTS}, resolution: STATIC, endpoints: [{{address: 'unix:///x/'}}]}}",
         "spec.endpoints[0].address: 'unix:///x/', expected unix:///path or unix://@name"),
        ("ServiceEntry", f"{{hosts: [a], {PORTS}, resolution: DNS, endpoints: [{{address: 'unix:///x'}}]}}",
         "spec.endpoints[0].address: 'unix:///x', expected an IP address or host name without port"),
        ("ServiceEntry", f"{{hosts: [a], {PORTS}, resolution: DNS, endpoints: [{{network: west}}]}}",
         "spec.endpoints[0].address: missing"),
        ("ServiceEntry", "{hosts: [a], ports: [{number: 80, name: a, protocol: HTTP}, {number: 81, name: b, protocol: HTTP}], "
         "resolution: STATIC, endpoints: [{address: 'unix:///x'}]}",
         "spec.endpoints[0].address: 'unix:///x', a Unix socket needs a ServiceEntry of exactly one port"),
        ("WorkloadEntry", "{address: 'unix:///x', ports: {http: 80}}", "spec.ports: not allowed beside a Unix socket"),
        ("ServiceEntry", f"{{hosts: [a], {PORTS}, resolution: STATIC, endpoints: [{{address: '::1', ports: {{x: 1}}}}]}}",
         "spec.endpoints[0].ports.x: no port of this ServiceEntry is named 'x'"),
        ("ServiceEntry", f"{{hosts: [a], {PORTS}, resolution: STATIC, endpoints: [{{address: '::1'}}], "
         "workloadSelector: {labels: {a: b}}}", "spec.workloadSelector: not allowed beside endpoints"),
        ("WorkloadEntry", "{}", "spec.address: missing"),
        ("WorkloadEntry", "{address: 10.0.0.1, ports: {http: 0}}", "spec.ports.http: 0, expected 1 to 65535"),
        ("WorkloadEntry", "{address: 10.0.0.1, labels: {'a b': c}}", "spec.labels[\"a b\"]: 'a b' is not a label name"),
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
        (f"{{hosts: ['*'], http: [{{{ROUTE}}}]}}",
         "spec.hosts[0]: a cluster takes the host * only together with gateways"),
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
    "connectionPool.http.h2UpgradePolicy": "connectionPool: {http: {h2UpgradePolicy: UPGRADE}}",
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
        ("simple: RANDOM, consistentHash: {useSourceIp: true}", "consistentHash: not allowed beside simple"),
        ("localityLbSetting: {}, zoneAwareLbSetting: {}", "zoneAwareLbSetting: not allowed beside localityLbSetting"),
        ("consistentHash: {httpHeaderName: a, useSourceIp: true}",
         "consistentHash.useSourceIp: not allowed beside httpHeaderName"),
        ("consistentHash: {httpHeaderName: 'a b'}", "consistentHash.httpHeaderName: 'a b' is not a header name"),
        ("consistentHash: {httpCookie: {ttl: 0s}}", "consistentHash.httpCookie.name: missing"),
        ("consistentHash: {httpCookie: {name: 'a;b'}}", "consistentHash.httpCookie.name: 'a;b' is not a cookie name"),
        ("consistentHash: {httpCookie: {name: a, path: '/;b'}}",
         "consistentHash.httpCookie.path: '/;b', expected a path without ';' or control characters"),
        ("consistentHash: {httpCookie: {name: a, attributes: [{value: b}]}}",
         "consistentHash.httpCookie.attributes[0].name: missing"),
        ("consistentHash: {httpCookie: {name: a, attributes: [{name: b}, {name: b}]}}",
         "consistentHash.httpCookie.attributes[1].name: 'b', another attribute has this name"),
        ('consistentHash: {httpCookie: {name: a, attributes: [{name: b, value: "c\\nd"}]}}',
         "consistentHash.httpCookie.attributes[0].value: 'c\\nd', expected no ';' or control characters"),
        ("consistentHash: {useSourceIp: true, ringHash: {}, maglev: {tableSize: 7}}",
         "consistentHash.maglev: not allowed beside ringHash"),
        ("consistentHash: {useSourceIp: true, minimumRingSize: 5, ringHash: {}}",
         "consistentHash.minimumRingSize: not allowed beside ringHash or maglev"),
        ("consistentHash: {useSourceIp: true, maglev: {}}",
         "consistentHash.maglev.tableSize: 0, expected a prime number below 5000011"),
        ("consistentHash: {useSourceIp: true, maglev: {tableSize: 1024}}",
         "consistentHash.maglev.tableSize: 1024, expected a prime number below 5000011"),
        ("consistentHash: {useSourceIp: true, maglev: {tableSize: 5000011}}",
         "consistentHash.maglev.tableSize: 5000011, expected a prime number below 5000011"),
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
