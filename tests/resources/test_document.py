"""Documents: kinds, metadata, unknown fields, wrong types; each message with its place."""
# ruff: noqa: E501, ISC004 - a table reads best with one case a line and whole messages

import pytest

from mitm_mirror.resources import load
from mitm_mirror.resources.issue import Severity
from mitm_mirror.resources.load import load_text

HEAD = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: a}\n"
SPEC = "spec: {hosts: [a], http: [{route: [{destination: {host: a}}]}]}\n"


def found(text: str) -> list[tuple[str, str]]:
    """(severity, what comes after the file's name) of each issue."""
    return [(issue.severity.name, str(issue).removeprefix("f:")) for issue in load_text(text, "f").issues]


@pytest.mark.parametrize("version", ["v1", "v1beta1", "v1alpha3"])
@pytest.mark.parametrize(
    ("kind", "spec", "attribute"),
    [
        ("VirtualService", "{hosts: [a], http: [{route: [{destination: {host: a}}]}]}", "virtual_services"),
        ("DestinationRule", "{host: a}", "destination_rules"),
        (
            "ServiceEntry",
            "{hosts: [a.b], ports: [{number: 80, name: http, protocol: HTTP}], resolution: DNS}",
            "service_entries",
        ),
        ("WorkloadEntry", "{address: 10.0.0.1}", "workload_entries"),
    ],
)
def test_kinds_and_versions(version: str, kind: str, spec: str, attribute: str) -> None:
    loaded = load_text(
        f"apiVersion: networking.istio.io/{version}\nkind: {kind}\n"
        f"metadata: {{name: a, namespace: ns, labels: {{x: v1}}, annotations: {{k: v}}}}\nspec: {spec}\n"
    )

    assert loaded.issues == ()
    (resource,) = getattr(loaded.resources, attribute)
    assert str(resource) == f"{kind} ns/a"
    assert (resource.labels, resource.annotations) == ({"x": "v1"}, {"k": "v"})
    assert resource.locate(("spec",)) == (4, 1)


def test_namespace_defaults_and_status_and_what_a_cluster_adds_are_tolerated() -> None:
    metadata = "metadata: {name: a, uid: x, resourceVersion: '5', generation: 3, managedFields: []}\n"
    loaded = load_text(HEAD.replace("metadata: {name: a}\n", metadata) + SPEC + "status: {x: y}\n")

    assert loaded.issues == ()
    assert loaded.resources.virtual_services[0].namespace == "default"


def test_list_items_are_read_and_placed() -> None:
    text = """\
apiVersion: v1
kind: List
metadata: {}
items:
- apiVersion: networking.istio.io/v1
  kind: DestinationRule
  metadata: {name: one}
  spec: {host: a, bogus: 1}
- apiVersion: networking.istio.io/v1
  kind: DestinationRule
  metadata: {name: two}
  spec: {host: b}
- 5
"""
    loaded = load_text(text, "f")

    assert [resource.name for resource in loaded.resources.destination_rules] == ["one", "two"]
    assert loaded.resources.destination_rules[1].locate(("spec", "host")) == (12, 10)
    assert [message for _, message in found(text)] == [
        "8:19: DestinationRule default/one: spec.bogus: unknown field; expected one of exportTo, host, subsets, "
        "trafficPolicy, workloadSelector",
        "13:3: items[2]: 5, expected a mapping with apiVersion and kind",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            "apiVersion: apps/v1\nkind: Deployment",
            ("NOTICE", "2:1: kind: notice: Deployment (apps/v1) is passed over"),
            id="kubernetes",
        ),
        pytest.param(
            "apiVersion: v1\nkind: Service",
            ("NOTICE", "2:1: kind: notice: Service (v1) is passed over"),
            id="kubernetes core",
        ),
        pytest.param(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute",
            ("NOTICE", "2:1: kind: notice: HTTPRoute (gateway.networking.k8s.io/v1) is passed over"),
            id="gateway api",
        ),
        pytest.param(
            "apiVersion: networking.istio.io/v1\nkind: Gateway",
            ("WARNING", "2:1: kind: warning: Gateway (networking.istio.io/v1) is not acted on, only VirtualService, "
             "DestinationRule, ServiceEntry, WorkloadEntry are"),
            id="istio networking",
        ),
        pytest.param(
            "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy",
            ("WARNING", "2:1: kind: warning: AuthorizationPolicy (security.istio.io/v1) is not acted on, only VirtualService, "
             "DestinationRule, ServiceEntry, WorkloadEntry are"),
            id="istio security",
        ),
        pytest.param(
            "apiVersion: gateway.solo.io/v1\nkind: VirtualService",
            ("WARNING", "1:1: apiVersion: warning: gateway.solo.io/v1 is not Istio's, so this VirtualService is not acted on; "
             "Istio's is networking.istio.io/v1"),
            id="another project's kind",
        ),
        pytest.param(
            "apiVersion: networking.istio.io/v2\nkind: VirtualService",
            ("ERROR", "1:1: apiVersion: 'networking.istio.io/v2', expected networking.istio.io/v1 or "
             "networking.istio.io/v1beta1 or networking.istio.io/v1alpha3"),
            id="unknown version",
        ),
        pytest.param("kind: Service", ("ERROR", "1:1: apiVersion: missing"), id="no apiVersion"),
        pytest.param("apiVersion: v1", ("ERROR", "1:1: kind: missing"), id="no kind"),
        pytest.param("apiVersion: v1\nkind: 5", ("ERROR", "2:1: kind: 5, expected a string"), id="kind a number"),
        pytest.param("- a", ("ERROR", "1:1: a list, expected a mapping with apiVersion and kind"), id="a list"),
        pytest.param("x", ("ERROR", "1:1: 'x', expected a mapping with apiVersion and kind"), id="a string"),
        pytest.param("apiVersion: v1\nkind: List", ("ERROR", "1:1: items: null, expected a list"), id="list w/o items"),
    ],
)  # fmt: skip
def test_other_documents(text: str, expected: tuple[str, str]) -> None:
    assert found(text) == [expected]


