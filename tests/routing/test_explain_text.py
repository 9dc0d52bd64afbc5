"""Explanations as people read them, and that they say what routing does."""

import random

import pytest

from mitm_mirror.routing.decision import Answer, Forward, PassThrough
from mitm_mirror.routing.explain import explain
from mitm_mirror.routing.explain_text import render_explanation

HEAD = "apiVersion: networking.istio.io/v1\nkind: %s\nmetadata: "
RULES = (
    HEAD % "VirtualService"
    + """{name: httpbin}
spec:
  hosts: [httpbin, "*.example.com"]
  http:
  - match:
    - uri: {prefix: /api}
    - uri: {prefix: /get}
      headers: {x-user: {exact: tester}}
    route: [{destination: {host: httpbin, subset: v2}}]
  - match: [{sourceLabels: {app: web}}]
    directResponse: {status: 200}
  - match: [{uri: {prefix: /old}}]
    redirect: {uri: /new, redirectCode: 302}
    headers: {response: {set: {x-moved: "1"}}}
  - match: [{uri: {exact: /teapot}}]
    directResponse: {status: 418, body: {string: short and stout}}
  - name: canary
    match: [{port: 81}, {uri: {prefix: /get}}]
    rewrite: {uri: /v1/get}
    headers: {request: {add: {x-a: b}, remove: [cookie]}, response: {set: {x-b: c}}}
    route:
    - {destination: {host: httpbin, subset: v1}, weight: 80}
    - {destination: {host: httpbin, subset: v2}, weight: 20}
    mirrors:
    - {destination: {host: httpbin, subset: v3}, percentage: {value: 10}}
    - {destination: {host: httpbin, subset: v2}, percentage: {value: 50}}
    - {destination: {host: secure.test}, percentage: {value: 0.5699}}
  - match: [{uri: {prefix: /hosts}}]
    route:
    - {destination: {host: httpbin, subset: v1}, weight: 1, headers: {request: {set: {Host: one.test}}}}
    - {destination: {host: httpbin, subset: v3}, weight: 1}
    - {destination: {host: secure.test}, weight: 1}
    mirror: {host: httpbin, subset: v2}
  - match: [{uri: {prefix: /gone}}]
    route: [{destination: {host: nowhere.test}}]
    mirror: {host: httpbin, subset: v2}
---
"""
    + HEAD % "VirtualService"
    + """
  name: guarded
  annotations:
    mitm-mirror/methods: GET,HEAD
    mitm-mirror/sample-by: cookie:user
    mitm-mirror/host: "keep"
    mitm-mirror/set-headers: "X-Shadow: yes"
    mitm-mirror/remove-headers: Authorization
    mitm-mirror/timeout: 2s
spec:
  hosts: [guarded.test]
  http:
  - match: [{port: 8080}]
    route: [{destination: {host: secure.test}}]
    rewrite: {authority: rewritten.test}
    mirror: {host: httpbin, subset: v2}
    mirrorPercentage: {value: 50}
---
"""
    + HEAD % "VirtualService"
    + """{name: plain}
spec:
  hosts: ["*.plain.test"]
  http:
  - route: [{destination: {host: httpbin}}]
---
"""
    + HEAD % "VirtualService"
    + """{name: longer}
spec:
  hosts: ["*.b.plain.test"]
  http:
  - route: [{destination: {host: httpbin, port: {number: 81}}}]
---
"""
    + HEAD % "VirtualService"
    + """{name: idle}
spec:
  hosts: [idle.test]
  http:
  - match: [{uri: {prefix: /x}, sourceNamespace: a}, {gateways: [g]}]
    route: [{destination: {host: httpbin, subset: v1}}]
---
"""
    + HEAD % "DestinationRule"
    + """{name: httpbin}
spec:
  host: httpbin
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]
---
"""
    + HEAD % "ServiceEntry"
    + """{name: httpbin}
spec:
  hosts: [httpbin.default.svc.cluster.local]
  ports: [{number: 8080, name: http, protocol: HTTP}]
  resolution: STATIC
  endpoints:
  - {address: 10.0.0.1, labels: {version: v1}, weight: 3}
  - {address: "::1", labels: {version: v1}}
  - {address: 10.0.0.2, labels: {version: v2}, ports: {http: 8002}}
---
"""
    + HEAD % "ServiceEntry"
    + """{name: secure}
spec:
  hosts: [secure.test]
  ports: [{number: 443, name: https, protocol: HTTPS}]
  resolution: DNS
"""
)

