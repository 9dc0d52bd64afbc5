"""Compiling one HTTPRoute of a VirtualService."""

from dataclasses import dataclass
from typing import NamedTuple

from mitm_mirror.resources.annotations import MirrorAnnotations
from mitm_mirror.resources.issue import Issue, Severity
from mitm_mirror.resources.resource import FieldPath, Resource
from mitm_mirror.resources.virtual_service import (
    Destination,
    Headers,
    HTTPMatchRequest,
    HTTPRoute,
    Percent,
    VirtualService,
)
from mitm_mirror.routing.actions import (
    Action,
    DirectResponseAction,
    ForwardAction,
    RedirectAction,
    RouteDestination,
)
from mitm_mirror.routing.decision import HeaderOperations, RuleRef
from mitm_mirror.routing.destinations import DestinationResolver
from mitm_mirror.routing.headers import NO_OPERATIONS, compile_operations, merge_operations
from mitm_mirror.routing.matchers import CATCH_ALL, Match, MatchError, compile_match, never_matches
from mitm_mirror.routing.mirror import MirrorPolicy, Mirrors, percentage_millionths, route_millionths
from mitm_mirror.routing.redirect import compile_redirect
from mitm_mirror.routing.rewrite import compile_rewrite
from mitm_mirror.routing.table import Route
from mitm_mirror.routing.weights import Weighted

_NO_COPY = "0 copies no request"


