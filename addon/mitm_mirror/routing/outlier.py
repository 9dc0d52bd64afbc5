"""When a DestinationRule's `outlierDetection` ejects an endpoint, and for how long. Values only."""

from dataclasses import dataclass

from mitm_mirror.resources.destination_rule import OutlierDetection

_CONSECUTIVE_ERRORS = 5
_INTERVAL_S = 10.0
_BASE_EJECTION_TIME_S = 30.0
_MAX_EJECTION_TIME_S = 300.0
_MAX_EJECTION_PERCENT = 10


@dataclass(frozen=True, slots=True)
class OutlierPolicy:
    """How many errors in a row eject an endpoint: 0 means that such errors never do.

    Defaults are Envoy's, as Istio leaves them. Source: istio
    pilot/pkg/networking/core/cluster_traffic_policy.go, applyOutlierDetection (which reads neither
    `consecutiveErrors` nor tells a written 0 from absent, but for the three that are wrapped), and Envoy's
    source/common/upstream/outlier_detection_impl.cc.
    """

    consecutive_5xx: int = _CONSECUTIVE_ERRORS
    consecutive_gateway_errors: int = 0
    """502, 503 and 504 alone."""
    split_local_origin_errors: bool = False
    """Whether failures to connect and timeouts count by themselves, and not as 503 and 504."""
    consecutive_local_origin_failures: int = _CONSECUTIVE_ERRORS
    """Counts only where they are split."""
    interval_s: float = _INTERVAL_S
    """How often is looked whether ejected endpoints may return."""
    base_ejection_time_s: float = _BASE_EJECTION_TIME_S
    """The n-th ejection lasts n times as long."""
    max_ejection_time_s: float = _MAX_EJECTION_TIME_S
    """Istio has no field for it; as long as `base_ejection_time_s` where that is longer."""
    max_ejection_percent: int = _MAX_EJECTION_PERCENT
    """Of a cluster's endpoints, 0 to 100: an ejection that would pass it does not happen."""
    min_health_percent: int = 0
    """With a smaller share of its endpoints left, a cluster uses them all, ejected ones too."""
    error_codes: frozenset[int] = frozenset()
    """`outlierDetectionHttpErrorCodes`: the statuses that are errors; empty means 500 to 599."""


def compile_outlier_policy(spec: OutlierDetection) -> OutlierPolicy:
    """What the settings say, with the defaults of what they leave out."""
    written = spec.consecutive_5xx_errors
    base = _BASE_EJECTION_TIME_S if spec.base_ejection_time is None else spec.base_ejection_time
    return OutlierPolicy(
        consecutive_5xx=_CONSECUTIVE_ERRORS if written is None else written,
        consecutive_gateway_errors=spec.consecutive_gateway_errors or 0,
        split_local_origin_errors=spec.split_external_local_origin_errors,
        consecutive_local_origin_failures=spec.consecutive_local_origin_failures or _CONSECUTIVE_ERRORS,
        interval_s=_INTERVAL_S if spec.interval is None else spec.interval,
        base_ejection_time_s=base,
        max_ejection_time_s=max(_MAX_EJECTION_TIME_S, base),
        max_ejection_percent=spec.max_ejection_percent or _MAX_EJECTION_PERCENT,
        min_health_percent=spec.min_health_percent,
        error_codes=frozenset(spec.outlier_detection_http_error_codes),
    )
