"""What an HTTPRoute's `corsPolicy` may not say although its types are right.

Source: istio pkg/config/validation/validation.go, validateCORSPolicy and what it calls.
"""

from collections.abc import Iterator

from mitm_mirror.resources import names
from mitm_mirror.resources.annotations import TOKEN
from mitm_mirror.resources.finding import Finding, error, show, warning
from mitm_mirror.resources.names import at
from mitm_mirror.resources.resource import FieldPath
from mitm_mirror.resources.virtual_service import CorsPolicy, StringMatch

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE", "*")


def check_cors(policy: CorsPolicy, path: FieldPath) -> Iterator[Finding]:
    """Errors, and warnings about a policy that does nothing or in an old way."""
    if policy.allow_origin:
        # Istio looks at the old field only where the new one is absent.
        ignored = ", which goes before it here" if policy.allow_origins else ""
        yield warning((*path, "allowOrigin"), f"deprecated, use allowOrigins{ignored}")
    elif not policy.allow_origins:
        yield warning(path, "without allowOrigins no origin is allowed")
    for index, origin in enumerate(policy.allow_origins):
        yield from _check_origin(origin, (*path, "allowOrigins", index))
    for index, method in enumerate(policy.allow_methods):
        if method not in _METHODS:
            expected = ", ".join(_METHODS)
            yield error((*path, "allowMethods", index), f"{show(method)}, expected one of {expected}")
    for field, headers in (("allowHeaders", policy.allow_headers), ("exposeHeaders", policy.expose_headers)):
        for index, name in enumerate(headers):
            if name != "*" and not TOKEN.fullmatch(name):
                yield error((*path, field, index), f"{show(name)} is not a header name")
    if policy.max_age is not None and (policy.max_age < 1 or not policy.max_age.is_integer()):
        yield error((*path, "maxAge"), f"{policy.max_age:g} s, expected whole seconds, 1s or more")


def _check_origin(origin: StringMatch, path: FieldPath) -> Iterator[Finding]:
    given = [
        name
        for name, value in (("exact", origin.exact), ("prefix", origin.prefix), ("regex", origin.regex))
        if value is not None
    ]
    if len(given) != 1 or not (origin.exact or origin.prefix or origin.regex):
        found = " and ".join(given) if len(given) > 1 else "empty"
        yield error(path, f"{found}, expected one of exact, prefix and regex")
    elif origin.regex is not None:
        yield from at((*path, "regex"), names.regex(origin.regex))
