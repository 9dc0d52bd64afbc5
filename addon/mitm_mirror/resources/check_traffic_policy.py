"""What a trafficPolicy may not say although its types are right.

Source: istio pkg/config/validation/validation.go (validateTrafficPolicy, validatePortTrafficPolicies,
validateTunnelSettings).
"""

from collections.abc import Iterator

from mitm_mirror.resources import names
from mitm_mirror.resources.check_client_tls import check_client_tls
from mitm_mirror.resources.check_connection_pool import check_connection_pool, check_outlier_detection
from mitm_mirror.resources.check_load_balancer import check_load_balancer
from mitm_mirror.resources.destination_rule import (
    PortTrafficPolicy,
    RetryBudget,
    TrafficPolicy,
    TunnelSettings,
)
from mitm_mirror.resources.finding import Finding, error, show, warning
from mitm_mirror.resources.metadata import Metadata
from mitm_mirror.resources.resource import FieldPath

_FIELDS = ("load_balancer", "connection_pool", "outlier_detection", "tls")
_RULE_FIELDS = (*_FIELDS, "tunnel", "proxy_protocol", "retry_budget")


def check_traffic_policy(policy: TrafficPolicy, path: FieldPath, metadata: Metadata) -> Iterator[Finding]:
    """All errors and warnings of one policy, which stands at `path`."""
    if not policy.port_level_settings and _is_empty(policy, _RULE_FIELDS):
        yield error(path, "empty, expected at least one setting")
    if policy.tunnel is not None and policy.proxy_protocol is not None:
        yield error((*path, "proxyProtocol"), "not allowed beside tunnel")
    yield from _check_settings(policy, path, metadata)
    if policy.tunnel is not None:
        yield from _check_tunnel(policy.tunnel, (*path, "tunnel"))
    if policy.retry_budget is not None:
        yield from _check_retry_budget(policy.retry_budget, (*path, "retryBudget"))
    seen: set[int] = set()
    for index, settings in enumerate(policy.port_level_settings):
        at = (*path, "portLevelSettings", index)
        number = settings.port.number if settings.port is not None else 0
        if not number:
            yield error((*at, "port"), "missing, expected the number of a service's port")
        elif number in seen:
            yield warning((*at, "port"), f"never used: settings for port {number} stand above already")
        seen.add(number)
        if _is_empty(settings, _FIELDS):
            yield error(at, "empty, expected at least one setting beside the port")
        yield from _check_settings(settings, at, metadata)


def _check_settings(
    policy: TrafficPolicy | PortTrafficPolicy, path: FieldPath, metadata: Metadata
) -> Iterator[Finding]:
    ejects = policy.outlier_detection is not None
    if policy.tls is not None:
        yield from check_client_tls(policy.tls, (*path, "tls"), metadata)
    if policy.load_balancer is not None:
        yield from check_load_balancer(policy.load_balancer, (*path, "loadBalancer"), ejects=ejects)
    if policy.connection_pool is not None:
        yield from check_connection_pool(policy.connection_pool, (*path, "connectionPool"))
    if policy.outlier_detection is not None:
        yield from check_outlier_detection(policy.outlier_detection, (*path, "outlierDetection"))


def _check_tunnel(tunnel: TunnelSettings, path: FieldPath) -> Iterator[Finding]:
    if tunnel.protocol not in ("", "CONNECT", "POST"):
        yield error((*path, "protocol"), f"{show(tunnel.protocol)}, expected CONNECT or POST")
    host = tunnel.target_host
    message = None if names.is_ip(host) else names.host_name(host, wildcard=False)
    yield from names.at((*path, "targetHost"), message if host else "missing")
    yield from names.at((*path, "targetPort"), names.port_number(tunnel.target_port))


def _check_retry_budget(budget: RetryBudget, path: FieldPath) -> Iterator[Finding]:
    """The CRD's rules; Istio's validation has none."""
    if budget.percent is not None and not 0 <= budget.percent <= 100:
        yield error((*path, "percent"), f"{show(budget.percent)}, expected 0 to 100")


def _is_empty(policy: TrafficPolicy | PortTrafficPolicy, fields: tuple[str, ...]) -> bool:
    return all(getattr(policy, field) is None for field in fields)