@dataclass(frozen=True, slots=True)
class RouteCompiler:
    """Compiles the routes of one VirtualService; what is wrong with them is put into `issues`."""

    resource: Resource[VirtualService]
    annotations: MirrorAnnotations
    resolver: DestinationResolver
    host_suffix: str
    issues: list[Issue]

    def compile_routes(self) -> tuple[Route, ...]:
        """The routes that can be reached, in order. Routes behind a catch-all are left out with a warning."""
        routes: list[Route] = []
        catch_all: int | None = None
        for i, spec in enumerate(self.resource.spec.http):
            path: FieldPath = ("spec", "http", i)
            if catch_all is not None:
                self._warn(path, f"never reached: http[{catch_all}] before it matches every request")
                continue
            route = self._compile_route(path, spec, i)
            if route is not None:
                routes.append(route)
                if any(match.is_catch_all for match in route.matches):
                    catch_all = i
        return tuple(routes)

    def _compile_route(self, path: FieldPath, spec: HTTPRoute, index: int) -> Route | None:
        written: tuple[HTTPMatchRequest, ...] = ()
        matches: tuple[Match, ...] = (CATCH_ALL,)
        if spec.match:
            matches, written = self._compile_matches(path, spec)
        action = self._compile_action(path, spec)
        if action is None or not matches:
            return None
        return Route(self.rule(path, spec.name or f"http[{index}]"), matches, action, written, spec)

    def rule(self, path: FieldPath, route: str) -> RuleRef:
        """How decisions name the route at `path`."""
        line, _ = self.resource.locate(path)
        name = f"{self.resource.namespace}/{self.resource.name}"
        return RuleRef(name, route, f"{self.resource.file}:{line}")

    def _compile_matches(
        self, path: FieldPath, spec: HTTPRoute
    ) -> tuple[tuple[Match, ...], tuple[HTTPMatchRequest, ...]]:
        compiled: list[Match] = []
        written: list[HTTPMatchRequest] = []
        for i, match in enumerate(spec.match):
            # Not warned about here: validation names each field that is not acted on.
            if never_matches(match):
                continue
            try:
                compiled.append(compile_match(match))
                written.append(match)
            except MatchError as e:
                self._error((*path, "match", i, *e.path), str(e))
        return tuple(compiled), tuple(written)

    def _compile_action(self, path: FieldPath, spec: HTTPRoute) -> Action | None:
        """None where the route does nothing here: it delegates, or it is wrong."""
        response = _compile_headers(spec.headers).response
        if spec.redirect is not None:
            return RedirectAction(compile_redirect(spec.redirect), response)
        if spec.direct_response is not None:
            body = spec.direct_response.body
            content = b"" if body is None else body.bytes or (body.string or "").encode()
            return DirectResponseAction(spec.direct_response.status, content, response)
        if spec.delegate is not None:
            return None
        return self._compile_forward(path, spec)

    def _compile_forward(self, path: FieldPath, spec: HTTPRoute) -> ForwardAction | None:
        destinations = self._compile_destinations(path, spec)
        if destinations is None:
            return None
        try:
            rewrite = compile_rewrite(spec.rewrite)
        except ValueError as e:
            self._error((*path, "rewrite", "uriRegexRewrite"), str(e))
            return None
        return ForwardAction(destinations, rewrite, self._compile_mirrors(path, spec, destinations))

    def _compile_destinations(self, path: FieldPath, spec: HTTPRoute) -> Weighted[RouteDestination] | None:
        """Weights of 0 count only where there is a choice (route.go, applyHTTPRouteDestination)."""
        single = len(spec.route) == 1
        kept = [(i, route) for i, route in enumerate(spec.route) if single or route.weight > 0]
        if not kept:
            what = (
                "every destination has weight 0" if spec.route else "nothing says what to do with a request"
            )
            self._error((*path, "route"), f"{what}; expected a destination with a weight above 0")
            return None
        if single and "weight" in spec.route[0].model_fields_set and spec.route[0].weight == 0:
            message = "a single destination takes every request, also with weight 0"
            self._warn((*path, "route", 0, "weight"), message)
        of_route = _compile_headers(spec.headers)
        rewritten = spec.rewrite.authority if spec.rewrite is not None else ""
        compiled = []
        for i, route in kept:
            destination = self.resolver.resolve(
                self.resource,
                (*path, "route", i, "destination"),
                route.destination or Destination(),
                "requests for it are answered 503",
            )
            own = _compile_headers(route.headers)
            compiled.append(
                RouteDestination(
                    destination=destination,
                    request_headers=_in_order(of_route.request, own.request, single),
                    response_headers=_in_order(of_route.response, own.response, single),
                    # The route's goes before the destination's: route.go, processDestination.
                    authority=rewritten or of_route.authority or own.authority,
                )
            )
        return Weighted(compiled, [max(route.weight, 1) for _, route in kept])

    def _compile_mirrors(
        self, path: FieldPath, spec: HTTPRoute, primaries: Weighted[RouteDestination]
    ) -> Mirrors | None:
        wanted: list[tuple[FieldPath, Destination, int]] = []
        if spec.mirror is not None:
            wanted.append(((*path, "mirror"), spec.mirror, route_millionths(spec)))
            if spec.mirror_percentage is None and spec.mirror_percent == 0:
                self._warn((*path, "mirrorPercent"), _NO_COPY)
            self._warn_zero((*path, "mirrorPercentage"), spec.mirror_percentage)
        for i, policy in enumerate(spec.mirrors):
            at = (*path, "mirrors", i)
            if policy.destination is not None:
                millionths = percentage_millionths(policy.percentage)
                wanted.append(((*at, "destination"), policy.destination, millionths))
                self._warn_zero((*at, "percentage"), policy.percentage)
        policies: list[MirrorPolicy] = []
        for at, destination, millionths in wanted:
            if not millionths:
                continue
            resolved = self.resolver.resolve(self.resource, at, destination, "its shadows end as no_endpoint")
            name = (resolved.host, resolved.subset, resolved.port)
            for primary in primaries.items:
                if name == (primary.destination.host, primary.destination.subset, primary.destination.port):
                    self._warn(at, "mirrors to the route's own destination, which gets these requests twice")
                    break
            policies.append(MirrorPolicy(resolved, millionths))
        return Mirrors(tuple(policies), self.annotations, self.host_suffix) if policies else None

    def _warn_zero(self, path: FieldPath, percentage: Percent | None) -> None:
        """An empty message and a value too small to count are named by validation already."""
        if percentage is not None and percentage.model_fields_set and percentage.value == 0:
            self._warn((*path, "value"), _NO_COPY)

    def _warn(self, path: FieldPath, message: str) -> None:
        self.issues.append(self.resource.issue(Severity.WARNING, path, message))

    def _error(self, path: FieldPath, message: str) -> None:
        self.issues.append(self.resource.issue(Severity.ERROR, path, message))


class _Headers(NamedTuple):
    request: HeaderOperations
    response: HeaderOperations
    authority: str


_NO_HEADERS = _Headers(NO_OPERATIONS, NO_OPERATIONS, "")


def _compile_headers(spec: Headers | None) -> _Headers:
    if spec is None:
        return _NO_HEADERS
    request, authority = compile_operations(spec.request)
    response, _ = compile_operations(spec.response)
    return _Headers(request, response, authority)


def _in_order(
    route: HeaderOperations, destination: HeaderOperations, single: bool
) -> tuple[HeaderOperations, ...]:
    """A single destination's operations join the route's, one of several runs before them.

    Source: route.go, processDestination and processWeightedDestination; Envoy evaluates the more
    specific operations first (most_specific_header_mutations_wins is off).
    """
    if single:
        merged = merge_operations(route, destination)
        return (merged,) if merged else ()
    return tuple(operations for operations in (destination, route) if operations)
