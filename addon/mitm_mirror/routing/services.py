"""The service registry: what ServiceEntry and WorkloadEntry say about where services are."""

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from mitm_mirror.resources.issue import Issue, Severity
from mitm_mirror.resources.resource import FieldPath, Resource, Resources, oldest_first
from mitm_mirror.resources.service_entry import Resolution, ServiceEntry, ServicePort
from mitm_mirror.resources.workload_entry import WorkloadEntry
from mitm_mirror.routing.decision import Lookup
from mitm_mirror.routing.hosts import host_key
from mitm_mirror.routing.vantage import Vantage

_SCHEMES: dict[str, Literal["http", "https"]] = {
    "HTTP": "http",
    "HTTP2": "http",
    "GRPC": "http",
    "GRPC-WEB": "http",
    "HTTPS": "https",
    "TLS": "https",
}

Labels = Mapping[str, str]


def port_scheme(port: ServicePort) -> Literal["http", "https"] | None:
    """What is spoken on a service's port; None where its protocol leaves that to the client's scheme."""
    return _SCHEMES.get(port.protocol.upper())


def port_is_http2(port: ServicePort) -> bool:
    """Whether HTTP/2 is what is spoken there (istio pkg/config/protocol/instance.go, IsHTTP2)."""
    return port.protocol.upper() in {"HTTP2", "GRPC", "GRPC-WEB"}


def is_subset(wanted: Labels, labels: Labels) -> bool:
    """Whether all wanted labels are there (istio pkg/config/labels, SubsetOf)."""
    return all(labels.get(name) == value for name, value in wanted.items())


@dataclass(frozen=True, slots=True)
class Workload:
    """One place where a service runs."""

    address: str
    ports: Mapping[str, int]
    """By the service port's name."""
    labels: Labels
    weight: int
    lookup: Lookup = ""

    def is_in(self, labels: Labels, subset: str) -> bool:
        """Whether it is part of a subset with these labels.

        NONE knows no labels and serves every subset; DYNAMIC_DNS has none (istio
        pilot/pkg/networking/core/cluster_builder.go, buildSubsetCluster).
        """
        if self.lookup == "host":
            return not subset
        return self.lookup == "original_dst" or is_subset(labels, self.labels)

    def port(self, service_port: ServicePort) -> int:
        """0 where it is the request's to give: with NONE unless there is a targetPort (convertServices).

        Source: istio's serviceentry/conversion.go, convertWorkloadInstanceToServiceInstance.
        """
        if self.lookup:
            return service_port.target_port if self.lookup == "original_dst" else 0
        return self.ports.get(service_port.name) or service_port.target_port or service_port.number


@dataclass(frozen=True, slots=True)
class ServicePart:
    """One ServiceEntry's share of a service: its workloads, on its ports."""

    ports: tuple[ServicePort, ...]
    workloads: tuple[Workload, ...]


@dataclass(frozen=True, slots=True)
class Service:
    """A host with its ports and workloads, from one or several ServiceEntries of one namespace."""

    host: str
    namespace: str
    parts: tuple[ServicePart, ...]
    ports: tuple[int, ...]
    """The numbers of all its ports, without duplicates."""
    address: str = ""
    """The virtual IP address by which clients may call it; empty where it has none."""
    subject_alt_names: tuple[str, ...] = ()
    """One of these must be in a certificate of its endpoints, unless a DestinationRule names others."""


def build_services(resources: Resources, vantage: Vantage) -> tuple[dict[str, Service], list[Issue]]:
    """Services by host key (hosts as written: Istio expands no short name in a ServiceEntry).

    Two ServiceEntries of one namespace for one host add up. Of two namespaces the proxy's own goes
    before any other, else the older ServiceEntry before the younger, with a warning at the one that is
    not used. Source: istio pilot/pkg/model/sidecar.go, selectServices.
    """
    workload_index = _WorkloadIndex(resources.workload_entries)
    services: dict[str, Service] = {}
    issues: list[Issue] = []
    seen = []
    for resource in oldest_first(resources.service_entries):
        if vantage.sees(resource.spec.export_to, resource.namespace):
            seen.append(resource)
        else:
            issues.append(vantage.not_exported(resource, resource.spec.export_to))
    for resource in sorted(seen, key=lambda resource: resource.namespace != vantage.namespace):
        selected, selected_issues = _workloads(resource, workload_index)
        issues += selected_issues
        address, address_issues = _address(resource)
        issues += address_issues
        for i, written in enumerate(resource.spec.hosts):
            host = host_key(written)
            known = services.get(host)
            if known is not None and known.namespace != resource.namespace:
                message = f"host {written} is used as namespace {known.namespace} defines it, not as here"
                issues.append(resource.issue(Severity.WARNING, ("spec", "hosts", i), message))
                continue
            part = ServicePart(resource.spec.ports, _without_endpoints(resource.spec, host) or selected)
            if known is None:
                known = Service(host, resource.namespace, (), ())
            parts = (*known.parts, part)
            services[host] = replace(
                known,
                parts=parts,
                ports=tuple(dict.fromkeys(port.number for part in parts for port in part.ports)),
                address=known.address or address,
                subject_alt_names=(*known.subject_alt_names, *resource.spec.subject_alt_names),
            )
    return services, issues


