"""`consistentHash` as the hash policy of a route and the load balancer of its cluster.

Source: istio pilot/pkg/networking/core/route/route.go, ConsistentHashToHashPolicy, and
cluster_traffic_policy.go, ApplyRingHashLoadBalancer.
"""

from typing import Any

from mitm_mirror.export.durations import duration
from mitm_mirror.resources.destination_rule import ConsistentHashLB, HTTPCookie
from mitm_mirror.routing.hash_ring import DEFAULT_NODES


def hash_policy(spec: ConsistentHashLB | None) -> dict[str, Any] | None:
    """What of a request is hashed; None where no key is named, so that chance decides."""
    if spec is None:
        return None
    if spec.http_header_name is not None:
        return {"header": {"header_name": spec.http_header_name}}
    if spec.http_cookie is not None:
        return {"cookie": _cookie(spec.http_cookie)}
    if spec.use_source_ip is not None:
        return {"connection_properties": {"source_ip": spec.use_source_ip}}
    if spec.http_query_parameter_name is not None:
        return {"query_parameter": {"name": spec.http_query_parameter_name}}
    return None


def _cookie(spec: HTTPCookie) -> dict[str, Any]:
    cookie: dict[str, Any] = {"name": spec.name}
    if spec.ttl is not None:
        cookie["ttl"] = duration(spec.ttl)
    if spec.path:
        cookie["path"] = spec.path
    if spec.attributes:
        cookie["attributes"] = [{"name": each.name, "value": each.value} for each in spec.attributes]
    return cookie


def hash_fields(spec: ConsistentHashLB) -> dict[str, Any]:
    """The fields of the cluster."""
    if spec.maglev is not None:
        fields: dict[str, Any] = {"lb_policy": "MAGLEV"}
        if spec.maglev.table_size:
            fields["maglev_lb_config"] = {"table_size": spec.maglev.table_size}
        return fields
    size = spec.minimum_ring_size or DEFAULT_NODES
    if spec.ring_hash is not None:
        size = spec.ring_hash.minimum_ring_size or DEFAULT_NODES
    return {"lb_policy": "RING_HASH", "ring_hash_lb_config": {"minimum_ring_size": size}}
