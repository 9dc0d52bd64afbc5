"""What a ServiceEntry may not say although its types are right.

Source: istio pkg/config/validation/validation.go (ValidateServiceEntry).
"""

from collections.abc import Iterator

from mitm_mirror.resources import names
from mitm_mirror.resources.check_scope import check_export_to, check_selector
from mitm_mirror.resources.check_workload_entry import check_workload
from mitm_mirror.resources.finding import Finding, error, show, warning
from mitm_mirror.resources.metadata import Metadata
from mitm_mirror.resources.names import at
from mitm_mirror.resources.resource import FieldPath
from mitm_mirror.resources.service_entry import Location, Resolution, ServiceEntry, ServicePort

# istio pkg/config/protocol/instance.go, Parse; case does not count.
_HOST_CARRYING = frozenset({"grpc", "grpc-web", "http", "http_proxy", "http2", "https", "tls"})
_OVER_TCP = frozenset({"https", "mongo", "mysql", "redis", "tcp", "tls"})
_PROTOCOLS = _HOST_CARRYING | _OVER_TCP | {"udp"}
_DYNAMIC_PROTOCOLS = ("grpc", "http", "http2", "tls")
_RESOLVED = (Resolution.DNS, Resolution.DNS_ROUND_ROBIN)
_WAYPOINT = "istio.io/use-waypoint"
_AUTO_ALLOCATE = "networking.istio.io/enable-autoallocate-ip"


def check_service_entry(spec: ServiceEntry, metadata: Metadata) -> Iterator[Finding]:
    """All errors and warnings of one spec; paths begin with "spec"."""
    root: FieldPath = ("spec",)
    if not spec.hosts:
        yield error((*root, "hosts"), "missing")
    for index, host in enumerate(spec.hosts):
        yield from _check_host(host, spec, (*root, "hosts", index))
    yield from _check_addresses(spec, root)
    yield from _check_ports(spec, root)
    yield from _check_tcp_ports(spec, metadata, root)
    if spec.workload_selector is not None:
        yield from _check_selector(spec, (*root, "workloadSelector"))
    if spec.endpoints:
        yield from _check_endpoints(spec, root)
    if spec.resolution is Resolution.DYNAMIC_DNS:
        yield from _check_dynamic(spec, metadata, root)
    yield from check_export_to(spec.export_to, metadata.namespace, (*root, "exportTo"), to_nobody=True)


def _check_host(host: str, spec: ServiceEntry, path: FieldPath) -> Iterator[Finding]:
    message = "'*', expected a host" if host == "*" else names.host_name(host, wildcard=True)
    if message is None and spec.resolution in _RESOLVED and not spec.endpoints:
        if "*" in host:
            message = f"{show(host)}, a wildcard has no address to look up; add endpoints"
        else:
            message = names.host_name(host, wildcard=False)
    yield from at(path, message)
    partial = message is None and "*" in host and not host.startswith("*.")
    if partial and spec.resolution is not Resolution.DYNAMIC_DNS:
        yield warning(path, f"{show(host)}, expected a wildcard for whole labels, as in *.example.com")


def _check_addresses(spec: ServiceEntry, root: FieldPath) -> Iterator[Finding]:
    blocks = spec.resolution in (Resolution.NONE, Resolution.STATIC)
    for index, address in enumerate(spec.addresses):
        message = names.ip_subnet(address)
        if message is None and "/" in address and not blocks:
            message = f"{show(address)}, a CIDR block needs resolution NONE or STATIC"
        yield from at((*root, "addresses", index), message)


def _check_ports(spec: ServiceEntry, root: FieldPath) -> Iterator[Finding]:
    if not spec.ports:
        yield warning(root, "no ports: no request can be sent there")
    numbers: set[int] = set()
    port_names: set[str] = set()
    for index, port in enumerate(spec.ports):
        path = (*root, "ports", index)
        yield from at((*path, "number"), names.port_number(port.number) if port.number else "missing")
        yield from at((*path, "name"), names.dns_label(port.name) if port.name else "missing")
        if port.target_port:
            yield from at((*path, "targetPort"), names.port_number(port.target_port))
        if port.number in numbers:
            yield error((*path, "number"), f"{port.number}, another port has this number")
        if port.name and port.name in port_names:
            yield error((*path, "name"), f"{show(port.name)}, another port has this name")
        numbers.add(port.number)
        port_names.add(port.name)
        yield from _check_protocol(port, spec, (*path, "protocol"))


