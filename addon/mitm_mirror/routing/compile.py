"""From resources to a RouteTable: everything that can be decided before a request comes is decided here."""

from mitm_mirror.resources.annotations import parse_annotations
from mitm_mirror.resources.issue import Issue
from mitm_mirror.resources.resource import Resource, Resources, oldest_first
from mitm_mirror.resources.virtual_service import VirtualService
from mitm_mirror.routing.delegate import Delegates
from mitm_mirror.routing.destinations import DestinationResolver
from mitm_mirror.routing.host_claims import Claim, HostClaims
from mitm_mirror.routing.hosts import host_key, qualify_host, short_names
from mitm_mirror.routing.routes import RouteCompiler
from mitm_mirror.routing.table import RouteTable
from mitm_mirror.routing.vantage import DEFAULT_VANTAGE, MESH, Vantage, resolve_gateway


def compile_table(
    resources: Resources, *, host_suffix: str = "-shadow", vantage: Vantage = DEFAULT_VANTAGE
) -> tuple[RouteTable, tuple[Issue, ...]]:
    """The table, and what is worth knowing about the rules, each with its position.

    Issues are warnings about rules that are valid but do not do what they seem to, and errors that
    only compiling finds (a bad regex, a route without any weight); the table leaves out what has an
    error. Annotations that do not parse are left to validation and count as absent here.

    Rules that are not for the proxy at `vantage` are left out with a warning, or with a notice where a
    vantage was asked for.
    """
    resolver = DestinationResolver(resources, vantage)
    issues: list[Issue] = []
    claims = HostClaims(vantage.namespace, issues)
    delegates = Delegates({(r.namespace, r.name): r for r in resources.virtual_services}, issues)
    selected, left_out = _select(resources.virtual_services, vantage)
    issues += (issue for _, issue in left_out)
    for resource in selected:
        annotations, _ = parse_annotations(resource.annotations)
        compiler = RouteCompiler(resource, annotations, delegates, resolver, vantage, host_suffix, issues)
        joins = any(gateway != MESH for gateway in _gateways(resource) & set(vantage.gateways))
        claims.add(Claim(resource, compiler.rule(), compiler.compile_routes(), joins))
    delegates.warn_unused()
    # A gateway's routes are for the hosts alone (istio gateway.go, buildGatewayHTTPRouteConfig).
    addresses = resolver.addresses() if MESH in vantage.gateways else ()
    virtual_hosts, names = claims.settle(addresses)
    unused = [
        (name, f"{resource} ({resource.file}:{issue.line}): {issue.message}")
        for resource, issue in left_out
        for written in resource.spec.hosts
        for host in (qualify_host(written, resource.namespace),)
        for name in (host, host_key(written), *short_names(host))
    ]
    table = RouteTable(tuple(virtual_hosts), tuple(names), resolver.clusters, unused)
    return table, (*resolver.issues, *issues)


def _select(
    resources: tuple[Resource[VirtualService], ...], vantage: Vantage
) -> tuple[list[Resource[VirtualService]], list[tuple[Resource[VirtualService], Issue]]]:
    """(those with hosts that are for this proxy in the order in which Istio asks them, the others and why).

    The older goes before the younger, but before both go those that are exported to the proxy's own
    namespace by name, and before these that namespace's own. Source: istio
    pilot/pkg/model/push_context.go, initVirtualServices, and virtualservice.go, SelectVirtualServices.
    """
    selected = []
    left_out = []
    for resource in resources:
        if not resource.spec.hosts:
            continue
        gateways = _gateways(resource)
        if not vantage.sees(resource.spec.export_to, resource.namespace):
            left_out.append((resource, vantage.not_exported(resource, resource.spec.export_to)))
        elif not gateways & set(vantage.gateways):
            message = (
                f"it is for {' and '.join(sorted(gateways))}, this proxy plays {vantage.plays} "
                "(mirror_gateways): not used here"
            )
            issue = resource.issue(vantage.gateway_severity, ("spec", "gateways"), message)
            left_out.append((resource, issue))
        else:
            selected.append(resource)

    def group(resource: Resource[VirtualService]) -> int:
        if not resource.spec.export_to or "*" in resource.spec.export_to:
            return 2
        return 0 if resource.namespace == vantage.namespace else 1

    return sorted(oldest_first(selected), key=group), left_out


def _gateways(resource: Resource[VirtualService]) -> frozenset[str]:
    """What the VirtualService is bound to: all sidecars where it says nothing."""
    names = resource.spec.gateways or (MESH,)
    return frozenset(resolve_gateway(name, resource.namespace) for name in names)
