"""Routes that delegate to another VirtualService."""
# ruff: noqa: E501 - a table reads best with whole messages

import pytest

from mitm_mirror.routing.decision import Answer, Forward
from mitm_mirror.routing.table import RouteTable

ROOT = """
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: root
  namespace: front
  annotations: {mitm-mirror/methods: "GET,PUT", mitm-mirror/timeout: 1s}
spec:
  hosts: [shop.example.com]
  http:
%s
"""
DELEGATE = """
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: cart, namespace: back, annotations: {mitm-mirror/timeout: 9s}}
spec:
  http:
%s
"""
SERVICES = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: all}
spec:
  hosts: [web.front.svc.cluster.local, web.back.svc.cluster.local]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: STATIC
  endpoints: [{address: 10.0.0.1}]
"""
TO_WEB = "route: [{destination: {host: web}}]"
TO_CART = "delegate: {name: cart, namespace: back}"
REST = f"  - name: rest\n    {TO_WEB}"


@pytest.fixture
def compiled(rules):
    def compile_rules(root: str, *delegates: str) -> RouteTable:
        return rules(SERVICES + ROOT % root + "".join(DELEGATE % delegate for delegate in delegates))

    return compile_rules


@pytest.fixture
def told(warned):
    """The warnings, without those about endpoints."""

    def lines(root: str, *delegates: str) -> list[str]:
        return warned(SERVICES + ROOT % root + "".join(DELEGATE % delegate for delegate in delegates))

    return lines


def at(head, path: str, method: str = "GET"):
    return head(path, authority="shop.example.com", port=80, method=method)


def test_a_delegates_routes_stand_in_the_place_of_the_route_that_delegates(compiled, head, draws) -> None:
    table = compiled(
        f"  - match: [{{uri: {{prefix: /cart}}}}]\n    {TO_CART}\n{REST}",
        f"  - match: [{{uri: {{exact: /cart/new}}}}]\n    name: new\n    {TO_WEB}\n  - {TO_WEB}",
    )

    decisions = [table.decide(at(head, path), draws()) for path in ("/cart/new", "/cart", "/", "/new")]

    assert [decision.rule.route for decision in decisions if isinstance(decision, Forward)] == [
        "new",
        "http[0]/http[1]",
        "rest",
        "rest",
    ]
    assert {decision.rule.virtual_service for decision in decisions} == {"front/root"}
    assert isinstance(decisions[0], Forward)
    assert decisions[0].target.host == "web.back.svc.cluster.local", "a short name is of its own namespace"
    assert isinstance(decisions[2], Forward)
    assert decisions[2].target.host == "web.front.svc.cluster.local"


def test_the_line_that_decides_is_the_delegates(compiled, head, draws) -> None:
    decision = compiled(f"  - {TO_CART}", f"  - {TO_WEB}").decide(at(head, "/"), draws())

    assert decision.rule.source == "rules.yaml:29"


def test_the_default_namespace_is_that_of_the_route(told) -> None:
    (warning,) = told(f"  - delegate: {{name: cart}}\n{REST}")

    assert "there is no VirtualService front/cart; this route is left out" in warning


@pytest.mark.parametrize(
    ("root_name", "name", "expected"),
    [("", "", "http[0]/http[0]"), ("r", "", "r"), ("", "d", "d"), ("r", "d", "r-d")],
)
def test_names_are_joined(compiled, head, draws, root_name: str, name: str, expected: str) -> None:
    table = compiled(f"  - name: '{root_name}'\n    {TO_CART}", f"  - name: '{name}'\n    {TO_WEB}")

    assert table.decide(at(head, "/"), draws()).rule.route == expected


INHERITED = f"""
  - {TO_CART}
    rewrite: {{uri: /root}}
    headers: {{response: {{set: {{x-root: '1'}}}}}}
    mirror: {{host: web}}
    fault: {{delay: {{fixedDelay: 1s, percentage: {{value: 100}}}}}}
    corsPolicy: {{allowOrigins: [{{exact: '*'}}]}}
"""


def test_what_the_delegate_does_not_say_is_the_roots(compiled, head, draws) -> None:
    table = compiled(INHERITED, f"  - {TO_WEB}")

    decision = table.decide(
        head("/", authority="shop.example.com", port=80, headers=((b"origin", b"o"),)), draws()
    )

    assert isinstance(decision, Forward)
    assert (decision.path, decision.delay_s) == (b"/root", 1.0)
    assert [name for operations in decision.response_headers for name, _ in operations.set] == [
        b"x-root",
        b"access-control-allow-origin",
    ]
    (copy,) = decision.mirrors
    assert copy.target is not None
    assert copy.target.host == "web.front.svc.cluster.local", "the root wrote it, in its own namespace"
    assert copy.timeout_s == 9.0, "the delegate's annotation goes first"


def test_what_the_delegate_says_goes_first(compiled, head, draws) -> None:
    own = f"""
  - {TO_WEB}
    rewrite: {{uri: /own}}
    headers: {{request: {{set: {{x-own: '1'}}}}}}
    mirror: {{host: web}}
    mirrorPercentage: {{value: 0}}
    fault: {{delay: {{fixedDelay: 2s, percentage: {{value: 100}}}}}}
