"""What a `redirect` and a `directResponse` may not say although their types are right.

Source: istio pkg/config/validation/validation.go (validateHTTPRedirect, validateHTTPDirectResponse).
"""

from collections.abc import Iterator

from mitm_mirror.resources import names
from mitm_mirror.resources.finding import Finding, error, show, warning
from mitm_mirror.resources.names import at
from mitm_mirror.resources.resource import FieldPath
from mitm_mirror.resources.virtual_service import HTTPDirectResponse, HTTPMatchRequest, HTTPRedirect

_ENVOY_CODES = frozenset({301, 302, 303, 307, 308})
"""For any other Istio makes a route without an action, which Envoy refuses (route.go, ApplyRedirect)."""
_BODY_BYTES = 1 << 20
_LARGE_BODY_BYTES = 100 << 10


def check_redirect(
    redirect: HTTPRedirect, matches: tuple[HTTPMatchRequest, ...], path: FieldPath
) -> Iterator[Finding]:
    """All errors, and a warning about a status that Envoy does not have; `matches` are the route's."""
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
    elif redirect.redirect_code and redirect.redirect_code not in _ENVOY_CODES:
        message = "a cluster has no such redirect; expected 301, 302, 303, 307 or 308"
        yield warning((*path, "redirectCode"), f"{redirect.redirect_code}: {message}")
    if redirect.scheme not in ("", "http", "https"):
        yield error((*path, "scheme"), f"{show(redirect.scheme)}, expected http or https")
    if redirect.port:
        yield from at((*path, "port"), names.port_number(redirect.port))


def check_direct_response(response: HTTPDirectResponse, path: FieldPath) -> Iterator[Finding]:
    """All errors, and a warning about a body that makes configuration slow."""
    if not 200 <= response.status <= 599:
        yield error((*path, "status"), f"{response.status}, expected 200 to 599")
    if response.body is None:
        return
    if response.body.string is not None and response.body.bytes is not None:
        yield error((*path, "body"), "string and bytes, expected one of them")
    size = len(response.body.bytes or (response.body.string or "").encode())
    if size > _BODY_BYTES:
        yield error((*path, "body"), f"{size} bytes, expected at most {_BODY_BYTES}")
    elif size > _LARGE_BODY_BYTES:
        yield warning((*path, "body"), f"{size} bytes; above {_LARGE_BODY_BYTES} it burdens a control plane")
