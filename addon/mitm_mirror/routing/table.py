"""The compiled rules: from a request's head to a decision."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import msgspec

from mitm_mirror.resources.virtual_service import HTTPMatchRequest, HTTPRoute
from mitm_mirror.routing.actions import Action
from mitm_mirror.routing.decision import Answer, Decision, PassThrough, RuleRef
from mitm_mirror.routing.describe import describe_action, describe_match
from mitm_mirror.routing.hosts import HostIndex, host_key
from mitm_mirror.routing.local_reply import is_grpc, local_reply
from mitm_mirror.routing.matchers import Match, UnmetMatch
from mitm_mirror.routing.port_targets import BY_WEIGHT, Balance, PortTargets
from mitm_mirror.routing.request import RequestHead
from mitm_mirror.routing.view import RequestView

_PASS_THROUGH = PassThrough()


@dataclass(frozen=True, slots=True)
class Route:
    """One HTTPRoute that can be reached."""

    rule: RuleRef
    matches: tuple[Match, ...]
    action: Action
    written: tuple[HTTPMatchRequest, ...]
    """The matches as written, without those that can never be met; empty where the route has none."""
    tried: tuple[Match | UnmetMatch, ...]
    """`matches` and those that can never be met, in the order of the rule: `match[0]`, `match[1]`, ..."""
    spec: HTTPRoute
    """All of the route as written, or as its delegation came out."""


@dataclass(frozen=True, slots=True)
class IdleRoute:
    """One HTTPRoute that no request can reach. Nothing asks it; it is kept to say so."""

    rule: RuleRef
    tried: tuple[UnmetMatch, ...]
    reason: str
    """Why; empty where each of its matches says it."""


class VirtualHost:
    """The routes that answer for some hosts: of one VirtualService, or of several that were merged."""

    __slots__ = ("_entries", "_no_route", "_ports", "all_routes", "hosts", "others", "routes")

    def __init__(
        self,
        rule: RuleRef,
        hosts: tuple[str, ...],
        routes: tuple[Route | IdleRoute, ...],
        others: "VirtualHost | None" = None,
    ) -> None:
        """`rule` names the VirtualService alone; it answers where no route matches.

        `others` answer for the same hosts on the ports that none of the routes is for.
        """
        self.hosts = hosts
        self.others = others
        self.all_routes = routes
        self.routes = tuple(route for route in routes if isinstance(route, Route))
        self._entries = tuple((match, route) for route in self.routes for match in route.matches)
        ports = frozenset(match.port for match, _ in self._entries)
        self._ports = None if 0 in ports else ports
        self._no_route = Answer(rule, 404, (), b"", "no_route")

    @property
    def rule(self) -> RuleRef:
        return self._no_route.rule

    @property
    def no_route(self) -> Answer:
        """The answer to a request that no route matches."""
        return self._no_route

    @property
    def ports(self) -> tuple[int, ...] | None:
        """The ports that the routes are for, ascending; None where one is for any port."""
        return None if self._ports is None else tuple(sorted(self._ports))

    def at(self, port: int) -> "VirtualHost | None":
        """Who answers on a port that clients address: this one, one of the others, or None for nobody."""
        if self._ports is None or port in self._ports:
            return self
        return None if self.others is None else self.others.at(port)

    def chain(self) -> Iterator["VirtualHost"]:
        """This one and all the others, in the order in which they are asked."""
        yield self
        if self.others is not None:
            yield from self.others.chain()

    def decide(self, head: RequestHead, draw: Callable[[], float], balance: Balance) -> Decision:
        """What the first route that matches decides.

        Without any route for the client's port Istio builds no virtual host at all, so another
        VirtualService for the host gets the request, and without one it passes through (istio
        pilot/pkg/networking/core/route/route.go, BuildHTTPRoutesForVirtualService).
        """
        port = head.port
        if self._ports is not None and port not in self._ports:
            return _PASS_THROUGH if self.others is None else self.others.decide(head, draw, balance)
        view = RequestView(head)
        for match, route in self._entries:
            if match.port and match.port != port:
                continue
            for condition in match.conditions:
                if not condition(view):
                    break
            else:
                return route.action.decide(view, route.rule, match.prefix_length, draw, balance)
        if is_grpc(view):
            status, headers, _ = local_reply(view, 404, b"", ())
            return msgspec.structs.replace(self._no_route, status=status, headers=headers)
        return self._no_route


class RouteTable:
    """All compiled rules. Immutable: a reload makes a new one."""

    __slots__ = ("_index", "_virtual_hosts", "clusters", "hosts", "unused")

    def __init__(
        self,
        virtual_hosts: tuple[VirtualHost, ...],
        hosts: tuple[tuple[str, VirtualHost], ...],
        clusters: Mapping[str, PortTargets],
        unused: Iterable[tuple[str, str]] = (),
    ) -> None:
        """`hosts` are all (host, its rules), short names included; of two for one host the first wins."""
        self.clusters = clusters
        """All destinations that lead somewhere, by the cluster's name."""
        self._virtual_hosts = virtual_hosts
        self.hosts: dict[str, VirtualHost] = {}
        """All hosts that are answered for, wildcards and short names included, and their rules."""
        for host, virtual_host in hosts:
            self.hosts.setdefault(host, virtual_host)
        self._index = HostIndex(self.hosts.items())
        self.unused = HostIndex(unused)
        """By host: a VirtualService that is for another proxy, and why. No request asks; `explain` does."""

    @property
    def virtual_service_count(self) -> int:
        """VirtualServices that answer for at least one host."""
        return len({rule.virtual_service for rule in self._rules()})

    @property
    def host_count(self) -> int:
        """Hosts that VirtualServices name; their short names and addresses do not count."""
        return sum(len(virtual_host.hosts) for virtual_host in self._virtual_hosts)

    @property
    def route_count(self) -> int:
        """Routes that can be reached. One that hosts share counts once."""
        return sum(bool(rule.route) for rule in self._rules())

    def _rules(self) -> frozenset[RuleRef]:
        """The VirtualServices, and every route that can be reached."""
        found = [virtual_host for first in self._virtual_hosts for virtual_host in first.chain()]
        routes = (route.rule for virtual_host in found for route in virtual_host.routes)
        return frozenset((*(virtual_host.rule for virtual_host in found), *routes))

    @property
    def index(self) -> HostIndex[VirtualHost]:
        """The rules by host, short names included."""
        return self._index

    def decide(self, head: RequestHead, draw: Callable[[], float], balance: Balance = BY_WEIGHT) -> Decision:
        """What the rules say about one request. `draw` gives a number in [0, 1), a new one each time.

        `balance` chooses the primary's endpoint, where there are several.

        Only the best host's rules are asked: an exact host, else the longest wildcard, else `*`.
        """
        virtual_host = self._index.find(host_key(head.authority))
        return _PASS_THROUGH if virtual_host is None else virtual_host.decide(head, draw, balance)

    def describe(self) -> str:
        """The rules as they were understood, for people: hosts, routes, destinations, endpoints, mirrors."""
        if not self._virtual_hosts:
            return "no rules: every request passes through"
        lines: list[str] = []
        for first in self._virtual_hosts:
            lines.append(", ".join(first.hosts))
            for virtual_host in first.chain():
                lines += _describe(virtual_host)
        return "\n".join(lines)


def _describe(virtual_host: VirtualHost) -> list[str]:
    rule = virtual_host.rule
    lines = [f"  VirtualService {rule.virtual_service}  {rule.source}"]
    for route in virtual_host.routes:
        lines.append(f"    {route.rule.seen_from(rule)}  {route.rule.source}")
        lines += [f"      match {describe_match(match)}" for match in route.written]
        lines += [f"      {line}" for line in describe_action(route.action)]
    if not virtual_host.routes:
        lines.append("    no route that could match: every request passes through")
    return lines