EVE = ((b"cookie", b"user=eve"),)
"""One of the half that is sampled; Joe is of the other."""
JOE = ((b"cookie", b"user=joe"),)
CASES = [
    pytest.param(
        {"target": "/get?x=1"},
        """
GET http://httpbin:8080/get?x=1

VirtualService default/httpbin (rules.yaml:3)
  by its host httpbin
  http[0] (rules.yaml:7) does not match
    match[0]: uri prefix "/api" does not match "/get"
    match[1]: header x-user: expected exact "tester", the request has none
  http[1] (rules.yaml:12) does not match
    match[0]: sourceLabels: never met, it is for app=web, this proxy's labels: none
  http[2] (rules.yaml:14) does not match
    match[0]: uri prefix "/old" does not match "/get"
  http[3] (rules.yaml:17) does not match
    match[0]: uri exact "/teapot" does not match "/get"
  canary (rules.yaml:19) decides
    match[0]: port: expected 81, the request is for 8080
    match[1] is met: uri prefix "/get"

80 % -> httpbin.default.svc.cluster.local, port 8080, subset v1
    cluster   outbound|8080|v1|httpbin.default.svc.cluster.local
    endpoint  http://10.0.0.1:8080  75 %
              http://[::1]:8080  25 %
    chosen by LEAST_REQUEST
    request   GET /v1/get?x=1
    Host      httpbin:8080
    SNI       none, as there is no TLS to the endpoint
    headers   remove cookie
              add x-a: b
    answer    set x-b: c
20 % -> httpbin.default.svc.cluster.local, port 8080, subset v2
    cluster   outbound|8080|v2|httpbin.default.svc.cluster.local
    endpoint  http://10.0.0.2:8002
    request   GET /v1/get?x=1
    Host      httpbin:8080
    SNI       none, as there is no TLS to the endpoint
    headers   remove cookie
              add x-a: b
    answer    set x-b: c
mirror 10 % -> httpbin.default.svc.cluster.local, port 8080, subset v3
    cluster   outbound|8080|v3|httpbin.default.svc.cluster.local
    endpoint  none: no DestinationRule for httpbin.default.svc.cluster.local defines subset v3;
              known are v1, v2
    no copy   no_endpoint
mirror 50 % -> httpbin.default.svc.cluster.local, port 8080, subset v2
    cluster   outbound|8080|v2|httpbin.default.svc.cluster.local
    endpoint  http://10.0.0.2:8002
    Host      httpbin-shadow:8080
    SNI       none, as there is no TLS to the endpoint
mirror 0.5699 % -> secure.test, port 443
    cluster   outbound|443||secure.test
    endpoint  https://secure.test:443
    Host      httpbin-shadow:8080
    SNI       httpbin
One draw is for all mirrors: what a smaller share copies, a larger one copies too.
""",
        id="earlier routes, shares and mirrors",
    ),
    pytest.param(
        {"target": "/old?x=1", "authority": "a.example.com", "port": 80},
        """
GET http://a.example.com/old?x=1

VirtualService default/httpbin (rules.yaml:3)
  by its host *.example.com
  http[0] (rules.yaml:7) does not match
    match[0]: uri prefix "/api" does not match "/old"
    match[1]: uri prefix "/get" does not match "/old"
  http[1] (rules.yaml:12) does not match
    match[0]: sourceLabels: never met, it is for app=web, this proxy's labels: none
  http[2] (rules.yaml:14) decides
    match[0] is met: uri prefix "/old"

Answered 302 here: a redirect. Nothing is sent, nothing is mirrored.
    headers   location: http://a.example.com/new?x=1
              x-moved: 1
""",
        id="redirect",
    ),
    pytest.param(
        {"target": "/teapot"},
        """
GET http://httpbin:8080/teapot

VirtualService default/httpbin (rules.yaml:3)
  by its host httpbin
  http[0] (rules.yaml:7) does not match
    match[0]: uri prefix "/api" does not match "/teapot"
    match[1]: uri prefix "/get" does not match "/teapot"
  http[1] (rules.yaml:12) does not match
    match[0]: sourceLabels: never met, it is for app=web, this proxy's labels: none
  http[2] (rules.yaml:14) does not match
    match[0]: uri prefix "/old" does not match "/teapot"
  http[3] (rules.yaml:17) decides
    match[0] is met: uri exact "/teapot"

Answered 418 here: a direct response. Nothing is sent, nothing is mirrored.
    headers   content-type: text/plain
    body      "short and stout"
""",
        id="direct response",
    ),
    pytest.param(
        {"target": "/zzz", "port": 82},
        """
GET http://httpbin:8080/zzz

VirtualService default/httpbin (rules.yaml:3)
  by its host httpbin
  http[0] (rules.yaml:7) does not match
    match[0]: uri prefix "/api" does not match "/zzz"
    match[1]: uri prefix "/get" does not match "/zzz"
  http[1] (rules.yaml:12) does not match
    match[0]: sourceLabels: never met, it is for app=web, this proxy's labels: none
  http[2] (rules.yaml:14) does not match
    match[0]: uri prefix "/old" does not match "/zzz"
  http[3] (rules.yaml:17) does not match
    match[0]: uri exact "/teapot" does not match "/zzz"
  canary (rules.yaml:19) does not match
    match[0]: port: expected 81, the request is for 82
    match[1]: uri prefix "/get" does not match "/zzz"
  http[5] (rules.yaml:30) does not match
    match[0]: uri prefix "/hosts" does not match "/zzz"
  http[6] (rules.yaml:36) does not match
    match[0]: uri prefix "/gone" does not match "/zzz"

Answered 404 here: no route of the VirtualService matches. Nothing is sent, nothing is mirrored.
""",
        id="no route",
    ),
    pytest.param(
        {"target": "/gone"},
        """
GET http://httpbin:8080/gone

VirtualService default/httpbin (rules.yaml:3)
  by its host httpbin
  http[0] (rules.yaml:7) does not match
    match[0]: uri prefix "/api" does not match "/gone"
    match[1]: uri prefix "/get" does not match "/gone"
  http[1] (rules.yaml:12) does not match
    match[0]: sourceLabels: never met, it is for app=web, this proxy's labels: none
  http[2] (rules.yaml:14) does not match
    match[0]: uri prefix "/old" does not match "/gone"
  http[3] (rules.yaml:17) does not match
    match[0]: uri exact "/teapot" does not match "/gone"
  canary (rules.yaml:19) does not match
    match[0]: port: expected 81, the request is for 8080
    match[1]: uri prefix "/get" does not match "/gone"
  http[5] (rules.yaml:30) does not match
    match[0]: uri prefix "/hosts" does not match "/gone"
  http[6] (rules.yaml:36) decides
    match[0] is met: uri prefix "/gone"

100 % -> nowhere.test, port 8080
    cluster   outbound|8080||nowhere.test
    endpoint  none: no ServiceEntry defines host nowhere.test
  Answered 503 here: the destination has no endpoint. Nothing is sent, nothing is mirrored.
      headers   content-type: text/plain
      body      "no healthy upstream"
""",
        id="no endpoint",
    ),
    pytest.param(
        {"target": "/hosts"},
        """
GET http://httpbin:8080/hosts

VirtualService default/httpbin (rules.yaml:3)
  by its host httpbin
  http[0] (rules.yaml:7) does not match
    match[0]: uri prefix "/api" does not match "/hosts"
    match[1]: uri prefix "/get" does not match "/hosts"
  http[1] (rules.yaml:12) does not match
    match[0]: sourceLabels: never met, it is for app=web, this proxy's labels: none
  http[2] (rules.yaml:14) does not match
    match[0]: uri prefix "/old" does not match "/hosts"
  http[3] (rules.yaml:17) does not match
    match[0]: uri exact "/teapot" does not match "/hosts"
  canary (rules.yaml:19) does not match
    match[0]: port: expected 81, the request is for 8080
    match[1]: uri prefix "/get" does not match "/hosts"
  http[5] (rules.yaml:30) decides
    match[0] is met: uri prefix "/hosts"

33.3333 % -> httpbin.default.svc.cluster.local, port 8080, subset v1
    cluster   outbound|8080|v1|httpbin.default.svc.cluster.local
    endpoint  http://10.0.0.1:8080  75 %
              http://[::1]:8080  25 %
    chosen by LEAST_REQUEST
    request   GET /hosts
    Host      one.test
    SNI       none, as there is no TLS to the endpoint
  mirror 100 % -> httpbin.default.svc.cluster.local, port 8080, subset v2
      cluster   outbound|8080|v2|httpbin.default.svc.cluster.local
      endpoint  http://10.0.0.2:8002
      Host      one.test-shadow
      SNI       none, as there is no TLS to the endpoint
33.3333 % -> httpbin.default.svc.cluster.local, port 8080, subset v3
    cluster   outbound|8080|v3|httpbin.default.svc.cluster.local
    endpoint  none: no DestinationRule for httpbin.default.svc.cluster.local defines subset v3;
              known are v1, v2
  Answered 503 here: the destination has no endpoint. Nothing is sent, nothing is mirrored.
      headers   content-type: text/plain
      body      "no healthy upstream"
33.3333 % -> secure.test, port 443
    cluster   outbound|443||secure.test
    endpoint  https://secure.test:443
    request   GET /hosts
    Host      httpbin:8080
    SNI       httpbin
  mirror 100 % -> httpbin.default.svc.cluster.local, port 8080, subset v2
      cluster   outbound|8080|v2|httpbin.default.svc.cluster.local
      endpoint  http://10.0.0.2:8002
      Host      httpbin-shadow:8080
      SNI       none, as there is no TLS to the endpoint
""",
        id="alternatives with different hosts",
    ),
    pytest.param(
        {"target": "/api"},
        """
GET http://httpbin:8080/api

VirtualService default/httpbin (rules.yaml:3)
  by its host httpbin
  http[0] (rules.yaml:7) decides
    match[0] is met: uri prefix "/api"

100 % -> httpbin.default.svc.cluster.local, port 8080, subset v2
    cluster   outbound|8080|v2|httpbin.default.svc.cluster.local
    endpoint  http://10.0.0.2:8002
    request   GET /api
    Host      httpbin:8080
    SNI       none, as there is no TLS to the endpoint
""",
        id="a single destination",
    ),
    pytest.param(
        {"target": "/x", "authority": "guarded.test", "port": 80},
        """
GET http://guarded.test/x

VirtualService default/guarded (rules.yaml:43)
  by its host guarded.test
  http[0] (rules.yaml:54) does not match
    match[0]: port: expected 8080, the request is for 80

Its routes are all for port 8080, the request is for 80: the request passes through.
""",
        id="another port",
    ),
    pytest.param(
        {"authority": "guarded.test:8080", "method": "POST"},
        """
POST http://guarded.test:8080/

VirtualService default/guarded (rules.yaml:43)
  by its host guarded.test
  http[0] (rules.yaml:54) decides
    match[0] is met: port 8080

100 % -> secure.test, port 443
    cluster   outbound|443||secure.test
    endpoint  https://secure.test:443
    request   POST /
    Host      rewritten.test
    SNI       rewritten.test
mirror 50 % -> httpbin.default.svc.cluster.local, port 8080, subset v2
    cluster   outbound|8080|v2|httpbin.default.svc.cluster.local
    endpoint  http://10.0.0.2:8002
    no copy   method_guarded: mitm-mirror/methods has GET, HEAD alone
""",
        id="guarded method",
    ),
    pytest.param(
        {"authority": "guarded.test:8080", "headers": EVE},
        """
GET http://guarded.test:8080/

VirtualService default/guarded (rules.yaml:43)
  by its host guarded.test
  http[0] (rules.yaml:54) decides
    match[0] is met: port 8080

100 % -> secure.test, port 443
    cluster   outbound|443||secure.test
    endpoint  https://secure.test:443
    request   GET /
    Host      rewritten.test
    SNI       rewritten.test
mirror 50 % -> httpbin.default.svc.cluster.local, port 8080, subset v2
    cluster   outbound|8080|v2|httpbin.default.svc.cluster.local
    endpoint  http://10.0.0.2:8002
    sampled   by cookie user "eve"; this request is among them
    Host      rewritten.test
    SNI       none, as there is no TLS to the endpoint
    headers   as the primary's, then
              remove authorization
              set X-Shadow: yes
    timeout   2 s
""",
        id="sampled by cookie",
    ),
    pytest.param(
        {"authority": "guarded.test:8080", "headers": JOE},
        """
GET http://guarded.test:8080/

VirtualService default/guarded (rules.yaml:43)
  by its host guarded.test
  http[0] (rules.yaml:54) decides
    match[0] is met: port 8080

100 % -> secure.test, port 443
    cluster   outbound|443||secure.test
    endpoint  https://secure.test:443
    request   GET /
    Host      rewritten.test
    SNI       rewritten.test
mirror 50 % -> httpbin.default.svc.cluster.local, port 8080, subset v2
    cluster   outbound|8080|v2|httpbin.default.svc.cluster.local
    endpoint  http://10.0.0.2:8002
    no copy   not_sampled: by cookie user "joe"; this request is not among them
""",
        id="not sampled by cookie",
    ),
    pytest.param(
        {"authority": "guarded.test:8080"},
        """
GET http://guarded.test:8080/

VirtualService default/guarded (rules.yaml:43)
  by its host guarded.test
  http[0] (rules.yaml:54) decides
    match[0] is met: port 8080

100 % -> secure.test, port 443
    cluster   outbound|443||secure.test
    endpoint  https://secure.test:443
    request   GET /
    Host      rewritten.test
    SNI       rewritten.test
mirror 50 % -> httpbin.default.svc.cluster.local, port 8080, subset v2
    cluster   outbound|8080|v2|httpbin.default.svc.cluster.local
    endpoint  http://10.0.0.2:8002
    sampled   by chance, as the request has no cookie user
    Host      rewritten.test
    SNI       none, as there is no TLS to the endpoint
    headers   as the primary's, then
              remove authorization
              set X-Shadow: yes
    timeout   2 s
""",
        id="sampled by a cookie that is not there",
    ),
    pytest.param(
        {"authority": "idle.test"},
        """
GET http://idle.test/

VirtualService default/idle (rules.yaml:78)
  by its host idle.test
  http[0] (rules.yaml:82) does not match
    match[0]: sourceNamespace: never met, it is for a, this proxy's namespace: default
    match[1]: gateways: never met, it is for default/g, this proxy plays mesh

None of its routes can ever match: the request passes through.
""",
        id="nothing can match",
    ),
    pytest.param(
        {"authority": "a.plain.test", "target": "/\x1b|"},
        """
GET http://a.plain.test/\\x1b|

VirtualService default/plain (rules.yaml:62)
  by its host *.plain.test
  http[0] (rules.yaml:66) decides
    it has no match: it takes every request

100 % -> httpbin.default.svc.cluster.local, port 8080
    cluster   outbound|8080||httpbin.default.svc.cluster.local
    endpoint  http://10.0.0.1:8080  60 %
              http://[::1]:8080  20 %
              http://10.0.0.2:8002  20 %
    chosen by LEAST_REQUEST
    request   GET /\\x1b|
    Host      a.plain.test
    SNI       none, as there is no TLS to the endpoint
""",
        id="no match at all",
    ),
    pytest.param(
        {"authority": "a.b.plain.test"},
        """
GET http://a.b.plain.test/

VirtualService default/longer (rules.yaml:70)
  by its host *.b.plain.test
  http[0] (rules.yaml:74) decides
    it has no match: it takes every request

100 % -> httpbin.default.svc.cluster.local, port 81
    cluster   outbound|81||httpbin.default.svc.cluster.local
    endpoint  none: httpbin.default.svc.cluster.local has no port 81; its ports are 8080
  Answered 503 here: the destination has no endpoint. Nothing is sent, nothing is mirrored.
      headers   content-type: text/plain
      body      "no healthy upstream"
""",
        id="a port that the service does not have",
    ),
    pytest.param(
        {"target": "/x", "authority": "htpbin:8080"},
        """
GET http://htpbin:8080/x

No VirtualService is about host "htpbin:8080": the request passes through.
Hosts that look like it: httpbin
""",
        id="a host nearly right",
    ),
]