NAMED = "VirtualService default/a: "


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(HEAD, f"1:1: {NAMED}spec: missing", id="no spec"),
        pytest.param(HEAD + "spec: []", f"4:1: {NAMED}spec: a list, expected a mapping", id="spec a list"),
        pytest.param(
            HEAD + SPEC + "sepc: {}", f"5:1: {NAMED}sepc: unknown field; did you mean spec?", id="top level"
        ),
        pytest.param(
            HEAD.replace("{name: a}", "{}") + SPEC,
            "3:1: VirtualService: metadata.name: missing",
            id="no name",
        ),
        pytest.param(
            HEAD.replace("metadata: {name: a}\n", "") + SPEC,
            "1:1: VirtualService: metadata.name: missing",
            id="no metadata",
        ),
        pytest.param(
            HEAD.replace("{name: a}", "5") + SPEC,
            "3:1: VirtualService: metadata: 5, expected a mapping",
            id="metadata a number",
        ),
        pytest.param(
            HEAD.replace("name: a", "name: yes") + SPEC,
            "3:12: VirtualService: metadata.name: true, expected a string; write it in quotes",
            id="name a boolean",
        ),
        pytest.param(
            HEAD.replace("name: a", "name: A_b") + SPEC,
            "3:12: VirtualService: metadata.name: 'A_b', expected lower-case letters, digits, '-' and '.' between",
            id="name not a name",
        ),
        pytest.param(
            HEAD.replace("name: a", "name: a, lables: {}") + SPEC,
            f"3:21: {NAMED}metadata.lables: unknown field; did you mean labels?",
            id="metadata field",
        ),
        pytest.param(
            HEAD.replace("name: a", "name: a, creationTimestamp: 2026-01-01") + SPEC,
            f"3:21: {NAMED}metadata.creationTimestamp: '2026-01-01', expected a time such as 2026-08-01T12:00:00Z",
            id="a day is no time",
        ),
        pytest.param(
            HEAD.replace("name: a", "name: a, labels: {x: 1}") + SPEC,
            f"3:30: {NAMED}metadata.labels.x: 1, expected a string; write it in quotes",
            id="label a number",
        ),
        pytest.param(
            HEAD.replace("name: a", "name: a, annotations: {mitm-mirror/hots: keep}") + SPEC,
            f'3:35: {NAMED}metadata.annotations["mitm-mirror/hots"]: unknown annotation; '
            "did you mean mitm-mirror/host?",
            id="unknown annotation of ours",
        ),
    ],
)
def test_errors_around_the_spec(text: str, expected: str) -> None:
    assert found(text) == [("ERROR", expected)]