"""
    decision = compiled(INHERITED, own).decide(at(head, "/"), draws())

    assert isinstance(decision, Forward)
    assert (decision.path, decision.delay_s, decision.response_headers) == (b"/own", 2.0, ())
    assert decision.mirrors == ()


def test_annotations_of_the_root_hold_where_the_delegate_has_none(compiled, head, draws) -> None:
    decision = compiled(INHERITED, f"  - {TO_WEB}").decide(at(head, "/", "DELETE"), draws())

    assert isinstance(decision, Forward)
    assert decision.mirrors[0].outcome == "method_guarded"


def test_a_direct_response_of_the_root_is_everybodys(compiled, told, head, draws) -> None:
    """As in Istio, where the merged route has both and a direct response goes first."""
    root = f"  - {TO_CART}\n    directResponse: {{status: 418}}"
    fault = "fault: {abort: {httpStatus: 500, percentage: {value: 100}}}"

    decision = compiled(root, f"  - {TO_WEB}").decide(at(head, "/"), draws())

    assert isinstance(decision, Answer)
    assert decision.status == 418
    (warning,) = told(root, f"  - {TO_WEB}\n    {fault}")
    assert warning.startswith("rules.yaml:31:")
    assert "http[0].fault: warning: never used" in warning


def test_one_delegate_may_serve_several_routes(compiled, head, draws) -> None:
    table = compiled(
        f"  - match: [{{uri: {{prefix: /a}}}}]\n    {TO_CART}\n  - match: [{{uri: {{prefix: /b}}}}]\n    {TO_CART}",
        f"  - match: [{{method: {{exact: GET}}}}]\n    {TO_WEB}",
    )

    routes = [table.decide(at(head, path), draws()).rule.route for path in ("/a", "/b")]

    assert routes == ["http[0]/http[0]", "http[1]/http[0]"]
    assert isinstance(table.decide(at(head, "/a", "PUT"), draws()), Answer)


@pytest.mark.parametrize(
    ("root", "delegates", "expected"),
    [
        pytest.param(
            f"  - {TO_CART}\n{REST}",
            (),
            "rules.yaml:21:5: VirtualService front/root: spec.http[0].delegate: warning: "
            "there is no VirtualService back/cart; this route is left out",
            id="unknown",
        ),
        pytest.param(
            f"  - delegate: {{name: root}}\n{REST}",
            (),
            "rules.yaml:21:5: VirtualService front/root: spec.http[0].delegate: warning: VirtualService front/root "
            "(rules.yaml:19) has hosts, so it is no delegate; this route is left out",
            id="not a delegate",
        ),
        pytest.param(
            f"  - match: [{{uri: {{prefix: /cart}}}}]\n    {TO_CART}\n{REST}",
            (f"  - match: [{{uri: {{prefix: /other}}}}]\n    {TO_WEB}",),
            "rules.yaml:32:5: VirtualService back/cart: spec.http[0]: warning: no request can match it and the "
            "route that delegates to it, VirtualService front/root http[0] (rules.yaml:21), as Istio compares "
            "them; this route is left out",
            id="conflict",
        ),
        pytest.param(
            REST,
            (f"  - {TO_WEB}",),
            "rules.yaml:28:1: VirtualService back/cart: spec: warning: no hosts, and no route delegates to it: "
            "it does nothing",
            id="unused",
        ),
    ],
)
def test_what_leads_nowhere_is_left_out_and_named(
    told, compiled, head, draws, root: str, delegates: tuple[str, ...], expected: str
) -> None:
    (warning,) = told(root, *delegates)

    assert warning == expected
    assert compiled(root, *delegates).decide(at(head, "/cart"), draws()).rule.route == "rest"


def test_a_delegates_catch_all_hides_what_is_behind_the_route(told) -> None:
    (warning,) = told(f"  - {TO_CART}\n{REST}", f"  - {TO_WEB}")

    assert "spec.http[1]: warning: never reached: http[0]/http[0] before it matches every request" in warning


def test_a_mirror_that_leads_nowhere_is_named_where_it_was_written(told) -> None:
    (warning,) = told(f"  - {TO_CART}\n    mirror: {{host: nobody}}", f"  - {TO_WEB}")

    assert warning.startswith(
        "rules.yaml:22:14: VirtualService front/root: spec.http[0].mirror.host: warning:"
    )
    assert "nobody.front.svc.cluster.local" in warning
