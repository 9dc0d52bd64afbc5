"""Which VirtualServices answer for a host that several of them name.

Source throughout, for sidecars: istio pilot/pkg/networking/core/httproute.go
(BuildSidecarOutboundVirtualHosts: of two virtual hosts with one domain the first stays); for gateways:
gateway.go (buildGatewayHTTPRouteConfig: the routes of one host are joined) and route/route.go
(SortVHostRoutes).
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from mitm_mirror.resources.issue import Issue, Severity
from mitm_mirror.resources.resource import Resource
from mitm_mirror.resources.virtual_service import VirtualService
from mitm_mirror.routing.decision import RuleRef
from mitm_mirror.routing.hosts import HostIndex, host_key, qualify_host, short_names
from mitm_mirror.routing.table import IdleRoute, Route, VirtualHost


@dataclass(frozen=True, slots=True)
class Claim:
    """A VirtualService that is for this proxy, compiled."""

    resource: Resource[VirtualService]
    rule: RuleRef
    routes: tuple[Route | IdleRoute, ...]
    joins: bool
    """Whether it is bound to a gateway: there the routes of several for one host are joined."""

    def ports(self) -> frozenset[int]:
        """The ports that its routes are for; 0 among them means any, none means that nothing can match."""
        routes = (route for route in self.routes if isinstance(route, Route))
        return frozenset(match.port for route in routes for match in route.matches)


@dataclass(slots=True)
class HostClaims:
    """Collects claims, the first to be asked first, and settles them."""

    namespace: str
    """The proxy's own, which decides what a bare name means."""
    issues: list[Issue]
    _by_host: dict[str, list[Claim]] = field(default_factory=dict)
    _written: dict[str, list[tuple[str, Claim]]] = field(default_factory=dict)
    """(host, its claim) by the short name under which a VirtualService has it."""

    def add(self, claim: Claim) -> None:
        """Claims all hosts of the VirtualService."""
        resource = claim.resource
        for written in resource.spec.hosts:
            host = qualify_host(written, resource.namespace)
            claims = self._by_host.setdefault(host, [])
            if any(known is claim for known in claims):
                continue
            claims.append(claim)
            name = host_key(written)
            if name != host:
                self._written.setdefault(name, []).append((host, claim))

    def settle(
        self, addresses: Iterable[tuple[str, str]]
    ) -> tuple[list[VirtualHost], list[tuple[str, VirtualHost]]]:
        """(every virtual host, every name that a client may use with its virtual host).

        `addresses` are (address, host of the service that has it). Hosts of the same VirtualServices
        share a virtual host. Of two entries for one name the first counts: what a rule spells out is
        never somebody else's short name.
        """
        shared: dict[tuple[int, ...], tuple[tuple[Claim, ...], list[str]]] = {}
        for host, claims in self._by_host.items():
            chosen = self._choose(host, claims)
            shared.setdefault(tuple(map(id, chosen)), (chosen, []))[1].append(host)
        virtual_hosts = [_virtual_host(chosen, tuple(hosts)) for chosen, hosts in shared.values()]
        found = {host: virtual_host for virtual_host in virtual_hosts for host in virtual_host.hosts}
        by_host = {host: found[host] for host in self._by_host}
        names = [*by_host.items()]
        # A service that a wildcard covers answers for its address as it does for its host.
        index = HostIndex(names)
        names += [(address, of) for address, host in addresses if (of := index.find(host)) is not None]
        names += [(name, by_host[host]) for name, host in self._short_names()]
        return virtual_hosts, names

    def _choose(self, host: str, claims: list[Claim]) -> tuple[Claim, ...]:
        """Those that answer, with a warning at each that does not, or not everywhere."""
        live = [claim for claim in claims if claim.ports()] or claims[:1]
        first = live[0]
        if first.joins:
            for claim in live:
                if not claim.joins:
                    self._warn(claim, host, f"belongs to {_place(first)}; its rules are used, not these")
            return tuple(claim for claim in live if claim.joins)
        chosen = [first]
        taken = set(first.ports())
        for claim in live[1:]:
            ports = claim.ports()
            if 0 in taken or ports <= taken:
                self._warn(claim, host, f"belongs to {_place(chosen[0])}; its rules are used, not these")
                continue
            places = " and ".join(map(_place, chosen))
            shown = ", ".join(map(str, sorted(taken)))
            self._warn(claim, host, f"belongs to {places} on port {shown}; these rules are used on others")
            chosen.append(claim)
            taken |= ports
        return tuple(chosen)

    def _short_names(self) -> list[tuple[str, str]]:
        """(name, host): the own namespace's first, what rules wrote before what only follows from a host.

        A bare name is the own namespace's in a mesh. Where that has no such service it is, here, the
        first other one: who has no cluster has no namespace to call from.
        """
        own = f".{self.namespace}.svc.cluster.local"
        written: list[tuple[str, str]] = []
        for name, found in self._written.items():
            ordered = sorted(found, key=lambda entry: not entry[0].endswith(own))
            host, owner = ordered[0]
            written.append((name, host))
            for other, claim in ordered[1:]:
                if other != host:
                    message = f"alone go by {owner.resource}; this one answers for {other}"
                    self._warn(claim, other, message, subject="requests for")
        derived = [(name, host) for host in self._by_host for name in short_names(host)]
        return sorted((*written, *derived), key=lambda entry: not entry[1].endswith(own))

    def _warn(self, claim: Claim, host: str, message: str, subject: str = "host") -> None:
        """At the host as it is written, which goes between subject and message."""
        resource = claim.resource
        hosts = resource.spec.hosts
        i = next(i for i, name in enumerate(hosts) if qualify_host(name, resource.namespace) == host)
        text = f"{subject} {hosts[i]} {message}"
        self.issues.append(resource.issue(Severity.WARNING, ("spec", "hosts", i), text))


def _place(claim: Claim) -> str:
    line, _ = claim.resource.locate(("spec", "hosts"))
    return f"{claim.resource} ({claim.resource.file}:{line})"


def _virtual_host(chosen: tuple[Claim, ...], hosts: tuple[str, ...]) -> VirtualHost:
    first = chosen[0]
    if first.joins:
        routes = first.routes if len(chosen) == 1 else _join(claim.routes for claim in chosen)
        return VirtualHost(first.rule, hosts, routes)
    others = _virtual_host(chosen[1:], hosts) if len(chosen) > 1 else None
    return VirtualHost(first.rule, hosts, first.routes, others)


def _join(all_routes: Iterable[tuple[Route | IdleRoute, ...]]) -> tuple[Route | IdleRoute, ...]:
    """All routes in order, but the matches that take every request (of a port) last."""
    routes: list[Route | IdleRoute] = []
    last: list[Route] = []
    for route in (route for of_one in all_routes for route in of_one):
        at = _catch_all_index(route)
        if not isinstance(route, Route) or at is None:
            routes.append(route)
            continue
        tried = route.tried.index(route.matches[at])
        if at:
            routes.append(
                replace(
                    route, matches=route.matches[:at], written=route.written[:at], tried=route.tried[:tried]
                )
            )
        # Matches behind it are never asked, as in Istio.
        last.append(
            replace(
                route,
                matches=route.matches[at : at + 1],
                written=route.written[at : at + 1],
                tried=route.tried[: tried + 1],
            )
        )
    return (*routes, *last)


def _catch_all_index(route: Route | IdleRoute) -> int | None:
    if not isinstance(route, Route):
        return None
    return next((i for i, match in enumerate(route.matches) if not match.conditions), None)
