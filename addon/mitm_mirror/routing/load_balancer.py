"""How a DestinationRule's `loadBalancer` chooses among endpoints."""

from enum import StrEnum

from mitm_mirror.resources.destination_rule import LoadBalancerSettings, SimpleLB


class LoadBalancer(StrEnum):
    """As Envoy means them."""

    ROUND_ROBIN = "ROUND_ROBIN"
    """In turn, by weight."""
    LEAST_REQUEST = "LEAST_REQUEST"
    """Of two taken by chance the one with fewer requests; with different weights in turn, each weight
    divided by its requests."""
    RANDOM = "RANDOM"
    """By chance, whatever the weights."""
    BY_WEIGHT = "BY_WEIGHT"
    """By chance and weight: what `consistentHash` does where a request has no key, since an endpoint has as
    much of the ring as its weight says."""


_SIMPLE = {SimpleLB.ROUND_ROBIN: LoadBalancer.ROUND_ROBIN, SimpleLB.RANDOM: LoadBalancer.RANDOM}


def compile_load_balancer(spec: LoadBalancerSettings | None) -> LoadBalancer:
    """LEAST_REQUEST is Istio's default. PASSTHROUGH counts as that: it leaves nothing to choose.

    Source: istio pilot/pkg/networking/core/cluster_traffic_policy.go, applyLoadBalancer.
    """
    if spec is None:
        return LoadBalancer.LEAST_REQUEST
    if spec.consistent_hash is not None:
        return LoadBalancer.BY_WEIGHT
    return _SIMPLE.get(spec.simple or SimpleLB.UNSPECIFIED, LoadBalancer.LEAST_REQUEST)