@pytest.mark.parametrize(("request_of", "expected"), CASES)
def test_explanation(rules, head, request_of: dict[str, object], expected: str) -> None:
    text = render_explanation(explain(rules(RULES), head(**request_of)))

    assert text.splitlines() == expected.strip("\n").splitlines()


def test_no_rules_at_all(rules, head) -> None:
    assert render_explanation(explain(rules(""), head("/x"))).splitlines() == [
        "GET http://httpbin:8080/x",
        "",
        'No VirtualService is about host "httpbin:8080": the request passes through.',
    ]


@pytest.mark.parametrize(
    ("sample_by", "client", "expected"),
    [
        pytest.param("client", "", "    sampled   by client, which is not known here", id="any client"),
        pytest.param(
            "client",
            "192.0.2.3",
            '    sampled   by client "192.0.2.3"; this request is among them',
            id="a client that is sampled",
        ),
        pytest.param(
            "client",
            "192.0.2.1",
            '    no copy   not_sampled: by client "192.0.2.1"; this request is not among them',
            id="a client that is not",
        ),
        pytest.param(
            "header:X-User",
            "",
            '    sampled   by header X-User "eve"; this request is among them',
            id="header",
        ),
    ],
)
def test_who_is_sampled(rules, head, sample_by: str, client: str, expected: str) -> None:
    table = rules(RULES.replace("cookie:user", sample_by))
    request = head(authority="guarded.test:8080", headers=((b"x-user", b"eve"),), client=client)

    assert expected in render_explanation(explain(table, request)).splitlines()


