"""Destinations resolved: from host, subset and port to endpoints that can be chosen from."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from mitm_mirror.resources.destination_rule import (
    ConsistentHashLB,
    H2UpgradePolicy,
    HTTPSettings,
    SimpleLB,
    TLSmode,
)
from mitm_mirror.resources.issue import Issue, Severity
from mitm_mirror.resources.resource import FieldPath, Resource, Resources
from mitm_mirror.resources.service_entry import ServicePort
from mitm_mirror.resources.virtual_service import Destination, VirtualService
from mitm_mirror.routing.decision import Endpoint, HeaderOperations, Target
from mitm_mirror.routing.hash_policy import compile_hash_policy
from mitm_mirror.routing.hash_ring import DEFAULT_NODES, HashRing
from mitm_mirror.routing.host_rules import ROOT_NAMESPACE, DestinationRules, HostSubset
from mitm_mirror.routing.hosts import host_key, qualify_host
from mitm_mirror.routing.load_balancer import LoadBalancer, compile_load_balancer
from mitm_mirror.routing.maglev import MaglevTable
from mitm_mirror.routing.outlier import compile_outlier_policy
from mitm_mirror.routing.pool_limits import compile_pool_limits
from mitm_mirror.routing.port_targets import Balance, PortTargets, Sticky
from mitm_mirror.routing.services import Service, build_services, port_is_http2, port_scheme
from mitm_mirror.routing.traffic_policy import SourcedPolicy, find_setting, upstream_tls
from mitm_mirror.routing.vantage import Vantage
from mitm_mirror.routing.view import RequestView
from mitm_mirror.routing.weights import Weighted
from mitm_mirror.text import encode
from mitm_mirror.upstream_tls import UpstreamTls


@dataclass(frozen=True, slots=True)
class ResolvedDestination:
    """A destination whose endpoints are known, port by port; routes that name it share `by_port`."""

    host: str
    subset: str
    port: int | None
    """None where neither rule nor service decides: then it is the port that the client addressed."""
    by_port: Mapping[int, PortTargets]
    problem: str = ""
    """Why it leads nowhere; empty where it leads somewhere."""

    @property
    def is_settled(self) -> bool:
        """Whether each of its ports leads to one endpoint, whose address is known."""
        return all(
            len(found.targets.items) == 1 and not found.targets.items[0].endpoint.lookup
            for found in self.by_port.values()
        )

    @property
    def is_fixed(self) -> bool:
        """Whether all primaries to one port get the same endpoint, and nothing is remembered of them."""
        targets = self.by_port.values()
        return self.is_settled and all(found.is_settled and found.sticky is None for found in targets)

    def choose(self, client_port: int, draw: Callable[[], float], balance: Balance) -> Target | None:
        """One of its endpoints, whatever is to be hashed; None where there is none on that port."""
        found = self.by_port.get(client_port if self.port is None else self.port)
        return None if found is None else balance.choose(found, None, draw)

    def choose_for(
        self, view: RequestView, draw: Callable[[], float], balance: Balance
    ) -> tuple[Target | None, HeaderOperations | None]:
        """(the endpoint of a request, what to do to its response's headers); None where all are ejected.

        For primaries: a mirror's endpoint is chosen by chance, since Istio gives mirrors no hash policy
        (route.go, hashForVirtualService).
        """
        found = self.by_port.get(view.head.port if self.port is None else self.port)
        if found is None:
            return None, None
        key, operations = None, None
        if found.sticky is not None:
            key, set_cookie = found.sticky.policy(view, draw)
            if set_cookie:
                operations = HeaderOperations(add=((b"Set-Cookie", set_cookie),))
        target = found.targets.items[0] if found.is_settled else balance.choose(found, key, draw)
        return target, operations

    def is_usable(self, target: Target, client_port: int, balance: Balance) -> bool:
        """Whether one of its endpoints gets requests now."""
        found = self.by_port.get(client_port if self.port is None else self.port)
        return found is not None and target in balance.usable(found)

    def is_sticky(self, client_port: int) -> bool:
        """Whether `consistentHash` chooses its endpoints."""
        found = self.by_port.get(client_port if self.port is None else self.port)
        return found is not None and found.sticky is not None

    def cluster(self, client_port: int) -> str:
        """The name that Istio gives it: `outbound|8080|v1|httpbin.default.svc.cluster.local`."""
        port = client_port if self.port is None else self.port
        found = self.by_port.get(port)
        return f"outbound|{port}|{self.subset}|{self.host}" if found is None else found.cluster


@dataclass(frozen=True, slots=True)
class _Resolution:
    destination: ResolvedDestination
    field: FieldPath
    """The field below the destination that is to blame where it leads nowhere."""


class DestinationResolver:
    """Resolves the destinations of all VirtualServices, and collects what is wrong with them."""

    def __init__(self, resources: Resources, vantage: Vantage) -> None:
        self._services, self.issues = build_services(resources, vantage)
        self._rules = DestinationRules(resources.destination_rules, vantage)
        self.issues += [*self._rules.issues, *self._out_of_reach(resources, vantage)]
        # Thousands of routes name the same few destinations.
        self._resolutions: dict[tuple[str, str, str, int | None], _Resolution] = {}

    @property
    def clusters(self) -> dict[str, PortTargets]:
        """All that was resolved and leads somewhere, by the cluster's name."""
        found = (resolution.destination.by_port.values() for resolution in self._resolutions.values())
        return {targets.cluster: targets for by_port in found for targets in by_port}

    def addresses(self) -> list[tuple[str, str]]:
        """(address, host) of every service that has one."""
        return [(service.address, host) for host, service in self._services.items() if service.address]

    def _out_of_reach(self, resources: Resources, vantage: Vantage) -> Iterator[Issue]:
        """A warning at each rule that no look-up for its service finds; wildcards may be for any service."""
        for rule in resources.destination_rules:
            service = self._find_service(qualify_host(rule.spec.host, rule.namespace), rule.spec.host)
            if service is None or self._rules.reaches(rule.namespace, service.namespace):
                continue
            message = (
                f"{rule.namespace} is neither this proxy's namespace ({vantage.namespace}, mirror_namespace) "
                f"nor that of {service.host} ({service.namespace}) nor {ROOT_NAMESPACE}: not used here"
            )
            yield rule.issue(vantage.namespace_severity, ("metadata", "namespace"), message)

    def resolve(
        self, resource: Resource[VirtualService], path: FieldPath, destination: Destination, effect: str
    ) -> ResolvedDestination:
        """The destination at `path`; one that leads nowhere has no endpoint, with a warning.

        `effect` ends the warning with what that means: "requests for it are answered 503".
        """
        port = destination.port.number if destination.port is not None else None
        key = (resource.namespace, destination.host, destination.subset, port)
        found = self._resolutions.get(key)
        if found is None:
            found = self._resolutions[key] = self._resolve(*key)
        if found.destination.problem:
            message = f"{found.destination.problem}; {effect}"
            self.issues.append(resource.issue(Severity.WARNING, (*path, *found.field), message))
        return found.destination

    def _resolve(self, namespace: str, written: str, subset: str, port: int | None) -> _Resolution:
        """Source of the port: istio pilot/pkg/networking/core/route/route.go, GetDestinationCluster."""
        host = qualify_host(written, namespace)
        service = self._find_service(host, written)
        if port is None and service is not None and len(service.ports) == 1:
            port = service.ports[0]
        by_port, problem = self._targets(host, service, subset)
        field: FieldPath = ("subset",) if subset and service is not None else ("host",)
        if not problem and service is not None and port is not None and port not in service.ports:
            ports = ", ".join(map(str, service.ports))
            problem = f"{service.host} has no port {port}; its ports are {ports}"
            field = ("port", "number")
        return _Resolution(ResolvedDestination(host, subset, port, by_port, problem), field)

    def _find_service(self, host: str, written: str) -> Service | None:
        # Outside Kubernetes nobody qualifies a ServiceEntry's host for us: `httpbin` may be just that.
        return self._services.get(host) or self._services.get(host_key(written))

    def _targets(
        self, host: str, service: Service | None, subset: str
    ) -> tuple[Mapping[int, PortTargets], str]:
        """Targets by port, and the reason where there are none."""
        if service is None:
            return {}, f"no ServiceEntry defines host {host}"
        rules = self._rules.find(host, service.namespace)
        part = _EVERYTHING
        if subset:
            if subset not in rules.subsets:
                known = f"; known are {', '.join(rules.subsets)}" if rules.subsets else ""
                return {}, f"no DestinationRule for {host} defines subset {subset}{known}"
            part = rules.subsets[subset]
        by_port = {
            port: _port_targets(host, service, subset, part, rules.policy, port) for port in service.ports
        }
        found = {port: targets for port, targets in by_port.items() if targets is not None}
        if found:
            return found, ""
        if not subset:
            return {}, f"{service.host} has no endpoint"
        wanted = ", ".join(f"{name}={value}" for name, value in part.labels.items())
        return {}, f"{service.host} has no endpoint with the labels of subset {subset} ({wanted})"


_EVERYTHING = HostSubset({}, None)


def _port_targets(
    host: str, service: Service, subset: str, part: HostSubset, policy: SourcedPolicy | None, number: int
) -> PortTargets | None:
    endpoints: list[Endpoint] = []
    weights: list[int] = []
    tls_policy = _tls_policy(policy, part.policy, number)
    pool = find_setting(policy, part.policy, number, lambda found: found.connection_pool)
    for service_part in service.parts:
        port = next((port for port in service_part.ports if port.number == number), None)
        for workload in service_part.workloads if port is not None else ():
            if port is not None and workload.is_in(part.labels, subset):
                scheme, tls = (port_scheme(port), None) if tls_policy is None else tls_policy
                tls = _with_names(tls, scheme, service.subject_alt_names)
                http2 = _speaks_http2(port, None if pool is None else pool[0].http)
                number_there = workload.port(port)
                endpoints.append(
                    Endpoint(workload.address, number_there, scheme, tls, workload.lookup, http2)
                )
                weights.append(workload.weight)
    if not endpoints:
        return None
    setting = find_setting(policy, part.policy, number, lambda found: found.load_balancer)
    balancing = None if setting is None else setting[0]
    if balancing is not None and balancing.simple is SimpleLB.PASSTHROUGH:
        # Endpoints only say then how to speak. As in Istio (applyLoadBalancer), which makes it ORIGINAL_DST.
        endpoints = [replace(endpoints[0], address="", port=0, lookup="original_dst")]
        weights = [1]
    detection = find_setting(policy, part.policy, number, lambda found: found.outlier_detection)
    limits = None if pool is None else compile_pool_limits(pool[0])
    outlier = None if detection is None else compile_outlier_policy(detection[0])
    balancer = compile_load_balancer(balancing)
    counts = len(endpoints) > 1 and balancer is LoadBalancer.LEAST_REQUEST
    is_tracked = counts or limits is not None or outlier is not None
    targets = [Target(host, subset, number, endpoint, limits, outlier, is_tracked) for endpoint in endpoints]
    sticky = None if balancing is None else _sticky(balancing.consistent_hash, targets, weights)
    weighted, policies = Weighted(targets, weights), (policy, part.policy)
    return PortTargets(targets[0].cluster, weighted, sticky, balancer, limits, outlier, policies)


def _speaks_http2(port: ServicePort, settings: HTTPSettings | None) -> bool:
    """Whether endpoints are spoken to in HTTP/2 whatever the client speaks.

    Source: istio pilot/pkg/networking/core/cluster_traffic_policy.go, shouldH2Upgrade and
    applyConnectionPool; cluster_builder.go, setH2Options for ports whose protocol is HTTP/2.
    """
    if settings is not None and settings.use_client_protocol:
        return False
    return port_is_http2(port) or (
        settings is not None and settings.h2_upgrade_policy is H2UpgradePolicy.UPGRADE
    )


def _with_names(
    tls: UpstreamTls | None, scheme: Literal["http", "https"] | None, names: tuple[str, ...]
) -> UpstreamTls | None:
    """The settings with the ServiceEntry's subjectAltNames, where a DestinationRule gives none.

    Source: istio pilot/pkg/networking/core/cluster_tls.go, constructUpstreamTLS. They hold also where
    the port's protocol alone asks for TLS: in a mesh that is the client's own, here it is ours.
    """
    if scheme != "https" or not names or (tls is not None and tls.subject_alt_names):
        return tls
    return replace(UpstreamTls() if tls is None else tls, subject_alt_names=names)


def _sticky(
    spec: ConsistentHashLB | None, targets: Sequence[Target], weights: Sequence[int]
) -> Sticky | None:
    policy = compile_hash_policy(spec) if spec is not None else None
    if spec is None or policy is None:
        return None
    written = spec.ring_hash.minimum_ring_size if spec.ring_hash is not None else spec.minimum_ring_size
    names = [encode(f"{target.endpoint.address}:{target.endpoint.port}") for target in targets]
    if spec.maglev is not None:
        return Sticky(policy, MaglevTable(targets, weights, names, spec.maglev.table_size))
    return Sticky(policy, HashRing(targets, weights, names, written or DEFAULT_NODES))


def _tls_policy(
    rule: SourcedPolicy | None, subset: SourcedPolicy | None, port: int
) -> tuple[Literal["http", "https"], UpstreamTls | None] | None:
    """What a DestinationRule says about TLS to a port; None where its protocol or the client decides.

    ISTIO_MUTUAL needs a mesh's certificates, which are not there: it counts as absent, with a warning.
    """
    found = find_setting(rule, subset, port, lambda policy: policy.tls)
    if found is None or found[0].mode is TLSmode.ISTIO_MUTUAL:
        return None
    tls = upstream_tls(*found)
    return ("http", None) if tls is None else ("https", tls)
