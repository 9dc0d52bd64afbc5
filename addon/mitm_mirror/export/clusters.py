"""Destinations as Envoy clusters, each once however many routes name it."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from mitm_mirror.export.policies import error_matcher, traffic_policy
from mitm_mirror.routing.destinations import ResolvedDestination
from mitm_mirror.routing.hosts import is_address
from mitm_mirror.routing.port_targets import PortTargets

PASS_THROUGH = "PassthroughCluster"  # noqa: S105 - a cluster, no password
"""Istio's name for the cluster of requests that no rule is about."""

_TYPES = "type.googleapis.com/envoy"
_CONNECT_TIMEOUT = "10s"  # Istio's (meshConfig.connectTimeout); Envoy's own is 5 s
# Where Debian, Ubuntu, Alpine and Envoy's own images keep them.
_AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"

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
        self._found: dict[str, PortTargets | None] = {}

    def name(self, destination: ResolvedDestination, client_port: int) -> str:
        """The cluster of a destination; one that leads nowhere has a cluster without endpoints.

        `client_port` decides where neither rule nor service does.
        """
        name = destination.cluster(client_port)
        port = client_port if destination.port is None else destination.port
        self._found[name] = destination.by_port.get(port)
        return name

    @property
    def with_tls(self) -> frozenset[str]:
        """The names of the clusters that speak TLS."""
        return frozenset(
            name for name, found in self._found.items() if found is not None and _speaks_tls(found)
        )

    def build(self) -> list[dict[str, Any]]:
        """All clusters, pass-through last."""
        return [_cluster(name, found) for name, found in self._found.items()] + [_pass_through()]


def _speaks_tls(found: PortTargets) -> bool:
    return any(target.endpoint.scheme == "https" for target in found.targets.items)


def _cluster(name: str, found: PortTargets | None) -> dict[str, Any]:
    if found is not None and any(target.endpoint.lookup for target in found.targets.items):
        # NONE and DYNAMIC_DNS: where the request says. On a plain listener that is its Host.
        return {**_pass_through(tls=_speaks_tls(found)), "name": name, **_transport(found)}
    endpoints: list[Any] = []
    by_name = False
    for target, weight in zip(found.targets.items, found.targets.weights, strict=True) if found else ():
        endpoint = target.endpoint
        by_name = by_name or not is_address(endpoint.address)
        address = {"socket_address": {"address": endpoint.address, "port_value": endpoint.port}}
        endpoints.append({"endpoint": {"address": address}, "load_balancing_weight": weight})
    cluster: dict[str, Any] = {
        "name": name,
        "type": "STRICT_DNS" if by_name else "STATIC",
        "connect_timeout": _CONNECT_TIMEOUT,
        **traffic_policy(found),
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": endpoints}] if endpoints else [],
        },
        "typed_extension_protocol_options": _http1_options(
            tls=found is not None and _speaks_tls(found), more=error_matcher(found)
        ),
    }
    if by_name:
        # As Istio asks for in a mesh of IPv4; Envoy's own default takes IPv6 where a name has both.
        cluster["dns_lookup_family"] = _LOOKUP
    return {**cluster, **_transport(found)}


def _transport(found: PortTargets | None) -> dict[str, Any]:
    if found is None or not _speaks_tls(found):
        return {}
    context = {
        "@type": f"{_TYPES}.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        "common_tls_context": {"validation_context": {"trusted_ca": {"filename": _AUTHORITIES}}},
    }
    return {"transport_socket": {"name": "tls", "typed_config": context}}


def _pass_through(*, tls: bool = False) -> dict[str, Any]:
    return {
        "name": PASS_THROUGH,
        "lb_policy": "CLUSTER_PROVIDED",
        "connect_timeout": _CONNECT_TIMEOUT,
        "cluster_type": {
            "name": "envoy.clusters.dynamic_forward_proxy",
            "typed_config": {
                "@type": f"{_TYPES}.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig",
                # Without TLS there is no server name that could be left unverified.
                "allow_insecure_cluster_options": not tls,
                "dns_cache_config": DNS_CACHE,
            },
        },
        "typed_extension_protocol_options": _http1_options(tls=tls),
    }


def _http1_options(*, tls: bool, more: Mapping[str, Any] = MappingProxyType({})) -> dict[str, Any]:
    options: dict[str, Any] = {
        "@type": f"{_TYPES}.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http_protocol_options": PRESERVE_CASE},
        **more,
    }
    if tls:
        # The server name is the one in Host, and the certificate must be for it.
        options["upstream_http_protocol_options"] = {"auto_sni": True, "auto_san_validation": True}
    return {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options}