@pytest.mark.parametrize(("sample_by", "expected"), [("cookie:user", True), ("header:x-user", False)])
def test_one_draw_for_all_mirrors_is_named_where_there_is_one(
    rules, http, head, sample_by: str, expected: bool
) -> None:
    text = http(
        """
  - route: [{destination: {host: other.example.com}}]
    mirrors:
    - {destination: {host: httpbin, subset: v1}, percentage: {value: 90}}
    - {destination: {host: httpbin, subset: v2}, percentage: {value: 80}}
""",
        f"{{mitm-mirror/sample-by: {sample_by}}}",
    )
    explanation = explain(rules(text), head(headers=((b"x-user", b"eve"),)))

    assert [mirror.ended for mirror in explanation.alternatives[0].mirrors] == [None, None]
    assert ("One draw is for all mirrors" in render_explanation(explanation)) is expected


def test_what_has_no_endpoint_is_not_called_sampled(rules, head) -> None:
    """Nor left open for a client that is not known: none of them gets a copy."""
    text = RULES.replace("cookie:user", "client").replace(
        "subset: v2}\n    mirrorP", "subset: v9}\n    mirrorP"
    )
    lines = render_explanation(
        explain(rules(text), head(authority="guarded.test:8080", client=""))
    ).splitlines()

    assert "    no copy   no_endpoint" in lines


