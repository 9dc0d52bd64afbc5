"""`fault` and `corsPolicy` as the settings that a route gives Envoy's filters.

Source: istio pilot/pkg/networking/core/route/route.go, TranslateFault and TranslateCORSPolicy.
"""

from typing import Any

from mitm_mirror.export.durations import duration
from mitm_mirror.export.matches import string_matcher
from mitm_mirror.resources.grpc_status import GRPC_STATUSES
from mitm_mirror.resources.virtual_service import (
    Abort,
    CorsPolicy,
    Delay,
    HTTPFaultInjection,
    HTTPRoute,
    StringMatch,
    UnmatchedPreflights,
)
from mitm_mirror.routing.mirror import percentage_millionths

_TYPES = "type.googleapis.com/envoy.extensions.filters.http"
_FAULT = "envoy.filters.http.fault"
_CORS = "envoy.filters.http.cors"

HTTP_FILTERS: tuple[dict[str, Any], ...] = (
    {"name": _FAULT, "typed_config": {"@type": f"{_TYPES}.fault.v3.HTTPFault"}},
    {"name": _CORS, "typed_config": {"@type": f"{_TYPES}.cors.v3.Cors"}},
)
"""In Istio's order (pilot/pkg/networking/core/listener_builder.go).

Each does what a route says, else nothing.
"""


def filter_settings(spec: HTTPRoute) -> dict[str, Any]:
    """The field `typed_per_filter_config` of a route; empty where there is nothing to set."""
    settings: dict[str, Any] = {}
    if spec.fault is not None and (fault := _fault(spec.fault)):
        settings[_FAULT] = {"@type": f"{_TYPES}.fault.v3.HTTPFault", **fault}
    if spec.cors_policy is not None:
        settings[_CORS] = {"@type": f"{_TYPES}.cors.v3.CorsPolicy", **_cors(spec.cors_policy)}
    return {"typed_per_filter_config": settings} if settings else {}


def _fault(spec: HTTPFaultInjection) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if spec.delay is not None and spec.delay.fixed_delay is not None:
        found["delay"] = _delay(spec.delay, spec.delay.fixed_delay)
    if spec.abort is not None and (abort := _abort(spec.abort)):
        found["abort"] = abort
    return found


def _delay(spec: Delay, fixed_delay_s: float) -> dict[str, Any]:
    if spec.percentage is not None:
        fraction = {"numerator": percentage_millionths(spec.percentage), "denominator": "MILLION"}
    else:
        # As unsigned, so that what is below 0 is above 100.
        fraction = {"numerator": spec.percent % 2**32, "denominator": "HUNDRED"}
    return {"fixed_delay": duration(fixed_delay_s), "percentage": fraction}


def _abort(spec: Abort) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if spec.http_status is not None:
        found["http_status"] = spec.http_status
    elif spec.grpc_status is not None:
        found["grpc_status"] = GRPC_STATUSES[spec.grpc_status]
    if found and spec.percentage is not None:
        # Absent it is none, unlike a mirror's.
        millionths = percentage_millionths(spec.percentage)
        found["percentage"] = {"numerator": millionths, "denominator": "MILLION"}
    return found


def _cors(spec: CorsPolicy) -> dict[str, Any]:
    origins = spec.allow_origins or tuple(StringMatch(exact=origin) for origin in spec.allow_origin)
    found: dict[str, Any] = {
        "filter_enabled": {"default_value": {"numerator": 100, "denominator": "HUNDRED"}},
        "forward_not_matching_preflights": spec.unmatched_preflights is not UnmatchedPreflights.IGNORE,
    }
    if origins:
        found["allow_origin_string_match"] = [string_matcher(origin) for origin in origins]
    for field, values in (
        ("allow_methods", spec.allow_methods),
        ("allow_headers", spec.allow_headers),
        ("expose_headers", spec.expose_headers),
    ):
        if values:
            found[field] = ",".join(values)
    if spec.max_age is not None:
        found["max_age"] = str(int(spec.max_age))
    if spec.allow_credentials is not None:
        found["allow_credentials"] = spec.allow_credentials
    return found
