"""Which VirtualServices are for this proxy, and which of several for one host answer.

The cases follow istio's TestSelectVirtualService, TestInitVirtualService and
TestSidecarOutboundHTTPRouteConfigWithDuplicateHosts, and for gateways TestGatewayHTTPRouteConfig.
"""

import pytest

from mitm_mirror.routing.decision import Answer, PassThrough
from mitm_mirror.routing.explain import explain
from mitm_mirror.routing.explain_text import render_explanation
from mitm_mirror.routing.vantage import DEFAULT_VANTAGE, Vantage

GATEWAY = Vantage(("default/gw",))
BOTH = Vantage(("mesh", "default/gw"))


def service(
    name: str,
    *routes: str,
    hosts: str = "a.test",
    spec: str = "",
    created: str = "",
    namespace: str = "default",
) -> str:
    """A VirtualService whose routes answer with its name and their index; a route is its match."""
    time = f", creationTimestamp: '2026-01-{created}T00:00:00Z'" if created else ""
    matches = [f"match: [{match}], " if match else "" for match in routes or ("",)]
    http = ", ".join(
        f"{{{match}directResponse: {{status: 200, body: {{string: {name}{i}}}}}}}"
        for i, match in enumerate(matches)
    )
    return f"""
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}, namespace: {namespace}{time}}}
spec: {{hosts: [{hosts}], {f"{spec}, " if spec else ""}http: [{http}]}}
"""


@pytest.fixture
def answer(rules, head, draws):
    """The body of the rules' answer, its status where it has none, None where the request passes through."""

    def of(text: str, vantage: Vantage = DEFAULT_VANTAGE, authority: str = "a.test", **request: object):
        decision = rules(text, vantage).decide(head(authority=authority, **request), draws())
        if decision == PassThrough():
            return None
        assert isinstance(decision, Answer)
        return decision.body.decode() or decision.status

    return of


@pytest.mark.parametrize(
    ("spec", "namespace", "vantage", "used"),
    [
        pytest.param("", "default", DEFAULT_VANTAGE, True, id="no gateways is the mesh"),
        pytest.param("", "default", GATEWAY, False, id="the mesh, to a gateway"),
        pytest.param("gateways: [gw]", "default", DEFAULT_VANTAGE, False, id="a gateway, to a sidecar"),
        pytest.param("gateways: [gw, mesh]", "default", DEFAULT_VANTAGE, True, id="both, to a sidecar"),
        pytest.param("gateways: [gw]", "default", GATEWAY, True, id="a short name"),
        pytest.param("gateways: [gw]", "prod", GATEWAY, False, id="a short name of another namespace"),
        pytest.param("gateways: [default/gw]", "prod", GATEWAY, True, id="with its namespace"),
        pytest.param("gateways: [gw]", "default", BOTH, True, id="one of those that are played"),
        pytest.param("exportTo: [.]", "default", DEFAULT_VANTAGE, True, id="exported to its own namespace"),
        pytest.param("exportTo: [.]", "prod", DEFAULT_VANTAGE, False, id="exported to another's own"),
        pytest.param("exportTo: [default]", "prod", DEFAULT_VANTAGE, True, id="exported here"),
        pytest.param("exportTo: [dev]", "default", DEFAULT_VANTAGE, False, id="exported elsewhere"),
        pytest.param("exportTo: ['*']", "prod", DEFAULT_VANTAGE, True, id="exported to all"),
        pytest.param(
            "gateways: [default/gw], exportTo: [.]", "prod", GATEWAY, False, id="a gateway sees no more"
        ),
    ],
)
def test_which_are_for_this_proxy(
    answer, warned, spec: str, namespace: str, vantage: Vantage, used: bool
) -> None:
    text = service("a", spec=spec, namespace=namespace)

    assert answer(text, vantage) == ("a0" if used else None)
    assert [": not used here" in issue for issue in warned(text, vantage)] == ([] if used else [True])


def test_what_is_for_others_is_named(warned) -> None:
    text = service("a", spec="gateways: [gw]") + service("b", spec="exportTo: [x, z]")
    gateways = "spec.gateways: {}: it is for default/gw, this proxy plays {} (mirror_gateways): not used here"
    exports = "spec.exportTo: {}: exported to x, z, this proxy is of namespace {} (mirror_namespace)"

    for vantage, severity in (
        (DEFAULT_VANTAGE, "warning"),
        (Vantage(("own/x",), "own", {}), "notice"),
    ):
        assert warned(text, vantage) == [
            f"rules.yaml:6:25: VirtualService default/a: {gateways.format(severity, vantage.plays)}",
            (
                f"rules.yaml:12:25: VirtualService default/b: {exports.format(severity, vantage.namespace)}"
                ": not used here"
            ),
        ]