def _without_endpoints(spec: ServiceEntry, host: str) -> tuple[Workload, ...]:
    """Where the service is if not at endpoints: where the request says it, or at its own name.

    Source: istio's serviceentry/conversion.go, convertServiceEntryToInstances, and for NONE and
    DYNAMIC_DNS, whose endpoints are not asked, pilot/pkg/networking/core/cluster.go.
    """
    if spec.resolution is Resolution.NONE:
        return (Workload("", {}, {}, 1, "original_dst"),)
    if spec.resolution is Resolution.DYNAMIC_DNS:
        return (Workload("", {}, {}, 1, "host"),)
    named = not spec.endpoints and spec.workload_selector is None and not host.startswith("*")
    return (Workload(host, {}, {}, 1),) if named and spec.resolution is not Resolution.STATIC else ()


def _address(resource: Resource[ServiceEntry]) -> tuple[str, list[Issue]]:
    """The address that clients may call instead of the host, and a warning at each other one.

    Of a service without any port for HTTP no address is asked. Of several a mesh uses the first. A range
    is for connections, which no request is: nobody's Host is a range. Source: istio's
    serviceentry/conversion.go, convertServices; pilot/pkg/networking/core/httproute.go,
    generateVirtualHostDomains; `addresses` in service_entry.proto.
    """
    first = ""
    issues: list[Issue] = []
    if not any(port_scheme(port) or not port.protocol for port in resource.spec.ports):
        return first, issues
    for i, written in enumerate(resource.spec.addresses):
        try:
            network = ipaddress.ip_network(written, strict=False)
        except ValueError:
            message = f"{written!r}, expected an IP address or a range such as 10.0.0.0/8; not used"
        else:
            if i:
                message = f"{written}: not used, as of several addresses the first one counts"
            elif network.num_addresses == 1:
                first = str(network.network_address)
                continue
            else:
                message = f"{written}: not used, as requests are routed by Host, which is no range"
        issues.append(resource.issue(Severity.WARNING, ("spec", "addresses", i), message))
    return first, issues


class _WorkloadIndex:
    """WorkloadEntries by namespace and one of their labels, so that 10,000 selectors are not 10,000 scans."""

    def __init__(self, resources: Iterable[Resource[WorkloadEntry]]) -> None:
        self._by_namespace: dict[str, list[tuple[Resource[WorkloadEntry], Labels]]] = {}
        self._by_label: dict[tuple[str, str, str], list[tuple[Resource[WorkloadEntry], Labels]]] = {}
        for resource in resources:
            # Metadata goes before spec (istio's serviceentry/conversion.go, ConvertWorkloadEntry).
            labels = {**resource.spec.labels, **resource.labels}
            self._by_namespace.setdefault(resource.namespace, []).append((resource, labels))
            for name, value in labels.items():
                self._by_label.setdefault((resource.namespace, name, value), []).append((resource, labels))

    def select(self, namespace: str, selector: Labels) -> list[tuple[Resource[WorkloadEntry], Labels]]:
        """The entries of the namespace with all these labels; an empty selector takes them all.

        Source: istio pkg/kube/krt/filter.go, FilterLabel.
        """
        for name, value in selector.items():
            candidates = self._by_label.get((namespace, name, value), [])
            return [(resource, labels) for resource, labels in candidates if is_subset(selector, labels)]
        return self._by_namespace.get(namespace, [])


def _workloads(
    resource: Resource[ServiceEntry], index: _WorkloadIndex
) -> tuple[tuple[Workload, ...], list[Issue]]:
    spec = resource.spec
    found = [_workload(endpoint, endpoint.labels) for endpoint in spec.endpoints]
    issues = [
        _no_address(resource, ("spec", "endpoints", i, "address"))
        for i, workload in enumerate(found)
        if workload is None
    ]
    if spec.workload_selector is not None:
        for entry, labels in index.select(resource.namespace, spec.workload_selector.labels):
            found.append(_workload(entry.spec, labels))
            if found[-1] is None:
                issues.append(_no_address(entry, ("spec", "address")))
    return tuple(workload for workload in found if workload is not None), issues


def _workload(spec: WorkloadEntry, labels: Labels) -> Workload | None:
    """None where there is no address that could be connected to."""
    if not spec.address:
        return None
    address = spec.address.removeprefix("[").removesuffix("]")
    # 0 counts as 1: istio pilot/pkg/model/service.go, GetLoadBalancingWeight.
    return Workload(address, spec.ports, labels, spec.weight or 1)


def _no_address(resource: Resource[ServiceEntry] | Resource[WorkloadEntry], path: FieldPath) -> Issue:
    message = "no address: expected an IP address, a DNS name or a Unix socket; the endpoint is left out"
    return resource.issue(Severity.WARNING, path, message)
