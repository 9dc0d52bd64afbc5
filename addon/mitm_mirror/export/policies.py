"""The traffic policy of each cluster, and what of the rules' policies Envoy cannot be told."""

from collections.abc import Iterator
from dataclasses import dataclass

from mitm_mirror.resources.certificates import certificate_path
from mitm_mirror.resources.destination_rule import (
    ClientTLSSettings,
    ConnectionPoolSettings,
    ConsistentHashLB,
    DestinationRule,
    LoadBalancerSettings,
    OutlierDetection,
    PortTrafficPolicy,
    ProxyProtocol,
    RetryBudget,
    SimpleLB,
    TLSmode,
    TrafficPolicy,
)
from mitm_mirror.resources.resource import FieldPath, Resource
from mitm_mirror.routing.port_targets import PortTargets
from mitm_mirror.routing.traffic_policy import find_setting


@dataclass(frozen=True, slots=True)
class ClusterPolicy:
    """What the DestinationRules say about one subset on one port; None where they say nothing."""

    load_balancer: LoadBalancerSettings | None
    connection_pool: ConnectionPoolSettings | None
    outlier_detection: OutlierDetection | None
    crl: str
    """The file with revoked certificates; empty where there is none. All else of `tls` is compiled."""
    proxy_protocol: ProxyProtocol | None
    retry_budget: RetryBudget | None

    @property
    def consistent_hash(self) -> ConsistentHashLB | None:
        return None if self.load_balancer is None else self.load_balancer.consistent_hash


def cluster_policy(found: PortTargets | None, port: int) -> ClusterPolicy:
    """The policy of a service's port; None stands for a cluster without endpoints."""
    policies = (None, None) if found is None else found.policies
    load_balancer = find_setting(*policies, port, lambda policy: policy.load_balancer)
    connection_pool = find_setting(*policies, port, lambda policy: policy.connection_pool)
    outlier_detection = find_setting(*policies, port, lambda policy: policy.outlier_detection)
    tls = find_setting(*policies, port, lambda policy: policy.tls)
    proxy_protocol = find_setting(*policies, port, _proxy_protocol)
    retry_budget = find_setting(*policies, port, _retry_budget)
    return ClusterPolicy(
        None if load_balancer is None else load_balancer[0],
        None if connection_pool is None else connection_pool[0],
        None if outlier_detection is None else outlier_detection[0],
        _crl(tls),
        None if proxy_protocol is None else proxy_protocol[0],
        None if retry_budget is None else retry_budget[0],
    )


def _crl(found: tuple[ClientTLSSettings, str] | None) -> str:
    if found is None or not found[0].ca_crl:
        return ""
    return certificate_path(found[1], found[0].ca_crl)


def _proxy_protocol(policy: TrafficPolicy | PortTrafficPolicy) -> ProxyProtocol | None:
    return policy.proxy_protocol if isinstance(policy, TrafficPolicy) else None


def _retry_budget(policy: TrafficPolicy | PortTrafficPolicy) -> RetryBudget | None:
    return policy.retry_budget if isinstance(policy, TrafficPolicy) else None


def policy_warnings(rule: Resource[DestinationRule]) -> Iterator[str]:
    """`file:line: namespace/name: message` for each field that has no counterpart in a static Envoy."""
    for path, policy in _policies(rule.spec):
        for field, message in _untranslated(policy):
            line, _ = rule.locate((*path, *field))
            yield f"{rule.file}:{line}: {rule.namespace}/{rule.name}: {'.'.join(field)}: {message}"


def _policies(spec: DestinationRule) -> Iterator[tuple[FieldPath, TrafficPolicy | PortTrafficPolicy]]:
    roots: list[tuple[FieldPath, TrafficPolicy | None]] = [(("spec", "trafficPolicy"), spec.traffic_policy)]
    for i, subset in enumerate(spec.subsets):
        roots.append((("spec", "subsets", i, "trafficPolicy"), subset.traffic_policy))
    for path, policy in roots:
        if policy is not None:
            yield path, policy
            for i, settings in enumerate(policy.port_level_settings):
                yield (*path, "portLevelSettings", i), settings


def _untranslated(policy: TrafficPolicy | PortTrafficPolicy) -> Iterator[tuple[tuple[str, ...], str]]:
    if isinstance(policy, TrafficPolicy) and policy.tunnel is not None:
        yield ("tunnel",), "not exported, it is for TCP and TLS routes"
    if policy.load_balancer is not None:
        if policy.load_balancer.simple is SimpleLB.PASSTHROUGH:
            message = "PASSTHROUGH is exported as LEAST_REQUEST: a proxy has no original destination"
            yield ("loadBalancer", "simple"), message
        for name, value in (
            ("localityLbSetting", policy.load_balancer.locality_lb_setting),
            ("zoneAwareLbSetting", policy.load_balancer.zone_aware_lb_setting),
        ):
            if value is not None:
                yield ("loadBalancer", name), "not exported, endpoints have no locality here"
    if policy.tls is not None:
        if policy.tls.mode is TLSmode.ISTIO_MUTUAL:
            yield (
                ("tls", "mode"),
                "ISTIO_MUTUAL needs a mesh's certificates: exported as if there were no tls",
            )
        if policy.tls.credential_name:
            yield ("tls", "credentialName"), "not exported, Kubernetes secrets are not read"
