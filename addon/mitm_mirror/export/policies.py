"""Load balancer, limits and outlier detection of a cluster, as Envoy spells them.

Source: istio pilot/pkg/networking/core/cluster_traffic_policy.go.
"""

from typing import Any

from mitm_mirror.resources.destination_rule import DestinationRule, PortTrafficPolicy, TrafficPolicy
from mitm_mirror.routing.load_balancer import LoadBalancer
from mitm_mirror.routing.outlier import OutlierPolicy
from mitm_mirror.routing.pool_limits import PoolLimits
from mitm_mirror.routing.port_targets import PortTargets

_NO_LIMIT = 2**32 - 1
_POLICIES = {
    LoadBalancer.ROUND_ROBIN: "ROUND_ROBIN",
    LoadBalancer.LEAST_REQUEST: "LEAST_REQUEST",
    LoadBalancer.RANDOM: "RANDOM",
    # consistentHash: the routes name no hash policy, so by weight, as for a request without a key.
    LoadBalancer.BY_WEIGHT: "ROUND_ROBIN",
}


def traffic_policy(found: PortTargets | None) -> dict[str, Any]:
    """The fields of a cluster that say how its endpoints are chosen, limited and ejected."""
    if found is None:
        return {"lb_policy": "ROUND_ROBIN"}
    fields: dict[str, Any] = {"lb_policy": _POLICIES[found.balancer]}
    if found.limits is not None:
        fields["circuit_breakers"] = {"thresholds": [_thresholds(found.limits)]}
    if found.outlier is not None:
        fields["outlier_detection"] = _outlier_detection(found.outlier)
        fields["common_lb_config"] = {"healthy_panic_threshold": {"value": found.outlier.min_health_percent}}
    return fields


def not_exported(rule: DestinationRule) -> list[str]:
    """What of a rule's traffic policies Envoy is not told: `tls`, `consistentHash`."""
    wholes = (rule.traffic_policy, *(subset.traffic_policy for subset in rule.subsets))
    policies: list[TrafficPolicy | PortTrafficPolicy] = []
    for whole in wholes:
        policies += [] if whole is None else [whole, *whole.port_level_settings]
    found = {
        "tls": any(policy.tls is not None for policy in policies),
        "consistentHash": any(
            policy.load_balancer is not None and policy.load_balancer.consistent_hash is not None
            for policy in policies
        ),
    }
    return [name for name, is_there in found.items() if is_there]


def error_matcher(found: PortTargets | None) -> dict[str, Any]:
    """The HTTP option that names the statuses which are errors, where a rule does."""
    if found is None or found.outlier is None or not found.outlier.error_codes:
        return {}
    rules = [
        {
            "http_response_headers_match": {
                "headers": [{"name": ":status", "string_match": {"exact": str(status)}}]
            }
        }
        for status in sorted(found.outlier.error_codes)
    ]
    # Envoy takes no `or` of less than two.
    matcher = rules[0] if len(rules) == 1 else {"or_match": {"rules": rules}}
    return {"outlier_detection": {"error_matcher": matcher}}


def _thresholds(limits: PoolLimits) -> dict[str, int]:
    # Envoy's own defaults are 1024 each, Istio's have no limit.
    return {
        "max_requests": limits.max_requests or _NO_LIMIT,
        "max_connections": limits.max_connections or _NO_LIMIT,
        "max_pending_requests": limits.max_pending_requests or _NO_LIMIT,
        "max_retries": _NO_LIMIT,
    }


def _outlier_detection(outlier: OutlierPolicy) -> dict[str, Any]:
    """Success rates, which Envoy looks at unless it is told otherwise, eject nobody."""
    fields: dict[str, Any] = {
        "consecutive_5xx": outlier.consecutive_5xx,
        "enforcing_consecutive_5xx": 100 if outlier.consecutive_5xx else 0,
        "enforcing_success_rate": 0,
        "interval": _duration(outlier.interval_s),
        "base_ejection_time": _duration(outlier.base_ejection_time_s),
        "max_ejection_percent": outlier.max_ejection_percent,
    }
    if outlier.consecutive_gateway_errors:
        fields["consecutive_gateway_failure"] = outlier.consecutive_gateway_errors
        fields["enforcing_consecutive_gateway_failure"] = 100
    if outlier.split_local_origin_errors:
        fields["split_external_local_origin_errors"] = True
        fields["consecutive_local_origin_failure"] = outlier.consecutive_local_origin_failures
        fields["enforcing_local_origin_success_rate"] = 0
    return fields


def _duration(seconds: float) -> str:
    return f"{seconds:.9f}".rstrip("0").rstrip(".") + "s"
