"""A traffic policy as fields of an Envoy cluster.

Source: istio pilot/pkg/networking/core/cluster_traffic_policy.go.
"""

from typing import Any

from mitm_mirror.export.durations import duration
from mitm_mirror.export.hashing import hash_fields
from mitm_mirror.export.policies import ClusterPolicy
from mitm_mirror.resources.destination_rule import (
    ConnectionPoolSettings,
    HTTPSettings,
    LoadBalancerSettings,
    OutlierDetection,
    RetryBudget,
    SimpleLB,
    TCPSettings,
)

_CONNECT_TIMEOUT_S = 10.0  # Istio's (meshConfig.connectTimeout); Envoy's own is 5 s
_UNLIMITED = 2**32 - 1
_UNLIMITED_THRESHOLDS = dict.fromkeys(
    ("max_connections", "max_pending_requests", "max_requests", "max_retries"), _UNLIMITED
)
_LB_POLICIES = {SimpleLB.RANDOM: "RANDOM", SimpleLB.ROUND_ROBIN: "ROUND_ROBIN"}
_DEFAULT_LB_POLICY = "LEAST_REQUEST"


def policy_fields(policy: ClusterPolicy) -> dict[str, Any]:
    """The cluster's fields but for its endpoints, TLS and protocol."""
    pool = policy.connection_pool or ConnectionPoolSettings()
    tcp = pool.tcp or TCPSettings()
    connect_timeout_s = tcp.connect_timeout if tcp.connect_timeout is not None else _CONNECT_TIMEOUT_S
    fields: dict[str, Any] = {
        "connect_timeout": duration(connect_timeout_s),
        **_load_balancer(policy.load_balancer or LoadBalancerSettings()),
        "circuit_breakers": {"thresholds": [_thresholds(pool, policy.retry_budget)]},
    }
    if tcp.tcp_keepalive is not None:
        keepalive: dict[str, Any] = {}
        if tcp.tcp_keepalive.probes:
            keepalive["keepalive_probes"] = tcp.tcp_keepalive.probes
        if tcp.tcp_keepalive.time is not None:
            keepalive["keepalive_time"] = int(tcp.tcp_keepalive.time)
        if tcp.tcp_keepalive.interval is not None:
            keepalive["keepalive_interval"] = int(tcp.tcp_keepalive.interval)
        fields["upstream_connection_options"] = {"tcp_keepalive": keepalive}
    if policy.outlier_detection is not None:
        fields["outlier_detection"] = _outlier_detection(policy.outlier_detection)
        # Istio's 0 by default; Envoy's own 50 would send requests to ejected endpoints.
        panic = {"value": policy.outlier_detection.min_health_percent}
        fields["common_lb_config"] = {"healthy_panic_threshold": panic}
    return fields


def protocol_fields(policy: ClusterPolicy, http1: dict[str, Any], *, http2: bool) -> dict[str, Any]:
    """The fields of the cluster's HttpProtocolOptions; `http1` are the options of HTTP/1, `http2` says that
    HTTP/2 is spoken instead."""
    pool = policy.connection_pool or ConnectionPoolSettings()
    http, tcp = pool.http or HTTPSettings(), pool.tcp or TCPSettings()
    fields: dict[str, Any] = {}
    if http.use_client_protocol:
        both = {"http_protocol_options": http1, "http2_protocol_options": _http2(http)}
        fields["use_downstream_protocol_config"] = both
    elif http2:
        fields["explicit_http_config"] = {"http2_protocol_options": _http2(http)}
    else:
        fields["explicit_http_config"] = {"http_protocol_options": http1}
    common: dict[str, Any] = {}
    idle_timeout_s = http.idle_timeout if http.idle_timeout is not None else tcp.idle_timeout
    if idle_timeout_s is not None:
        common["idle_timeout"] = duration(idle_timeout_s)
    if http.max_requests_per_connection > 0:
        common["max_requests_per_connection"] = http.max_requests_per_connection
    if tcp.max_connection_duration is not None:
        common["max_connection_duration"] = duration(tcp.max_connection_duration)
    if common:
        fields["common_http_protocol_options"] = common
    codes = policy.outlier_detection.outlier_detection_http_error_codes if policy.outlier_detection else ()
    if codes:
        rules = [_status_is(code) for code in codes]
        matcher = rules[0] if len(rules) == 1 else {"or_match": {"rules": rules}}
        fields["outlier_detection"] = {"error_matcher": matcher}
    return fields


