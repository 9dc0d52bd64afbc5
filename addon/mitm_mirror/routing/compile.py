"""From resources to a RouteTable: everything that can be decided before a request comes is decided here."""

from mitm_mirror.resources.annotations import parse_annotations
from mitm_mirror.resources.issue import Issue, Severity
from mitm_mirror.resources.resource import Resource, Resources
from mitm_mirror.resources.virtual_service import VirtualService
from mitm_mirror.routing.delegate import Delegates
from mitm_mirror.routing.destinations import DestinationResolver
from mitm_mirror.routing.hosts import host_key, qualify_host, short_names
from mitm_mirror.routing.routes import RouteCompiler
from mitm_mirror.routing.table import RouteTable, VirtualHost


def compile_table(
    resources: Resources, *, host_suffix: str = "-shadow"
) -> tuple[RouteTable, tuple[Issue, ...]]:
    """The table, and what is worth knowing about the rules, each with its position.

    Issues are warnings about rules that are valid but do not do what they seem to, and errors that
    only compiling finds (a bad regex, a route without any weight); the table leaves out what has an
    error. Annotations that do not parse are left to validation and count as absent here.

    Of two VirtualServices for one host the first in the files wins whole, as for sidecars in Istio,
    which merges for gateways only. `spec.gateways` and `exportTo` are not asked: a VirtualService
    that is loaded here is meant for here.
    """
    resolver = DestinationResolver(resources)
    issues: list[Issue] = []
    claims = _Claims(issues)
    delegates = Delegates({(r.namespace, r.name): r for r in resources.virtual_services}, issues)
    virtual_hosts: list[VirtualHost] = []
    written_short: list[tuple[str, VirtualHost]] = []
    for resource in resources.virtual_services:
        hosts, names = claims.claim(resource)
        if not hosts:
            continue
        annotations, _ = parse_annotations(resource.annotations)
        compiler = RouteCompiler(resource, annotations, delegates, resolver, host_suffix, issues)
        rule = compiler.rule()
        virtual_host = VirtualHost(rule, hosts, compiler.compile_routes())
        virtual_hosts.append(virtual_host)
        written_short += [(name, virtual_host) for name in names]
    delegates.warn_unused()
    # Full names before short ones: a host that a rule spells out is never somebody else's short name.
    full = [(host, virtual_host) for virtual_host in virtual_hosts for host in virtual_host.hosts]
    derived = [(name, virtual_host) for host, virtual_host in full for name in short_names(host)]
    answered_for = (*full, *written_short, *derived)
    return RouteTable(tuple(virtual_hosts), answered_for, resolver.clusters), (*resolver.issues, *issues)


class _Claims:
    """Which VirtualService a host belongs to: the first that names it."""

    def __init__(self, issues: list[Issue]) -> None:
        self._owners: dict[str, Resource[VirtualService]] = {}
        self._short_owners: dict[str, Resource[VirtualService]] = {}
        self._issues = issues

    def claim(self, resource: Resource[VirtualService]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """(hosts, short names) that are now this VirtualService's own, with warnings for the others."""
        hosts: dict[str, None] = {}
        names: dict[str, None] = {}
        for i, written in enumerate(resource.spec.hosts):
            host = qualify_host(written, resource.namespace)
            owner = self._owners.setdefault(host, resource)
            if owner is not resource:
                line, _ = owner.locate(("spec", "hosts"))
                place = f"{owner} ({owner.file}:{line})"
                message = f"host {written} belongs to {place}; its rules are used, not these"
                self._warn(resource, i, message)
                continue
            hosts[host] = None
            name = host_key(written)
            if name == host:
                continue
            # `httpbin` of two namespaces are two services, but one name can mean only one of them.
            owner = self._short_owners.setdefault(name, resource)
            if owner is resource:
                names[name] = None
            else:
                message = f"requests for {written} alone go by {owner}; this one answers for {host}"
                self._warn(resource, i, message)
        return tuple(hosts), tuple(names)

    def _warn(self, resource: Resource[VirtualService], index: int, message: str) -> None:
        self._issues.append(resource.issue(Severity.WARNING, ("spec", "hosts", index), message))