@pytest.mark.parametrize(
    ("texts", "winner"),
    [
        pytest.param([service("a"), service("b")], "a0", id="the first"),
        pytest.param([service("a", created="02"), service("b", created="01")], "b0", id="the older"),
        pytest.param(
            [service("b", created="01"), service("a", created="01")], "a0", id="of one age by its name"
        ),
        pytest.param(
            [service("a"), service("b", created="01")], "b0", id="what a cluster has, before what it has not"
        ),
        pytest.param(
            [service("a", namespace="prod"), service("b", spec="exportTo: [.]")],
            "b0",
            id="the namespace's own first, whatever its age",
        ),
        pytest.param(
            [service("a", namespace="prod"), service("b", namespace="dev", spec="exportTo: [default]")],
            "b0",
            id="then what is exported there by name",
        ),
        pytest.param(
            [service("a", namespace="prod"), service("b")], "a0", id="public ones of all namespaces are alike"
        ),
        pytest.param(
            [service("a", "{sourceLabels: {x: z}}"), service("b")],
            "b0",
            id="one whose matches were all dropped has no say",
        ),
        pytest.param(
            [service("a", "{uri: {prefix: /x}}"), service("b")], 404, id="there is no falling through"
        ),
    ],
)
def test_for_a_sidecar_one_of_several_wins(answer, texts: list[str], winner: object) -> None:
    assert answer("".join(texts)) == winner


def test_the_others_are_named(warned) -> None:
    text = service("a") + service("b", hosts="b.test, a.test")

    assert warned(text) == [
        (
            "rules.yaml:12:24: VirtualService default/b: spec.hosts[1]: warning: host a.test belongs to "
            "VirtualService default/a (rules.yaml:6); its rules are used, not these"
        )
    ]


def test_on_ports_that_the_first_has_no_route_for_the_next_answers(answer, warned, rules) -> None:
    """As in Istio, which builds the virtual hosts of each port anew."""
    text = (
        service("a", "{port: 80}")
        + service("b", "{port: 80, uri: {prefix: /x}}, {port: 81}")
        + service("c", "{port: 80}, {port: 81}")
        + service("d")
    )

    assert {port: answer(text, port=port) for port in (80, 81, 82)} == {80: "a0", 81: "b0", 82: "d0"}
    assert [issue.partition("warning: ")[2] for issue in warned(text)] == [
        (
            "host a.test belongs to VirtualService default/a (rules.yaml:6) on port 80; "
            "these rules are used on others"
        ),
        "host a.test belongs to VirtualService default/a (rules.yaml:6); its rules are used, not these",
        (
            "host a.test belongs to VirtualService default/a (rules.yaml:6) and VirtualService default/b "
            "(rules.yaml:12) on port 80, 81; these rules are used on others"
        ),
    ]
    table = rules(text)
    assert (table.virtual_service_count, table.host_count, table.route_count) == (3, 1, 3)
    assert [line for line in table.describe().splitlines() if "VirtualService" in line] == [
        "  VirtualService default/a  rules.yaml:5",
        "  VirtualService default/b  rules.yaml:11",
        "  VirtualService default/d  rules.yaml:23",
    ]


def test_a_port_that_none_of_them_is_for_passes_through(rules, head, answer) -> None:
    text = service("a", "{port: 80}") + service("b", "{port: 81}")

    assert answer(text, port=82) is None
    assert "Its routes are all for port 80, 81, the request is for 82" in render_explanation(
        explain(rules(text), head(authority="a.test", port=82))
    )


GW = "gateways: [gw]"


