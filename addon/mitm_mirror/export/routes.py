"""Routes of a VirtualService as Envoy routes.

Source: istio pilot/pkg/networking/core/route/route.go, TranslateRoute and below.
"""

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mitm_mirror.export.clusters import Clusters
from mitm_mirror.export.filters import filter_settings
from mitm_mirror.export.hashing import hash_policy
from mitm_mirror.export.headers import header_fields, mutations, rewritten_authority
from mitm_mirror.export.matches import any_method, route_match, with_headers
from mitm_mirror.export.retries import retry_policy, timeout_fields
from mitm_mirror.resources.virtual_service import (
    HTTPBody,
    HTTPRedirect,
    HTTPRewrite,
    RedirectPortSelection,
)
from mitm_mirror.routing.actions import ForwardAction
from mitm_mirror.routing.authority import DEFAULT_PORTS
from mitm_mirror.routing.mirror import Mirrors
from mitm_mirror.routing.table import Route

ENVOY_SUFFIX = "-shadow"
"""The one suffix that Envoy can put into a shadow's Host."""

_REDIRECT_CODES = {
    301: "MOVED_PERMANENTLY",
    302: "FOUND",
    303: "SEE_OTHER",
    307: "TEMPORARY_REDIRECT",
    308: "PERMANENT_REDIRECT",
}
OTHER_PORT = 0
"""Stands for each port that no rule and no service names."""


