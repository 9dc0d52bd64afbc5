"""What a match asks of the proxy and not of the request: gateways, source labels, source namespace."""

from mitm_mirror.resources.virtual_service import HTTPMatchRequest
from mitm_mirror.routing.matchers import JWT_CLAIMS, UnmetMatch
from mitm_mirror.routing.services import is_subset
from mitm_mirror.routing.vantage import Vantage, resolve_gateway, show_labels


def find_unmet(spec: HTTPMatchRequest, vantage: Vantage) -> UnmetMatch | None:
    """Why no request can meet the match here, or None where it depends on the request.

    The gateways of the match are resolved ones. Where it names any, source labels and namespace are not
    asked. Source: istio pilot/pkg/networking/core/route/route.go, sourceMatchHTTP.
    """
    if spec.gateways:
        if not set(spec.gateways) & set(vantage.gateways):
            wanted = " and ".join(spec.gateways)
            return UnmetMatch("gateways", f"it is for {wanted}, this proxy plays {vantage.plays}")
    elif not is_subset(spec.source_labels, vantage.labels):
        wanted, found = show_labels(spec.source_labels), show_labels(vantage.labels)
        return UnmetMatch("sourceLabels", f"it is for {wanted}, this proxy's labels: {found}")
    elif spec.source_namespace not in ("", vantage.namespace):
        wanted = spec.source_namespace
        return UnmetMatch(
            "sourceNamespace", f"it is for {wanted}, this proxy's namespace: {vantage.namespace}"
        )
    if any(name.startswith(JWT_CLAIMS) for name in spec.headers):
        return UnmetMatch("headers", f"there is no JWT filter that could know {JWT_CLAIMS}")
    return None


def resolve_match(spec: HTTPMatchRequest, namespace: str) -> HTTPMatchRequest:
    """The match with its gateways as `namespace/name`, as a VirtualService of `namespace` means them."""
    if not spec.gateways:
        return spec
    return spec.model_copy(
        update={"gateways": tuple(resolve_gateway(name, namespace) for name in spec.gateways)}
    )
