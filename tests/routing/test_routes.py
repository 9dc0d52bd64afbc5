"""One HTTPRoute's behaviour, from YAML to decision."""

from dataclasses import replace

import pytest

from mitm_mirror.resources.load import load_text
from mitm_mirror.resources.virtual_service import HTTPRoute
from mitm_mirror.routing.compile import compile_table
from mitm_mirror.routing.decision import Answer, Forward, HeaderOperations, PassThrough

V1 = "route: [{destination: {host: httpbin, subset: v1}}]"
V2 = "route: [{destination: {host: httpbin, subset: v2}}]"


@pytest.mark.parametrize(
    ("target", "method", "route"),
    [
        pytest.param("/a", "GET", "first", id="first match of the first route"),
        pytest.param("/b", "GET", "first", id="or the second match"),
        pytest.param("/a", "POST", "http[1]", id="and within a match"),
        pytest.param("/c", "GET", "last", id="the rest"),
    ],
)
def test_routes_are_tried_in_order(rules, http, head, draws, target: str, method: str, route: str) -> None:
    table = rules(
        http(f"""
  - name: first
    match:
    - {{uri: {{exact: /a}}, method: {{exact: GET}}}}
    - {{uri: {{exact: /b}}}}
    {V1}
  - match: [{{uri: {{prefix: /a}}}}]
    {V1}
  - name: last
    {V2}
""")
    )

    decision = table.decide(head(target, method=method), draws())

    assert isinstance(decision, Forward)
    assert decision.rule.route == route


def test_no_matching_route_is_404(rules, http, head, draws) -> None:
    decision = rules(http(f"  - match: [{{uri: {{exact: /a}}}}]\n    {V1}")).decide(head("/b"), draws())

    assert isinstance(decision, Answer)
    assert (decision.status, decision.reason, decision.body) == (404, "no_route", b"")
    assert decision.rule.virtual_service == "default/httpbin"
    assert decision.rule.route == ""


@pytest.mark.parametrize(
    ("port", "kind"),
    [
        pytest.param(81, Forward, id="the port that is asked for"),
        pytest.param(80, PassThrough, id="another port"),
    ],
)
def test_routes_that_are_all_for_another_port_let_requests_through(
    rules, http, head, draws, port, kind
) -> None:
    table = rules(http(f"  - match: [{{port: 81}}]\n    {V1}"))

    assert type(table.decide(head(port=port), draws())) is kind


def test_no_route_for_this_port_beside_one_for_any_port_is_404(rules, http, head, draws) -> None:
    table = rules(http(f"  - match: [{{port: 81}}, {{uri: {{exact: /a}}}}]\n    {V1}"))

    assert isinstance(table.decide(head("/b", port=80), draws()), Answer)


@pytest.mark.parametrize("condition", ["sourceLabels: {a: b}", "gateways: [gw]", "sourceNamespace: a"])
def test_a_match_that_can_never_hold_here_does_not_match(rules, http, head, draws, condition: str) -> None:
    table = rules(http(f"  - match: [{{{condition}}}]\n    {V1}\n  - name: rest\n    {V2}"))

    decision = table.decide(head(), draws())

    assert isinstance(decision, Forward)
    assert decision.rule.route == "rest"


def test_a_delegating_route_is_left_out(rules, http, head, draws) -> None:
    decision = rules(http(f"  - delegate: {{name: x}}\n  - name: rest\n    {V2}")).decide(head(), draws())

    assert isinstance(decision, Forward)
    assert decision.rule.route == "rest"


