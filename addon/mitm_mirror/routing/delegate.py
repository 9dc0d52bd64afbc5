"""Delegation: the routes of a VirtualService without hosts in the place of a route that names it.

Source throughout: istio pilot/pkg/model/virtualservice.go (MergeHTTPRoutes and below) and
virtualservice_controller.go (mergeVirtualServices).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from mitm_mirror.resources.base import attribute_name
from mitm_mirror.resources.issue import Issue, Severity
from mitm_mirror.resources.resource import FieldPath, Resource
from mitm_mirror.resources.virtual_service import HTTPRoute, VirtualService
from mitm_mirror.routing.merge_matches import merge_matches
from mitm_mirror.routing.source_match import resolve_match
from mitm_mirror.routing.vantage import Vantage

_INHERITED = (
    "rewrite",
    "directResponse",
    "timeout",
    "retries",
    "fault",
    "mirror",
    "mirrorPercent",
    "mirrorPercentage",
    "corsPolicy",
    "mirrors",
    "headers",
)
"""What a delegate's route takes from the route that delegates, where it says nothing itself."""


@dataclass(frozen=True, slots=True)
class RouteSource:
    """One HTTPRoute to compile, and where its parts were written."""

    spec: HTTPRoute
    place: str
    """`http[1]`, and `http[1]/http[0]` for a delegate's."""
    resource: Resource[VirtualService]
    """Where the route stands."""
    path: FieldPath
    root: "RouteSource | None" = None
    """The route that delegated to it."""
    inherited: frozenset[str] = frozenset()
    """The fields that are the root's, as YAML spells them."""

    @property
    def label(self) -> str:
        """How it is called: its name, or its place where it has none."""
        return self.spec.name or self.place

    def origin(self, field_name: str) -> "RouteSource":
        """The route in which a field was written."""
        return self.root if self.root is not None and field_name in self.inherited else self

    def issue(self, severity: Severity, path: FieldPath, message: str) -> Issue:
        """An issue about the field at `path` below the route."""
        origin = self.origin(str(path[0])) if path else self
        return origin.resource.issue(severity, (*origin.path, *path), message)


@dataclass(slots=True)
class Delegates:
    """The VirtualServices of one rule set, as others may delegate to them."""

    resources: Mapping[tuple[str, str], Resource[VirtualService]]
    """By (namespace, name)."""
    issues: list[Issue]
    _used: set[tuple[str, str]] = field(default_factory=set)

    def expand(self, resource: Resource[VirtualService]) -> list[RouteSource]:
        """The routes of a VirtualService, each that delegates replaced by its delegate's.

        A route that delegates to nothing, and a delegate's route that contradicts the one that
        delegates, are left out with a warning.
        """
        routes: list[RouteSource] = []
        for i, spec in enumerate(resource.spec.http):
            source = RouteSource(_resolved(spec, resource), f"http[{i}]", resource, ("spec", "http", i))
            if spec.delegate is None:
                routes.append(source)
                continue
            delegate = self._find(source, spec.delegate.namespace or resource.namespace, spec.delegate.name)
            if delegate is not None:
                routes += self._merge(source, delegate)
        return routes

    def warn_unused(self) -> None:
        """A warning for each VirtualService without hosts to which no route delegates."""
        for key, resource in self.resources.items():
            if not resource.spec.hosts and key not in self._used:
                message = "no hosts, and no route delegates to it: it does nothing"
                self.issues.append(resource.issue(Severity.WARNING, ("spec",), message))

    def _find(self, source: RouteSource, namespace: str, name: str) -> Resource[VirtualService] | None:
        found = self.resources.get((namespace, name))
        client = source.resource.namespace
        if found is None:
            problem = f"there is no VirtualService {namespace}/{name}"
        elif found.spec.hosts:
            line, _ = found.locate(("spec", "hosts"))
            problem = f"{found} ({found.file}:{line}) has hosts, so it is no delegate"
        elif not Vantage(namespace=client).sees(found.spec.export_to, namespace):
            # Whatever this proxy may see itself: the delegate is part of a VirtualService of that namespace.
            problem = f"{found} is not exported to namespace {client}"
        else:
            self._used.add((namespace, name))
            return found
        message = f"{problem}; this route is left out"
        self.issues.append(source.issue(Severity.WARNING, ("delegate",), message))
        return None

    def _merge(self, source: RouteSource, delegate: Resource[VirtualService]) -> list[RouteSource]:
        routes: list[RouteSource] = []
        for i, written in enumerate(delegate.spec.http):
            spec = _resolved(written, delegate)
            path: FieldPath = ("spec", "http", i)
            matches = merge_matches(source.spec.match, spec.match)
            if matches is None:
                line, _ = source.resource.locate(source.path)
                message = (
                    f"no request can match it and the route that delegates to it, "
                    f"{source.resource} {source.label} ({source.resource.file}:{line}), as Istio compares "
                    "them; this route is left out"
                )
                self.issues.append(delegate.issue(Severity.WARNING, path, message))
                continue
            inherited = frozenset(name for name in _INHERITED if not _is_given(spec, name))
            changes = {attribute_name(name): getattr(source.spec, attribute_name(name)) for name in inherited}
            name = "-".join(name for name in (source.spec.name, spec.name) if name)
            merged = spec.model_copy(update={**changes, "match": matches, "name": name})
            place = f"{source.place}/http[{i}]"
            routes.append(RouteSource(merged, place, delegate, path, source, inherited))
        return routes


def _resolved(spec: HTTPRoute, resource: Resource[VirtualService]) -> HTTPRoute:
    """The route with the gateways of its matches resolved, in the namespace in which they were written."""
    if not any(match.gateways for match in spec.match):
        return spec
    matches = tuple(resolve_match(match, resource.namespace) for match in spec.match)
    return spec.model_copy(update={"match": matches})


def _is_given(spec: HTTPRoute, name: str) -> bool:
    value = getattr(spec, attribute_name(name))
    return value is not None and value != ()
