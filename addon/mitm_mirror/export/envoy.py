"""The rules as a static Envoy bootstrap: the way out for who outgrows one Python process.

Pure: compiled rules -> dict. Envoy is the model of all that the addon does, so each piece has its
counterpart; where it has none, a warning says so.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from mitm_mirror.export.clusters import DNS_CACHE, PASS_THROUGH, PRESERVE_CASE, Clusters
from mitm_mirror.export.filters import HTTP_FILTERS
from mitm_mirror.export.matches import addressed_port, with_headers
from mitm_mirror.export.policies import policy_warnings
from mitm_mirror.export.routes import ENVOY_SUFFIX, OTHER_PORT, RouteExporter, largest_body
from mitm_mirror.resources.resource import Resources
from mitm_mirror.routing.actions import ForwardAction, RedirectAction
from mitm_mirror.routing.authority import bracketed
from mitm_mirror.routing.hosts import is_address
from mitm_mirror.routing.table import Route, RouteTable, VirtualHost

_TYPES = "type.googleapis.com/envoy"
_ENVOY_BODY_LIMIT = 4096
_PASS_THROUGH_ROUTE: dict[str, Any] = {
    "match": {"prefix": "/"},
    "route": {"cluster": PASS_THROUGH, "timeout": "0s"},
}
_NO_ROUTE: dict[str, Any] = {"match": {"prefix": "/"}, "direct_response": {"status": 404}}


@dataclass(frozen=True, slots=True)
class Export:
    """What Envoy is given, and what it could not be told."""

    bootstrap: dict[str, Any]
    """In the shape of envoy.config.bootstrap.v3.Bootstrap."""
    warnings: tuple[str, ...]
    """`file:line: namespace/name route: message`."""

    @property
    def text(self) -> str:
        """The bootstrap as YAML."""
        return yaml.dump(self.bootstrap, Dumper=_PlainDumper, sort_keys=False, allow_unicode=True)


class _PlainDumper(yaml.SafeDumper):
    def ignore_aliases(self, _data: Any) -> bool:
        # People read this, and Envoy's messages quote it: no `*id001`.
        return True


def export_envoy(
    table: RouteTable,
    resources: Resources,
    *,
    port: int,
    address: str = "127.0.0.1",
    host_suffix: str = ENVOY_SUFFIX,
) -> Export:
    """A bootstrap that routes and mirrors as the rules say, on one plain HTTP listener.

    `resources` are those that the table was compiled from; port 0 leaves the choice to the system.
    """
    clusters = Clusters()
    warnings: dict[str, None] = {}
    exporter = RouteExporter(clusters, host_suffix, warnings)
    found: dict[int, tuple[VirtualHost, list[str]]] = {}
    for host, virtual_host in table.hosts.items():
        found.setdefault(id(virtual_host), (virtual_host, []))[1].extend(_domains(host))
    virtual_hosts = [
        {
            "name": virtual_host.rule.virtual_service,
            "domains": names,
            "routes": list(_routes(virtual_host, exporter)),
        }
        for virtual_host, names in found.values()
    ]
    if "*" not in table.hosts:
        virtual_hosts.append({"name": "pass_through", "domains": ["*"], "routes": [_PASS_THROUGH_ROUTE]})
    for rule in resources.destination_rules:
        warnings |= dict.fromkeys(policy_warnings(rule))
    chains = (each for virtual_host, _ in found.values() for each in virtual_host.chain())
    bodies = [largest_body(route) for virtual_host in chains for route in virtual_host.routes]
    route_config = {
        "name": "rules",
        # A host has the same rules on every port.
        "ignore_port_in_host_matching": True,
        "max_direct_response_body_size_bytes": max([_ENVOY_BODY_LIMIT, *bodies]),
        "virtual_hosts": virtual_hosts,
    }
    listener = {
        "name": "http",
        "address": {"socket_address": {"address": address, "port_value": port}},
        "filter_chains": [{"filters": [_connection_manager(route_config)]}],
    }
    static = {"listeners": [listener], "clusters": clusters.build()}
    return Export({"static_resources": static}, tuple(warnings))


def _domains(host: str) -> tuple[str, ...]:
    """How a client may write the host: also with the dot at the end of an absolute name.

    Source: istio pilot/pkg/networking/core/httproute.go, GenerateAltVirtualHosts.
    """
    if is_address(host):
        return (bracketed(host),)
    return (host,) if host == "*" else (host, f"{host}.")


def _routes(virtual_host: VirtualHost, exporter: RouteExporter) -> Iterator[dict[str, Any]]:
    """The routes for each port that makes a difference, then those for all other ports.

    Without any route for a port the request passes through; without one that matches it is 404.
    Source: istio pilot/pkg/networking/core/route/route.go, BuildHTTPRoutesForVirtualService.
    """
    for port in _ports_that_matter(virtual_host):
        condition = addressed_port(port)
        routes = [
            entry
            for route in _routes_at(virtual_host, port)
            for entry in exporter.export(route, port, condition)
        ]
        yield from routes
        last = _NO_ROUTE if routes else _PASS_THROUGH_ROUTE
        yield {**last, "match": with_headers(last["match"], condition)}
    others = _routes_at(virtual_host, OTHER_PORT)
    yield from [entry for route in others for entry in exporter.export(route, OTHER_PORT)] or [
        _PASS_THROUGH_ROUTE
    ]


def _routes_at(virtual_host: VirtualHost, port: int) -> tuple[Route, ...]:
    answering = virtual_host.at(port)
    return () if answering is None else answering.routes


def _ports_that_matter(virtual_host: VirtualHost) -> list[int]:
    ports: set[int] = set()
    from_request = False
    for route in (route for each in virtual_host.chain() for route in each.routes):
        ports |= {match.port for match in route.written if match.port}
        action = route.action
        if isinstance(action, ForwardAction):
            destinations = [chosen.destination for chosen in action.destinations.items]
            if action.mirrors is not None:
                destinations += [policy.destination for policy in action.mirrors.policies]
            for destination in destinations:
                if destination.port is None:
                    ports |= destination.by_port.keys()
        elif isinstance(action, RedirectAction):
            from_request = from_request or action.redirect.port == 0
    return sorted(ports | {80} if from_request and ports else ports)


def _connection_manager(route_config: dict[str, Any]) -> dict[str, Any]:
    manager = {
        "@type": f"{_TYPES}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "http",
        "route_config": route_config,
        "http_filters": [
            *HTTP_FILTERS,
            {
                "name": "envoy.filters.http.dynamic_forward_proxy",
                "typed_config": {
                    "@type": f"{_TYPES}.extensions.filters.http.dynamic_forward_proxy.v3.FilterConfig",
                    "dns_cache_config": DNS_CACHE,
                },
            },
            {
                "name": "envoy.filters.http.router",
                "typed_config": {
                    "@type": f"{_TYPES}.extensions.filters.http.router.v3.Router",
                    "suppress_envoy_headers": True,
                },
            },
        ],
        # What a client sent goes on as it is.
        "normalize_path": False,
        "merge_slashes": False,
        "path_with_escaped_slashes_action": "KEEP_UNCHANGED",
        "http_protocol_options": PRESERVE_CASE,
        "use_remote_address": False,
        "skip_xff_append": True,
        "generate_request_id": False,
        "preserve_external_request_id": True,
        "server_header_transformation": "PASS_THROUGH",
        # No timeout that no rule asked for.
        "stream_idle_timeout": "0s",
    }
    return {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}
