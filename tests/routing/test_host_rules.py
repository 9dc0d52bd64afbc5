"""DestinationRules by namespace, exportTo and selector.

The cases follow istio's TestSetDestinationRuleWithExportTo, TestSetDestinationRuleMerging and
TestSetDestinationRuleWithWorkloadSelector.
"""

import pytest

from mitm_mirror.resources.load import load_text
from mitm_mirror.routing.host_rules import DestinationRules
from mitm_mirror.routing.vantage import DEFAULT_VANTAGE, Vantage

HOST = "httpbin.svc-ns.svc.cluster.local"


def rule(name: str, namespace: str = "default", host: str = HOST, spec: str = "", created: str = "") -> str:
    """A DestinationRule with one subset of its own name, and `all`, whose label is its name, too."""
    time = f", creationTimestamp: '2026-01-{created}T00:00:00Z'" if created else ""
    return f"""
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: {name}, namespace: {namespace}{time}}}
spec:
  host: "{host}"
  subsets: [{{name: {name}, labels: {{is: {name}}}}}, {{name: all, labels: {{is: {name}}}}}]
  {spec}
"""


def load(text: str, vantage: Vantage = DEFAULT_VANTAGE) -> DestinationRules:
    loaded = load_text(text)
    assert not [str(issue) for issue in loaded.errors]
    return DestinationRules(loaded.resources.destination_rules, vantage)


def found(text: str, vantage: Vantage = DEFAULT_VANTAGE, host: str = HOST) -> list[str]:
    """The subsets that are known, the rule whose `all` counts first."""
    subsets = load(text, vantage).find(host, "svc-ns").subsets
    first = [subsets["all"].labels["is"]] if "all" in subsets else []
    return [*first, *(name for name in subsets if name not in (*first, "all"))]


WIDE = "*.svc-ns.svc.cluster.local"


@pytest.mark.parametrize(
    ("texts", "names"),
    [
        pytest.param([rule("a")], ["a"], id="the proxy's namespace"),
        pytest.param([rule("a", "svc-ns")], ["a"], id="the service's"),
        pytest.param([rule("a", "istio-system")], ["a"], id="the root's"),
        pytest.param([rule("a", "other")], [], id="no other"),
        pytest.param([rule("a", "istio-system"), rule("b", "svc-ns"), rule("c")], ["c"], id="own first"),
        pytest.param([rule("a", "istio-system"), rule("b", "svc-ns")], ["b"], id="service before root"),
        pytest.param(
            [rule("a", host="*.local"), rule("b", "svc-ns")], ["a"], id="a namespace before a better host"
        ),
        pytest.param([rule("a", host="*"), rule("b", host=WIDE)], ["b"], id="the longest wildcard"),
        pytest.param([rule("a", host=WIDE), rule("b")], ["b"], id="the exact host, and not both"),
        pytest.param([rule("a", host="httpbin")], [], id="a short name is of the rule's namespace"),
        pytest.param([rule("a", "svc-ns", host="httpbin")], ["a"], id="which may be the service's"),
        pytest.param([rule("a"), rule("b")], ["a", "b"], id="two add up, the first counts first"),
        pytest.param([rule("a", created="02"), rule("b", created="01")], ["b", "a"], id="the older first"),
    ],
)
def test_look_up_by_namespace_and_host(texts: list[str], names: list[str]) -> None:
    assert found("".join(texts)) == names


@pytest.mark.parametrize(
    ("texts", "names"),
    [
        pytest.param([rule("a", spec="exportTo: [.]")], ["a"], id="its own namespace"),
        pytest.param([rule("a", spec="exportTo: [other]")], [], id="not even its own"),
        pytest.param([rule("a", "svc-ns", spec="exportTo: [.]")], [], id="the service's alone"),
        pytest.param([rule("a", "svc-ns", spec="exportTo: [default]")], ["a"], id="here by name"),
        pytest.param([rule("a", "svc-ns", spec="exportTo: ['*']")], ["a"], id="all"),
        pytest.param(
            [rule("a", "svc-ns", spec="exportTo: [other]"), rule("b", "istio-system")],
            ["b"],
            id="where nothing is exported here the next is asked",
        ),
        pytest.param([rule("a", "istio-system", spec="exportTo: [.]")], [], id="the root's alone"),
        pytest.param(
            [rule("a", spec="exportTo: [.]"), rule("b")], ["b"], id="of two with other exportTo the last"
        ),
        pytest.param(
            [rule("a", spec="exportTo: [.]"), rule("b", spec="exportTo: [.]")],
            ["a", "b"],
            id="two with the same add up",
        ),
        pytest.param(
            [rule("a", spec="exportTo: [.]"), rule("b", spec="exportTo: [., x]")],
            ["a", "b"],
            id="a wider one joins the narrower",
        ),
    ],
)
def test_export_to(texts: list[str], names: list[str]) -> None:
    assert found("".join(texts)) == names


