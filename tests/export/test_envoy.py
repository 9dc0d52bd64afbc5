"""The export's shape, without Envoy: what tests/parity runs must be what was meant."""

from typing import Any

import pytest
import yaml

from lab.mitmdump import ROOT
from mitm_mirror.export.envoy import Export, export_envoy
from mitm_mirror.resources.load import load_text
from mitm_mirror.routing.compile import compile_table

SERVICES = """
kind: ServiceEntry
apiVersion: networking.istio.io/v1
metadata: {name: backends}
spec:
  hosts: [httpbin.default.svc.cluster.local]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: STATIC
  endpoints: [{address: 10.0.0.1, weight: 2}, {address: 10.0.0.2}]
---
kind: ServiceEntry
apiVersion: networking.istio.io/v1
metadata: {name: outside}
spec:
  hosts: [tls.example.com]
  ports: [{number: 443, name: https, protocol: HTTPS}]
  resolution: DNS
---
kind: VirtualService
apiVersion: networking.istio.io/v1
metadata: {name: web, annotations: %s}
spec:
  hosts: [%s]
  http:
%s
"""
PLAIN = "  - route: [{destination: {host: httpbin}}]"
MIRROR = PLAIN + "\n    mirror: {host: httpbin}"


def export(routes: str, annotations: str = "{}", host: str = "web.example.com", **options: Any) -> Export:
    loaded = load_text(SERVICES % (annotations, host, routes), "rules.yaml")
    assert not loaded.errors
    table, _ = compile_table(loaded.resources)
    return export_envoy(table, loaded.resources, port=8080, **options)


def clusters(found: Export) -> dict[str, Any]:
    return {cluster["name"]: cluster for cluster in found.bootstrap["static_resources"]["clusters"]}


def virtual_hosts(found: Export) -> list[Any]:
    (listener,) = found.bootstrap["static_resources"]["listeners"]
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    hosts: list[Any] = manager["route_config"]["virtual_hosts"]
    return hosts


def policy(found: Export) -> Any:
    (policy,) = virtual_hosts(found)[0]["routes"][0]["route"]["request_mirror_policies"]
    return policy


def test_cluster_has_the_endpoints_and_their_weights() -> None:
    cluster = clusters(export(PLAIN))["outbound|80||httpbin.default.svc.cluster.local"]

    (locality,) = cluster["load_assignment"]["endpoints"]
    found = {
        endpoint["endpoint"]["address"]["socket_address"]["address"]: endpoint["load_balancing_weight"]
        for endpoint in locality["lb_endpoints"]
    }
    assert cluster["type"] == "STATIC"
    assert found == {"10.0.0.1": 2, "10.0.0.2": 1}


def test_tls_by_name_is_verified() -> None:
    found = export("  - route: [{destination: {host: tls.example.com}}]\n    mirror: {host: tls.example.com}")

    cluster = clusters(found)["outbound|443||tls.example.com"]
    options = cluster["typed_extension_protocol_options"][
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    ]
    assert cluster["type"] == "STRICT_DNS"
    assert "trusted_ca" in str(cluster["transport_socket"])
    assert options["upstream_http_protocol_options"] == {"auto_sni": True, "auto_san_validation": True}
    assert [warning for warning in found.warnings if "server name" in warning]


@pytest.mark.parametrize(
    ("host", "domains"),
    [
        pytest.param("web.example.com", ["web.example.com", "web.example.com."], id="absolute names, too"),
        pytest.param("'*.example.com'", ["*.example.com", "*.example.com."], id="wildcard"),
        pytest.param("'*'", ["*"], id="everything, so nothing passes through"),
        pytest.param("10.0.0.9", ["10.0.0.9"], id="address"),
    ],
)
def test_domains(host: str, domains: list[str]) -> None:
    found = virtual_hosts(export(PLAIN, host=host))

    assert found[0]["domains"] == domains
    assert [each["name"] for each in found[1:]] == ([] if domains == ["*"] else ["pass_through"])


