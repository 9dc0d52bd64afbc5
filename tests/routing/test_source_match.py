"""Matches that are about the proxy: cases as in istio's TestSourceMatchHTTP."""

import pytest

from mitm_mirror.resources.virtual_service import HTTPMatchRequest
from mitm_mirror.routing.decision import Answer, PassThrough
from mitm_mirror.routing.source_match import find_unmet
from mitm_mirror.routing.vantage import DEFAULT_VANTAGE, Vantage

PLAYED = Vantage(("mesh", "own/gw"), "own", {"app": "sleep", "version": "v1"})


@pytest.mark.parametrize(
    ("spec", "vantage", "field"),
    [
        pytest.param({}, DEFAULT_VANTAGE, "", id="nothing is asked"),
        pytest.param({"gateways": ["mesh"]}, DEFAULT_VANTAGE, "", id="the mesh"),
        pytest.param({"gateways": ["a/b", "mesh"]}, DEFAULT_VANTAGE, "", id="the mesh among gateways"),
        pytest.param({"gateways": ["own/gw"]}, DEFAULT_VANTAGE, "gateways", id="a gateway, to a sidecar"),
        pytest.param({"gateways": ["own/gw"]}, PLAYED, "", id="a gateway that is played"),
        pytest.param({"gateways": ["a/gw"]}, PLAYED, "gateways", id="another one of that name"),
        pytest.param(
            {"gateways": ["mesh"], "sourceLabels": {"a": "b"}, "sourceNamespace": "c"},
            PLAYED,
            "",
            id="gateways decide alone",
        ),
        pytest.param({"sourceLabels": {"app": "sleep"}}, PLAYED, "", id="one label of two"),
        pytest.param({"sourceLabels": {"app": "sleep", "a": "b"}}, PLAYED, "sourceLabels", id="one too many"),
        pytest.param({"sourceLabels": {"app": "web"}}, PLAYED, "sourceLabels", id="another value"),
        pytest.param({"sourceLabels": {"app": "sleep"}}, DEFAULT_VANTAGE, "sourceLabels", id="no labels"),
        pytest.param({"sourceNamespace": "own"}, PLAYED, "", id="its namespace"),
        pytest.param({"sourceNamespace": "default"}, DEFAULT_VANTAGE, "", id="the default namespace"),
        pytest.param({"sourceNamespace": "a"}, PLAYED, "sourceNamespace", id="another namespace"),
        pytest.param(
            {"sourceLabels": {"app": "sleep"}, "sourceNamespace": "a"},
            PLAYED,
            "sourceNamespace",
            id="labels alone are not enough",
        ),
        pytest.param(
            {"headers": {"@request.auth.claims.sub": {"exact": "a"}}}, PLAYED, "headers", id="JWT claims"
        ),
        pytest.param({"headers": {"a": {}}}, PLAYED, "", id="anything else depends on the request"),
    ],
)
def test_what_is_never_met(spec: dict[str, object], vantage: Vantage, field: str) -> None:
    unmet = find_unmet(HTTPMatchRequest.model_validate(spec), vantage)

    assert (unmet.field if unmet else "") == field


RULES = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a, namespace: own}
spec:
  hosts: [a.test]
  gateways: [mesh, gw]
  http:
  - match: [{%s}]
    directResponse: {status: 201}
  - match: [{uri: {prefix: /}, gateways: [own/gw, mesh]}]
    directResponse: {status: 202}
"""


@pytest.mark.parametrize(
    ("match", "status"),
    [
        pytest.param("gateways: [gw]", 201, id="a short name is of the VirtualService's namespace"),
        pytest.param("gateways: [other/gw]", 202, id="another gateway"),
        pytest.param("sourceLabels: {app: sleep}", 201, id="labels"),
        pytest.param("sourceLabels: {app: web}", 202, id="other labels"),
        pytest.param("sourceNamespace: own", 201, id="namespace"),
        pytest.param("sourceNamespace: default", 202, id="another namespace"),
    ],
)
def test_a_match_that_cannot_be_met_is_dropped(rules, head, draws, match: str, status: int) -> None:
    decision = rules(RULES % match, PLAYED).decide(head(authority="a.test"), draws())

    assert isinstance(decision, Answer)
    assert decision.status == status


@pytest.mark.parametrize(
    ("match", "place", "message"),
    [
        (
            "gateways: [gw]",
            "8:14",
            "gateways: warning: this match is never met: it is for own/gw, this proxy plays mesh",
        ),
        (
            "sourceLabels: {app: web}",
            "8:14",
            "sourceLabels: warning: this match is never met: it is for app=web, this proxy's labels: none",
        ),
        (
            "sourceNamespace: a",
            "8:14",
            "sourceNamespace: warning: this match is never met: it is for a, this proxy's namespace: default",
        ),
    ],
)
def test_it_is_named(warned, match: str, place: str, message: str) -> None:
    text = RULES.replace("  gateways: [mesh, gw]\n", "") % match

    assert warned(text)[0] == (f"rules.yaml:{place}: VirtualService own/a: spec.http[0].match[0].{message}")


def test_a_delegate_names_gateways_of_its_own_namespace(rules, head, draws) -> None:
    text = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: root, namespace: own}
spec:
  hosts: [a.test]
  http: [{match: [{gateways: [mesh, other/gw]}], delegate: {name: part, namespace: other}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: part, namespace: other}
spec:
  http: [{match: [{gateways: [gw], uri: {prefix: /x}}], directResponse: {status: 201}}]
"""
    played = Vantage(("mesh", "other/gw"))

    assert rules(text, played).decide(head("/x", authority="a.test"), draws()).status == 201
    assert rules(text).decide(head("/x", authority="a.test"), draws()) == PassThrough()
