"""Explaining what the rules say about one request.

What a request would get is not worked out a second time here: each alternative is decided by the
code that decides for requests, with the choice taken out.
"""

import difflib
from dataclasses import replace

from mitm_mirror.outcome import Outcome
from mitm_mirror.routing.actions import ForwardAction, RouteDestination
from mitm_mirror.routing.decision import Answer, Forward, RuleRef
from mitm_mirror.routing.describe import describe_fault, describe_sending
from mitm_mirror.routing.describe_cluster import describe_bounds
from mitm_mirror.routing.destinations import ResolvedDestination
from mitm_mirror.routing.explanation import (
    Alternative,
    DecidingRoute,
    EndpointShare,
    ExplainedDestination,
    ExplainedMirror,
    Explanation,
    PassedMatch,
    PassedRoute,
)
from mitm_mirror.routing.hosts import host_key
from mitm_mirror.routing.load_balancer import LoadBalancer
from mitm_mirror.routing.matchers import Match
from mitm_mirror.routing.mirror import ALL, Mirrors
from mitm_mirror.routing.mismatch import describe_conditions, explain_mismatch
from mitm_mirror.routing.port_targets import BY_WEIGHT, Balance
from mitm_mirror.routing.printable import quoted
from mitm_mirror.routing.request import RequestHead
from mitm_mirror.routing.table import IdleRoute, Route, RouteTable, VirtualHost
from mitm_mirror.routing.view import RequestView
from mitm_mirror.routing.weights import Weighted

_CLOSE_HOSTS = 5
_CLOSE_RATIO = 0.75
"""difflib's own 0.6 finds `idle.test` close to `guarded.tst`."""


def explain(table: RouteTable, head: RequestHead, balance: Balance = BY_WEIGHT) -> Explanation:
    """What `table.decide` says about this request for each draw, and how it comes to that.

    A client that is not known (`head.client` empty) counts as any client. `balance` is asked which
    endpoints are ejected.
    """
    key = host_key(head.authority)
    first = table.index.find(key)
    if first is None:
        unused = table.unused.find(key) or ""
        return Explanation(head, close_hosts=_close_hosts(table, key), unused=unused)
    virtual_host = first.at(head.port) or first
    view = RequestView(head)
    passed, route, match = _search(virtual_host, view)
    found = Explanation(head, host=_host_of(table, key), virtual_service=virtual_host.rule, passed=passed)
    if route is None or match is None:
        if virtual_host.at(head.port) is None:
            return replace(found, ports=tuple(sorted(p for each in first.chain() for p in each.ports or ())))
        return replace(found, answer=virtual_host.no_route)
    explained = replace(found, route=_deciding(route, match, view))
    action = route.action
    if isinstance(action, ForwardAction):
        items, weights = action.destinations.items, action.destinations.weights
        return replace(
            explained,
            sending=() if action.sending is None else tuple(describe_sending(action.sending)),
            faults=() if action.fault is None else tuple(describe_fault(action.fault)),
            alternatives=tuple(
                _alternative(action, chosen, 100 * weight / sum(weights), view, route.rule, match, balance)
                for chosen, weight in zip(items, weights, strict=True)
            ),
        )
    decision = action.decide(view, route.rule, match.prefix_length, _first, BY_WEIGHT)
    assert isinstance(decision, Answer)  # the other actions answer by themselves
    return replace(explained, answer=decision)


def _first() -> float:
    """A draw that takes the first of several endpoints, and is for every mirror."""
    return 0.0


def _host_of(table: RouteTable, key: str) -> str:
    """The host in the rules by which `HostIndex.find` found something for this one."""
    hosts = table.index.hosts
    if key in hosts:
        return key
    wildcards = (host for host in hosts if host.startswith("*"))
    return max((w for w in wildcards if w == "*" or (len(w) <= len(key) and key.endswith(w[1:]))), key=len)


def _close_hosts(table: RouteTable, key: str) -> tuple[str, ...]:
    """Hosts with the same first label or with nearly the same letters, the best first."""
    hosts = table.index.hosts
    first_label = key.partition(".")[0]
    same = [host for host in hosts if host.partition(".")[0] == first_label]
    alike = difflib.get_close_matches(key, hosts, _CLOSE_HOSTS, _CLOSE_RATIO)
    return tuple(dict.fromkeys((*alike, *same)))[:_CLOSE_HOSTS]


def _search(
    virtual_host: VirtualHost, view: RequestView
) -> tuple[tuple[PassedRoute, ...], Route | None, Match | None]:
    """(routes that were passed by, the route that decides, the match of it that is met)."""
    passed: list[PassedRoute] = []
    for route in virtual_host.all_routes:
        if isinstance(route, Route):
            met = next((match for match in route.matches if not explain_mismatch(match, view)), None)
            if met is not None:
                return tuple(passed), route, met
        reason = route.reason if isinstance(route, IdleRoute) else ""
        passed.append(PassedRoute(route.rule, _passed_matches(route, None, view), reason))
    return tuple(passed), None, None


def _passed_matches(
    route: Route | IdleRoute, before: Match | None, view: RequestView
) -> tuple[PassedMatch, ...]:
    """The matches that are not met, up to `before`."""
    passed = []
    for i, match in enumerate(route.tried):
        if match is before:
            break
        passed.append(PassedMatch(i, explain_mismatch(match, view)))
    return tuple(passed)


def _deciding(route: Route, match: Match, view: RequestView) -> DecidingRoute:
    passed = _passed_matches(route, match, view)
    index = len(passed) if route.written else None
    return DecidingRoute(route.rule, passed, index, describe_conditions(match))