PORTS = """
kind: ServiceEntry
apiVersion: networking.istio.io/v1
metadata: {name: ports}
spec:
  hosts: [two.test]
  ports: [{number: 80, name: http, protocol: HTTP}, {number: 81, name: other, protocol: HTTP}]
  resolution: DNS
---
kind: VirtualService
apiVersion: networking.istio.io/v1
metadata: {name: a}
spec:
  hosts: [httpbin]
  http: [{route: [{destination: {host: two.test}}]}]
"""


@pytest.mark.parametrize(
    ("port", "expected"),
    [
        pytest.param(81, "    endpoint  http://two.test:81", id="the request's port is one of them"),
        pytest.param(
            8080,
            "    endpoint  none: no endpoint on port 8080, which is the request's; "
            "there are endpoints on 80, 81",
            id="it is none of them",
        ),
    ],
)
def test_a_destination_on_the_port_of_the_request(rules, head, port: int, expected: str) -> None:
    lines = render_explanation(explain(rules(PORTS), head(port=port))).splitlines()

    assert expected in lines
    assert f"100 % -> two.test, port {port}" in lines


def test_every_line_fits(rules, head) -> None:
    table = rules(RULES)
    for case in CASES:
        for line in render_explanation(explain(table, head(**case.values[0]))).splitlines():
            assert len(line) <= 100, line


