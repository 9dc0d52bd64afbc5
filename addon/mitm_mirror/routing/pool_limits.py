"""What a DestinationRule's `connectionPool` allows. Values only; who sends requests holds to them."""

from dataclasses import dataclass

from mitm_mirror.resources.destination_rule import ConnectionPoolSettings, HTTPSettings, TCPSettings


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """Limits of one cluster, over all of its endpoints. None means without limit.

    Istio takes a written 0 for absent. Source: istio pilot/pkg/networking/core/cluster_traffic_policy.go,
    applyConnectionPool.
    """

    max_requests: int | None = None
    """`http.http2MaxRequests`: requests in flight, whatever the protocol."""
    max_connections: int | None = None
    """`tcp.maxConnections`; over HTTP/1 as many requests as that can be on their way."""
    max_pending_requests: int | None = None
    """`http.http1MaxPendingRequests`: requests that wait for a connection."""

    def __bool__(self) -> bool:
        """Whether anything is limited."""
        return (self.max_requests, self.max_connections, self.max_pending_requests) != (None, None, None)


def compile_pool_limits(spec: ConnectionPoolSettings) -> PoolLimits | None:
    """None where nothing is limited."""
    tcp, http = spec.tcp or TCPSettings(), spec.http or HTTPSettings()
    limits = PoolLimits(
        max_requests=http.http2_max_requests or None,
        max_connections=tcp.max_connections or None,
        max_pending_requests=http.http1_max_pending_requests or None,
    )
    return limits or None