@dataclass(frozen=True, slots=True)
class RouteExporter:
    """Translates routes; what Envoy cannot say is put into `warnings`, once each."""

    clusters: Clusters
    host_suffix: str
    warnings: dict[str, None]

    def export(self, route: Route, client_port: int, *conditions: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """The Envoy routes, in order, for clients that address `client_port`.

        `conditions` are header matchers that hold in addition to the rule's own.
        """
        action = self._action(route, client_port)
        mirrors = route.action.mirrors if isinstance(route.action, ForwardAction) else None
        policies = [] if mirrors is None else self._mirror_policies(route, mirrors, client_port)
        for spec in route.written or (None,):
            if spec is not None and spec.port not in (0, client_port):
                continue
            match = with_headers(route_match(spec), *conditions)
            if policies and mirrors is not None and mirrors.annotations.methods is not None:
                # Envoy mirrors whatever the method, so those that are copied get a route of their own.
                guarded = with_headers(match, any_method(mirrors.annotations.methods))
                yield {"match": guarded, **_with_mirrors(action, policies)}
                yield {"match": match, **action}
            else:
                yield {"match": match, **_with_mirrors(action, policies)}

    def _action(self, route: Route, client_port: int) -> dict[str, Any]:
        spec = route.spec
        if spec.redirect is not None:
            return {
                "redirect": self._redirect(route, spec.redirect, client_port),
                **header_fields(spec.headers),
                **filter_settings(spec),
            }
        if spec.direct_response is not None:
            response: dict[str, Any] = {"status": spec.direct_response.status}
            if spec.direct_response.body is not None:
                response["body"] = _data_source(spec.direct_response.body)
            return {"direct_response": response, **header_fields(spec.headers), **filter_settings(spec)}
        return self._forward(route, client_port)

    def _forward(self, route: Route, client_port: int) -> dict[str, Any]:
        """One destination's operations join the route's, one of several keeps its own."""
        assert isinstance(route.action, ForwardAction)
        spec = route.spec
        action: dict[str, Any] = {}
        single = len(spec.route) == 1
        # Weights of 0 are left out where there are several; compiled destinations are in the same order.
        written = [destination for destination in spec.route if single or destination.weight > 0]
        compiled = route.action.destinations.items
        names = [self.clusters.name(chosen.destination, client_port) for chosen in compiled]
        own = rewritten_authority(written[0].headers) if single else ""
        if single:
            action["cluster"] = names[0]
        else:
            action["weighted_clusters"] = {
                "clusters": [
                    {
                        "name": name,
                        "weight": destination.weight,
                        **header_fields(destination.headers),
                        **_host_rewrite(rewritten_authority(destination.headers)),
                    }
                    for name, destination in zip(names, written, strict=True)
                ]
            }
        rewrite = spec.rewrite or HTTPRewrite()
        action |= _host_rewrite(rewrite.authority or rewritten_authority(spec.headers) or own)
        if rewrite.uri_regex_rewrite is not None:
            action["regex_rewrite"] = {
                "pattern": {"regex": rewrite.uri_regex_rewrite.match},
                "substitution": rewrite.uri_regex_rewrite.rewrite,
            }
        elif rewrite.uri:
            action["prefix_rewrite"] = rewrite.uri
        hashes = [self.clusters.consistent_hash(name) for name in names]
        hash_policies = [policy for policy in map(hash_policy, hashes) if policy is not None]
        if hash_policies:
            action["hash_policy"] = hash_policies
        action |= timeout_fields(spec.timeout)
        retries = retry_policy(spec.retries, by_hash=single and hashes[0] is not None)
        if retries is not None:
            action["retry_policy"] = retries
        return {
            "route": action,
            **header_fields(spec.headers, written[0].headers if single else None),
            **filter_settings(spec),
        }

    def _mirror_policies(self, route: Route, mirrors: Mirrors, client_port: int) -> list[dict[str, Any]]:
        annotations = mirrors.annotations
        if annotations.sample_by is not None:
            self._warn(route, "mitm-mirror/sample-by: Envoy samples by chance, request by request")
        if annotations.timeout_s is not None:
            self._warn(route, "mitm-mirror/timeout: Envoy gives a shadow no timeout of its own")
        if annotations.host == "suffix" and self.host_suffix not in ("", ENVOY_SUFFIX):
            message = (
                f"Envoy knows no suffix but {ENVOY_SUFFIX}, which shadows get instead of {self.host_suffix}"
            )
            self._warn(route, message)
        common: dict[str, Any] = {}
        if annotations.host == "keep" or (annotations.host == "suffix" and not self.host_suffix):
            common["disable_shadow_host_suffix_append"] = True
        elif annotations.host != "suffix":
            common["host_rewrite_literal"] = annotations.host
        changes = mutations(annotations.set_headers, annotations.remove_headers)
        if changes:
            common["request_headers_mutations"] = changes
        policies = []
        for policy in mirrors.policies:
            fraction = {"numerator": policy.millionths, "denominator": "MILLION"}
            name = self.clusters.name(policy.destination, client_port)
            policies.append({"cluster": name, "runtime_fraction": {"default_value": fraction}, **common})
            if (
                self.clusters.takes_server_name_from_host(name)
                and "disable_shadow_host_suffix_append" not in common
            ):
                self._warn(route, f"mirror to {name}: Envoy puts the shadow's Host into TLS as server name")
        return policies

    def _redirect(self, route: Route, spec: HTTPRedirect, client_port: int) -> dict[str, Any]:
        """Source: route.go, ApplyRedirect."""
        code = spec.redirect_code or 301
        if code not in _REDIRECT_CODES:
            self._warn(route, f"redirect.redirectCode: Envoy has no redirect {code}; exported as 302")
        redirect: dict[str, Any] = {"response_code": _REDIRECT_CODES.get(code, "FOUND")}
        if spec.authority:
            redirect["host_redirect"] = spec.authority
        if spec.scheme:
            redirect["scheme_redirect"] = spec.scheme
        if spec.prefix_rewrite:
            redirect["prefix_rewrite"] = spec.prefix_rewrite
        elif spec.uri:
            redirect["path_redirect"] = spec.uri
        port = spec.port or 0
        if spec.derive_port is RedirectPortSelection.FROM_REQUEST_PORT:
            port = client_port
            if port == OTHER_PORT and (spec.authority or spec.scheme):
                message = "redirect.derivePort: only for ports that the rules name; else the default port"
                self._warn(route, message)
        if port and port != DEFAULT_PORTS.get(spec.scheme or "http"):
            redirect["port_redirect"] = port
        return redirect

    def _warn(self, route: Route, message: str) -> None:
        self.warnings[f"{route.rule.source}: {route.rule.virtual_service} {route.rule.route}: {message}"] = (
            None
        )


def _with_mirrors(action: dict[str, Any], policies: list[dict[str, Any]]) -> dict[str, Any]:
    if not policies:
        return action
    return {**action, "route": {**action["route"], "request_mirror_policies": policies}}


def _host_rewrite(authority: str) -> dict[str, Any]:
    return {"host_rewrite_literal": authority} if authority else {}


def _data_source(body: HTTPBody) -> dict[str, Any]:
    if body.bytes is not None:
        return {"inline_bytes": base64.b64encode(body.bytes).decode()}
    return {"inline_string": body.string or ""}


def largest_body(route: Route) -> int:
    """Bytes of the body that the route answers with."""
    response = route.spec.direct_response
    if response is None or response.body is None:
        return 0
    return len(response.body.bytes or (response.body.string or "").encode())
