"""What `connectionPool` compiles to."""

import pytest

from mitm_mirror.resources.destination_rule import ConnectionPoolSettings
from mitm_mirror.routing.pool_limits import PoolLimits, compile_pool_limits


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param({}, None, id="nothing"),
        pytest.param(
            {"http": {"idleTimeout": "1s"}, "tcp": {"connectTimeout": "1s"}}, None, id="times alone"
        ),
        pytest.param({"http": {"http2MaxRequests": 0}, "tcp": {"maxConnections": 0}}, None, id="0 is absent"),
        pytest.param({"http": {"http2MaxRequests": 3}}, PoolLimits(max_requests=3), id="requests"),
        pytest.param(
            {"http": {"http1MaxPendingRequests": 2}, "tcp": {"maxConnections": 1}},
            PoolLimits(max_connections=1, max_pending_requests=2),
            id="connections",
        ),
    ],
)
def test_compiled_limits(spec: dict[str, object], expected: PoolLimits | None) -> None:
    assert compile_pool_limits(ConnectionPoolSettings.model_validate(spec)) == expected
