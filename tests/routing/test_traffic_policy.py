"""Which traffic policy holds for a subset and a port, and what it makes of an endpoint."""

from collections.abc import Callable

import pytest

from mitm_mirror.resources.load import load_text
from mitm_mirror.routing.compile import compile_table
from mitm_mirror.routing.decision import Endpoint, Forward
from mitm_mirror.routing.outlier import OutlierPolicy
from mitm_mirror.routing.pool_limits import PoolLimits
from mitm_mirror.routing.request import RequestHead
from mitm_mirror.routing.table import RouteTable
from mitm_mirror.upstream_tls import UpstreamTls

RULES = """
kind: ServiceEntry
apiVersion: networking.istio.io/v1
metadata: {name: a}
spec:
  hosts: [a.example.com]
  ports:
  - {number: 80, name: http, protocol: HTTP}
  - {number: 443, name: https, protocol: HTTPS}
  - {number: 90, name: tcp}
  resolution: STATIC
  endpoints: [{address: 10.0.0.1, labels: {version: v1}}]
---
kind: VirtualService
apiVersion: networking.istio.io/v1
metadata: {name: a}
spec:
  hosts: [a.example.com]
  http:
  - route: [{destination: {host: a.example.com, subset: %s}}]
    mirror: {host: a.example.com, subset: %s}
    %s
"""
RULE = """---
kind: DestinationRule
apiVersion: networking.istio.io/v1
metadata: {name: %s}
spec: {host: a.example.com, %s}
"""

Rules = Callable[[str], RouteTable]


def decide(table: RouteTable, port: int) -> Forward:
    decision = table.decide(
        RequestHead("GET", "http", f"a.example.com:{port}", b"/", (), port, ""), lambda: 0.0
    )
    assert isinstance(decision, Forward)
    return decision


def endpoint(rules: Rules, *specs: str, port: int = 80, subset: str = "''") -> Endpoint:
    """The endpoint on `port` with these DestinationRules."""
    text = RULES % (subset, subset, "")
    return decide(
        rules(text + "".join(RULE % (f"r{i}", spec) for i, spec in enumerate(specs))), port
    ).target.endpoint


def tls(sni: str, mode: str = "SIMPLE") -> str:
    return f"tls: {{mode: {mode}, sni: {sni}}}"


RULE_PORT = "tls: {mode: SIMPLE, sni: rule}, portLevelSettings: [{port: {number: 80}, %s}]"
SUBSET_PORT = "tls: {mode: SIMPLE, sni: subset}, portLevelSettings: [{port: {number: 80}, %s}]"


def at_port(port: int, settings: str) -> str:
    return f"portLevelSettings: [{{port: {{number: {port}}}, {settings}}}]"


OTHER = "connectionPool: {http: {}}"

# rule's policy, subset's policy, SNI for port 80; None where the port's protocol (HTTP) decides.
PRECEDENCE = [
    pytest.param("", "", None, id="nothing is said"),
    pytest.param(tls("rule"), "", "rule", id="the rule's"),
    pytest.param("", tls("subset"), "subset", id="the subset's alone"),
    pytest.param(tls("rule"), tls("subset"), "subset", id="the subset's over the rule's"),
    pytest.param(tls("rule"), OTHER, "rule", id="the subset inherits what it leaves out"),
    pytest.param(RULE_PORT % tls("port"), "", "port", id="the port's over the rule's"),
    pytest.param(f"{tls('rule')}, {at_port(81, tls('port'))}", "", "rule", id="another port's"),
    pytest.param(RULE_PORT % OTHER, "", None, id="the port inherits nothing"),
    pytest.param(RULE_PORT % tls("port"), tls("subset"), "subset", id="subset over rule's port"),
    pytest.param(RULE_PORT % tls("port"), OTHER, "port", id="the subset inherits the rule's port"),
    pytest.param(RULE_PORT % OTHER, OTHER, None, id="the subset inherits the port's default"),
    pytest.param(tls("rule"), SUBSET_PORT % tls("port"), "port", id="the subset's port first"),
    pytest.param(tls("rule"), SUBSET_PORT % OTHER, None, id="the subset's port inherits nothing"),
    pytest.param(tls("rule"), f"{tls('subset')}, {at_port(81, OTHER)}", "subset", id="a subset's other port"),
    pytest.param(tls("rule"), tls("subset", "DISABLE"), None, id="the subset turns it off"),
    pytest.param(
        "portLevelSettings: [{port: {number: 80}, tls: {mode: SIMPLE, sni: one}}, "
        "{port: {number: 80}, tls: {mode: SIMPLE, sni: two}}]",
        "",
        "one",
        id="the first of one port",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "subset", "sni"), PRECEDENCE)
def test_precedence(rules: Rules, rule: str, subset: str, sni: str | None) -> None:
    parts = []
    if rule:
        parts.append(f"trafficPolicy: {{{rule}}}")
    policy = f", trafficPolicy: {{{subset}}}" if subset else ""
    parts.append(f"subsets: [{{name: v1, labels: {{version: v1}}{policy}}}]")

    found = endpoint(rules, ", ".join(parts), subset="v1")

    assert (found.scheme, found.tls and found.tls.sni) == (("http", None) if sni is None else ("https", sni))