SELECT = "workloadSelector: {matchLabels: {app: %s}}"
SLEEP = Vantage(labels={"app": "sleep", "version": "v1"})


@pytest.mark.parametrize(
    ("texts", "vantage", "names"),
    [
        pytest.param([rule("a", spec=SELECT % "sleep")], SLEEP, ["a"], id="this workload"),
        pytest.param([rule("a", spec=SELECT % "web")], SLEEP, [], id="another workload"),
        pytest.param([rule("a", spec=SELECT % "sleep")], DEFAULT_VANTAGE, [], id="a proxy without labels"),
        pytest.param([rule("a"), rule("b", spec=SELECT % "sleep")], SLEEP, ["b"], id="before one for all"),
        pytest.param([rule("a"), rule("b", spec=SELECT % "web")], SLEEP, ["a"], id="else the one for all"),
        pytest.param(
            [rule("a", spec=SELECT % "sleep"), rule("b", spec=SELECT % "sleep")],
            SLEEP,
            ["a", "b"],
            id="two of one selector add up",
        ),
        pytest.param(
            [rule("a", spec=SELECT % "web"), rule("b", spec=SELECT % "sleep")],
            SLEEP,
            ["b"],
            id="either",
        ),
        pytest.param(
            [rule("a", "svc-ns", spec=SELECT % "sleep")], SLEEP, [], id="of its own namespace alone"
        ),
        pytest.param(
            [rule("a", spec=SELECT % "web"), rule("b", "svc-ns")],
            SLEEP,
            [],
            id="a namespace whose rules are for others is not passed by",
        ),
        pytest.param(
            [rule("a", spec=SELECT % "web"), rule("b", spec="exportTo: [.]")],
            SLEEP,
            [],
            id="one for all with the selector's exportTo joins it, and is gone for others",
        ),
    ],
)
def test_workload_selector(texts: list[str], vantage: Vantage, names: list[str]) -> None:
    assert found("".join(texts), vantage) == names


ROOT = Vantage(namespace="istio-system")


@pytest.mark.parametrize(
    ("texts", "names"),
    [
        pytest.param([rule("a", "istio-system"), rule("b", "svc-ns")], ["b"], id="the service's first"),
        pytest.param(
            [rule("a", "istio-system", spec="exportTo: [.]"), rule("b", "svc-ns")],
            ["a"],
            id="or private",
        ),
        pytest.param([rule("a", "istio-system")], ["a"], id="else its own"),
    ],
)
def test_a_proxy_of_the_root_namespace(texts: list[str], names: list[str]) -> None:
    assert found("".join(texts), ROOT) == names


def test_what_is_not_for_this_proxy_is_named() -> None:
    text = rule("a", spec="exportTo: [x]") + rule("b", spec=SELECT % "web") + rule("c", spec=SELECT % "sleep")
    selector = "spec.workloadSelector: warning: it is for app=web, this proxy's labels: none (mirror_labels)"

    assert [str(issue).split(": ", 1)[1] for issue in load(text).issues][1:2] == [
        "DestinationRule default/c: " + selector.replace("web", "sleep") + ": not used here"
    ]
    assert [str(issue) for issue in load(text, SLEEP).issues] == [
        (
            "rules.yaml:18:3: DestinationRule default/b: spec.workloadSelector: notice: it is for app=web, "
            "this proxy's labels: app=sleep,version=v1 (mirror_labels): not used here"
        ),
        (
            "rules.yaml:9:3: DestinationRule default/a: spec.exportTo: warning: exported to x, this proxy is "
            "of namespace default (mirror_namespace): not used here"
        ),
    ]


def test_a_rule_that_no_look_up_finds_is_named(warned) -> None:
    entry = f"""
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: a, namespace: svc-ns}}
spec:
  hosts: [{HOST}]
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  resolution: DNS
"""
    texts = rule("a", "other") + rule("b", "other", host="*.local") + rule("c", "istio-system")

    assert warned(texts + entry) == [
        (
            "rules.yaml:5:21: DestinationRule other/a: metadata.namespace: warning: other is neither this "
            f"proxy's namespace (default, mirror_namespace) nor that of {HOST} (svc-ns) nor istio-system: "
            "not used here"
        )
    ]
