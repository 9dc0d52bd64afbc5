"""How a cluster's policy and state are shown."""

import msgspec
import pytest

from mitm_mirror.resources.load import load_text
from mitm_mirror.routing.cluster_state import Attempt, Waiting
from mitm_mirror.routing.cluster_states import ClusterStates
from mitm_mirror.routing.compile import compile_table
from mitm_mirror.routing.decision import Answer, Forward
from mitm_mirror.routing.describe_cluster import describe_policy, describe_states
from mitm_mirror.routing.explain import explain
from mitm_mirror.routing.explain_text import render_explanation
from mitm_mirror.routing.load_balancer import LoadBalancer
from mitm_mirror.routing.maglev import MaglevTable
from mitm_mirror.routing.outlier import OutlierPolicy
from mitm_mirror.routing.port_targets import PortTargets
from mitm_mirror.routing.request import RequestHead
from mitm_mirror.routing.table import RouteTable

RULES = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: a}
spec:
  hosts: [a.example.com]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: STATIC
  endpoints: [{address: 10.0.0.1, weight: 3}, {address: 10.0.0.2}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: a}
spec: {host: a.example.com, trafficPolicy: {%s}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a}
spec:
  hosts: [a.example.com]
  http: [{route: [{destination: {host: a.example.com}}]}]
