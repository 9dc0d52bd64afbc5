"""The proxy that this one plays: how it is written, and what it sees."""

import pytest

from mitm_mirror.resources.issue import Severity
from mitm_mirror.routing.vantage import (
    DEFAULT_VANTAGE,
    Vantage,
    VantageError,
    parse_vantage,
    resolve_gateway,
    show_labels,
)


@pytest.mark.parametrize(
    ("gateways", "namespace", "labels", "expected"),
    [
        pytest.param([], "default", "", DEFAULT_VANTAGE, id="nothing is a sidecar of default"),
        pytest.param(
            ["gw", "./other", "a/b", "default/gw"],
            "default",
            "",
            Vantage(("default/gw", "default/other", "a/b"), "default", {}),
            id="gateways, each once",
        ),
        pytest.param(["mesh", "gw"], "prod", "", Vantage(("mesh", "prod/gw"), "prod", {}), id="both"),
        pytest.param(
            ["mesh"],
            "default",
            "app=sleep, istio.io/rev=, version=v1",
            Vantage(("mesh",), "default", {"app": "sleep", "istio.io/rev": "", "version": "v1"}),
            id="labels, one of them empty",
        ),
    ],
)
def test_vantages(gateways: list[str], namespace: str, labels: str, expected: Vantage) -> None:
    assert parse_vantage(gateways, namespace, labels) == expected


@pytest.mark.parametrize(
    ("gateways", "namespace", "labels", "part", "message"),
    [
        (["a/b/c"], "default", "", "gateways", "'a/b/c', expected mesh, NAME or NAMESPACE/NAME"),
        ([""], "default", "", "gateways", "'', expected mesh, NAME or NAMESPACE/NAME"),
        (["A"], "default", "", "gateways", "'A', expected mesh, NAME or NAMESPACE/NAME"),
        ([], "", "", "namespace", "'', expected a namespace such as default"),
        ([], "a.b", "", "namespace", "'a.b', expected a namespace such as default"),
        ([], "a" * 64, "", "namespace", f"'{'a' * 64}', expected a namespace such as default"),
        ([], "default", "app", "labels", "'app', expected NAME=VALUE, several with commas between"),
        ([], "default", "=a", "labels", "'=a', expected NAME=VALUE, several with commas between"),
        ([], "default", "a=b,", "labels", "'', expected NAME=VALUE, several with commas between"),
        ([], "default", "a=b,a=c", "labels", "'a' is given twice, expected each label once"),
        (
            [],
            "default",
            "a b=c",
            "labels",
            "'a b' is not a label name; expected labels such as app=sleep,version=v1",
        ),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_is_no_vantage(
    gateways: list[str], namespace: str, labels: str, part: str, message: str
) -> None:
    with pytest.raises(VantageError) as raised:
        parse_vantage(gateways, namespace, labels)

    assert (raised.value.part, str(raised.value)) == (part, message)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mesh", "mesh"),
        ("gw", "ns/gw"),
        ("./gw", "ns/gw"),
        ("other/gw", "other/gw"),
        ("gw.other", "other/gw"),
        ("gw.other.svc.cluster.local", "other/gw"),
    ],
)
def test_gateway_names(name: str, expected: str) -> None:
    """Cases as in istio's TestResolveGatewayName."""
    assert resolve_gateway(name, "ns") == expected


@pytest.mark.parametrize(
    ("export_to", "owner", "seen"),
    [
        pytest.param((), "other", True, id="no exportTo is all"),
        pytest.param(("*",), "other", True, id="all"),
        pytest.param((".",), "own", True, id="its own namespace"),
        pytest.param((".",), "other", False, id="another's own namespace"),
        pytest.param(("own",), "other", True, id="by name"),
        pytest.param(("a", "own"), "other", True, id="by name among others"),
        pytest.param(("other",), "other", False, id="another by name"),
        pytest.param(("a",), "own", False, id="not even its own"),
        pytest.param(("~",), "own", False, id="nobody"),
    ],
)
def test_what_it_sees(export_to: tuple[str, ...], owner: str, seen: bool) -> None:
    assert Vantage(namespace="own").sees(export_to, owner) is seen


def test_only_what_nobody_asked_for_is_a_warning() -> None:
    asked = Vantage(("a/b",), "own", {"a": "b"})

    for vantage, severity in ((DEFAULT_VANTAGE, Severity.WARNING), (asked, Severity.NOTICE)):
        assert {vantage.gateway_severity, vantage.namespace_severity, vantage.labels_severity} == {severity}


def test_labels_for_people() -> None:
    assert [show_labels({}), show_labels({"a": "b", "c": ""})] == ["none", "a=b,c="]
