"""The service registry: what ServiceEntry and WorkloadEntry say about where services are."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from mitm_mirror.resources.issue import Issue, Severity
from mitm_mirror.resources.resource import FieldPath, Resource, Resources
from mitm_mirror.resources.service_entry import Resolution, ServiceEntry, ServicePort
from mitm_mirror.resources.workload_entry import WorkloadEntry
from mitm_mirror.routing.hosts import host_key

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

    def port(self, service_port: ServicePort) -> int:
        """Source: istio's serviceentry/conversion.go, convertWorkloadInstanceToServiceInstance."""
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


def build_services(resources: Resources) -> tuple[dict[str, Service], list[Issue]]:
    """Services by host key (hosts as written: Istio expands no short name in a ServiceEntry).

    Two ServiceEntries of one namespace for one host add up; of two namespaces the first wins, with
    a warning at the second, because no client here has a namespace that would decide.
    """
    workload_index = _WorkloadIndex(resources.workload_entries)
    services: dict[str, Service] = {}
    issues: list[Issue] = []
    for resource in resources.service_entries:
        selected, selected_issues = _workloads(resource, workload_index)
        issues += selected_issues
        for i, written in enumerate(resource.spec.hosts):
            host = host_key(written)
            workloads = selected
            if _is_found_by_name(resource.spec) and not host.startswith("*"):
                workloads = (Workload(address=host, ports={}, labels={}, weight=1),)
            known = services.get(host)
            if known is not None and known.namespace != resource.namespace:
                message = f"host {written} is used as namespace {known.namespace} defines it, not as here"
                issues.append(resource.issue(Severity.WARNING, ("spec", "hosts", i), message))
                continue
            part = ServicePart(resource.spec.ports, workloads)
            parts = (part,) if known is None else (*known.parts, part)
            ports = tuple(dict.fromkeys(port.number for part in parts for port in part.ports))
            services[host] = Service(host, resource.namespace, parts, ports)
    return services, issues


def _is_found_by_name(spec: ServiceEntry) -> bool:
    """Whether the service's own host is the address to connect to.

    DNS: istio's serviceentry/conversion.go, convertServiceEntryToInstances. NONE: in a mesh the
    client has resolved the name itself and Envoy keeps the address; here the name is resolved anew.
    """
    return not spec.endpoints and spec.workload_selector is None and spec.resolution is not Resolution.STATIC


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
        _no_address(resource, ("spec", "endpoints", i, "address"), spec.endpoints[i])
        for i, workload in enumerate(found)
        if workload is None
    ]
    if spec.workload_selector is not None:
        for entry, labels in index.select(resource.namespace, spec.workload_selector.labels):
            found.append(_workload(entry.spec, labels))
            if found[-1] is None:
                issues.append(_no_address(entry, ("spec", "address"), entry.spec))
    return tuple(workload for workload in found if workload is not None), issues


def _workload(spec: WorkloadEntry, labels: Labels) -> Workload | None:
    """None where there is no address that could be connected to: none at all, or a Unix socket."""
    if not spec.address or spec.address.startswith("unix:"):
        return None
    address = spec.address.removeprefix("[").removesuffix("]")
    # 0 counts as 1: istio pilot/pkg/model/service.go, GetLoadBalancingWeight.
    return Workload(address, spec.ports, labels, spec.weight or 1)


def _no_address(
    resource: Resource[ServiceEntry] | Resource[WorkloadEntry], path: FieldPath, spec: WorkloadEntry
) -> Issue:
    written = spec.address or "no address"
    message = f"{written}: expected an IP address or a DNS name; the endpoint is left out"
    return resource.issue(Severity.WARNING, path, message)