def _alternative(
    action: ForwardAction,
    chosen: RouteDestination,
    percent: float,
    view: RequestView,
    rule: RuleRef,
    match: Match,
    balance: Balance,
) -> Alternative:
    # A cookie that is drawn for this one decision would say nothing about the next.
    by_chance = replace(chosen, destination=_without_hash(chosen.destination, balance))
    single = replace(action, destinations=Weighted((by_chance,), (1,)), fault=None)
    decision = single.decide(view, rule, match.prefix_length, _first, BY_WEIGHT)
    assert isinstance(decision, Forward | Answer)  # a route that matched never passes a request through
    mirrors: tuple[ExplainedMirror, ...] = ()
    if isinstance(decision, Forward) and action.mirrors is not None:
        mirrors = _mirrors(action.mirrors, decision, view)
    destination = _balanced(_destination(chosen.destination, view.head), chosen.destination, view, balance)
    return Alternative(percent, destination, decision, mirrors)


def _without_hash(destination: ResolvedDestination, balance: Balance) -> ResolvedDestination:
    by_port = {
        port: replace(targets, sticky=None)
        for port, targets in destination.by_port.items()
        if balance.usable(targets)
    }
    return replace(destination, by_port=by_port)


def _balanced(
    explained: ExplainedDestination, destination: ResolvedDestination, view: RequestView, balance: Balance
) -> ExplainedDestination:
    """What the load balancer makes of a primary's endpoints."""
    found = destination.by_port.get(explained.port)
    if found is None:
        return explained
    usable = balance.usable(found)
    weights = [
        (1 if found.balancer is LoadBalancer.RANDOM else weight) if target in usable else 0
        for target, weight in zip(found.targets.items, found.targets.weights, strict=True)
    ]
    shares = tuple(
        EndpointShare(endpoint, 100 * weight / (sum(weights) or 1), is_ejected=not weight)
        for target, weight in zip(found.targets.items, weights, strict=True)
        if (endpoint := target.endpoint.seen_by(view.head)) is not None
    )
    explained = replace(explained, endpoints=shares, bounds=tuple(describe_bounds(found)))
    if found.sticky is None:
        return replace(explained, chosen_by=found.balancer if len(shares) > 1 else "")
    if not usable:
        return explained
    key, new_cookie = found.sticky.policy(view, _first)
    if new_cookie:
        return replace(explained, chosen_by="consistentHash: a new cookie decides, and keeps it so")
    if key is None:
        return replace(explained, chosen_by="consistentHash: this request has no key, so chance decides")
    endpoint = found.sticky.ring.find(key, lambda target: target in usable).endpoint.seen_by(view.head)
    if endpoint is None:
        return explained
    chosen = EndpointShare(endpoint, 100.0)
    return replace(explained, endpoints=(chosen,), chosen_by="consistentHash: the same for this key always")


def _destination(destination: ResolvedDestination, head: RequestHead) -> ExplainedDestination:
    client_port = head.port
    port = client_port if destination.port is None else destination.port
    found = destination.by_port.get(port)
    endpoints: tuple[EndpointShare, ...] = ()
    problem = ""
    if found is not None:
        total = sum(found.targets.weights)
        endpoints = tuple(
            EndpointShare(endpoint, 100 * weight / total)
            for target, weight in zip(found.targets.items, found.targets.weights, strict=True)
            if (endpoint := target.endpoint.seen_by(head)) is not None
        )
        problem = "" if endpoints else "the request does not say where it is to go"
    elif destination.problem:
        problem = destination.problem
    else:
        ports = ", ".join(map(str, destination.by_port))
        whose = ", which is the request's" if destination.port is None else ""
        problem = f"no endpoint on port {port}{whose}; there are endpoints on {ports}"
    cluster = destination.cluster(client_port)
    return ExplainedDestination(destination.host, destination.subset, port, cluster, endpoints, problem)


def _mirrors(mirrors: Mirrors, decision: Forward, view: RequestView) -> tuple[ExplainedMirror, ...]:
    sampling, settled = _sampling(mirrors, view)
    explained = []
    for policy, copy in zip(mirrors.policies, decision.mirrors, strict=True):
        destination = _destination(policy.destination, view.head)
        ended, reason = copy.outcome, ""
        if ended is Outcome.NOT_SAMPLED and not settled:
            ended = Outcome.NO_ENDPOINT if destination.problem else None
        if ended is Outcome.METHOD_GUARDED:
            methods = sorted(mirrors.annotations.methods or ())
            reason = f"mitm-mirror/methods has {', '.join(methods)} alone"
        elif ended is Outcome.NO_ENDPOINT:
            reason = destination.problem
        elif ended is Outcome.NOT_SAMPLED:
            reason = f"{sampling}; this request is not among them"
        explained.append(
            ExplainedMirror(
                percent=100 * policy.millionths / ALL,
                destination=destination,
                copy=copy,
                sampling=sampling if policy.millionths < ALL else "",
                settled=settled,
                ended=ended,
                reason=reason,
            )
        )
    return tuple(explained)


def _sampling(mirrors: Mirrors, view: RequestView) -> tuple[str, bool]:
    """(what `mitm-mirror/sample-by` goes by, whether that settles it for this request)."""
    if mirrors.annotations.sample_by is None:
        return "", False
    source, name = mirrors.annotations.sample_by
    what = f"{source} {name}" if name else source
    identity = mirrors.identity(view)
    if source == "client" and not identity:
        return f"by {what}, which is not known here", False
    if identity is None:
        return f"by chance, as the request has no {what}", False
    return f"by {what} {quoted(identity)}", True