DELEGATED = (
    HEAD % "VirtualService"
    + """{name: a}
spec:
  hosts: [httpbin]
  http:
  - {match: [{uri: {prefix: /a}}], delegate: {name: b}}
---
"""
    + HEAD % "VirtualService"
    + """{name: b}
spec:
  http:
  - match: [{uri: {prefix: /a/x}}]
    directResponse: {status: 201}
  - route: [{destination: {host: nobody}}]
    fault:
      delay: {fixedDelay: 2s, percentage: {value: 50}}
      abort: {httpStatus: 418, percentage: {value: 1}}
    corsPolicy: {allowOrigins: [{exact: 'http://o'}], allowMethods: [GET]}
"""
)


def test_a_delegated_route_is_named_by_both_and_its_fault_is_shares(rules, head) -> None:
    lines = render_explanation(explain(rules(DELEGATED), head(target="/a/y"))).splitlines()

    assert "  http[0]/http[1] (rules.yaml:16) decides" in lines
    assert '    match[0]: uri prefix "/a/x" does not match "/a/y"' in lines
    assert lines[lines.index("fault: delay 50% by 2 s") + 1] == "fault: abort 1% with 418"
    assert (
        "  Answered 503 here: the destination has no endpoint. Nothing is sent, nothing is mirrored." in lines
    )


