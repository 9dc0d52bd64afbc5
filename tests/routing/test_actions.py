"""Decisions that are made once and kept, and those that must not be."""

import msgspec
import pytest

from mitm_mirror.routing.decision import Answer, Forward

TO_V1 = "route: [{destination: {host: httpbin, subset: v1}}]"
MIRROR = "mirror: {host: httpbin, subset: v2}"
V1_OR_V2 = """route:
    - {destination: {host: httpbin, subset: v1}, weight: 50}
    - {destination: {host: httpbin, subset: v2}, weight: 50}"""


@pytest.mark.parametrize(
    "route",
    [
        pytest.param(TO_V1, id="one destination"),
        pytest.param(f"{TO_V1}\n    {MIRROR}", id="a mirror of all"),
        pytest.param(f"match: [{{uri: {{prefix: /a}}}}]\n    {TO_V1}\n    {MIRROR}", id="a match"),
        pytest.param(f"{TO_V1}\n    headers: {{request: {{set: {{a: b}}}}}}", id="header operations"),
        pytest.param(f"{TO_V1}\n    rewrite: {{authority: other}}", id="an authority of the rule's"),
    ],
)
def test_what_authority_and_port_decide_is_decided_once(rules, http, head, draws, route: str) -> None:
    table = rules(http(f"  - {route}"))

    first = table.decide(head("/a?1", method="GET", headers=((b"a", b"1"),)), draws())
    second = table.decide(head("/a?2", method="POST", client="192.0.2.9"), draws())

    assert isinstance(first, Forward)
    assert first.path is None
    assert second is first
    assert table.decide(head("/a", authority="httpbin.default:80"), draws()) is not first
    assert table.decide(head("/a", port=81), draws()) is not first


def test_each_weighted_destination_keeps_its_own(rules, http, head, draws) -> None:
    table = rules(http(f"  - {V1_OR_V2}\n    {MIRROR}"))

    decisions = [table.decide(head(), draws(draw)) for draw in (0.1, 0.9, 0.2, 0.8)]

    assert [decision.target.subset for decision in decisions] == ["v1", "v2", "v1", "v2"]
    assert decisions[2] is decisions[0]
    assert decisions[3] is decisions[1]


@pytest.mark.parametrize(
    "route",
    [
        pytest.param(f"{TO_V1}\n    rewrite: {{uri: /b}}", id="the path is rewritten"),
        pytest.param(
            f"{TO_V1}\n    fault: {{delay: {{fixedDelay: 1s, percentage: {{value: 50}}}}}}", id="fault"
        ),
        pytest.param(f"{TO_V1}\n    corsPolicy: {{allowOrigins: [{{exact: 'http://a'}}]}}", id="CORS"),
        pytest.param(f"{TO_V1}\n    timeout: 1s", id="timeout"),
        pytest.param(f"{TO_V1}\n    {MIRROR}\n    mirrorPercentage: {{value: 50}}", id="a share is mirrored"),
        pytest.param("route: [{destination: {host: httpbin}}]", id="two endpoints"),
        pytest.param(
            f"{TO_V1}\n    mirror: {{host: httpbin}}", id="two endpoints of the mirror, one of the primary"
        ),
    ],
)
def test_what_more_decides_is_decided_each_time(rules, http, head, route: str) -> None:
    table = rules(http(f"  - {route}"))

    first, second = (table.decide(head(), lambda: 0.25) for _ in range(2))

    assert isinstance(first, Forward)
    assert second is not first


@pytest.mark.parametrize(
    "policy",
    [
        pytest.param("outlierDetection: {consecutive5xxErrors: 1}", id="may be ejected"),
        pytest.param("connectionPool: {http: {http2MaxRequests: 1}}", id="limits"),
        pytest.param("loadBalancer: {consistentHash: {httpHeaderName: x-user}}", id="consistentHash"),
        pytest.param("loadBalancer: {simple: PASSTHROUGH}", id="the request has the address"),
    ],
)
def test_an_endpoint_that_depends_on_more_is_chosen_each_time(rules, http, head, draws, policy: str) -> None:
    text = http(f"  - {TO_V1}").replace("host: httpbin\n", f"host: httpbin\n  trafficPolicy: {{{policy}}}\n")
    assert policy in text
    table = rules(text)
    request = msgspec.structs.replace(head(), original_host="10.9.9.9", original_port=1)

    first, second = (table.decide(request, draws()) for _ in range(2))

    assert isinstance(first, Forward)
    assert second is not first


def test_an_answer_for_want_of_an_endpoint_is_made_each_time(rules, http, head, draws) -> None:
    """A gRPC client gets another one."""
    table = rules(http("  - route: [{destination: {host: nowhere.example.com}}]"))
    grpc = head(method="POST", headers=((b"content-type", b"application/grpc"),))

    plain, for_grpc = table.decide(head(), draws()), table.decide(grpc, draws())

    assert isinstance(plain, Answer)
    assert isinstance(for_grpc, Answer)
    assert (plain.status, for_grpc.status) == (503, 200)


def test_no_client_can_fill_memory(rules, http, head, draws) -> None:
    table = rules(http(f"  - {TO_V1}\n    {MIRROR}"))
    first = table.decide(head(), draws())

    for port in range(1, 1000):
        decision = table.decide(head(authority=f"httpbin:{port}"), draws())
        assert (decision.authority, decision.mirrors[0].authority) == (
            f"httpbin:{port}",
            f"httpbin-shadow:{port}",
        )
    again = table.decide(head(), draws())

    assert again == first
    assert again is not first


def test_rules_that_are_loaded_again_decide_anew(rules, http, head, draws) -> None:
    before = rules(http(f"  - {TO_V1}"))
    assert before.decide(head(), draws()).target.subset == "v1"

    after = rules(http(f"  - {TO_V1.replace('v1', 'v2')}"))

    assert after.decide(head(), draws()).target.subset == "v2"
