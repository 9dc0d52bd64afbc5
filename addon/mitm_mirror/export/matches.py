"""`match` as Envoy's RouteMatch.

Source: istio pilot/pkg/networking/core/route/route.go, TranslateRouteMatch and below.
"""

import re
from typing import Any

from mitm_mirror.resources.virtual_service import HTTPMatchRequest, StringMatch
from mitm_mirror.routing.matchers import is_presence

_CLAIMS = "@request.auth.claims"


def route_match(spec: HTTPMatchRequest | None) -> dict[str, Any]:
    """The RouteMatch of one `match`; None stands for a route without any.

    `port` is not in it, see `addressed_port`. Matches that can never be met are not asked for.
    """
    if spec is None:
        return {"prefix": "/"}
    headers = [_header_matcher(name, value) for name, value in spec.headers.items()]
    for name, value in spec.without_headers.items():
        # Only a JWT filter could provide what such a "header" matches.
        if not name.startswith(_CLAIMS):
            matcher = {**_header_matcher(name, value), "invert_match": True}
            if not is_presence(value):
                matcher["treat_missing_header_as_empty"] = True
            headers.append(matcher)
    for pseudo, written in (
        (":method", spec.method),
        (":authority", spec.authority),
        (":scheme", spec.scheme),
    ):
        if written is not None:
            headers.append(_header_matcher(pseudo, written))
    query = [{"name": name, **_value_matcher(value)} for name, value in spec.query_params.items()]
    match: dict[str, Any] = _path_specifier(spec.uri)
    if spec.ignore_uri_case:
        match["case_sensitive"] = False
    if headers:
        match["headers"] = headers
    if query:
        match["query_parameters"] = query
    return match


def with_headers(match: dict[str, Any], *matchers: dict[str, Any]) -> dict[str, Any]:
    """The RouteMatch with further conditions on headers."""
    return {**match, "headers": [*match.get("headers", ()), *matchers]} if matchers else match


def addressed_port(port: int) -> dict[str, Any]:
    """The condition that the client addressed this port: it stands in Host, or is http's default.

    Istio has a route configuration for each port; a static Envoy has one for all.
    """
    bare = r"|[^:]*|\[[^\]]*\]" if port == 80 else ""
    return {"name": ":authority", "string_match": {"safe_regex": {"regex": f".*:{port}{bare}"}}}


def any_method(methods: frozenset[str]) -> dict[str, Any]:
    """The condition that the method is one of these."""
    regex = "|".join(re.escape(method) for method in sorted(methods))
    return {"name": ":method", "string_match": {"safe_regex": {"regex": regex}}}


def _path_specifier(spec: StringMatch | None) -> dict[str, Any]:
    if spec is None or is_presence(spec):
        return {"prefix": "/"}
    if spec.exact is not None:
        return {"path": spec.exact}
    if spec.prefix is not None:
        return {"prefix": spec.prefix}
    return {"safe_regex": {"regex": spec.regex}}


def _header_matcher(name: str, spec: StringMatch) -> dict[str, Any]:
    return {"name": name, **_value_matcher(spec)}


def _value_matcher(spec: StringMatch) -> dict[str, Any]:
    return {"present_match": True} if is_presence(spec) else {"string_match": string_matcher(spec)}


def string_matcher(spec: StringMatch) -> dict[str, Any]:
    """The StringMatcher of a StringMatch in which one is set."""
    if spec.exact is not None:
        return {"exact": spec.exact}
    if spec.prefix is not None:
        return {"prefix": spec.prefix}
    return {"safe_regex": {"regex": spec.regex}}