"""
HEAD = RequestHead("GET", "http", "a.example.com:80", b"/", (), 80, "")
CLUSTER = "outbound|80||a.example.com"


def compiled(policy: str) -> tuple[RouteTable, PortTargets]:
    table, issues = compile_table(load_text(RULES % policy, "rules.yaml").resources)
    assert issues == ()
    return table, table.clusters[CLUSTER]


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        pytest.param("loadBalancer: {simple: RANDOM}", ["chosen by RANDOM"], id="balancer"),
        pytest.param(
            "loadBalancer: {consistentHash: {useSourceIp: true}}", ["chosen by consistentHash"], id="hash"
        ),
        pytest.param(
            "connectionPool: "
            "{tcp: {maxConnections: 2}, http: {http2MaxRequests: 3, http1MaxPendingRequests: 1}}",
            ["chosen by LEAST_REQUEST", "limited to 3 requests, 2 connections, 1 waiting requests"],
            id="limits",
        ),
        pytest.param(
            "outlierDetection: {consecutiveGatewayErrors: 2, splitExternalLocalOriginErrors: true}",
            [
                "chosen by LEAST_REQUEST",
                (
                    "ejected after 5 errors or 2 gateway errors or 5 failures to connect in a row, "
                    "for 30 s and longer, 10 % of the endpoints at most"
                ),
            ],
            id="outlier detection",
        ),
    ],
)
def test_policy(policy: str, expected: list[str]) -> None:
    assert describe_policy(compiled(policy)[1]) == expected


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        pytest.param("loadBalancer: {simple: UNSPECIFIED}", LoadBalancer.LEAST_REQUEST, id="UNSPECIFIED"),
        pytest.param("loadBalancer: {simple: LEAST_CONN}", LoadBalancer.LEAST_REQUEST, id="LEAST_CONN"),
        pytest.param("loadBalancer: {simple: ROUND_ROBIN}", LoadBalancer.ROUND_ROBIN, id="ROUND_ROBIN"),
        pytest.param("tls: {}", LoadBalancer.LEAST_REQUEST, id="nothing is Istio's default"),
    ],
)
def test_compiled_balancer(policy: str, expected: LoadBalancer) -> None:
    assert compiled(policy)[1].balancer is expected


@pytest.mark.parametrize(
    ("settings", "endpoints", "settled", "tracked"),
    [
        pytest.param("loadBalancer: {simple: LEAST_REQUEST}", 1, True, False, id="one endpoint"),
        pytest.param("loadBalancer: {simple: LEAST_REQUEST}", 2, False, True, id="least request of two"),
        pytest.param("loadBalancer: {simple: ROUND_ROBIN}", 2, False, False, id="round robin of two"),
        pytest.param("connectionPool: {http: {http2MaxRequests: 1}}", 1, False, True, id="one with a limit"),
        pytest.param("outlierDetection: {}", 1, False, True, id="one that may be ejected"),
        pytest.param("connectionPool: {http: {idleTimeout: 1s}}", 1, True, False, id="nothing that limits"),
    ],
)
def test_only_what_needs_it_has_a_state(settings: str, endpoints: int, settled: bool, tracked: bool) -> None:
    text = RULES % settings
    if endpoints == 1:
        text = text.replace(", {address: 10.0.0.2}", "")
    table, _ = compile_table(load_text(text, "rules.yaml").resources)
    found = table.clusters[CLUSTER]

    assert (found.is_settled, found.targets.items[0].is_tracked) == (settled, tracked)


class Scene:
    def __init__(self, policy: str) -> None:
        self.now = 10.0
        self.states = ClusterStates(lambda: self.now, lambda _: None)
        self.table, self.found = compiled(policy)

    def enter(self) -> Attempt | Waiting | None:
        self.states.choose(self.found, None, lambda: 0.0)
        return self.states.enter(self.found.targets.items[0], lambda _: None)

    def eject(self) -> None:
        attempt = self.enter()
        assert isinstance(attempt, Attempt)
        attempt.answered(500)
        attempt.end()

    def explained(self) -> str:
        return render_explanation(explain(self.table, HEAD, self.states))


def test_states_are_shown_where_there_is_something() -> None:
    scene = Scene("connectionPool: {tcp: {maxConnections: 1}, http: {http1MaxPendingRequests: 1}}")
    assert describe_states(scene.states, scene.now) == []
    attempts = [scene.enter() for _ in range(3)]
    assert describe_states(scene.states, scene.now) == [f"{CLUSTER}: 1 in flight, 1 waiting, 1 turned away"]
    assert isinstance(attempts[0], Attempt)
    attempts[0].end()
    assert describe_states(scene.states, scene.now) == [f"{CLUSTER}: 1 in flight, 1 turned away"]


def test_ejections_are_shown_until_they_end() -> None:
    scene = Scene("outlierDetection: {consecutive5xxErrors: 1, maxEjectionPercent: 50, interval: 1s}")
    scene.eject()
    scene.now += 12
    assert describe_states(scene.states, scene.now) == [
        f"{CLUSTER}: nothing in flight",
        "  10.0.0.1:80 is ejected, back in 18.0 s",
    ]
    scene.now += 18
    assert describe_states(scene.states, scene.now) == []
    scene.eject()
    assert describe_states(scene.states, scene.now)[1:] == [
        "  10.0.0.1:80 is ejected, for the 2. time, back in 60.0 s"
    ]


@pytest.mark.parametrize(
    ("balancer", "before", "after"),
    [
        pytest.param("simple: ROUND_ROBIN", ("75 %", "25 %"), ("0 %  ejected", "100 %"), id="by weight"),
        pytest.param("simple: RANDOM", ("50 %", "50 %"), ("0 %  ejected", "100 %"), id="random"),
    ],
)
def test_explain_shows_shares_and_ejections(
    balancer: str, before: tuple[str, str], after: tuple[str, str]
) -> None:
    scene = Scene(
        f"loadBalancer: {{{balancer}}}, outlierDetection: {{consecutive5xxErrors: 1, maxEjectionPercent: 50}}"
    )

    def shares() -> list[str]:
        lines = scene.explained().splitlines()
        return [line.split("  ", 2)[-1].strip() for line in lines if "http://10.0.0." in line]

    assert shares() == [f"endpoint  http://10.0.0.1:80  {before[0]}", f"http://10.0.0.2:80  {before[1]}"]
    scene.eject()
    assert shares() == [f"endpoint  http://10.0.0.1:80  {after[0]}", f"http://10.0.0.2:80  {after[1]}"]


def test_explain_says_what_a_request_gets_where_all_are_ejected() -> None:
    scene = Scene("outlierDetection: {consecutive5xxErrors: 1, maxEjectionPercent: 100}")
    for target in scene.found.targets.items:
        scene.states.choose(scene.found, None, lambda: 0.0)
        attempt = scene.states.enter(target, lambda _: None)
        assert isinstance(attempt, Attempt)
        attempt.answered(500)
        attempt.end()

    text = scene.explained()
    assert text.count("  ejected\n") == 2
    assert "503" in text


def test_explain_follows_a_key_past_an_ejected_endpoint() -> None:
    scene = Scene(
        "loadBalancer: {consistentHash: {httpQueryParameterName: u}}, "
        "outlierDetection: {consecutive5xxErrors: 1, maxEjectionPercent: 50}"
    )
    head = RequestHead("GET", "http", "a.example.com:80", b"/?u=jane", (), 80, "")
    before = scene.table.decide(head, lambda: 0.0, scene.states)
    scene.states.choose(scene.found, None, lambda: 0.0)
    attempt = scene.states.enter(before.target, lambda _: None)  # type: ignore[union-attr]
    assert isinstance(attempt, Attempt)
    attempt.answered(500)
    attempt.end()
    after = scene.table.decide(head, lambda: 0.0, scene.states)

    assert after.target != before.target  # type: ignore[union-attr]
    text = render_explanation(explain(scene.table, head, scene.states))
    assert after.target.endpoint.host_port in text  # type: ignore[union-attr]
    assert before.target.endpoint.host_port not in text  # type: ignore[union-attr]


def test_outlier_policy_without_any_count() -> None:
    found = compiled("outlierDetection: {consecutive5xxErrors: 0}")[1]

    assert found.outlier == OutlierPolicy(consecutive_5xx=0)
    assert describe_policy(found)[-1].startswith("ejected after nothing in a row")


@pytest.mark.parametrize(
    ("host", "expected"),
    [pytest.param("192.0.2.7", "192.0.2.7:8443", id="known"), pytest.param("", "", id="nobody knows")],
)
def test_passthrough_goes_where_the_client_addressed_it(host: str, expected: str) -> None:
    table, _ = compiled("loadBalancer: {simple: PASSTHROUGH}")
    head = msgspec.structs.replace(HEAD, original_host=host, original_port=8443)
    decision = table.decide(head, lambda: 0.0)

    if not expected:
        assert isinstance(decision, Answer)
        assert decision.status == 503
    else:
        assert isinstance(decision, Forward)
        assert decision.target.endpoint.host_port == expected
        assert decision.target.endpoint.scheme == "http"


def test_maglev_keeps_a_key_where_it_is() -> None:
    table, found = compiled(
        "loadBalancer: {consistentHash: {httpQueryParameterName: u, maglev: {tableSize: 997}}}"
    )
    states = ClusterStates(lambda: 0.0, lambda _: None)

    def endpoint(user: int, draw: float) -> str:
        decision = table.decide(msgspec.structs.replace(HEAD, target=b"/?u=%d" % user), lambda: draw, states)
        assert isinstance(decision, Forward)
        return decision.target.endpoint.address

    assert isinstance(found.sticky and found.sticky.ring, MaglevTable)
    assert all(endpoint(user, 0.0) == endpoint(user, 0.9) for user in range(50))
    assert {endpoint(user, 0.0) for user in range(50)} == {"10.0.0.1", "10.0.0.2"}