@pytest.mark.parametrize(
    ("annotations", "suffix", "expected", "warned"),
    [
        pytest.param("{}", "-shadow", {}, "", id="Envoy's own suffix"),
        pytest.param("{}", "", {"disable_shadow_host_suffix_append": True}, "", id="no suffix"),
        pytest.param("{}", "-canary", {}, "Envoy knows no suffix but -shadow", id="another suffix"),
        pytest.param(
            "{mitm-mirror/host: keep}", "-canary", {"disable_shadow_host_suffix_append": True}, "", id="keep"
        ),
        pytest.param(
            "{mitm-mirror/host: v2.example.com}",
            "-x",
            {"host_rewrite_literal": "v2.example.com"},
            "",
            id="literal",
        ),
        pytest.param(
            "{mitm-mirror/sample-by: client}", "-shadow", {}, "mitm-mirror/sample-by", id="sample-by"
        ),
        pytest.param("{mitm-mirror/timeout: 2s}", "-shadow", {}, "mitm-mirror/timeout", id="timeout"),
        pytest.param(
            "{mitm-mirror/remove-headers: Cookie}",
            "-shadow",
            {"request_headers_mutations": [{"remove": "cookie"}]},
            "",
            id="remove-headers",
        ),
    ],
)
def test_what_becomes_of_a_shadow(annotations: str, suffix: str, expected: Any, warned: str) -> None:
    found = export(MIRROR, annotations, host_suffix=suffix)

    assert {k: v for k, v in policy(found).items() if k not in ("cluster", "runtime_fraction")} == expected
    assert [warned in warning for warning in found.warnings] == ([True] if warned else [])
    assert all(warning.startswith("rules.yaml:") for warning in found.warnings)


def test_percentage_is_parts_per_million_cut_off() -> None:
    found = policy(export(MIRROR + "\n    mirrorPercentage: {value: 0.57}"))

    assert found["runtime_fraction"]["default_value"] == {"numerator": 5699, "denominator": "MILLION"}


@pytest.mark.parametrize(
    ("field", "name"),
    [
        ("timeout: 5s", "timeout"),
        ("retries: {attempts: 1}", "retries"),
        ("fault: {abort: {httpStatus: 500, percentage: {value: 1}}}", "fault"),
        ("corsPolicy: {allowMethods: [GET]}", "corsPolicy"),
    ],
)
def test_fields_that_are_not_translated_are_named(field: str, name: str) -> None:
    (warning,) = export(f"{PLAIN}\n    {field}").warnings

    assert warning.endswith(f"default/web http[0]: {name} is not exported")


def test_traffic_policy_is_named() -> None:
    rule = "kind: DestinationRule\napiVersion: networking.istio.io/v1\nmetadata: {name: r}\n"
    loaded = load_text(rule + "spec: {host: a, trafficPolicy: {tls: {mode: DISABLE}}}", "rules.yaml")
    table, _ = compile_table(loaded.resources)

    found = export_envoy(table, loaded.resources, port=8080)

    assert found.warnings == ("rules.yaml:4: default/r: tls of a trafficPolicy is not exported",)


def test_large_direct_responses_are_allowed_for() -> None:
    found = export(f"  - directResponse: {{status: 200, body: {{string: {'x' * 5000}}}}}")

    assert "max_direct_response_body_size_bytes: 5000" in found.text


def test_text_is_plain_yaml() -> None:
    found = export(MIRROR)

    assert yaml.safe_load(found.text) == found.bootstrap
    assert "&id" not in found.text


def test_the_repository_s_rules_are_exported_without_a_warning() -> None:
    texts = [path.read_text(encoding="utf-8") for path in sorted((ROOT / "rules").glob("*.yaml"))]
    loaded = load_text("\n---\n".join(texts), "rules.yaml")
    table, _ = compile_table(loaded.resources)

    found = export_envoy(table, loaded.resources, port=8080)

    assert found.warnings == ()
    assert policy(found)["cluster"] == "outbound|8080|v2|httpbin.default.svc.cluster.local"