def _check_protocol(port: ServicePort, spec: ServiceEntry, path: FieldPath) -> Iterator[Finding]:
    protocol = port.protocol.lower()
    found = show(port.protocol) if protocol else "missing"
    if protocol and protocol not in _PROTOCOLS:
        known = ", ".join(sorted(_PROTOCOLS)).upper()
        yield error(path, f"{found}, expected one of {known}")
    elif spec.resolution is Resolution.DYNAMIC_DNS and protocol not in _DYNAMIC_PROTOCOLS:
        yield error(path, f"{found}, resolution DYNAMIC_DNS needs HTTP, HTTP2, GRPC or TLS")
    elif len(spec.hosts) > 1 and spec.resolution != Resolution.NONE and protocol not in _HOST_CARRYING:
        yield error(path, f"{found}, several hosts need HTTP, HTTP2, GRPC, HTTPS or TLS")


def _check_tcp_ports(spec: ServiceEntry, metadata: Metadata, root: FieldPath) -> Iterator[Finding]:
    """What Istio warns of, since addresses alone tell plain TCP services apart."""
    allocated = (
        spec.resolution is not Resolution.NONE and metadata.labels.get(_AUTO_ALLOCATE, "").lower() != "false"
    )
    for index, port in enumerate(spec.ports):
        path = (*root, "ports", index, "protocol")
        if not spec.addresses and not allocated and port.protocol in ("", "TCP"):
            found = show(port.protocol) if port.protocol else "missing"
            yield warning(path, f"{found}: a cluster needs addresses for TCP; for HTTP write HTTP")
        if (
            spec.addresses
            and spec.resolution in _RESOLVED
            and len(spec.hosts) > 1
            and port.protocol.lower() in _OVER_TCP
        ):
            yield warning(
                path, f"{show(port.protocol)}: with addresses a cluster needs one host, not several"
            )


def _check_selector(spec: ServiceEntry, path: FieldPath) -> Iterator[Finding]:
    selector = spec.workload_selector
    if selector is None:
        return
    if spec.endpoints:
        yield error(path, "not allowed beside endpoints")
    if not selector.labels:
        yield warning(path, "without labels it selects every WorkloadEntry of the namespace")
    if spec.resolution is Resolution.NONE:
        yield warning(path, "does nothing with resolution NONE, expected STATIC or DNS")
    yield from check_selector(selector.labels, (*path, "labels"))


def _check_endpoints(spec: ServiceEntry, root: FieldPath) -> Iterator[Finding]:
    if spec.resolution in (Resolution.NONE, Resolution.DYNAMIC_DNS):
        yield error(
            (*root, "endpoints"), f"not allowed with resolution {spec.resolution}, expected STATIC or DNS"
        )
    if spec.resolution == Resolution.DNS_ROUND_ROBIN and len(spec.endpoints) > 1:
        yield error(
            (*root, "endpoints", 1), "a second endpoint is not allowed with resolution DNS_ROUND_ROBIN"
        )
    known = {port.name for port in spec.ports}
    static = spec.resolution == Resolution.STATIC
    for index, endpoint in enumerate(spec.endpoints):
        path = (*root, "endpoints", index)
        yield from check_workload(endpoint, path, ip_only=static, name_only=not static)
        for name in endpoint.ports:
            if name not in known:
                yield error((*path, "ports", name), f"no port of this ServiceEntry is named {show(name)}")
        if static and endpoint.address.startswith("unix://") and len(known) != 1:
            message = f"{show(endpoint.address)}, a Unix socket needs a ServiceEntry of exactly one port"
            yield error((*path, "address"), message)


def _check_dynamic(spec: ServiceEntry, metadata: Metadata, root: FieldPath) -> Iterator[Finding]:
    for index, host in enumerate(spec.hosts):
        if not host.startswith("*"):
            message = f"{show(host)}, expected a wildcard with resolution DYNAMIC_DNS"
            yield error((*root, "hosts", index), message)
    if spec.addresses:
        yield error((*root, "addresses"), "not allowed with resolution DYNAMIC_DNS")
    waypoint = metadata.labels.get(_WAYPOINT, "")
    if spec.location is Location.MESH_INTERNAL and waypoint and waypoint.lower() != "none":
        message = f"MESH_INTERNAL is not allowed with resolution DYNAMIC_DNS and the label {_WAYPOINT}"
        yield error((*root, "location"), message)