def test_a_preflight_is_explained(rules, head) -> None:
    headers = ((b"Origin", b"http://o"), (b"Access-Control-Request-Method", b"GET"))
    request = head(method="OPTIONS", target="/a/y", headers=headers)

    text = render_explanation(explain(rules(DELEGATED), request))

    assert "Answered 200 here: a CORS preflight." in text
    assert "access-control-allow-origin: http://o" in text


@pytest.mark.parametrize(
    ("authority", "expected"),
    [
        pytest.param("httpbin:8080", "httpbin", id="short name"),
        pytest.param(
            "HTTPBIN.default.svc.cluster.local.", "httpbin.default.svc.cluster.local", id="full name"
        ),
        pytest.param("a.example.com", "*.example.com", id="wildcard"),
        pytest.param("a.b.plain.test", "*.b.plain.test", id="the longest wildcard"),
        pytest.param("*.b.plain.test", "*.b.plain.test", id="a wildcard itself"),
        pytest.param(".plain.test", "", id="a wildcard stands for at least one character"),
        pytest.param("", "", id="no host"),
    ],
)
def test_the_host_that_it_goes_by(rules, head, authority: str, expected: str) -> None:
    assert explain(rules(RULES), head(authority=authority)).host == expected


def test_the_host_of_a_rule_for_everything(rules, head) -> None:
    table = rules(RULES.replace('"*.plain.test"', '"*"'))

    for authority in ("", "x", ".b.plain.test"):
        assert explain(table, head(authority=authority)).host == "*"


@pytest.mark.parametrize(
    ("authority", "expected"),
    [
        pytest.param(
            "httpbin.prod",
            ("httpbin.default.svc.cluster.local", "httpbin", "httpbin.default", "httpbin.default.svc"),
            id="another namespace",
        ),
        pytest.param("guarded.tst", ("guarded.test",), id="typing error"),
        pytest.param("zzz", (), id="nothing like it"),
    ],
)
def test_close_hosts(rules, head, authority: str, expected: tuple[str, ...]) -> None:
    assert explain(rules(RULES), head(authority=authority)).close_hosts == expected


TARGETS = ["/", "/get", "/api/x", "/old?x", "/teapot", "/hosts", "/gone", "/x"]
AUTHORITIES = [
    "httpbin:8080",
    "HTTPBIN",
    "a.example.com",
    "guarded.test:8080",
    "guarded.test",
    "a.b.plain.test",
    "idle.test",
    "x",
]


