"""A cluster's policy and state in lines for people: for `mirror.rules`, `mirror.stats` and `explain`."""

from collections.abc import Iterable

from mitm_mirror.routing.cluster_state import ClusterState
from mitm_mirror.routing.endpoint_state import EndpointState
from mitm_mirror.routing.outlier import OutlierPolicy
from mitm_mirror.routing.pool_limits import PoolLimits
from mitm_mirror.routing.port_targets import PortTargets


def describe_policy(found: PortTargets) -> list[str]:
    """How primaries' endpoints are chosen, limited and ejected; nothing where there is nothing to say."""
    lines = []
    if found.sticky is not None:
        lines.append("chosen by consistentHash")
    elif len(found.targets.items) > 1:
        lines.append(f"chosen by {found.balancer}")
    return [*lines, *describe_bounds(found)]


def describe_bounds(found: PortTargets) -> list[str]:
    """What may keep a primary from its endpoints; nothing where nothing is limited and none is ejected."""
    lines = []
    if found.limits is not None:
        lines.append(f"limited to {_describe_limits(found.limits)}")
    if found.outlier is not None:
        lines.append(f"ejected after {_describe_outlier(found.outlier)}")
    return lines


def describe_states(clusters: Iterable[ClusterState], now: float) -> list[str]:
    """What is in flight, waits, was turned away and is ejected, cluster by cluster, where there is any."""
    lines = []
    for cluster in clusters:
        cluster.advance()
        counts = {
            "in flight": cluster.active,
            "waiting": cluster.waiting,
            "turned away": cluster.overflowed,
        }
        told = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
        ejected = [f"  {_describe_ejection(cluster, one, now)}" for one in cluster.ejected]
        if told or ejected:
            lines += [f"{cluster.targets.cluster}: {told or 'nothing in flight'}", *ejected]
    return lines


def _describe_limits(limits: PoolLimits) -> str:
    parts = {
        "requests": limits.max_requests,
        "connections": limits.max_connections,
        "waiting requests": limits.max_pending_requests,
    }
    return ", ".join(f"{number} {what}" for what, number in parts.items() if number is not None)


def _describe_outlier(outlier: OutlierPolicy) -> str:
    local = outlier.consecutive_local_origin_failures if outlier.split_local_origin_errors else 0
    parts = {
        "errors": outlier.consecutive_5xx,
        "gateway errors": outlier.consecutive_gateway_errors,
        "failures to connect": local,
    }
    told = " or ".join(f"{number} {what}" for what, number in parts.items() if number)
    return (
        f"{told or 'nothing'} in a row, for {outlier.base_ejection_time_s:g} s and longer, "
        f"{outlier.max_ejection_percent} % of the endpoints at most"
    )


def _describe_ejection(cluster: ClusterState, endpoint: EndpointState, now: float) -> str:
    back_s = max(0.0, cluster.returns_at(endpoint) - now)
    times = "" if endpoint.ejections == 1 else f", for the {endpoint.ejections}. time"
    return f"{endpoint.target.endpoint.host_port} is ejected{times}, back in {back_s:.1f} s"