@pytest.mark.parametrize(
    ("match", "rewrite", "path"),
    [
        pytest.param("{uri: {prefix: /a}}", "{uri: /z}", b"/z/b?q", id="prefix"),
        pytest.param("{uri: {exact: /a/b}}", "{uri: /z}", b"/z?q", id="exact"),
        pytest.param(
            "{uri: {exact: /x}}, {uri: {prefix: /a/}}", "{uri: /z/}", b"/z/b?q", id="the match that held"
        ),
        pytest.param("{method: {exact: GET}}", "{uri: /z/}", b"/z/a/b?q", id="no uri"),
        pytest.param("{uri: {prefix: /a}}", "{authority: other:81}", None, id="authority alone"),
    ],
)
def test_rewrites(rules, http, head, draws, match: str, rewrite: str, path: bytes | None) -> None:
    table = rules(http(f"  - match: [{match}]\n    rewrite: {rewrite}\n    {V1}"))

    decision = table.decide(head("/a/b?q"), draws())

    assert isinstance(decision, Forward)
    assert decision.path == path


HEADERS = "headers: {request: {set: {%s}}}"


@pytest.mark.parametrize(
    ("rewrite", "route", "destination", "authority"),
    [
        pytest.param(
            "rewrite: {authority: r}", "", HEADERS % "Host: d", "r", id="rewrite beats the destination"
        ),
        pytest.param("", HEADERS % "Host: h", HEADERS % "Host: d", "h", id="so does the route"),
        pytest.param("", "", HEADERS % '":authority": d:1', "d:1", id="the destination alone"),
        pytest.param("", "", "", "httpbin:8080", id="nothing: as the client sent it"),
    ],
)
def test_who_decides_the_authority(
    rules, http, head, draws, rewrite: str, route: str, destination: str, authority: str
) -> None:
    table = rules(
        http(f"""
  - {rewrite or "name: x"}
    {route}
    route:
    - destination: {{host: httpbin, subset: v1}}
      {destination}
    mirror: {{host: httpbin, subset: v2}}
""")
    )

    decision = table.decide(head(), draws())

    assert isinstance(decision, Forward)
    assert decision.authority == authority
    assert decision.sni == authority.partition(":")[0]
    assert decision.mirrors[0].authority == f"{decision.sni}-shadow{authority.removeprefix(decision.sni)}"
    assert decision.mirrors[0].sni == decision.sni


OPERATIONS = """
  - headers: {request: {set: {a: route}}, response: {add: {r: route}}}
    route:
    - destination: {host: httpbin, subset: v1}
      headers: {request: {add: {b: destination}}, response: {remove: [r]}}
"""


def test_a_single_destinations_operations_join_the_routes(rules, http, head, draws) -> None:
    decision = rules(http(OPERATIONS)).decide(head(), draws())

    assert isinstance(decision, Forward)
    assert decision.request_headers == (
        HeaderOperations(set=((b"a", b"route"),), add=((b"b", b"destination"),)),
    )
    assert decision.response_headers == (HeaderOperations(remove=frozenset([b"r"]), add=((b"r", b"route"),)),)


def test_one_of_several_destinations_runs_its_operations_first(rules, http, head, draws) -> None:
    several = OPERATIONS + "      weight: 1\n    - {destination: {host: httpbin, subset: v2}, weight: 1}\n"
    table = rules(http(several))

    first, second = (table.decide(head(), draws(chance)) for chance in (0.4, 0.5))

    assert isinstance(first, Forward)
    assert isinstance(second, Forward)
    of_route = HeaderOperations(set=((b"a", b"route"),))
    assert first.request_headers == (HeaderOperations(add=((b"b", b"destination"),)), of_route)
    assert second.request_headers == (of_route,)


@pytest.mark.parametrize(
    ("weights", "chance", "subset"),
    [
        pytest.param((0, 1), 0.0, "v2", id="zero among several is left out"),
        pytest.param((1, 0), 0.99, "v1", id="wherever it stands"),
        pytest.param((3, 1), 0.74, "v1", id="ratios: below"),
        pytest.param((3, 1), 0.75, "v2", id="ratios: at the border"),
    ],
)
def test_weights(rules, http, head, draws, weights: tuple[int, int], chance: float, subset: str) -> None:
    table = rules(
        http(f"""
  - route:
    - {{destination: {{host: httpbin, subset: v1}}, weight: {weights[0]}}}
    - {{destination: {{host: httpbin, subset: v2}}, weight: {weights[1]}}}
""")
    )
    numbers = draws(chance) if all(weights) else draws()

    decision = table.decide(head(), numbers)

    assert isinstance(decision, Forward)
    assert decision.target.subset == subset
    assert numbers.left() == []