def test_where_the_request_says_it_envoy_resolves_its_host() -> None:
    entry = SERVICES.partition("---")[0].replace("resolution: STATIC", "resolution: NONE")
    entry = entry.partition("  endpoints:")[0].replace("HTTP}", "HTTPS}")
    loaded = load_text(entry + "---" + SERVICES.rpartition("---")[2] % ("{}", "web.example.com", PLAIN))
    assert not loaded.errors

    found = export_envoy(compile_table(loaded.resources)[0], loaded.resources, port=8080)
    cluster = clusters(found)["outbound|80||httpbin.default.svc.cluster.local"]

    assert cluster["cluster_type"]["name"] == "envoy.clusters.dynamic_forward_proxy"
    assert cluster["transport_socket"]["name"] == "tls"
    assert not cluster["cluster_type"]["typed_config"]["allow_insecure_cluster_options"]


def test_two_virtual_services_for_one_host_by_port() -> None:
    service = """
---
kind: VirtualService
apiVersion: networking.istio.io/v1
metadata: {name: second}
spec:
  hosts: [web.example.com]
  http: [{directResponse: {status: 202}}]
"""
    first = "  - {match: [{port: 80}], directResponse: {status: 201}}"
    loaded = load_text(SERVICES % ("{}", "web.example.com", first) + service)
    found = export_envoy(compile_table(loaded.resources)[0], loaded.resources, port=8080)

    statuses = [route["direct_response"]["status"] for route in virtual_hosts(found)[0]["routes"]]
    assert statuses == [201, 404, 202]


POLICY = """
---
kind: DestinationRule
apiVersion: networking.istio.io/v1
metadata: {name: httpbin}
spec: {host: httpbin, trafficPolicy: {%s}}
"""


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        pytest.param("tls: {}", {"lb_policy": "LEAST_REQUEST"}, id="Istio's default"),
        pytest.param("loadBalancer: {simple: ROUND_ROBIN}", {"lb_policy": "ROUND_ROBIN"}, id="ROUND_ROBIN"),
        pytest.param("loadBalancer: {simple: RANDOM}", {"lb_policy": "RANDOM"}, id="RANDOM"),
        pytest.param(
            "connectionPool: {http: {http2MaxRequests: 2}}",
            {
                "circuit_breakers": {
                    "thresholds": [
                        {
                            "max_requests": 2,
                            "max_connections": 2**32 - 1,
                            "max_pending_requests": 2**32 - 1,
                            "max_retries": 2**32 - 1,
                        }
                    ]
                }
            },
            id="limits",
        ),
        pytest.param(
            "outlierDetection: {consecutive5xxErrors: 0, consecutiveGatewayErrors: 3, interval: 1500ms, "
            "splitExternalLocalOriginErrors: true, minHealthPercent: 20}",
            {
                "outlier_detection": {
                    "consecutive_5xx": 0,
                    "enforcing_consecutive_5xx": 0,
                    "enforcing_success_rate": 0,
                    "interval": "1.5s",
                    "base_ejection_time": "30s",
                    "max_ejection_percent": 10,
                    "consecutive_gateway_failure": 3,
                    "enforcing_consecutive_gateway_failure": 100,
                    "split_external_local_origin_errors": True,
                    "consecutive_local_origin_failure": 5,
                    "enforcing_local_origin_success_rate": 0,
                },
                "common_lb_config": {"healthy_panic_threshold": {"value": 20}},
            },
            id="outlier detection",
        ),
    ],
)
def test_traffic_policies(policy: str, expected: dict[str, Any]) -> None:
    cluster = clusters(export(PLAIN + POLICY % policy))["outbound|80||httpbin.default.svc.cluster.local"]

    assert {name: cluster.get(name) for name in expected} == expected


@pytest.mark.parametrize(("codes", "count"), [("[429]", 1), ("[429, 503]", 2)])
def test_statuses_that_are_errors(codes: str, count: int) -> None:
    found = export(PLAIN + POLICY % f"outlierDetection: {{outlierDetectionHttpErrorCodes: {codes}}}")
    cluster = clusters(found)["outbound|80||httpbin.default.svc.cluster.local"]
    (options,) = cluster["typed_extension_protocol_options"].values()
    matcher = options["outlier_detection"]["error_matcher"]

    assert len(matcher["or_match"]["rules"] if count > 1 else [matcher]) == count
