"""What a VirtualService may not say although its types are right.

Source: istio pkg/config/validation/validation.go (ValidateVirtualService).
"""

from collections.abc import Iterator, Sequence

from mitm_mirror.resources import names
from mitm_mirror.resources.check_route import check_route
from mitm_mirror.resources.check_scope import check_export_to, check_gateway_names
from mitm_mirror.resources.finding import Finding, error, show, warning
from mitm_mirror.resources.metadata import Metadata
from mitm_mirror.resources.names import at
from mitm_mirror.resources.redundant_matches import check_redundant_matches
from mitm_mirror.resources.resource import FieldPath
from mitm_mirror.resources.virtual_service import VirtualService

_MESH = "mesh"


def check_virtual_service(spec: VirtualService, metadata: Metadata) -> Iterator[Finding]:
    """All errors and warnings of one spec; paths begin with "spec"."""
    root: FieldPath = ("spec",)
    yield from _check_hosts(spec, root)
    yield from check_gateway_names(spec.gateways, (*root, "gateways"))
    yield from check_export_to(spec.export_to, metadata.namespace, (*root, "exportTo"))
    if not (spec.http or spec.tcp or spec.tls):
        yield error(root, "expected http, tcp or tls routes")
    at_gateway = bool(spec.gateways) and _MESH not in spec.gateways
    for index, route in enumerate(spec.http):
        if route.delegate is not None and not spec.hosts:
            message = "not allowed in a VirtualService without hosts: a delegate cannot delegate"
            yield error((*root, "http", index, "delegate"), message)
        yield from check_route(route, (*root, "http", index), at_gateway=at_gateway)
    yield from check_redundant_matches(spec.http, (*root, "http"))


def _check_hosts(spec: VirtualService, root: FieldPath) -> Iterator[Finding]:
    path = (*root, "hosts")
    if not spec.hosts:
        # Istio calls it a delegate, which only another VirtualService's route can reach.
        for name, given in (("gateways", spec.gateways), ("tls", spec.tls), ("tcp", spec.tcp)):
            if given:
                yield error((*root, name), "not allowed without hosts")
    valid = True
    for index, host in enumerate(spec.hosts):
        message = None if names.is_ip(host) else names.host_name(host, wildcard=True)
        yield from at((*path, index), message)
        valid = valid and message is None
        if host == "*" and (not spec.gateways or _MESH in spec.gateways):
            # Laxer than Istio, where gateways are the place for all traffic: here it is this proxy.
            yield warning((*path, index), "a cluster takes the host * only together with gateways")
    if valid and len(spec.hosts) > 1:
        yield from _check_overlaps(spec.hosts, path)


def _check_overlaps(hosts: Sequence[str], path: FieldPath) -> Iterator[Finding]:
    """An error for each host that another one of the list covers, at the later of the two.

    Source: istio pkg/config/host/name.go, Matches. From right to left and in order, a wildcard stands
    right before all that it covers: no need to compare each with each.
    """
    found: dict[int, str] = {}
    covering: list[tuple[str, int]] = []
    for text, exact, index in sorted(
        (host.lower().removeprefix("*")[::-1], not host.startswith("*"), index)
        for index, host in enumerate(hosts)
    ):
        while covering and not _covers(*covering[-1], text, hosts):
            covering.pop()
        if covering:
            earlier, later = sorted((covering[-1][1], index))
            word = "covers it already" if covering[-1][1] == earlier else "is covered by it"
            found.setdefault(later, f"{show(hosts[later])}, {hosts[earlier]} above {word}")
        if not (covering and exact):
            covering.append((text, index))
    for index in sorted(found):
        yield error((*path, index), found[index])


def _covers(text: str, index: int, other: str, hosts: Sequence[str]) -> bool:
    return other.startswith(text) if hosts[index].startswith("*") else other == text
