"""What `connectionPool` and `outlierDetection` may not say although their types are right.

Source: istio pkg/config/validation/validation.go (validateConnectionPool, validateOutlierDetection), and
the rules of the CRD that it leaves out.
"""

from collections.abc import Iterator

from mitm_mirror.resources import names
from mitm_mirror.resources.destination_rule import (
    ConnectionPoolSettings,
    H2UpgradePolicy,
    HTTPSettings,
    OutlierDetection,
    TCPSettings,
)
from mitm_mirror.resources.finding import Finding, error, warning
from mitm_mirror.resources.names import at
from mitm_mirror.resources.resource import FieldPath


def check_connection_pool(pool: ConnectionPoolSettings, path: FieldPath) -> Iterator[Finding]:
    """All errors and warnings of one pool's settings."""
    if pool.tcp is None and pool.http is None:
        yield error(path, "empty, expected tcp, http or both")
    if pool.tcp is not None:
        yield from _check_tcp(pool.tcp, (*path, "tcp"))
    if pool.http is not None:
        yield from _check_http(pool.http, (*path, "http"))
        # Envoy also lets those wait whose connection is being made; mitmproxy tells nobody when it is.
        is_limited = pool.tcp is not None and pool.tcp.max_connections > 0
        if pool.http.http1_max_pending_requests > 0 and not is_limited:
            message = "does nothing here without tcp.maxConnections: no request waits"
            yield warning((*path, "http", "http1MaxPendingRequests"), message)


def _check_tcp(tcp: TCPSettings, path: FieldPath) -> Iterator[Finding]:
    yield from _not_negative(path, ("maxConnections", tcp.max_connections))
    yield from _durations(
        path, ("connectTimeout", tcp.connect_timeout), ("maxConnectionDuration", tcp.max_connection_duration)
    )
    if tcp.idle_timeout is not None and tcp.idle_timeout >= 0.001:  # less means: no timeout
        yield from _durations(path, ("idleTimeout", tcp.idle_timeout))
    if tcp.tcp_keepalive is not None:
        keepalive = tcp.tcp_keepalive
        times = (("time", keepalive.time), ("interval", keepalive.interval))
        yield from _durations((*path, "tcpKeepalive"), *times)


def _check_http(http: HTTPSettings, path: FieldPath) -> Iterator[Finding]:
    yield from _not_negative(
        path,
        ("http1MaxPendingRequests", http.http1_max_pending_requests),
        ("http2MaxRequests", http.http2_max_requests),
        ("maxRequestsPerConnection", http.max_requests_per_connection),
        ("maxRetries", http.max_retries),
        ("maxConcurrentStreams", http.max_concurrent_streams),
    )
    yield from _durations(path, ("idleTimeout", http.idle_timeout))
    if http.use_client_protocol and http.h2_upgrade_policy is H2UpgradePolicy.UPGRADE:
        yield error((*path, "useClientProtocol"), "not allowed with h2UpgradePolicy UPGRADE")
    if http.http2_keep_alive is not None:
        here = (*path, "http2KeepAlive")
        times = (("interval", http.http2_keep_alive.interval), ("timeout", http.http2_keep_alive.timeout))
        for name, seconds in times:
            if seconds is None:
                yield error((*here, name), "missing")
        yield from _durations(here, *times)


def check_outlier_detection(outlier: OutlierDetection, path: FieldPath) -> Iterator[Finding]:
    """All errors and warnings of one policy."""
    yield from _durations(
        path, ("interval", outlier.interval), ("baseEjectionTime", outlier.base_ejection_time)
    )
    if outlier.consecutive_errors:
        message = "deprecated, use consecutiveGatewayErrors or consecutive5xxErrors"
        yield warning((*path, "consecutiveErrors"), message)
    if outlier.consecutive_local_origin_failures and not outlier.split_external_local_origin_errors:
        message = "needs splitExternalLocalOriginErrors: true"
        yield error((*path, "consecutiveLocalOriginFailures"), message)
    for name, percent in (
        ("maxEjectionPercent", outlier.max_ejection_percent),
        ("minHealthPercent", outlier.min_health_percent),
    ):
        if not 0 <= percent <= 100:
            yield error((*path, name), f"{percent}, expected 0 to 100")
    for index, code in enumerate(outlier.outlier_detection_http_error_codes):
        if not 100 <= code <= 599:
            here = (*path, "outlierDetectionHttpErrorCodes", index)
            yield error(here, f"{code}, expected 100 to 599")


def _not_negative(path: FieldPath, *numbers: tuple[str, int]) -> Iterator[Finding]:
    for name, number in numbers:
        if number < 0:
            yield error((*path, name), f"{number}, expected 0 or more")


def _durations(path: FieldPath, *durations: tuple[str, float | None]) -> Iterator[Finding]:
    for name, seconds in durations:
        if seconds is not None:
            yield from at((*path, name), names.whole_milliseconds(seconds))
