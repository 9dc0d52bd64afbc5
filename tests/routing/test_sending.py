"""Which routes have their primary sent by the addon, with what, and where their retries go."""

from collections.abc import Callable

import pytest

from mitm_mirror.routing.cluster_state import Attempt
from mitm_mirror.routing.cluster_states import ClusterStates
from mitm_mirror.routing.decision import Forward, Sending, Target
from mitm_mirror.routing.explain import explain
from mitm_mirror.routing.explain_text import render_explanation
from mitm_mirror.routing.port_targets import BY_WEIGHT
from mitm_mirror.routing.request import RequestHead
from mitm_mirror.routing.table import RouteTable

Rules = Callable[[str], RouteTable]
HEAD = RequestHead("GET", "http", "httpbin", b"/", ((b"Host", b"httpbin"), (b"x-user", b"u")), 80, "10.9.9.9")

STICKY = """
---
kind: DestinationRule
apiVersion: networking.istio.io/v1
metadata: {name: sticky}
spec:
  host: httpbin
  trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: x-user}}}
"""


def decide(table: RouteTable, draw: Callable[[], float] = lambda: 0.0) -> Forward:
    decision = table.decide(HEAD, draw, BY_WEIGHT)
    assert isinstance(decision, Forward)
    return decision


def sending(rules: Rules, text: str) -> Sending | None:
    return decide(rules(text)).sending


@pytest.mark.parametrize(
    ("fields", "timeout_s", "attempts"),
    [
        pytest.param("timeout: 2s", 2.0, 2, id="timeout alone has Istio's default retries"),
        pytest.param("timeout: 2s, retries: {attempts: 0}", 2.0, None, id="timeout without retries"),
        pytest.param("retries: {attempts: 3}", None, 3, id="retries alone have no timeout"),
    ],
)
def test_asked_for(
    rules: Rules, http: Callable[[str], str], fields: str, timeout_s: float | None, attempts: int | None
) -> None:
    found = sending(rules, http(f"  - {{route: [{{destination: {{host: httpbin}}}}], {fields}}}"))

    assert found is not None
    assert found.timeout_s == timeout_s
    assert (found.retry.attempts if found.retry else None) == attempts


@pytest.mark.parametrize("fields", ["name: a", "retries: {attempts: 0}", "retries: {}"])
def test_not_asked_for(rules: Rules, http: Callable[[str], str], fields: str) -> None:
    assert sending(rules, http(f"  - {{route: [{{destination: {{host: httpbin}}}}], {fields}}}")) is None


def sequence(*numbers: float) -> Callable[[], float]:
    return iter(numbers).__next__


@pytest.mark.parametrize(
    ("retries", "draws", "expected"),
    [
        pytest.param("attempts: 1", (0.0, 0.1, 0.2, 0.9), "10.0.0.2", id="drawn until it is another"),
        pytest.param("attempts: 1, retryIgnorePreviousHosts: false", (0.0, 0.1), "10.0.0.1", id="or not"),
    ],
)
def test_a_retry_is_chosen_as_the_first_attempt_was(
    rules: Rules, http: Callable[[str], str], retries: str, draws: tuple[float, ...], expected: str
) -> None:
    table = rules(http(f"  - {{route: [{{destination: {{host: httpbin}}}}], retries: {{{retries}}}}}"))
    forward = decide(table, sequence(*draws))

    assert forward.target.endpoint.address == "10.0.0.1"
    assert forward.sending is not None
    again = forward.sending.choose_again((forward.target,))
    assert again is not None
    assert again.endpoint.address == expected