@pytest.mark.parametrize(
    ("policy", "port", "scheme"),
    [
        pytest.param(OTHER, 80, "http", id="HTTP without a policy"),
        pytest.param(OTHER, 443, "https", id="HTTPS without a policy"),
        pytest.param(OTHER, 90, None, id="no protocol: the client's scheme"),
        pytest.param("tls: {mode: DISABLE}", 443, "http", id="DISABLE on HTTPS"),
        pytest.param("tls: {}", 443, "http", id="DISABLE is the default mode"),
        pytest.param("tls: {mode: SIMPLE}", 80, "https", id="SIMPLE on HTTP"),
        pytest.param("tls: {mode: SIMPLE}", 90, "https", id="SIMPLE without a protocol"),
        pytest.param("tls: {mode: ISTIO_MUTUAL}", 80, "http", id="ISTIO_MUTUAL on HTTP"),
        pytest.param("tls: {mode: ISTIO_MUTUAL}", 443, "https", id="ISTIO_MUTUAL on HTTPS"),
    ],
)
def test_scheme(rules: Rules, policy: str, port: int, scheme: str | None) -> None:
    found = endpoint(rules, f"trafficPolicy: {{{policy}}}", port=port)

    assert (found.scheme, found.tls is not None) == (scheme, "SIMPLE" in policy)


def test_rules_for_one_host_add_up_and_the_first_policy_wins_whole(rules: Rules) -> None:
    subset = "subsets: [{name: v1, labels: {version: v1}}]"
    no_policy, first = subset, f"trafficPolicy: {{{tls('first')}}}"
    second = f"trafficPolicy: {{{at_port(80, tls('second'))}}}"

    found = endpoint(rules, no_policy, first, second, subset="v1")

    assert found.tls == UpstreamTls(sni="first")


def settings(text: str, file: str = "/etc/rules/rules.yaml") -> UpstreamTls | None:
    """Compiled although files are missing, which is an error of loading and not of routing."""
    loaded = load_text(RULES % ("''", "''", "") + RULE % ("r", f"trafficPolicy: {{tls: {{{text}}}}}"), file)
    return decide(compile_table(loaded.resources)[0], 80).target.endpoint.tls


FILES = "clientCertificate: /c.pem, privateKey: k.pem, caCertificates: ../ca.pem"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("mode: SIMPLE", UpstreamTls(), id="nothing given"),
        pytest.param("mode: SIMPLE, caCertificates: system", UpstreamTls(), id="the system's authorities"),
        pytest.param(
            f"mode: SIMPLE, {FILES}", UpstreamTls(ca_file="/etc/ca.pem"), id="SIMPLE presents nothing"
        ),
        pytest.param(
            f"mode: MUTUAL, {FILES}, sni: s, subjectAltNames: [a, b]",
            UpstreamTls("s", "/etc/ca.pem", "/c.pem", "/etc/rules/k.pem", ("a", "b")),
            id="MUTUAL",
        ),
        pytest.param("mode: SIMPLE, insecureSkipVerify: true", UpstreamTls(verify=False), id="not verified"),
        pytest.param("mode: SIMPLE, insecureSkipVerify: false", UpstreamTls(), id="verified"),
    ],
)
def test_settings(text: str, expected: UpstreamTls) -> None:
    assert settings(text) == expected


@pytest.mark.parametrize(
    ("policy", "authority", "sni"),
    [
        pytest.param("tls: {mode: SIMPLE}", "", "a.example.com", id="of the request's authority"),
        pytest.param("tls: {mode: SIMPLE}", "'b.example:8443'", "b.example", id="of the rewritten authority"),
        pytest.param("tls: {mode: SIMPLE, sni: c.example}", "'b.example'", "c.example", id="the rule's"),
    ],
)
def test_server_name_of_both_copies(rules: Rules, policy: str, authority: str, sni: str) -> None:
    rewrite = f"rewrite: {{authority: {authority}}}" if authority else ""
    text = RULES % ("''", "''", rewrite) + RULE % ("r", f"trafficPolicy: {{{policy}}}")

    decision = decide(rules(text), 80)

    assert [decision.sni, *(copy.sni for copy in decision.mirrors)] == [sni, sni]
    assert "-shadow" in decision.mirrors[0].authority


def test_limits_and_outlier_detection_are_of_the_cluster(rules: Rules) -> None:
    subset = "subsets: [{name: v1, labels: {version: v1}, trafficPolicy: {outlierDetection: {interval: 1s}}}]"
    pool = "trafficPolicy: {connectionPool: {http: {http2MaxRequests: 3}}}"
    table = rules(RULES % ("v1", "''", "") + RULE % ("r", f"{pool}, {subset}"))

    decision = decide(table, 80)
    (copy,) = decision.mirrors

    assert (decision.target.limits, decision.target.outlier) == (PoolLimits(3), OutlierPolicy(interval_s=1.0))
    assert copy.target is not None
    assert (copy.target.limits, copy.target.outlier) == (PoolLimits(3), None)
