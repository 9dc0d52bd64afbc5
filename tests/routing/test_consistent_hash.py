"""Sticky endpoints: what of a request decides, and how keys spread over endpoints."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from mitm_mirror.routing.decision import Forward
from mitm_mirror.routing.hash_ring import MAX_NODES, HashRing
from mitm_mirror.routing.table import RouteTable

KEYS = [b"key-%d" % number for number in range(20_000)]


def ring(weights: dict[str, int], nodes: int = 1024) -> HashRing[str]:
    return HashRing(list(weights), list(weights.values()), [name.encode() for name in weights], nodes)


def shares(made: HashRing[str]) -> dict[str, float]:
    return {item: count / len(KEYS) for item, count in Counter(map(made.find, KEYS)).items()}


def test_keys_spread_by_weight() -> None:
    found = shares(ring({"a": 1, "b": 1, "c": 2}, nodes=8192))

    assert found == {
        "a": pytest.approx(0.25, abs=0.03),
        "b": pytest.approx(0.25, abs=0.03),
        "c": pytest.approx(0.5, abs=0.03),
    }


def test_it_is_the_same_in_every_process() -> None:
    """A restart must not move users: the places are part of what the code promises."""
    assert [ring({"a": 1, "b": 1, "c": 1}).find(key) for key in KEYS[:12]] == list("bccbcacbcbaa")


def test_an_item_that_leaves_moves_its_own_keys_only() -> None:
    before, after = ring({"a": 1, "b": 1, "c": 1}), ring({"a": 1, "b": 1})

    moved = [key for key in KEYS if before.find(key) != after.find(key)]

    assert {before.find(key) for key in moved} == {"c"}
    assert set(map(after.find, KEYS)) == {"a", "b"}


def test_the_order_of_items_does_not_count() -> None:
    one, other = ring({"a": 1, "b": 3}), ring({"b": 3, "a": 1})

    assert all(one.find(key) == other.find(key) for key in KEYS)


@pytest.mark.parametrize("nodes", [1, 10**12], ids=["tiny", "huge"])
def test_sizes_of_the_ring_are_bounded_both_ways(nodes: int) -> None:
    made = ring({"a": 1, "b": 10**9}, nodes)

    assert 2 <= len(made._positions) <= MAX_NODES + 2
    assert "a" in made._items


RULES = """
kind: ServiceEntry
apiVersion: networking.istio.io/v1
metadata: {name: a}
spec:
  hosts: [a.example.com]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: STATIC
  endpoints: [ENDPOINTS]
---
kind: VirtualService
apiVersion: networking.istio.io/v1
metadata: {name: a}
spec:
  hosts: [a.example.com]
  http:
  - route: [{destination: {host: a.example.com}}]
    headers: {response: {set: {x-rule: "1"}}}
    mirror: {host: a.example.com}
---
kind: DestinationRule
apiVersion: networking.istio.io/v1
metadata: {name: a}
spec: {host: a.example.com, trafficPolicy: {loadBalancer: {POLICY}}}
"""
ENDPOINTS = ", ".join(f"{{address: 10.0.0.{number}}}" for number in range(1, 9))


@pytest.fixture
def decide(rules: Callable[[str], RouteTable], head: Any, draws: Any) -> Callable[..., Forward]:
    tables: dict[str, RouteTable] = {}

    def run(policy: str, *numbers: float, **request: Any) -> Forward:
        """The numbers to draw end with the one for the mirror's endpoint."""
        if policy not in tables:
            tables[policy] = rules(RULES.replace("ENDPOINTS", ENDPOINTS).replace("POLICY", policy))
        drawn = draws(*numbers)
        decision = tables[policy].decide(head(authority="a.example.com:80", port=80, **request), drawn)
        assert isinstance(decision, Forward)
        assert drawn.left() == []
        return decision

    return run


def address(decision: Forward) -> str:
    return decision.target.endpoint.address


