"""What an HTTPRoute may not say although its types are right.

Source: istio pkg/config/validation (validateHTTPRoute and what it calls). Of conflicts that Istio checks
in a delegating route not at all, `mirror` beside `mirrors` is an error here, too.
"""

from collections.abc import Iterator

from mitm_mirror.resources import names
from mitm_mirror.resources.check_answer import check_direct_response, check_redirect
from mitm_mirror.resources.check_cors import check_cors
from mitm_mirror.resources.check_fault import check_fault
from mitm_mirror.resources.check_headers import check_headers
from mitm_mirror.resources.check_match import check_match
from mitm_mirror.resources.check_retries import check_retries
from mitm_mirror.resources.check_rewrite import check_rewrite
from mitm_mirror.resources.finding import Finding, error, show, warning
from mitm_mirror.resources.names import at
from mitm_mirror.resources.resource import FieldPath
from mitm_mirror.resources.virtual_service import Destination, HTTPRoute, HTTPRouteDestination, Percent

_SMALLEST_PERCENT = 0.0001


def check_route(route: HTTPRoute, path: FieldPath, *, at_gateway: bool) -> Iterator[Finding]:
    """All errors and warnings. `at_gateway`: whether the VirtualService is for gateways alone."""
    yield from _check_action(route, path)
    yield from _check_mirrors(route, path)
    for index, match in enumerate(route.match):
        yield from check_match(match, (*path, "match", index), at_gateway=at_gateway)
    if route.redirect:
        yield from check_redirect(route.redirect, route.match, (*path, "redirect"))
    if route.direct_response:
        yield from check_direct_response(route.direct_response, (*path, "directResponse"))
    if route.rewrite:
        yield from check_rewrite(route.rewrite, (*path, "rewrite"))
    if route.headers:
        yield from check_headers(route.headers, (*path, "headers"))
        authorities = [route.rewrite.authority] if route.rewrite and route.rewrite.authority else []
        if route.headers.request:
            for operation in (route.headers.request.set, route.headers.request.add):
                authorities += [v for k, v in operation.items() if k.lower() in ("host", ":authority")]
        if len(authorities) > 1:
            yield error(
                (*path, "headers", "request"), "Host is given more than once (with rewrite.authority)"
            )
    yield from _check_destinations(route.route, (*path, "route"))
    yield from _check_filters(route, path)


def _check_filters(route: HTTPRoute, path: FieldPath) -> Iterator[Finding]:
    """What stands before the destinations in Envoy."""
    if route.timeout is not None:
        # 0s is an error in Istio as well: no timeout is what an absent field means.
        yield from at((*path, "timeout"), names.whole_milliseconds(route.timeout))
    if route.retries:
        yield from check_retries(route.retries, (*path, "retries"))
    if route.fault:
        yield from check_fault(route.fault, (*path, "fault"))
    if route.cors_policy:
        yield from check_cors(route.cors_policy, (*path, "corsPolicy"))
        if route.redirect or route.direct_response:
            message = "never used: only answers of destinations get CORS headers"
            yield warning((*path, "corsPolicy"), message)


def _check_action(route: HTTPRoute, path: FieldPath) -> Iterator[Finding]:
    """What a route does: forward, redirect, answer or delegate, and only one of them."""
    if route.delegate:
        for name, given in (("redirect", route.redirect), ("route", route.route)):
            if given:
                yield error((*path, name), "not allowed beside delegate")
        return
    action = "redirect" if route.redirect else "directResponse" if route.direct_response else None
    if action is None:
        if not route.route:
            yield error(path, "expected route, redirect or directResponse")
        return
    rivals: dict[str, object] = {"route": route.route, "fault": route.fault, "rewrite": route.rewrite}
    if action == "redirect":
        rivals["directResponse"] = route.direct_response
    for name, rival in rivals.items():
        if rival:
            yield error((*path, name), f"not allowed beside {action}")


def _check_mirrors(route: HTTPRoute, path: FieldPath) -> Iterator[Finding]:
    if route.mirror:
        yield from check_destination(route.mirror, (*path, "mirror"))
        if route.mirrors:
            yield error((*path, "mirrors"), "not allowed beside mirror")
    for name, given in (
        ("mirrorPercentage", route.mirror_percentage),
        ("mirrorPercent", route.mirror_percent),
    ):
        if given is not None and not route.mirror:
            yield warning(
                (*path, name), "does nothing without mirror; in mirrors each has its own percentage"
            )
    yield from _check_percent(route.mirror_percentage, (*path, "mirrorPercentage"))
    if route.mirror_percent is not None and route.mirror_percent > 100:
        yield error((*path, "mirrorPercent"), f"{route.mirror_percent}, expected 0 to 100")
    for index, policy in enumerate(route.mirrors):
        here = (*path, "mirrors", index)
        if policy.destination is None:
            yield error((*here, "destination"), "missing")
        else:
            yield from check_destination(policy.destination, (*here, "destination"))
        yield from _check_percent(policy.percentage, (*here, "percentage"))
    if (route.mirror or route.mirrors) and (route.redirect or route.direct_response):
        name = "mirror" if route.mirror else "mirrors"
        yield warning((*path, name), "never used: a route without destinations is not mirrored")


def _check_percent(percent: Percent | None, path: FieldPath) -> Iterator[Finding]:
    if percent is None:
        return
    if not 0 <= percent.value <= 100:
        yield error((*path, "value"), f"{show(percent.value)}, expected 0 to 100")
    elif not percent.model_fields_set:
        yield warning(path, "empty, which means 0 percent; leave it out for 100")
    elif 0 < percent.value < _SMALLEST_PERCENT:
        yield warning((*path, "value"), f"{percent.value}, below {_SMALLEST_PERCENT} it counts as 0")


def _check_destinations(destinations: tuple[HTTPRouteDestination, ...], path: FieldPath) -> Iterator[Finding]:
    total = 0
    for index, weighted in enumerate(destinations):
        here = (*path, index)
        if weighted.destination is None:
            yield error((*here, "destination"), "missing")
        else:
            yield from check_destination(weighted.destination, (*here, "destination"))
        if weighted.weight < 0:
            yield error((*here, "weight"), f"{weighted.weight}, expected 0 or more")
        if weighted.headers:
            yield from check_headers(weighted.headers, (*here, "headers"))
        total += weighted.weight
    if len(destinations) > 1 and total == 0:
        yield error(path, "the weights add up to 0, expected one above 0")
    elif len(destinations) > 1:
        for index, weighted in enumerate(destinations):
            # An explicit 0 is how a rollout begins and ends, and no complaint.
            if "weight" not in weighted.model_fields_set:
                yield warning((*path, index), "no weight, which means 0: it gets no request")


def check_destination(destination: Destination, path: FieldPath) -> Iterator[Finding]:
    if destination.host == "*":
        yield error((*path, "host"), "'*', expected one host")
    elif not destination.host:
        yield error((*path, "host"), "missing")
    else:
        yield from at((*path, "host"), names.host_name(destination.host, wildcard=True))
    if destination.subset:
        yield from at((*path, "subset"), names.dns_label(destination.subset))
    if destination.port:
        yield from at((*path, "port", "number"), names.port_number(destination.port.number))
