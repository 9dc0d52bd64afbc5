"""What an HTTPMatchRequest may not say although its types are right.

Source: istio pkg/config/validation (validateHTTPRouteMatchRequest, validateStringMatch,
validateStringRegexp).
"""

from collections.abc import Iterator

from mitm_mirror.resources import names
from mitm_mirror.resources.check_scope import check_gateway_names
from mitm_mirror.resources.finding import Finding, error, show, warning
from mitm_mirror.resources.names import at
from mitm_mirror.resources.resource import FieldPath
from mitm_mirror.resources.virtual_service import HTTPMatchRequest, StringMatch

_JWT_CLAIM = "@request.auth.claims"


def check_match(match: HTTPMatchRequest, path: FieldPath, *, at_gateway: bool) -> Iterator[Finding]:
    """All errors and warnings. `at_gateway`: whether the VirtualService is for gateways alone."""
    if match.uri:
        yield from _check_string(match.uri, (*path, "uri"), empty_prefix=True)
    for name in ("scheme", "method", "authority"):
        value: StringMatch | None = getattr(match, name)
        if value:
            yield from _check_string(value, (*path, name))
    for name, headers in (("headers", match.headers), ("withoutHeaders", match.without_headers)):
        for header, value in headers.items():
            here = (*path, name, header)
            if _is_jwt_claim(header):
                yield _check_jwt_claim(here, at_gateway=at_gateway)
            else:
                yield from at(here, names.matched_header(header))
            # `*` is no regular expression, but Istio's way to say "present" here.
            if not (name == "withoutHeaders" and value.regex == "*"):
                yield from _check_string(value, here, presence=True)
    for parameter, value in match.query_params.items():
        yield from _check_string(value, (*path, "queryParams", parameter), presence=True)
    yield from _check_client(match, path)


def _check_client(match: HTTPMatchRequest, path: FieldPath) -> Iterator[Finding]:
    if match.port:
        yield from at((*path, "port"), names.port_number(match.port))
    if match.source_labels:
        yield from names.check_labels(match.source_labels, (*path, "sourceLabels"))
    if match.gateways:
        yield from check_gateway_names(match.gateways, (*path, "gateways"))
    if match.source_namespace and names.dns_label(match.source_namespace):
        yield error((*path, "sourceNamespace"), f"{show(match.source_namespace)}, expected a namespace")


def _is_jwt_claim(header: str) -> bool:
    """Source: istio pkg/jwt/routing.go, ToRoutingClaim."""
    claim = header[len(_JWT_CLAIM) :]
    if not header.lower().startswith(_JWT_CLAIM):
        return False
    return len(claim) > 1 and (claim[0] == "." or (claim[0] == "[" and claim[-1] == "]" and len(claim) > 2))


def _check_jwt_claim(path: FieldPath, *, at_gateway: bool) -> Finding:
    if not at_gateway:
        return error(path, "JWT claims are for VirtualServices of gateways, not of the mesh")
    return warning(path, "JWT claims are not known here: the header counts as absent")


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
