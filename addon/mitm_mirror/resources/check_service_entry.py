"""What a ServiceEntry or WorkloadEntry may not say although its types are right.

Source: istio pkg/config/validation/validation.go (ValidateServiceEntry, validateWorkloadEntry).
"""

from collections.abc import Iterator

from mitm_mirror.resources import names
from mitm_mirror.resources.finding import Finding, error, show, warning
from mitm_mirror.resources.names import at
from mitm_mirror.resources.resource import FieldPath
from mitm_mirror.resources.service_entry import Resolution, ServiceEntry
from mitm_mirror.resources.workload_entry import WorkloadEntry

# istio pkg/config/protocol/instance.go, Parse; case does not count.
_HOST_CARRYING = frozenset({"grpc", "grpc-web", "http", "http_proxy", "http2", "https", "tls"})
_PROTOCOLS = _HOST_CARRYING | {"tcp", "udp", "mongo", "redis", "mysql"}
_UNIX = "unix://"
_RESOLVED = (Resolution.DNS, Resolution.DNS_ROUND_ROBIN)


def check_service_entry(spec: ServiceEntry) -> Iterator[Finding]:
    """All errors and warnings of one spec; paths begin with "spec"."""
    root: FieldPath = ("spec",)
    if not spec.hosts:
        yield error((*root, "hosts"), "missing")
    for index, host in enumerate(spec.hosts):
        message = "'*', expected a host" if host == "*" else names.host_name(host, wildcard=True)
        if message is None and "*" in host and spec.resolution in _RESOLVED and not spec.endpoints:
            message = f"{show(host)}, a wildcard has no address to look up; add endpoints"
        yield from at((*root, "hosts", index), message)
    yield from _check_ports(spec, root)
    if spec.workload_selector and spec.endpoints:
        yield error((*root, "workloadSelector"), "not allowed beside endpoints")
    if spec.workload_selector and not spec.workload_selector.labels:
        yield warning(
            (*root, "workloadSelector"), "without labels it selects every WorkloadEntry of the namespace"
        )
    if spec.endpoints:
        yield from _check_endpoints(spec, root)


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
        protocol = port.protocol.lower()
        if protocol and protocol not in _PROTOCOLS:
            known = ", ".join(sorted(_PROTOCOLS)).upper()
            yield error((*path, "protocol"), f"{show(port.protocol)}, expected one of {known}")
        elif len(spec.hosts) > 1 and spec.resolution != Resolution.NONE and protocol not in _HOST_CARRYING:
            found = show(port.protocol) if protocol else "missing"
            yield error((*path, "protocol"), f"{found}, several hosts need HTTP, HTTP2, GRPC, HTTPS or TLS")


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
        yield from _check_workload(endpoint, path, names_allowed=not static, sockets_allowed=static)
        if endpoint.address.startswith(_UNIX) and static and len(spec.ports) != 1:
            message = f"{show(endpoint.address)}, a Unix socket needs a ServiceEntry of exactly one port"
            yield error((*path, "address"), message)
        for name in endpoint.ports:
            if name not in known:
                yield error((*path, "ports", name), f"no port of this ServiceEntry is named {show(name)}")


def check_workload_entry(spec: WorkloadEntry) -> Iterator[Finding]:
    """All errors of one spec; paths begin with "spec"."""
    return _check_workload(spec, ("spec",), names_allowed=True, sockets_allowed=True)


def _check_workload(
    spec: WorkloadEntry, path: FieldPath, *, names_allowed: bool, sockets_allowed: bool
) -> Iterator[Finding]:
    if spec.address.startswith(_UNIX) and sockets_allowed:
        yield from _check_socket(spec, path)
    # Without an address it is a network's gateway that is meant. Neither is connected to, see services.py.
    elif spec.address or not spec.network or not sockets_allowed:
        yield from at((*path, "address"), _address(spec.address, names_allowed=names_allowed))
    for name, number in spec.ports.items():
        yield from at((*path, "ports", name), names.dns_label(name) or names.port_number(number))
    yield from names.check_labels(spec.labels, (*path, "labels"))


def _check_socket(spec: WorkloadEntry, path: FieldPath) -> Iterator[Finding]:
    socket = spec.address.removeprefix(_UNIX)
    if not socket.startswith("@") and (not socket.startswith("/") or socket.endswith("/")):
        yield error((*path, "address"), f"{show(spec.address)}, expected {_UNIX}/path or {_UNIX}@name")
    if spec.ports:
        yield error((*path, "ports"), "not allowed beside a Unix socket")


def _address(address: str, *, names_allowed: bool) -> str | None:
    if not address:
        return "missing"
    if names.is_ip(address):
        return None
    if not names_allowed:
        return f"{show(address)}, expected an IP address (or resolution DNS)"
    if names.host_name(address, wildcard=False) is not None:
        return f"{show(address)}, expected an IP address or host name without port"
    return None