@pytest.mark.parametrize(
    ("route", "expected"),
    [
        pytest.param("mirror_percentage: {value: 5}", "mirror_percentage: unknown field; did you mean mirrorPercentage?",
                     id="snake case"),
        pytest.param("mirorPercentage: {value: 5}", "mirorPercentage: unknown field; did you mean mirrorPercentage?",
                     id="misspelt"),
        pytest.param("match: [{headers: {x: {exakt: y}}}]", "match[0].headers.x.exakt: unknown field; did you mean exact?",
                     id="in a map in a list"),
        pytest.param("rewrite: {qqq: y}",
                     "rewrite.qqq: unknown field; expected one of authority, uri, uriRegexRewrite", id="nothing near"),
        pytest.param("match: [{uri: {regex: 5}}]", "match[0].uri.regex: 5, expected a string; write it in quotes",
                     id="number for a string"),
        pytest.param("match: [{uri: [a]}]", "match[0].uri: a list, expected a mapping", id="list for a message"),
        pytest.param("match: {uri: {}}", "match: a mapping, expected a list", id="mapping for a list"),
        pytest.param("match: [{headers: [a]}]", "match[0].headers: a list, expected a mapping", id="list for a map"),
        pytest.param("match: [{ignoreUriCase: 'true'}]",
                     "match[0].ignoreUriCase: 'true', expected true or false without quotes", id="quoted boolean"),
        pytest.param("mirrorPercentage: {value: a lot}", "mirrorPercentage.value: 'a lot', expected a number", id="number"),
        pytest.param("mirrorPercentage: {value: .inf}", "mirrorPercentage.value: inf, expected a finite number", id="inf"),
        pytest.param("match: [{port: 80.5}]", "match[0].port: 80.5, expected a whole number", id="fraction"),
        pytest.param("match: [{port: -1}]", "match[0].port: -1, expected 0 or more", id="negative"),
        pytest.param("match: [{port: 5000000000}]", "match[0].port: 5000000000, expected 4294967295 or less", id="large"),
        pytest.param("timeout: 5", "timeout: 5, expected a duration with its unit, such as 5s or 100ms", id="no unit"),
        pytest.param("timeout: 5 s", "timeout: '5 s', expected a duration such as 5s, 0.5s, 100ms or 1h30m", id="space"),
        pytest.param("corsPolicy: {unmatchedPreflights: X}",
                     "corsPolicy.unmatchedPreflights: 'X', expected one of UNSPECIFIED, FORWARD, IGNORE", id="enum"),
        pytest.param("name: " + "x" * 5000 + "\n    nmae: 1", "nmae: unknown field; did you mean name?", id="long value"),
    ],
)  # fmt: skip
def test_wrong_fields_of_a_route(route: str, expected: str) -> None:
    text = f"{HEAD}spec:\n  hosts: [a]\n  http:\n  - route: [{{destination: {{host: a}}}}]\n    {route}\n"

    errors = [issue for issue in load_text(text, "f").issues if issue.severity is Severity.ERROR]

    assert [f"{issue.path}: {issue.message}" for issue in errors] == [f"{NAMED}spec.http[0].{expected}"]
    assert errors[0].line >= 8


def test_found_values_are_shown_short() -> None:
    (issue,) = load_text(f"{HEAD}spec: {{hosts: [a], http: {'x' * 100_000}}}").errors

    assert len(issue.message) < 120


def test_all_errors_of_a_document_at_once() -> None:
    text = f"""\
{HEAD}spec:
  hosts: [a]
  bogus: 1
  http:
  - route:
    - destinaton: {{host: a}}
    - destination: {{host: a}}
      weight: -5
    mirror: {{host: a}}
    mirrorPercentage: {{value: 120}}
    timeout: 5
  - name: second
"""
    messages = [message for severity, message in found(text) if severity == "ERROR"]

    assert messages == [
        f"6:3: {NAMED}spec.bogus: unknown field; expected one of exportTo, gateways, hosts, http, tcp, tls",
        f"9:7: {NAMED}spec.http[0].route[0].destinaton: unknown field; did you mean destination?",
        f"11:7: {NAMED}spec.http[0].route[1].weight: -5, expected 0 or more",
        f"13:24: {NAMED}spec.http[0].mirrorPercentage.value: 120, expected 0 to 100",
        f"14:5: {NAMED}spec.http[0].timeout: 5, expected a duration with its unit, such as 5s or 100ms",
        f"15:5: {NAMED}spec.http[1]: expected route, redirect or directResponse",
    ]


def test_error_in_an_aliased_part_leaves_the_other_use_alone() -> None:
    text = f"""\
{HEAD}spec:
  hosts: [a]
  http:
  - route: &r [{{destination: {{host: a, bogus: 1}}}}]
  - route: *r
"""
    assert [message for _, message in found(text)] == [
        f"7:40: {NAMED}spec.http[{index}].route[0].destination.bogus: unknown field; expected one of host, port, subset"
        for index in (0, 1)
    ]


@pytest.mark.parametrize(
    ("spec", "count", "first"),
    [
        pytest.param(
            "".join(f"  k{n}: 1\n" for n in range(500)),
            101,
            "spec: 500 errors, the first 100 are shown",
            id="fields",
        ),
        pytest.param(
            "  hosts: [" + "5, " * 20_000 + "]\n",
            1,
            "spec: 20000 errors, which are too many to show",
            id="values",
        ),
        pytest.param(
            "  hosts: [" + "a, " * 20_000 + "]\n  http: [{route: [{destination: {host: a}}]}]\n",
            10_001,
            "spec: more than 10000 issues, the rest was not checked",
            id="checks",
        ),
    ],
)
def test_errors_of_one_document_are_bounded(spec: str, count: int, first: str) -> None:
    issues = load_text(f"{HEAD}spec:\n{spec}", "f").issues

    assert len(issues) == count
    assert f"{issues[0].path.removeprefix(NAMED)}: {issues[0].message}" == first


def test_issues_of_one_file_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "MAX_ISSUES", 10)

    issues = load_text("---\nx: 1\n" * 100, "f").issues

    assert len(issues) < 20
    assert issues[-1].message == "more than 10 issues in this file, the rest was not checked"


def test_too_many_duplicate_keys_end_the_document() -> None:
    issues = load_text("a: 1\n" * 1000, "f").issues

    assert len(issues) == 101
    assert issues[-1].message == "more than 100 duplicate keys"
