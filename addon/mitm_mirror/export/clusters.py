"""Destinations as Envoy clusters, each once however many routes name it."""

from typing import Any

from mitm_mirror.export.cluster_policy import policy_fields, protocol_fields
from mitm_mirror.export.policies import ClusterPolicy, cluster_policy
from mitm_mirror.export.transport import server_name_fields, transport_socket
from mitm_mirror.resources.destination_rule import ConsistentHashLB
from mitm_mirror.routing.decision import UNIX, Endpoint
from mitm_mirror.routing.destinations import ResolvedDestination
from mitm_mirror.routing.hosts import is_address
from mitm_mirror.routing.port_targets import PortTargets
from mitm_mirror.upstream_tls import UpstreamTls

PASS_THROUGH = "PassthroughCluster"  # noqa: S105 - a cluster, no password
"""Istio's name for the cluster of requests that no rule is about."""

_TYPES = "type.googleapis.com/envoy"

_PRESERVE_CASE = "extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig"
PRESERVE_CASE: dict[str, Any] = {
    "header_key_format": {
        "stateful_formatter": {
            "name": "preserve_case",
            "typed_config": {"@type": f"{_TYPES}.{_PRESERVE_CASE}"},
        }
    }
}
"""HTTP/1 options that leave header names as the client spelled them."""

_LOOKUP = "V4_PREFERRED"
DNS_CACHE: dict[str, Any] = {"name": "pass_through", "dns_lookup_family": _LOOKUP}
"""Of the pass-through cluster and its filter, which must name the same one."""


class Clusters:
    """The clusters that routes asked for so far, in that order."""

    def __init__(self) -> None:
        self._found: dict[str, _Cluster] = {}

    def name(self, destination: ResolvedDestination, client_port: int) -> str:
        """The cluster of a destination; one that leads nowhere has a cluster without endpoints.

        `client_port` decides where neither rule nor service does.
        """
        name = destination.cluster(client_port)
        if name not in self._found:
            port = client_port if destination.port is None else destination.port
            self._found[name] = _Cluster(name, destination.by_port.get(port), port)
        return name

    def consistent_hash(self, name: str) -> ConsistentHashLB | None:
        """How the endpoints of a cluster that `name` gave are chosen; None for by chance or load."""
        return self._found[name].policy.consistent_hash

    def takes_server_name_from_host(self, name: str) -> bool:
        """Whether a cluster that `name` gave speaks TLS, with Host as server name."""
        tls = self._found[name].tls
        return tls is not None and not tls.sni

    def build(self) -> list[dict[str, Any]]:
        """All clusters, pass-through last."""
        found = [cluster.build() for cluster in self._found.values()]
        return [*found, {"name": PASS_THROUGH, **_forward_proxy(cluster_policy(None, 0), None, http2=False)}]


class _Cluster:
    def __init__(self, name: str, found: PortTargets | None, port: int) -> None:
        self.policy = cluster_policy(found, port)
        self._name = name
        self._targets = list(zip(found.targets.items, found.targets.weights, strict=True)) if found else []
        self._http2 = any(target.endpoint.http2 for target, _ in self._targets)
        self.tls: UpstreamTls | None = None
        for target, _ in self._targets:
            if target.endpoint.scheme == "https":
                self.tls = target.endpoint.tls or UpstreamTls()

    def build(self) -> dict[str, Any]:
        if any(target.endpoint.lookup for target, _ in self._targets):
            # NONE and DYNAMIC_DNS: where the request says. On a plain listener that is its Host.
            return {"name": self._name, **_forward_proxy(self.policy, self.tls, http2=self._http2)}
        endpoints: list[Any] = []
        by_name = False
        for target, weight in self._targets:
            endpoint = target.endpoint
            by_name = by_name or not (endpoint.is_unix or is_address(endpoint.address))
            endpoints.append({"endpoint": {"address": _address(endpoint)}, "load_balancing_weight": weight})
        return {
            "name": self._name,
            "type": "STRICT_DNS" if by_name else "STATIC",
            # As Istio asks for in a mesh of IPv4; Envoy's own default takes IPv6 where a name has both.
            **({"dns_lookup_family": _LOOKUP} if by_name else {}),
            **policy_fields(self.policy),
            "load_assignment": {
                "cluster_name": self._name,
                "endpoints": [{"lb_endpoints": endpoints}] if endpoints else [],
            },
            **_protocol_and_transport(self.policy, self.tls, http2=self._http2),
        }


def _address(endpoint: Endpoint) -> dict[str, Any]:
    if endpoint.is_unix:  # Envoy writes an abstract socket with the same @
        return {"pipe": {"path": endpoint.address.removeprefix(UNIX)}}
    return {"socket_address": {"address": endpoint.address, "port_value": endpoint.port}}


def _forward_proxy(policy: ClusterPolicy, tls: UpstreamTls | None, *, http2: bool) -> dict[str, Any]:
    # Envoy refuses a cluster of this kind whose server names might be left unverified.
    verified = tls is not None and server_name_fields(tls) == server_name_fields(UpstreamTls())
    balanced = {**policy_fields(policy), "lb_policy": "CLUSTER_PROVIDED"}
    return {
        **{name: value for name, value in balanced.items() if not name.endswith("_lb_config")},
        "cluster_type": {
            "name": "envoy.clusters.dynamic_forward_proxy",
            "typed_config": {
                "@type": f"{_TYPES}.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig",
                "allow_insecure_cluster_options": not verified,
                "dns_cache_config": DNS_CACHE,
            },
        },
        **_protocol_and_transport(policy, tls, http2=http2),
    }


def _protocol_and_transport(policy: ClusterPolicy, tls: UpstreamTls | None, *, http2: bool) -> dict[str, Any]:
    name = "extensions.upstreams.http.v3.HttpProtocolOptions"
    options = {**protocol_fields(policy, PRESERVE_CASE, http2=http2), **server_name_fields(tls)}
    return {
        "typed_extension_protocol_options": {
            f"envoy.{name}": {"@type": f"{_TYPES}.{name}", **options},
        },
        **transport_socket(tls, policy.crl, policy.proxy_protocol),
    }
