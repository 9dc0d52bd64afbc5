"""What a WorkloadEntry, or an endpoint of a ServiceEntry, may not say although its types are right.

Source: istio pkg/config/validation/validation.go (ValidateWorkloadEntry, validateWorkloadEntry,
ValidateUnixAddress).
"""

from collections.abc import Iterator

from mitm_mirror.resources import names
from mitm_mirror.resources.finding import Finding, error, show, warning
from mitm_mirror.resources.metadata import Metadata
from mitm_mirror.resources.names import at
from mitm_mirror.resources.resource import FieldPath
from mitm_mirror.resources.workload_entry import WorkloadEntry

_UNIX = "unix://"
# The CRD's limit, one less than a DNS label's.
_PORT_NAME_CHARS = 62


def check_workload_entry(spec: WorkloadEntry, _: Metadata) -> Iterator[Finding]:
    """All errors and warnings of one spec; paths begin with "spec"."""
    return check_workload(spec, ("spec",))


def check_workload(
    spec: WorkloadEntry, path: FieldPath, *, ip_only: bool = False, name_only: bool = False
) -> Iterator[Finding]:
    """All errors and warnings of one workload.

    `ip_only`: a DNS name is none of its addresses; `name_only`: no Unix socket is, and no network's gateway.
    """
    unix = spec.address.startswith(_UNIX) and not name_only
    if unix:
        yield from _check_unix(spec, path)
    elif not spec.address and spec.network and not name_only:
        message = f"missing: reached by the gateway of network {show(spec.network)} in a mesh, not from here"
        yield warning((*path, "address"), message)
    else:
        yield from at((*path, "address"), _address(spec.address, ip_only=ip_only))
    for name, number in spec.ports.items():
        yield from at((*path, "ports", name), _port(name, number))
    yield from names.check_labels(spec.labels, (*path, "labels"))


def _port(name: str, number: int) -> str | None:
    if len(name) > _PORT_NAME_CHARS:
        return f"{show(name)}, expected at most {_PORT_NAME_CHARS} characters"
    return names.dns_label(name) or names.port_number(number)


def _check_unix(spec: WorkloadEntry, path: FieldPath) -> Iterator[Finding]:
    socket = spec.address.removeprefix(_UNIX)
    # @ begins the name of an abstract socket.
    if not socket.startswith("@") and (not socket.startswith("/") or socket.endswith("/")):
        message = f"{show(spec.address)}, expected {_UNIX}/path or {_UNIX}@name"
        yield error((*path, "address"), message)
    if spec.ports:
        yield error((*path, "ports"), "not allowed beside a Unix socket")


def _address(address: str, *, ip_only: bool) -> str | None:
    if not address:
        return "missing"
    if names.is_ip(address):
        return None
    if ip_only:
        return f"{show(address)}, expected an IP address (or resolution DNS)"
    if names.host_name(address, wildcard=False) is not None:
        return f"{show(address)}, expected an IP address or host name without port"
    return None
