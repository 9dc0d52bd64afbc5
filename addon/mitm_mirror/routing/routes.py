"""Compiling one HTTPRoute of a VirtualService."""

from dataclasses import dataclass
from typing import NamedTuple

from mitm_mirror.resources.annotations import MirrorAnnotations, parse_annotations
from mitm_mirror.resources.issue import Issue, Severity
from mitm_mirror.resources.resource import FieldPath, Resource
from mitm_mirror.resources.virtual_service import (
    Destination,
    Headers,
    HTTPMatchRequest,
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
from mitm_mirror.routing.cors import Cors, compile_cors
from mitm_mirror.routing.decision import HeaderOperations, RuleRef
from mitm_mirror.routing.delegate import Delegates, RouteSource
from mitm_mirror.routing.destinations import DestinationResolver
from mitm_mirror.routing.fault import compile_fault
from mitm_mirror.routing.headers import NO_OPERATIONS, compile_operations, merge_operations
from mitm_mirror.routing.matchers import (
    CATCH_ALL,
    Match,
    MatchError,
    UnmetMatch,
    compile_match,
)
from mitm_mirror.routing.mirror import MirrorPolicy, Mirrors, percentage_millionths, route_millionths
from mitm_mirror.routing.redirect import compile_redirect
from mitm_mirror.routing.rewrite import compile_rewrite
from mitm_mirror.routing.sending import compile_sending
from mitm_mirror.routing.source_match import find_unmet
from mitm_mirror.routing.table import IdleRoute, Route
from mitm_mirror.routing.vantage import Vantage
from mitm_mirror.routing.weights import Weighted

_NO_COPY = "0 copies no request"


@dataclass(frozen=True, slots=True)
class RouteCompiler:
    """Compiles the routes of one VirtualService; what is wrong with them is put into `issues`."""

    resource: Resource[VirtualService]
    annotations: MirrorAnnotations
    delegates: Delegates
    resolver: DestinationResolver
    vantage: Vantage
    host_suffix: str
    issues: list[Issue]

    def compile_routes(self) -> tuple[Route | IdleRoute, ...]:
        """The routes in order. Those behind a catch-all are left out with a warning."""
        routes: list[Route | IdleRoute] = []
        catch_all: str | None = None
        for source in self.delegates.expand(self.resource):
            if catch_all is not None:
                self._warn(source, (), f"never reached: {catch_all} before it matches every request")
                continue
            route = self._compile_route(source)
            routes.append(route)
            if isinstance(route, Route) and any(match.is_catch_all for match in route.matches):
                catch_all = source.place
        return tuple(routes)

    def _compile_route(self, source: RouteSource) -> Route | IdleRoute:
        written: tuple[HTTPMatchRequest, ...] = ()
        tried: tuple[Match | UnmetMatch, ...] = (CATCH_ALL,)
        if source.spec.match:
            tried, written = self._compile_matches(source)
        action = self._compile_action(source)
        line, _ = source.resource.locate(source.path)
        rule = RuleRef(self._name, source.label, f"{source.resource.file}:{line}")
        if action is None:
            return IdleRoute(rule, (), "it has an error")
        matches = tuple(match for match in tried if isinstance(match, Match))
        if not matches:
            return IdleRoute(rule, tuple(match for match in tried if isinstance(match, UnmetMatch)), "")
        return Route(rule, matches, action, written, tried, source.spec)

    @property
    def _name(self) -> str:
        return f"{self.resource.namespace}/{self.resource.name}"

    def rule(self) -> RuleRef:
        """How decisions name the VirtualService where no route of it matches."""
        line, _ = self.resource.locate(("metadata", "name"))
        return RuleRef(self._name, "", f"{self.resource.file}:{line}")

    def _compile_matches(
        self, source: RouteSource
    ) -> tuple[tuple[Match | UnmetMatch, ...], tuple[HTTPMatchRequest, ...]]:
        compiled: list[Match | UnmetMatch] = []
        written: list[HTTPMatchRequest] = []
        for i, match in enumerate(source.spec.match):
            if unmet := find_unmet(match, self.vantage):
                compiled.append(unmet)
                self._report_unmet(source, i, unmet)
                continue
            try:
                compiled.append(compile_match(match))
                written.append(match)
            except MatchError as e:
                # A delegate's are merged with the root's: which of them is to blame is not known any more.
                path = ("match",) if source.root is not None else ("match", i, *e.path)
                self._error(source, path, str(e))
        return tuple(compiled), tuple(written)

    def _report_unmet(self, source: RouteSource, index: int, unmet: UnmetMatch) -> None:
        severity = {
            "gateways": self.vantage.gateway_severity,
            "sourceLabels": self.vantage.labels_severity,
            "sourceNamespace": self.vantage.namespace_severity,
        }.get(unmet.field, Severity.WARNING)
        path: FieldPath = ("match",) if source.root is not None else ("match", index, unmet.field)
        self.issues.append(source.issue(severity, path, f"this match is never met: {unmet.reason}"))

    def _compile_action(self, source: RouteSource) -> Action | None:
        """None where the route is wrong."""
        spec = source.spec
        response = _compile_headers(spec.headers).response
        if spec.redirect is not None or spec.direct_response is not None:
            self._warn_unused(source)
        if spec.redirect is not None:
            return RedirectAction(compile_redirect(spec.redirect), response)
        if spec.direct_response is not None:
            body = spec.direct_response.body
            content = b"" if body is None else body.bytes or (body.string or "").encode()
            return DirectResponseAction(spec.direct_response.status, content, response)
        return self._compile_forward(source)

    def _warn_unused(self, source: RouteSource) -> None:
        """Says what a delegation brings together that validation, which sees one route, would name."""
        for name, given in (("fault", source.spec.fault), ("corsPolicy", source.spec.cors_policy)):
            if given is not None and source.inherited & {name, "directResponse"}:
                self._warn(source, (name,), f"never used: the requests of {source.place} are answered here")

    def _compile_forward(self, source: RouteSource) -> ForwardAction | None:
        spec = source.spec
        destinations = self._compile_destinations(source)
        if destinations is None:
            return None
        try:
            rewrite = compile_rewrite(spec.rewrite)
        except ValueError as e:
            self._error(source, ("rewrite", "uriRegexRewrite"), str(e))
            return None
        cors: Cors | None = None
        if spec.cors_policy is not None:
            try:
                cors = compile_cors(spec.cors_policy)
            except MatchError as e:
                self._error(source, ("corsPolicy", *e.path), str(e))
                return None
        return ForwardAction(
            destinations=destinations,
            rewrite=rewrite,
            mirrors=self._compile_mirrors(source, destinations),
            fault=compile_fault(spec.fault),
            cors=cors,
            sending=compile_sending(spec),
        )

    def _compile_destinations(self, source: RouteSource) -> Weighted[RouteDestination] | None:
        """Weights of 0 count only where there is a choice (route.go, applyHTTPRouteDestination)."""
        spec = source.spec
        single = len(spec.route) == 1
        kept = [(i, route) for i, route in enumerate(spec.route) if single or route.weight > 0]
        if not kept:
            what = (
                "every destination has weight 0" if spec.route else "nothing says what to do with a request"
            )
            self._error(source, ("route",), f"{what}; expected a destination with a weight above 0")
            return None
        if single and "weight" in spec.route[0].model_fields_set and spec.route[0].weight == 0:
            message = "a single destination takes every request, also with weight 0"
            self._warn(source, ("route", 0, "weight"), message)
        of_route = _compile_headers(spec.headers)
        rewritten = spec.rewrite.authority if spec.rewrite is not None else ""
        compiled = []
        for i, route in kept:
            destination = self.resolver.resolve(
                source.resource,
                (*source.path, "route", i, "destination"),
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

    def _compile_mirrors(self, source: RouteSource, primaries: Weighted[RouteDestination]) -> Mirrors | None:
        spec = source.spec
        wanted: list[tuple[FieldPath, Destination, int]] = []
        if spec.mirror is not None:
            wanted.append((("mirror",), spec.mirror, route_millionths(spec)))
            if spec.mirror_percentage is None and spec.mirror_percent == 0:
                self._warn(source, ("mirrorPercent",), _NO_COPY)
            self._warn_zero(source, ("mirrorPercentage",), spec.mirror_percentage)
        for i, policy in enumerate(spec.mirrors):
            at: FieldPath = ("mirrors", i)
            if policy.destination is not None:
                millionths = percentage_millionths(policy.percentage)
                wanted.append(((*at, "destination"), policy.destination, millionths))
                self._warn_zero(source, (*at, "percentage"), policy.percentage)
        policies: list[MirrorPolicy] = []
        for at, destination, millionths in wanted:
            if not millionths:
                continue
            # A short name means a service of the namespace in which it was written.
            origin = source.origin(str(at[0]))
            resolved = self.resolver.resolve(
                origin.resource, (*origin.path, *at), destination, "its shadows end as no_endpoint"
            )
            name = (resolved.host, resolved.subset, resolved.port)
            for primary in primaries.items:
                if name == (primary.destination.host, primary.destination.subset, primary.destination.port):
                    message = (
                        "mirrors to the route's own destination, which gets these requests twice; "
                        "where mirror_compare is on, that teaches what is noise"
                    )
                    self._warn(source, at, message)
                    break
            policies.append(MirrorPolicy(resolved, millionths))
        if not policies:
            return None
        annotations = self._annotations_of(source)
        return Mirrors(tuple(policies), annotations, self.host_suffix, spec.timeout or None)

    def _annotations_of(self, source: RouteSource) -> MirrorAnnotations:
        """A delegate's own go before those of the VirtualService that delegates to it."""
        if source.root is None:
            return self.annotations
        return parse_annotations({**self.resource.annotations, **source.resource.annotations})[0]

    def _warn_zero(self, source: RouteSource, path: FieldPath, percentage: Percent | None) -> None:
        """An empty message and a value too small to count are named by validation already."""
        if percentage is not None and percentage.model_fields_set and percentage.value == 0:
            self._warn(source, (*path, "value"), _NO_COPY)

    def _warn(self, source: RouteSource, path: FieldPath, message: str) -> None:
        self.issues.append(source.issue(Severity.WARNING, path, message))

    def _error(self, source: RouteSource, path: FieldPath, message: str) -> None:
        self.issues.append(source.issue(Severity.ERROR, path, message))


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