@pytest.mark.parametrize(
    ("retries", "stays"),
    [
        pytest.param("attempts: 1", True, id="by default"),
        pytest.param("attempts: 1, retryIgnorePreviousHosts: true", False, id="unless the rule says no"),
    ],
)
def test_a_sticky_request_stays_where_it_is(
    rules: Rules, http: Callable[[str], str], retries: str, stays: bool
) -> None:
    text = http(f"  - {{route: [{{destination: {{host: httpbin}}}}], retries: {{{retries}}}}}") + STICKY
    # Of the two a draw gives one or the other.
    turns = [0.0, 0.9]
    forward = decide(rules(text), lambda: turns.pop(0))
    assert forward.sending is not None
    again = forward.sending.choose_again((forward.target,))

    assert (again == forward.target) is stays


@pytest.mark.parametrize("retries", ["attempts: 1", "attempts: 1, retryIgnorePreviousHosts: true"])
def test_a_sticky_request_leaves_an_endpoint_that_is_ejected(
    rules: Rules, http: Callable[[str], str], retries: str
) -> None:
    ejecting = "outlierDetection: {consecutive5xxErrors: 1, maxEjectionPercent: 100}"
    text = http(f"  - {{route: [{{destination: {{host: httpbin}}}}], retries: {{{retries}}}}}")
    table = rules(text + STICKY.replace("trafficPolicy: {", f"trafficPolicy: {{{ejecting}, "))
    states = ClusterStates(lambda: 0.0, lambda change: None)
    forward = table.decide(HEAD, lambda: 0.0, states)
    assert isinstance(forward, Forward)
    assert forward.sending is not None
    first = forward.target

    eject(states, first)
    second = forward.sending.choose_again((first,))
    assert second is not None
    assert second != first

    eject(states, second)
    assert forward.sending.choose_again((first, second)) is None


def eject(states: ClusterStates, target: Target) -> None:
    attempt = states.enter(target, lambda entry: None)
    assert isinstance(attempt, Attempt)
    attempt.answered(500)
    attempt.end()


@pytest.mark.parametrize(
    ("fields", "annotations", "timeout_s"),
    [
        pytest.param("timeout: 2s", "{}", 2.0, id="the route's"),
        pytest.param("timeout: 2s", "{mitm-mirror/timeout: 9s}", 9.0, id="the annotation goes first"),
        pytest.param("retries: {attempts: 1}", "{}", None, id="none: the option's"),
    ],
)
def test_a_shadow_has_the_primarys_timeout(
    rules: Rules, http: Callable[..., str], fields: str, annotations: str, timeout_s: float | None
) -> None:
    route = "route: [{destination: {host: httpbin, subset: v1}}], mirror: {host: httpbin, subset: v2}"
    (copy,) = decide(rules(http(f"  - {{{route}, {fields}}}", annotations))).mirrors

    assert copy.timeout_s == timeout_s


@pytest.mark.parametrize(
    ("fields", "lines"),
    [
        pytest.param(
            "timeout: 1.5s, retries: {attempts: 0}", ["timeout: 1.5 s", "retries: none"], id="timeout alone"
        ),
        pytest.param(
            "retries: {attempts: 3, retryOn: '5xx,409', perTryTimeout: 2s, backoff: 1s}",
            ["retries: up to 3 on 409, 5xx; 2 s for each attempt's head; pauses from 1000 ms"],
            id="retries in full",
        ),
    ],
)
def test_explained(rules: Rules, http: Callable[[str], str], fields: str, lines: list[str]) -> None:
    table = rules(http(f"  - {{route: [{{destination: {{host: httpbin}}}}], {fields}}}"))
    text = render_explanation(explain(table, HEAD)).splitlines()

    assert [line for line in text if line in lines] == lines
    described = table.describe()
    assert all(line.replace(": ", " ", 1) in described for line in lines)


def test_a_target_left_alone_is_as_good_as_another(rules: Rules, http: Callable[[str], str]) -> None:
    table = rules(http("  - {route: [{destination: {host: httpbin, subset: v1}}], retries: {attempts: 1}}"))
    forward = decide(table)
    assert forward.sending is not None
    again: Target | None = forward.sending.choose_again((forward.target,))

    assert again == forward.target