@pytest.mark.parametrize("authority", AUTHORITIES)
@pytest.mark.parametrize("target", TARGETS)
def test_it_says_what_routing_does(rules, head, authority: str, target: str) -> None:
    table = rules(RULES)
    draw = random.Random(1).random
    for port, method, headers in ((8080, "GET", ()), (81, "POST", EVE), (443, "GET", JOE)):
        request = head(target, authority=authority, port=port, method=method, headers=headers)
        explanation = explain(table, request)
        seen = set()
        for _ in range(50):
            decision = table.decide(request, draw)
            if isinstance(decision, PassThrough):
                assert (explanation.answer, explanation.alternatives) == (None, ())
            elif explanation.answer is not None:
                assert decision == explanation.answer
            else:
                assert explanation.route is not None
                assert decision.rule == explanation.route.rule
                seen.add(_index_of(decision, explanation.alternatives))
        assert seen == set(range(len(explanation.alternatives)))


def _index_of(decision, alternatives) -> int:
    """The alternative that the decision is one of; each mirror's outcome is one that it allows."""
    if isinstance(decision, Answer):
        return next(i for i, other in enumerate(alternatives) if other.decision == decision)
    index = next(
        i for i, other in enumerate(alternatives) if other.destination.cluster == decision.target.cluster
    )
    other = alternatives[index]
    assert isinstance(other.decision, Forward)
    assert (other.decision.authority, other.decision.sni, other.decision.path) == (
        decision.authority,
        decision.sni,
        decision.path,
    )
    assert decision.target.endpoint in [share.endpoint for share in other.destination.endpoints]
    for copy, mirror in zip(decision.mirrors, other.mirrors, strict=True):
        assert copy.destination == mirror.destination.cluster
        assert (copy.authority, copy.sni) == (mirror.copy.authority, mirror.copy.sni)
        if mirror.ended is not None:
            # What has no endpoint may be left out by chance before anybody looks for one.
            drawn = () if mirror.settled or mirror.percent == 100 else ("not_sampled",)
            assert copy.outcome in (mirror.ended, *drawn)
        elif mirror.settled or mirror.percent == 100:
            assert copy.outcome is None
    return index


STICKY = (
    HEAD % "VirtualService"
    + """{name: a}
spec:
  hosts: [httpbin]
  http:
  - route: [{destination: {host: httpbin}}]
---
"""
    + HEAD % "DestinationRule"
    + """{name: a}
spec:
  host: httpbin
  trafficPolicy: {loadBalancer: {consistentHash: {HASH}}}
---
"""
    + HEAD % "ServiceEntry"
    + """{name: a}
spec:
  hosts: [httpbin]
  resolution: STATIC
  location: MESH_INTERNAL
  ports: [{number: 8080, name: http, protocol: HTTP}]
  endpoints: [{address: 127.0.0.1}, {address: 127.0.0.2}]
"""
)


@pytest.mark.parametrize(
    ("policy", "headers", "endpoints", "chosen_by"),
    [
        pytest.param(
            "httpHeaderName: x-user", ((b"X-User", b"jane"),), 1, "the same for this key always", id="a key"
        ),
        pytest.param("httpHeaderName: x-user", (), 2, "this request has no key", id="no key"),
        pytest.param("httpCookie: {name: u, ttl: 60s}", (), 2, "a new cookie decides", id="a new cookie"),
    ],
)
def test_what_consistent_hash_makes_of_a_request(
    rules, head, policy: str, headers: object, endpoints: int, chosen_by: str
) -> None:
    text = render_explanation(explain(rules(STICKY.replace("HASH", policy)), head(headers=headers)))

    assert text.count("http://127.0.0.") == endpoints
    assert f"chosen by consistentHash: {chosen_by}" in text
    assert "Set-Cookie" not in text


def test_limits_and_ejections_are_the_primarys(rules, head) -> None:
    policy = "connectionPool: {http: {http2MaxRequests: 3}}, outlierDetection: {consecutive5xxErrors: 2}"
    text = STICKY.replace("loadBalancer: {consistentHash: {HASH}}", policy)
    text = text.replace("{host: httpbin}}]", "{host: httpbin}}]\n    mirror: {host: httpbin}")

    explained = render_explanation(explain(rules(text), head()))

    primary, _, mirror = explained.partition("mirror 100 %")
    assert "    policy    limited to 3 requests\n" in primary
    assert "              ejected after 2 errors in a row" in primary
    assert "policy" not in mirror
