"""What `outlierDetection` compiles to: defaults, and what is written."""

import pytest

from mitm_mirror.resources.destination_rule import OutlierDetection
from mitm_mirror.routing.outlier import OutlierPolicy, compile_outlier_policy


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param({}, OutlierPolicy(), id="Envoy's defaults"),
        pytest.param({"consecutiveErrors": 1}, OutlierPolicy(), id="consecutiveErrors is not read"),
        pytest.param(
            {"consecutive5xxErrors": 0, "consecutiveGatewayErrors": 2},
            OutlierPolicy(consecutive_5xx=0, consecutive_gateway_errors=2),
            id="a written 0 turns 5xx off",
        ),
        pytest.param(
            {"splitExternalLocalOriginErrors": True, "consecutiveLocalOriginFailures": 2},
            OutlierPolicy(split_local_origin_errors=True, consecutive_local_origin_failures=2),
            id="failures to connect by themselves",
        ),
        pytest.param(
            {"splitExternalLocalOriginErrors": True, "consecutiveLocalOriginFailures": 0},
            OutlierPolicy(split_local_origin_errors=True),
            id="0 failures to connect is absent",
        ),
        pytest.param(
            {"interval": "1s", "baseEjectionTime": "400s"},
            OutlierPolicy(interval_s=1.0, base_ejection_time_s=400.0, max_ejection_time_s=400.0),
            id="an ejection longer than Envoy's longest",
        ),
        pytest.param(
            {"maxEjectionPercent": 0, "minHealthPercent": 0}, OutlierPolicy(), id="0 percent is absent"
        ),
        pytest.param(
            {"maxEjectionPercent": 100, "minHealthPercent": 50},
            OutlierPolicy(max_ejection_percent=100, min_health_percent=50),
            id="percents",
        ),
        pytest.param(
            {"outlierDetectionHttpErrorCodes": [429, 503]},
            OutlierPolicy(error_codes=frozenset({429, 503})),
            id="statuses",
        ),
    ],
)
def test_compiled_policy(spec: dict[str, object], expected: OutlierPolicy) -> None:
    assert compile_outlier_policy(OutlierDetection.model_validate(spec)) == expected