def test_a_redirect_gets_the_response_operations(rules, http, head, draws) -> None:
    table = rules(
        http("""
  - redirect: {uri: /new, redirectCode: 308}
    headers: {response: {set: {x: z}}}
    mirror: {host: httpbin}
""")
    )

    decision = table.decide(head("/old?q"), draws())

    assert isinstance(decision, Answer)
    assert (decision.status, decision.reason, decision.body) == (308, "redirect", b"")
    assert decision.headers == ((b"location", b"http://httpbin:8080/new?q"), (b"x", b"z"))


@pytest.mark.parametrize(
    ("body", "operations", "content", "headers"),
    [
        pytest.param("", "{}", b"", (), id="no body"),
        pytest.param(
            "body: {string: hé}", "{}", b"h\xc3\xa9", ((b"content-type", b"text/plain"),), id="text"
        ),
        pytest.param("body: {bytes: AAE=}", "{}", b"\0\1", ((b"content-type", b"text/plain"),), id="bytes"),
        pytest.param(
            "body: {string: '{}'}",
            "{set: {Content-Type: application/json}}",
            b"{}",
            ((b"Content-Type", b"application/json"),),
            id="a content type of its own",
        ),
    ],
)
def test_direct_responses(rules, http, head, draws, body, operations, content, headers) -> None:
    table = rules(
        http(f"""
  - directResponse:
      status: 503
      {body}
    headers: {{response: {operations}}}
""")
    )

    decision = table.decide(head(), draws())

    assert isinstance(decision, Answer)
    assert (decision.status, decision.reason) == (503, "direct_response")
    assert (decision.body, decision.headers) == (content, headers)


@pytest.mark.parametrize(
    ("route", "own", "headers"),
    [
        pytest.param("{}", "{}", ((b"content-type", b"text/plain"),), id="none"),
        pytest.param(
            "{set: {x-a: route}}",
            "{add: {x-a: dest}}",
            ((b"x-a", b"route"), (b"x-a", b"dest"), (b"content-type", b"text/plain")),
            id="of route and destination",
        ),
        pytest.param(
            "{set: {content-type: text/html}}", "{}", ((b"content-type", b"text/html"),), id="content type"
        ),
    ],
)
def test_answer_without_an_endpoint_has_the_rules_headers(rules, http, head, draws, route, own, headers):
    """As Envoy, whose router applies them to its own `no healthy upstream`."""
    table = rules(
        http(f"""
  - headers: {{response: {route}}}
    route:
    - destination: {{host: nobody}}
      headers: {{response: {own}}}
""")
    )

    decision = table.decide(head(), draws())

    assert isinstance(decision, Answer)
    assert (decision.status, decision.body) == (503, b"no healthy upstream")
    assert decision.headers == headers


