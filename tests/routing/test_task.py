"""Istio's mirroring task (https://istio.io/latest/docs/tasks/traffic-management/mirroring/), decided."""

from collections import Counter

import pytest

from mitm_mirror.outcome import Outcome
from mitm_mirror.routing.decision import Answer, Endpoint, Forward, PassThrough, Target

SERVICES = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata:
  name: httpbin
spec:
  host: httpbin
  subsets:
  - name: v1
    labels:
      version: v1
  - name: v2
    labels:
      version: v2
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata:
  name: httpbin
spec:
  hosts:
  - httpbin.default.svc.cluster.local
  ports:
  - number: 8000
    name: http
    protocol: HTTP
  resolution: STATIC
  endpoints:
  - address: 127.0.0.1
    ports: {http: 8001}
    labels: {version: v1}
  - address: 127.0.0.1
    ports: {http: 8002}
    labels: {version: v2}
---
"""

MIRROR = (
    SERVICES
    + """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: httpbin
spec:
  hosts:
    - httpbin
  http:
  - route:
    - destination:
        host: httpbin
        subset: v1
      weight: 100
    mirror:
      host: httpbin
      subset: v2
    mirrorPercentage:
      value: 100.0
"""
)


def test_the_task(rules, head, draws, warned) -> None:
    """All requests go to v1, a copy of each to v2; nothing is left to chance, nothing to warn about."""
    decision = rules(MIRROR).decide(head("/headers?a=b", authority="httpbin:8000"), draws())

    assert isinstance(decision, Forward)
    host = "httpbin.default.svc.cluster.local"
    assert decision.target == Target(host, "v1", 8000, Endpoint("127.0.0.1", 8001, "http"))
    assert decision.target.cluster == f"outbound|8000|v1|{host}"
    assert decision.authority == "httpbin:8000"
    assert decision.sni == "httpbin"
    assert decision.path is None  # as it came
    assert decision.request_headers == decision.response_headers == ()
    assert decision.rule.virtual_service == "default/httpbin"
    assert decision.rule.route == "http[0]"
    assert decision.rule.source.startswith("rules.yaml:")
    (copy,) = decision.mirrors
    assert copy.outcome is None
    assert copy.destination == f"outbound|8000|v2|{host}"
    assert copy.target == Target(host, "v2", 8000, Endpoint("127.0.0.1", 8002, "http"))
    assert copy.authority == "httpbin-shadow:8000"
    assert copy.sni == "httpbin"
    assert not copy.headers
    assert copy.timeout_s is None
    assert warned(MIRROR) == []


@pytest.mark.parametrize(
    "authority",
    [
        "httpbin",
        "HTTPBIN:9",
        "httpbin.default",
        "httpbin.default.svc:8000",
        "httpbin.default.svc.cluster.local",
        "httpbin.default.svc.cluster.local.",
    ],
)
def test_every_name_of_the_service_is_its_host(rules, head, draws, authority: str) -> None:
    decision = rules(MIRROR).decide(head(authority=authority), draws())

    assert isinstance(decision, Forward)
    assert decision.authority == authority


def test_another_host_passes_through(rules, head, draws) -> None:
    assert rules(MIRROR).decide(head(authority="example.com"), draws()) == PassThrough()


def test_no_rules_let_everything_through(rules, head, draws) -> None:
    table = rules("")

    assert table.decide(head(), draws()) == PassThrough()
    assert table.describe() == "no rules: every request passes through"


def test_a_canary_with_a_sampled_mirror_gives_exact_counts(rules, head, draws) -> None:
    """80/20 between v1 and v2, a quarter mirrored: over all pairs of 10 x 100 even draws."""
    text = MIRROR.replace(
        "weight: 100", "weight: 80\n    - {destination: {host: httpbin, subset: v2}, weight: 20}"
    )
    table = rules(text.replace("value: 100.0", "value: 25"))
    primaries: Counter[str] = Counter()
    outcomes: Counter[Outcome | None] = Counter()

    for chance in range(10):
        for position in range(100):
            decision = table.decide(head(), draws(chance / 10, position / 100))
            assert isinstance(decision, Forward)
            primaries[decision.target.subset] += 1
            outcomes[decision.mirrors[0].outcome] += 1

    assert primaries == {"v1": 800, "v2": 200}
    assert outcomes == {None: 250, Outcome.NOT_SAMPLED: 750}


def test_an_unknown_primary_is_not_mirrored(rules, head, draws) -> None:
    decision = rules(MIRROR.replace("subset: v1\n      weight", "subset: v9\n      weight")).decide(
        head(), draws()
    )

    assert isinstance(decision, Answer)
    assert (decision.status, decision.reason) == (503, "no_endpoint")
    assert decision.destination == "outbound|8000|v9|httpbin.default.svc.cluster.local"