def _load_balancer(spec: LoadBalancerSettings) -> dict[str, Any]:
    if spec.consistent_hash is not None:
        return hash_fields(spec.consistent_hash)
    # PASSTHROUGH among the others, with a warning.
    lb_policy = _LB_POLICIES.get(spec.simple or SimpleLB.UNSPECIFIED, _DEFAULT_LB_POLICY)
    fields: dict[str, Any] = {"lb_policy": lb_policy}
    slow_start = _slow_start(spec)
    if slow_start and lb_policy != "RANDOM":
        fields[f"{lb_policy.lower()}_lb_config"] = {"slow_start_config": slow_start}
    return fields


def _slow_start(spec: LoadBalancerSettings) -> dict[str, Any]:
    warmup = spec.warmup
    if warmup is None:
        older = spec.warmup_duration_secs
        return {} if older is None else {"slow_start_window": duration(older)}
    found: dict[str, Any] = {"slow_start_window": duration(warmup.duration or 0.0)}
    if warmup.minimum_percent is not None:
        found["min_weight_percent"] = {"value": warmup.minimum_percent}
    if warmup.aggression is not None:
        found["aggression"] = {"default_value": warmup.aggression, "runtime_key": "warmup.aggression"}
    return found


def _thresholds(pool: ConnectionPoolSettings, budget: RetryBudget | None) -> dict[str, Any]:
    """Without limits that no rule asked for: Envoy's own are 1,024 of each, and 3 retries."""
    http, tcp = pool.http or HTTPSettings(), pool.tcp or TCPSettings()
    given = {
        "max_connections": tcp.max_connections,
        "max_pending_requests": http.http1_max_pending_requests,
        "max_requests": http.http2_max_requests,
        "max_retries": http.max_retries,
    }
    thresholds: dict[str, Any] = {**_UNLIMITED_THRESHOLDS, **{k: v for k, v in given.items() if v > 0}}
    if budget is not None:
        found: dict[str, Any] = {
            "budget_percent": {"value": 20.0 if budget.percent is None else budget.percent},
            "min_retry_concurrency": budget.min_retry_concurrency or 3,
        }
        if budget.budget_interval is not None:
            found["budget_interval"] = duration(budget.budget_interval)
        thresholds["retry_budget"] = found
    return thresholds


def _http2(http: HTTPSettings) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if http.max_concurrent_streams > 0:
        fields["max_concurrent_streams"] = http.max_concurrent_streams
    if http.http2_keep_alive is not None:
        keepalive = {}
        if http.http2_keep_alive.interval is not None:
            keepalive["interval"] = duration(http.http2_keep_alive.interval)
        if http.http2_keep_alive.timeout is not None:
            keepalive["timeout"] = duration(http.http2_keep_alive.timeout)
        fields["connection_keepalive"] = keepalive
    return fields


def _status_is(code: int) -> dict[str, Any]:
    return {
        "http_response_headers_match": {
            "headers": [{"name": ":status", "string_match": {"exact": str(code)}}]
        }
    }


def _outlier_detection(spec: OutlierDetection) -> dict[str, Any]:
    """`consecutiveErrors` is deprecated, and Istio does not read it any more."""
    found: dict[str, Any] = {"enforcing_success_rate": 0}
    for name, value in (
        ("consecutive_5xx", spec.consecutive_5xx_errors),
        ("consecutive_gateway_failure", spec.consecutive_gateway_errors),
    ):
        if value is not None:
            found[name] = value
            found[f"enforcing_{name}"] = 100 if value > 0 else 0
    if spec.interval is not None:
        found["interval"] = duration(spec.interval)
    if spec.base_ejection_time is not None:
        found["base_ejection_time"] = duration(spec.base_ejection_time)
    if spec.max_ejection_percent > 0:
        found["max_ejection_percent"] = spec.max_ejection_percent
    if spec.split_external_local_origin_errors:
        found["split_external_local_origin_errors"] = True
        found["enforcing_local_origin_success_rate"] = 0
        if spec.consecutive_local_origin_failures:
            found["consecutive_local_origin_failure"] = spec.consecutive_local_origin_failures
            found["enforcing_consecutive_local_origin_failure"] = 100
    return found