@pytest.mark.parametrize(
    ("routes", "expected"),
    [
        pytest.param(
            f"  - {V1}\n  - {V2}\n  - {V2}",
            [
                "rules.yaml:29:5: http[1]: warning: never reached: http[0] before it matches every request",
                "rules.yaml:30:5: http[2]: warning: never reached: http[0] before it matches every request",
            ],
            id="behind a catch-all",
        ),
        pytest.param(
            "  - route: [{destination: {host: httpbin, subset: v3}}]",
            [
                (
                    "rules.yaml:28:43: http[0].route[0].destination.subset: warning: "
                    "no DestinationRule for httpbin.default.svc.cluster.local defines subset v3; "
                    "known are v1, v2; "
                    "requests for it are answered 503"
                )
            ],
            id="unknown subset",
        ),
        pytest.param(
            f"  - {V1}\n    mirror: {{host: nobody}}",
            [
                (
                    "rules.yaml:29:14: http[0].mirror.host: warning: no ServiceEntry "
                    "defines host nobody.default.svc.cluster.local; its shadows end as no_endpoint"
                )
            ],
            id="unknown host",
        ),
        pytest.param(
            "  - route: [{destination: {host: httpbin, port: {number: 81}}}]",
            [
                (
                    "rules.yaml:28:50: http[0].route[0].destination.port.number: warning: "
                    "httpbin.default.svc.cluster.local has no port 81; "
                    "its ports are 80; requests for it are answered 503"
                )
            ],
            id="unknown port",
        ),
        pytest.param(
            f"  - {V1}\n    mirror: {{host: httpbin, subset: v1}}",
            [
                (
                    "rules.yaml:29:5: http[0].mirror: warning: "
                    "mirrors to the route's own destination, which gets these requests twice; "
                    "where mirror_compare is on, that teaches what is noise"
                )
            ],
            id="a mirror that is its primary",
        ),
        pytest.param(
            f"  - {V1}\n    mirror: {{host: httpbin, subset: v2}}\n    mirrorPercentage: {{value: 0}}",
            [("rules.yaml:30:24: http[0].mirrorPercentage.value: warning: 0 copies no request")],
            id="a mirror for nobody",
        ),
        pytest.param(
            f"  - {V1}\n    mirrors: [{{destination: {{host: httpbin}}, percentage: {{value: 0}}}}]",
            [("rules.yaml:29:59: http[0].mirrors[0].percentage.value: warning: 0 copies no request")],
            id="one of several mirrors for nobody",
        ),
        pytest.param(
            "  - route: [{destination: {host: httpbin, subset: v1}, weight: 0}]",
            [
                (
                    "rules.yaml:28:56: http[0].route[0].weight: warning: "
                    "a single destination takes every request, also with weight 0"
                )
            ],
            id="a single destination with weight 0",
        ),
        pytest.param(
            f"  - {V1}\n    rewrite: {{uriRegexRewrite: {{match: '" + "a{1000}" * 40 + "', rewrite: b}}",
            [
                "rules.yaml:29:15: http[0].rewrite.uriRegexRewrite: "
                + repr("a{1000}" * 8 + "a...")
                + " is too large: 40004 RE2 instructions, expected at most 32768"
            ],
            id="a rewrite beyond Istio's limit",
        ),
        pytest.param(
            f"  - {V1}\n    mirror: {{host: httpbin, subset: v2}}\n    mirrorPercent: 0",
            ["rules.yaml:30:5: http[0].mirrorPercent: warning: 0 copies no request"],
            id="a mirror for nobody, deprecated field",
        ),
        pytest.param(
            "  - match: [{uri: {regex: '" + "a{1000}" * 40 + f"'}}}}]\n    {V1}",
            [
                "rules.yaml:28:20: http[0].match[0].uri.regex: "
                + repr("a{1000}" * 8 + "a...")
                + " is too large: 40004 RE2 instructions, expected at most 32768"
            ],
            id="a regex beyond Istio's limit",
        ),
    ],
)
def test_what_is_said_about_rules(warned, http, routes: str, expected: list[str]) -> None:
    found = [
        line.replace("VirtualService default/httpbin: spec.http", "http") for line in warned(http(routes))
    ]

    assert found == expected


def test_a_route_that_validation_would_refuse_is_an_error_here_too(http) -> None:
    resources = load_text(http(f"  - {V1}")).resources
    virtual_service = resources.virtual_services[0]
    spec = virtual_service.spec.model_copy(update={"http": (HTTPRoute(),)})

    table, issues = compile_table(replace(resources, virtual_services=(replace(virtual_service, spec=spec),)))

    assert [issue.message for issue in issues] == [
        "nothing says what to do with a request; expected a destination with a weight above 0"
    ]
    assert table.route_count == 0
    assert "no route that could match" in table.describe()
