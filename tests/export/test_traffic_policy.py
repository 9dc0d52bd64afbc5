"""What becomes of a DestinationRule's trafficPolicy, and that Envoy takes it."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from lab.certificates import Authority
from lab.envoy import find_envoy
from mitm_mirror.export.envoy import Export, export_envoy
from mitm_mirror.rule_set import load_rule_set

CLUSTER = "outbound|80||svc.default.svc.cluster.local"
RULES = """
kind: ServiceEntry
apiVersion: networking.istio.io/v1
metadata: {name: svc}
spec:
  hosts: [svc.default.svc.cluster.local]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: STATIC
  endpoints: [{address: 10.0.0.1}, {address: 10.0.0.2}]
---
kind: DestinationRule
apiVersion: networking.istio.io/v1
metadata: {name: svc}
spec:
  host: svc
  trafficPolicy: %s
---
kind: VirtualService
apiVersion: networking.istio.io/v1
metadata: {name: web}
spec:
  hosts: [web.test]
  http:
  - route: [{destination: {host: svc}}]
"""
UNLIMITED = 2**32 - 1


@pytest.fixture
def export(tmp_path: Path) -> Any:
    """Exports the rules with a traffic policy, and has Envoy, where it is installed, validate the result."""

    def export_policy(written: str, *, valid: bool = True) -> Export:
        rules = tmp_path / "rules.yaml"
        rules.write_text(RULES % written, encoding="utf-8")
        rule_set = load_rule_set([str(rules)])
        assert not rule_set.errors
        found = export_envoy(rule_set.table, rule_set.resources, port=8080)
        if valid:
            validate(found, tmp_path)
        return found

    return export_policy


def validate(found: Export, folder: Path) -> None:
    program = find_envoy()
    if program is None:
        return
    config = folder / "envoy.json"
    config.write_text(json.dumps(found.bootstrap), encoding="utf-8")
    argv: list[str | Path] = [program, "--mode", "validate", "-c", config]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "eprecated" not in done.stderr


def cluster(found: Export) -> Any:
    clusters = {each["name"]: each for each in found.bootstrap["static_resources"]["clusters"]}
    return clusters[CLUSTER]


def route_action(found: Export) -> Any:
    (listener,) = found.bootstrap["static_resources"]["listeners"]
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    return manager["route_config"]["virtual_hosts"][0]["routes"][0]["route"]


def options(found: Export) -> Any:
    return cluster(found)["typed_extension_protocol_options"][
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    ]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        pytest.param("~", {"lb_policy": "LEAST_REQUEST"}, id="Istio's default"),
        pytest.param("{loadBalancer: {simple: RANDOM}}", {"lb_policy": "RANDOM"}, id="RANDOM"),
        pytest.param("{loadBalancer: {simple: LEAST_CONN}}", {"lb_policy": "LEAST_REQUEST"}, id="old name"),
        pytest.param(
            "{loadBalancer: {simple: ROUND_ROBIN,"
            " warmup: {duration: 10s, minimumPercent: 5, aggression: 2}}}",
            {
                "lb_policy": "ROUND_ROBIN",
                "round_robin_lb_config": {
                    "slow_start_config": {
                        "slow_start_window": "10s",
                        "min_weight_percent": {"value": 5},
                        "aggression": {"default_value": 2, "runtime_key": "warmup.aggression"},
                    }
                },
            },
            id="warm-up",
        ),
        pytest.param(
            "{loadBalancer: {simple: LEAST_REQUEST, warmupDurationSecs: 5s}}",
            {
                "lb_policy": "LEAST_REQUEST",
                "least_request_lb_config": {"slow_start_config": {"slow_start_window": "5s"}},
            },
            id="deprecated warm-up",
        ),
        pytest.param(
            "{loadBalancer: {consistentHash: {httpHeaderName: x, minimumRingSize: 7}}}",
            {"lb_policy": "RING_HASH", "ring_hash_lb_config": {"minimum_ring_size": 7}},
            id="ring hash with its deprecated size",
        ),
        pytest.param(
            "{loadBalancer: {consistentHash: {httpHeaderName: x, maglev: {tableSize: 1009}}}}",
            {"lb_policy": "MAGLEV", "maglev_lb_config": {"table_size": 1009}},
            id="maglev",
        ),
    ],
)
def test_load_balancer(export: Any, written: str, expected: Any) -> None:
    found = cluster(export(written))

    assert {name: value for name, value in found.items() if name.startswith("lb_")} | {
        name: value for name, value in found.items() if name.endswith("_lb_config")
    } == expected


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        pytest.param("httpHeaderName: x-user", {"header": {"header_name": "x-user"}}, id="header"),
        pytest.param(
            "httpCookie: {name: u, path: /, ttl: 0s, attributes: [{name: Secure}]}",
            {
                "cookie": {
                    "name": "u",
                    "ttl": "0s",
                    "path": "/",
                    "attributes": [{"name": "Secure", "value": ""}],
                }
            },
            id="cookie",
        ),
        pytest.param("useSourceIp: true", {"connection_properties": {"source_ip": True}}, id="address"),
        pytest.param("httpQueryParameterName: q", {"query_parameter": {"name": "q"}}, id="query parameter"),
    ],
)
def test_hash_key(export: Any, key: str, expected: Any) -> None:
    action = route_action(export(f"{{loadBalancer: {{consistentHash: {{{key}}}}}}}"))

    assert action["hash_policy"] == [expected]
    assert "retry_host_predicate" not in action["retry_policy"], "a retry goes to the same endpoint"


def test_connection_pool(export: Any) -> None:
    found = export(
        "{connectionPool: {tcp: {maxConnections: 3, connectTimeout: 1.5s, idleTimeout: 9s,"
        " maxConnectionDuration: 1h, tcpKeepalive: {probes: 3, time: 10s, interval: 5s}},"
        " http: {http1MaxPendingRequests: 1, maxRequestsPerConnection: 7, idleTimeout: 3s}},"
        " retryBudget: {percent: 10, budgetInterval: 5s}}"
    )

    (thresholds,) = cluster(found)["circuit_breakers"]["thresholds"]
    assert thresholds == {
        "max_connections": 3,
        "max_pending_requests": 1,
        "max_requests": UNLIMITED,
        "max_retries": UNLIMITED,
        "retry_budget": {
            "budget_percent": {"value": 10},
            "min_retry_concurrency": 3,
            "budget_interval": "5s",
        },
    }
    assert cluster(found)["connect_timeout"] == "1.5s"
    assert cluster(found)["upstream_connection_options"] == {
        "tcp_keepalive": {"keepalive_probes": 3, "keepalive_time": 10, "keepalive_interval": 5}
    }
    assert options(found)["common_http_protocol_options"] == {
        "idle_timeout": "3s",
        "max_requests_per_connection": 7,
        "max_connection_duration": "3600s",
    }


def test_nothing_is_limited_by_default(export: Any) -> None:
    found = cluster(export("~"))

    (thresholds,) = found["circuit_breakers"]["thresholds"]
    assert set(thresholds.values()) == {UNLIMITED}
    assert found["connect_timeout"] == "10s"


def test_http2(export: Any) -> None:
    found = export(
        "{connectionPool: {http: {h2UpgradePolicy: UPGRADE, maxConcurrentStreams: 5,"
        " http2KeepAlive: {interval: 2s, timeout: 1s}}}}"
    )

    assert options(found)["explicit_http_config"] == {
        "http2_protocol_options": {
            "max_concurrent_streams": 5,
            "connection_keepalive": {"interval": "2s", "timeout": "1s"},
        }
    }


def test_client_protocol(export: Any) -> None:
    found = options(export("{connectionPool: {http: {useClientProtocol: true}}}"))

    assert found["use_downstream_protocol_config"].keys() == {
        "http_protocol_options",
        "http2_protocol_options",
    }


def test_outlier_detection(export: Any) -> None:
    found = export(
        "{outlierDetection: {consecutive5xxErrors: 3, consecutiveGatewayErrors: 0, interval: 1s,"
        " baseEjectionTime: 2s, maxEjectionPercent: 50, minHealthPercent: 10,"
        " splitExternalLocalOriginErrors: true, consecutiveLocalOriginFailures: 2,"
        " outlierDetectionHttpErrorCodes: [500, 503]}}"
    )

    assert cluster(found)["outlier_detection"] == {
        "enforcing_success_rate": 0,
        "consecutive_5xx": 3,
        "enforcing_consecutive_5xx": 100,
        "consecutive_gateway_failure": 0,
        "enforcing_consecutive_gateway_failure": 0,
        "interval": "1s",
        "base_ejection_time": "2s",
        "max_ejection_percent": 50,
        "split_external_local_origin_errors": True,
        "enforcing_local_origin_success_rate": 0,
        "consecutive_local_origin_failure": 2,
        "enforcing_consecutive_local_origin_failure": 100,
    }
    assert cluster(found)["common_lb_config"] == {"healthy_panic_threshold": {"value": 10}}
    assert len(options(found)["outlier_detection"]["error_matcher"]["or_match"]["rules"]) == 2


def test_mutual_tls_from_files(export: Any, tmp_path: Path) -> None:
    authority = Authority(tmp_path, "ca")
    authority.issue("client.test", label="client")
    found = export(
        "{tls: {mode: MUTUAL, clientCertificate: client.crt, privateKey: client.key, caCertificates: ca.pem,"
        " sni: s.test, subjectAltNames: [s.test, 'spiffe://a/b', 10.0.0.9, me@s.test]}, proxyProtocol: {}}"
    )

    socket = cluster(found)["transport_socket"]["typed_config"]
    assert socket["config"] == {"version": "V1"}
    tls = socket["transport_socket"]["typed_config"]
    common = tls["common_tls_context"]
    assert tls["sni"] == "s.test"
    assert common["tls_certificates"] == [
        {
            "certificate_chain": {"filename": str(tmp_path / "client.crt")},
            "private_key": {"filename": str(tmp_path / "client.key")},
        }
    ]
    assert common["validation_context"]["trusted_ca"] == {"filename": str(tmp_path / "ca.pem")}
    names = common["validation_context"]["match_typed_subject_alt_names"]
    assert [name["san_type"] for name in names] == ["DNS", "URI", "IP_ADDRESS", "EMAIL"]
    assert "upstream_http_protocol_options" not in options(found)


@pytest.mark.parametrize(
    ("written", "server_name", "verified"),
    [
        pytest.param(
            "mode: SIMPLE, caCertificates: ca.pem", {"auto_sni", "auto_san_validation"}, True, id="Host"
        ),
        pytest.param(
            "mode: SIMPLE, caCertificates: ca.pem, subjectAltNames: [a.test]", {"auto_sni"}, True, id="names"
        ),
        pytest.param("mode: SIMPLE, insecureSkipVerify: true", {"auto_sni"}, False, id="unverified"),
    ],
)
def test_server_name(
    export: Any, tmp_path: Path, written: str, server_name: set[str], verified: bool
) -> None:
    Authority(tmp_path, "ca")
    found = export(f"{{tls: {{{written}}}}}")

    common = cluster(found)["transport_socket"]["typed_config"]["common_tls_context"]
    assert options(found)["upstream_http_protocol_options"].keys() == server_name
    assert ("validation_context" in common) == verified


@pytest.mark.parametrize(
    ("written", "warned"),
    [
        pytest.param("{loadBalancer: {simple: PASSTHROUGH}}", ["loadBalancer.simple"], id="PASSTHROUGH"),
        pytest.param(
            "{loadBalancer: {localityLbSetting: {enabled: true}}}",
            ["loadBalancer.localityLbSetting"],
            id="locality",
        ),
        pytest.param("{tls: {mode: ISTIO_MUTUAL}}", ["tls.mode"], id="ISTIO_MUTUAL"),
        pytest.param(
            "{tls: {mode: SIMPLE, credentialName: secret}}", ["tls.credentialName"], id="credentialName"
        ),
        pytest.param(
            "{portLevelSettings: [{port: {number: 9}, tls: {mode: ISTIO_MUTUAL}}]}",
            ["tls.mode"],
            id="of a port",
        ),
    ],
)
def test_what_envoy_cannot_be_told_is_named(export: Any, written: str, warned: list[str]) -> None:
    # Not validated: where this system keeps its authorities is another matter.
    warnings = export(written, valid=False).warnings

    assert [warning.split(": ")[2] for warning in warnings] == warned
    assert all(":16: default/svc: " in warning for warning in warnings)