@pytest.mark.parametrize(
    ("target", "body"),
    [
        pytest.param("/a", "a0", id="the first's route"),
        pytest.param("/b", "b1", id="the second's, before what takes everything"),
        pytest.param("/c", "a1", id="of two that take everything the first"),
        pytest.param("/ab", "a0", id="the older's before the younger's"),
    ],
)
def test_for_a_gateway_routes_are_joined(answer, target: str, body: str) -> None:
    """Routes that take everything go last: istio's SortVHostRoutes."""
    text = service("a", "{uri: {prefix: /a}}", "", spec=GW) + service(
        "b", "{uri: {prefix: /ab}}", "{uri: {prefix: /b}}, {uri: {prefix: /}}", spec=GW
    )

    assert answer(text, GATEWAY, target=target) == body


def test_a_gateway_joins_by_host(answer, rules, warned) -> None:
    text = service("a", "{uri: {prefix: /a}}", hosts="a.test, ab.test", spec=GW) + service(
        "b", "{uri: {prefix: /b}}", hosts="ab.test, b.test", spec=GW
    )

    found = {
        host: [answer(text, GATEWAY, authority=host, target=target) for target in ("/a", "/b")]
        for host in ("a.test", "ab.test", "b.test")
    }

    assert found == {"a.test": ["a0", 404], "ab.test": ["a0", "b0"], "b.test": [404, "b0"]}
    assert warned(text, GATEWAY) == []
    table = rules(text, GATEWAY)
    assert (table.virtual_service_count, table.host_count, table.route_count) == (2, 3, 2)
    assert "    VirtualService default/b http[0]  rules.yaml:12" in table.describe().splitlines()


def test_joined_routes_are_explained(rules, head) -> None:
    text = service("a", "{uri: {prefix: /a}}, {uri: {prefix: /}}", spec=GW) + service(
        "b", "{uri: {prefix: /b}}", spec=GW
    )
    table = rules(text, GATEWAY)

    def explained(target: str) -> list[str]:
        lines = render_explanation(explain(table, head(target, authority="a.test"))).splitlines()
        return lines[lines.index("  by its host a.test") + 1 : -4]

    assert explained("/b") == [
        "  http[0] (rules.yaml:6) does not match",
        '    match[0]: uri prefix "/a" does not match "/b"',
        "  VirtualService default/b http[0] (rules.yaml:12) decides",
        '    match[0] is met: uri prefix "/b"',
    ]
    assert explained("/c")[-3:] == [
        "  http[0] (rules.yaml:6) decides",
        '    match[0]: uri prefix "/a" does not match "/c"',
        "    match[1] is met: any request",
    ]


def test_a_proxy_that_plays_both_joins_what_is_bound_to_its_gateway(answer, warned) -> None:
    bound, mesh = service("a", "{uri: {prefix: /a}}", spec=GW), service("b", "{uri: {prefix: /b}}")
    also_bound = service("c", "{uri: {prefix: /c}}", spec=GW)

    assert [answer(bound + mesh + also_bound, BOTH, target=t) for t in ("/a", "/b", "/c")] == [
        "a0",
        404,
        "c0",
    ]
    assert [answer(mesh + bound + also_bound, BOTH, target=t) for t in ("/a", "/b", "/c")] == [404, "b0", 404]
    assert len(warned(bound + mesh + also_bound, BOTH)) == 1
    assert len(warned(mesh + bound + also_bound, BOTH)) == 2


@pytest.mark.parametrize(
    ("vantage", "bodies"),
    [
        pytest.param(DEFAULT_VANTAGE, ["a0", "a0", "b0"], id="no service of the own: the first"),
        pytest.param(Vantage(namespace="test"), ["b0", "a0", "b0"], id="the own namespace's"),
    ],
)
def test_a_bare_name_is_the_own_namespaces(answer, vantage: Vantage, bodies: list[str]) -> None:
    text = service("a", hosts="reviews", namespace="prod") + service("b", hosts="reviews", namespace="test")

    assert [answer(text, vantage, authority=f"reviews{dot}") for dot in ("", ".prod", ".test")] == bodies


@pytest.mark.parametrize("authority", ["reviews", "reviews.prod:80", "x.b.test"])
def test_explain_names_what_is_left_out(rules, head, authority: str) -> None:
    text = service("a", hosts="reviews, '*.b.test'", namespace="prod", spec=GW)

    assert render_explanation(explain(rules(text), head(authority=authority))).splitlines()[2:] == [
        f'No VirtualService is about host "{authority}": the request passes through.',
        (
            "Left out is VirtualService prod/a (rules.yaml:6): it is for prod/gw, this proxy plays mesh "
            "(mirror_gateways): not used here."
        ),
    ]
