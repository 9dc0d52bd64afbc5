"""What a VirtualService may not say although its types are right.

Source: istio pkg/config/validation/virtualservice.go and validation.go (ValidateVirtualService).
"""

from collections.abc import Iterator, Mapping

import re2  # type: ignore[import-untyped]

from mitm_mirror.resources import names
from mitm_mirror.resources.check_cors import check_cors
from mitm_mirror.resources.check_fault import check_fault
from mitm_mirror.resources.finding import Finding, error, show, warning
from mitm_mirror.resources.names import at
from mitm_mirror.resources.resource import FieldPath
from mitm_mirror.resources.virtual_service import (
    Destination,
    Headers,
    HTTPDirectResponse,
    HTTPMatchRequest,
    HTTPRedirect,
    HTTPRewrite,
    HTTPRoute,
    HTTPRouteDestination,
    Percent,
    RegexRewrite,
    StringMatch,
    VirtualService,
)

_BODY_BYTES = 1 << 20
_SMALLEST_PERCENT = 0.0001
_JWT_CLAIM = "@request.auth.claims"


def check_virtual_service(spec: VirtualService) -> Iterator[Finding]:
    """All errors and warnings of one spec; paths begin with "spec"."""
    root: FieldPath = ("spec",)
    yield from _check_hosts(spec, root)
    if not (spec.http or spec.tcp or spec.tls):
        yield error(root, "expected http, tcp or tls routes")
    for index, route in enumerate(spec.http):
        if route.delegate is not None and not spec.hosts:
            message = "not allowed in a VirtualService without hosts: a delegate cannot delegate"
            yield error((*root, "http", index, "delegate"), message)
        yield from _check_route(route, (*root, "http", index))


def _check_hosts(spec: VirtualService, root: FieldPath) -> Iterator[Finding]:
    path = (*root, "hosts")
    if not spec.hosts:
        # Istio calls it a delegate, which only another VirtualService's route can reach.
        for name, given in (("gateways", spec.gateways), ("tls", spec.tls), ("tcp", spec.tcp)):
            if given:
                yield error((*root, name), "not allowed without hosts")
    seen: set[str] = set()
    for index, host in enumerate(spec.hosts):
        message = None if names.is_ip(host) else names.host_name(host, wildcard=True)
        yield from at((*path, index), message)
        if host == "*" and (not spec.gateways or "mesh" in spec.gateways):
            yield warning((*path, index), "a cluster takes the host * only together with gateways")
        twice = next((wider for wider in _covering(host.lower()) if wider in seen), None) if seen else None
        if twice is not None and message is None:
            yield error((*path, index), f"{show(host)}, {twice} above covers it already")
        seen.add(host.lower())


def _covering(host: str) -> Iterator[str]:
    """The host and the wildcards that it falls under."""
    yield host
    labels = host.split(".")
    for depth in range(1, len(labels)):
        yield "*." + ".".join(labels[depth:])
    yield "*"


def _check_route(route: HTTPRoute, path: FieldPath) -> Iterator[Finding]:
    yield from _check_action(route, path)
    yield from _check_mirrors(route, path)
    for index, match in enumerate(route.match):
        yield from _check_match(match, (*path, "match", index))
    if route.redirect:
        yield from _check_redirect(route.redirect, route.match, (*path, "redirect"))
    if route.direct_response:
        yield from _check_direct_response(route.direct_response, (*path, "directResponse"))
    if route.rewrite:
        yield from _check_rewrite(route.rewrite, (*path, "rewrite"))
    if route.headers:
        yield from _check_headers(route.headers, (*path, "headers"))
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
        yield from _check_destination(route.mirror, (*path, "mirror"))
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
            yield from _check_destination(policy.destination, (*here, "destination"))
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


def _check_match(match: HTTPMatchRequest, path: FieldPath) -> Iterator[Finding]:
    if match.uri:
        yield from _check_string(match.uri, (*path, "uri"), empty_prefix=True)
    for name in ("scheme", "method", "authority"):
        value: StringMatch | None = getattr(match, name)
        if value:
            yield from _check_string(value, (*path, name))
    for name, headers in (("headers", match.headers), ("withoutHeaders", match.without_headers)):
        for header, value in headers.items():
            here = (*path, name, header)
            if header.startswith(_JWT_CLAIM):
                yield warning(here, "JWT claims are not known here: the header counts as absent")
            else:
                yield from at(here, names.matched_header(header))
            # `*` is no regular expression, but Istio's way to say "present" here.
            if not (name == "withoutHeaders" and value.regex == "*"):
                yield from _check_string(value, here, presence=True)
    for parameter, value in match.query_params.items():
        yield from _check_string(value, (*path, "queryParams", parameter), presence=True)
    if match.port:
        yield from at((*path, "port"), names.port_number(match.port))


def _check_string(
    match: StringMatch, path: FieldPath, *, empty_prefix: bool = False, presence: bool = False
) -> Iterator[Finding]:
    given = [
        n
        for n, v in (("exact", match.exact), ("prefix", match.prefix), ("regex", match.regex))
        if v is not None
    ]
    if len(given) > 1 or not (given or presence):
        found = " and ".join(given) or "empty"
        yield error(path, f"{found}, expected one of exact, prefix and regex")
    if match.prefix == "" and not empty_prefix:
        yield error((*path, "prefix"), "empty, expected a prefix")
    if match.regex is not None:
        yield from at((*path, "regex"), names.regex(match.regex))


