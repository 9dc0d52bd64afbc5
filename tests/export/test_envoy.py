"""The export's shape, without Envoy: what tests/parity runs must be what was meant."""

from typing import Any
from unittest.mock import ANY

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


FAULT = "envoy.filters.http.fault"
CORS = "envoy.filters.http.cors"


def first_route(found: Export) -> Any:
    return virtual_hosts(found)[0]["routes"][0]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        pytest.param(
            "{delay: {fixedDelay: 1500ms, percentage: {value: 0.57}}}",
            {"delay": {"fixed_delay": "1.5s", "percentage": {"numerator": 5699, "denominator": "MILLION"}}},
            id="delay",
        ),
        pytest.param(
            "{delay: {fixedDelay: 5s, percent: 50}}",
            {"delay": {"fixed_delay": "5s", "percentage": {"numerator": 50, "denominator": "HUNDRED"}}},
            id="delay with the deprecated percent",
        ),
        pytest.param(
            "{abort: {grpcStatus: UNAVAILABLE, percentage: {value: 100}}}",
            {"abort": {"grpc_status": 14, "percentage": {"numerator": 1_000_000, "denominator": "MILLION"}}},
            id="gRPC abort",
        ),
        pytest.param("{abort: {httpStatus: 418}}", {"abort": {"http_status": 418}}, id="without percentage"),
    ],
)
def test_fault(written: str, expected: Any) -> None:
    config = first_route(export(f"{PLAIN}\n    fault: {written}"))["typed_per_filter_config"][FAULT]

    assert {name: value for name, value in config.items() if name != "@type"} == expected


def test_cors_policy() -> None:
    written = "{allowOrigins: [{exact: a}, {regex: b.*}], allowMethods: [GET, PUT], maxAge: 1h}"
    config = first_route(export(f"{PLAIN}\n    corsPolicy: {written}"))["typed_per_filter_config"][CORS]

    assert config["allow_origin_string_match"] == [{"exact": "a"}, {"safe_regex": {"regex": "b.*"}}]
    assert config["allow_methods"] == "GET,PUT"
    assert config["max_age"] == "3600"
    assert config["forward_not_matching_preflights"] is True
    assert "allow_credentials" not in config


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        pytest.param("", {"num_retries": 2, "retry_host_predicate": ANY}, id="Istio's default"),
        pytest.param("retries: {attempts: 0}", None, id="no retries"),
        pytest.param(
            "retries: {attempts: 3, perTryTimeout: 2s, backoff: 25ms}",
            {
                "num_retries": 3,
                "per_try_timeout": "2s",
                "retry_back_off": {"base_interval": "0.025s"},
                "retry_host_predicate": ANY,
            },
            id="times",
        ),
        pytest.param(
            "retries: {attempts: 1, retryOn: '503,reset', retryIgnorePreviousHosts: false}",
            {
                "num_retries": 1,
                "retry_on": "reset,retriable-status-codes",
                "retriable_status_codes": [503],
            },
            id="statuses among the conditions, and the same host again",
        ),
    ],
)
def test_retries(written: str, expected: Any) -> None:
    found = first_route(export(f"{PLAIN}\n    {written}"))["route"].get("retry_policy")

    usual = {
        "retry_on": "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes",
        "host_selection_retry_max_attempts": 5,
    }
    assert found == (None if expected is None else {**usual, **expected})


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        pytest.param("", {"max_stream_duration": {"grpc_timeout_header_max": "0s"}}, id="none by default"),
        # Envoy heeds no `timeout` beside a `max_stream_duration`.
        pytest.param("timeout: 2500ms", {"timeout": "2.5s", "max_grpc_timeout": "2.5s"}, id="given"),
    ],
)
def test_timeout(written: str, expected: dict[str, Any]) -> None:
    route = first_route(export(f"{PLAIN}\n    {written}"))["route"]

    fields = ("timeout", "max_grpc_timeout", "max_stream_duration")
    assert {name: route[name] for name in fields if name in route} == {"timeout": "0s", **expected}


@pytest.mark.parametrize(
    ("code", "expected", "warned"),
    [
        pytest.param("", "MOVED_PERMANENTLY", False, id="301 by default"),
        pytest.param(", redirectCode: 308", "PERMANENT_REDIRECT", False, id="given"),
        pytest.param(", redirectCode: 304", "FOUND", True, id="one that Envoy does not have"),
    ],
)
def test_redirect_code(code: str, expected: str, warned: bool) -> None:
    found = export(f"  - redirect: {{uri: /{code}}}")

    assert first_route(found)["redirect"]["response_code"] == expected
    assert ["redirectCode" in warning for warning in found.warnings] == [True] * warned


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