@pytest.mark.parametrize(
    ("policy", "request_of"),
    [
        pytest.param(
            "httpHeaderName: X-User", lambda user: {"headers": ((b"x-user", user.encode()),)}, id="header"
        ),
        pytest.param(
            "httpCookie: {name: user}",
            lambda user: {"headers": ((b"Cookie", b"a=b; user=" + user.encode()),)},
            id="cookie",
        ),
        pytest.param("useSourceIp: true", lambda user: {"client": user}, id="source IP"),
        pytest.param(
            "httpQueryParameterName: user",
            lambda user: {"target": f"/?a=b&user={user}"},
            id="query parameter",
        ),
    ],
)
def test_one_key_has_one_endpoint_and_many_keys_have_all(
    decide: Callable[..., Forward], policy: str, request_of: Callable[[str], dict[str, Any]]
) -> None:
    found: Counter[str] = Counter()
    for number in range(100):
        request = request_of(f"user-{number}")
        # Only the mirror's endpoint is chosen by chance.
        first, again = (decide(f"consistentHash: {{{policy}}}", draw, **request) for draw in (0.0, 0.99))
        assert address(first) == address(again)
        mirrors = [copy.target and copy.target.endpoint.address for copy in (*first.mirrors, *again.mirrors)]
        assert mirrors == ["10.0.0.1", "10.0.0.8"]
        found[address(first)] += 1
    assert len(found) == 8


@pytest.mark.parametrize(
    "policy",
    [
        "consistentHash: {httpHeaderName: x-user}",
        "consistentHash: {httpCookie: {name: user}}",
        "consistentHash: {httpQueryParameterName: user}",
        "consistentHash: {useSourceIp: false}",
        "simple: RANDOM",
    ],
)
def test_a_request_without_the_key_goes_anywhere(decide: Callable[..., Forward], policy: str) -> None:
    assert [address(decide(policy, draw, 0.0)) for draw in (0.0, 0.99)] == ["10.0.0.1", "10.0.0.8"]


def test_several_lines_of_a_header_count_whatever_their_order(decide: Callable[..., Forward]) -> None:
    policy = "consistentHash: {httpHeaderName: x}"
    one = decide(policy, 0.0, headers=((b"x", b"1"), (b"X", b"2")))
    other = decide(policy, 0.0, headers=((b"x", b"2"), (b"x", b"1")))

    assert address(one) == address(other)


@pytest.mark.parametrize(
    ("cookie", "written"),
    [
        pytest.param("ttl: 0s", b'user="8000000000000000"; HttpOnly', id="session cookie"),
        pytest.param("ttl: 90s", b'user="8000000000000000"; Max-Age=90; HttpOnly', id="lifetime"),
        pytest.param(
            "ttl: 1h, path: /shop", b'user="8000000000000000"; Max-Age=3600; Path=/shop; HttpOnly', id="path"
        ),
        pytest.param(
            "ttl: 0s, attributes: [{name: SameSite, value: Strict}, {name: Secure}]",
            b'user="8000000000000000"; SameSite=Strict; Secure; HttpOnly',
            id="attributes",
        ),
    ],
)
def test_a_cookie_with_a_ttl_is_given_to_who_has_none_and_keeps_them_where_they_are(
    decide: Callable[..., Forward], cookie: str, written: bytes
) -> None:
    policy = f"consistentHash: {{httpCookie: {{name: user, {cookie}}}}}"

    first = decide(policy, 0.5, 0.0)
    given = [operations.add for operations in first.response_headers if operations.add]
    assert given == [((b"Set-Cookie", written),)]

    for value in (b"8000000000000000", b'"8000000000000000"'):
        again = decide(policy, 0.0, headers=((b"Cookie", b"user=" + value),))
        assert address(again) == address(first)
        assert not any(operations.add for operations in again.response_headers)


def test_the_other_response_operations_stay(decide: Callable[..., Forward]) -> None:
    decision = decide("consistentHash: {httpCookie: {name: user, ttl: 0s}}", 0.5, 0.0)

    assert [operations.set for operations in decision.response_headers] == [((b"x-rule", b"1"),), ()]