def _check_destinations(destinations: tuple[HTTPRouteDestination, ...], path: FieldPath) -> Iterator[Finding]:
    total = 0
    for index, weighted in enumerate(destinations):
        here = (*path, index)
        if weighted.destination is None:
            yield error((*here, "destination"), "missing")
        else:
            yield from _check_destination(weighted.destination, (*here, "destination"))
        if weighted.weight < 0:
            yield error((*here, "weight"), f"{weighted.weight}, expected 0 or more")
        if weighted.headers:
            yield from _check_headers(weighted.headers, (*here, "headers"))
        total += weighted.weight
    if len(destinations) > 1 and total == 0:
        yield error(path, "the weights add up to 0, expected one above 0")


def _check_destination(destination: Destination, path: FieldPath) -> Iterator[Finding]:
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


def _check_headers(headers: Headers, path: FieldPath) -> Iterator[Finding]:
    for side, operations in (("request", headers.request), ("response", headers.response)):
        if operations is None:
            continue
        changed: tuple[tuple[str, Mapping[str, str]], ...] = (
            ("set", operations.set),
            ("add", operations.add),
        )
        for name, values in changed:
            for header, value in values.items():
                here = (*path, side, name, header)
                yield from at(here, names.changed_header(header, authority=side == "request"))
                yield from at(here, names.header_value(value))
        for index, header in enumerate(operations.remove):
            yield from at((*path, side, "remove", index), names.changed_header(header, authority=False))


def _check_redirect(
    redirect: HTTPRedirect, matches: tuple[HTTPMatchRequest, ...], path: FieldPath
) -> Iterator[Finding]:
    if redirect.uri and redirect.prefix_rewrite:
        yield error((*path, "prefixRewrite"), "not allowed beside uri")
    if redirect.prefix_rewrite and any(m.uri and m.uri.prefix is None for m in matches):
        yield error((*path, "prefixRewrite"), "needs every uri match of this route to be a prefix")
    if redirect.port is not None and redirect.derive_port is not None:
        yield error((*path, "derivePort"), "not allowed beside port")
    ports = redirect.port is not None or redirect.derive_port is not None
    if not (redirect.uri or redirect.prefix_rewrite or redirect.authority or redirect.scheme or ports):
        yield error(path, "expected uri, prefixRewrite, authority, scheme, port or derivePort")
    if redirect.redirect_code and not 300 <= redirect.redirect_code <= 399:
        yield error((*path, "redirectCode"), f"{redirect.redirect_code}, expected 300 to 399")
    if redirect.scheme not in ("", "http", "https"):
        yield error((*path, "scheme"), f"{show(redirect.scheme)}, expected http or https")
    if redirect.port:
        yield from at((*path, "port"), names.port_number(redirect.port))


def _check_direct_response(response: HTTPDirectResponse, path: FieldPath) -> Iterator[Finding]:
    if not 200 <= response.status <= 599:
        yield error((*path, "status"), f"{response.status}, expected 200 to 599")
    if response.body is None:
        return
    if response.body.string is not None and response.body.bytes is not None:
        yield error((*path, "body"), "string and bytes, expected one of them")
    size = len(response.body.bytes or (response.body.string or "").encode())
    if size > _BODY_BYTES:
        yield error((*path, "body"), f"{size} bytes, expected at most {_BODY_BYTES}")


def _check_rewrite(rewrite: HTTPRewrite, path: FieldPath) -> Iterator[Finding]:
    if rewrite.uri and rewrite.uri_regex_rewrite:
        yield error((*path, "uriRegexRewrite"), "not allowed beside uri")
    if not (rewrite.uri or rewrite.uri_regex_rewrite or rewrite.authority):
        yield error(path, "expected uri, uriRegexRewrite or authority")
    if rewrite.uri_regex_rewrite:
        yield from _check_regex_rewrite(rewrite.uri_regex_rewrite, (*path, "uriRegexRewrite"))


def _check_regex_rewrite(rewrite: RegexRewrite, path: FieldPath) -> Iterator[Finding]:
    message = names.regex(rewrite.match)
    yield from at((*path, "match"), message)
    if not rewrite.rewrite:
        yield error((*path, "rewrite"), "empty, expected a replacement")
    if message is None:
        # RE2's replacement text: \0 to \9 are groups, \\ is a backslash, nothing else may follow one.
        groups = re2.compile(rewrite.match).groups
        escapes = rewrite.rewrite.replace("\\\\", "").split("\\")[1:]
        for escape in escapes:
            if not ("0" <= escape[:1] <= "9"):
                yield error(
                    (*path, "rewrite"), f"'\\{escape[:1]}', expected \\0 to \\9, or \\\\ for a backslash"
                )
            elif int(escape[0]) > groups:
                yield error((*path, "rewrite"), f"\\{escape[0]}, but match has {groups} groups")
