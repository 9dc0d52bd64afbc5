"""What a trafficPolicy may not say although its types are right.

Source: istio pkg/config/validation/validation.go (validateTrafficPolicy, validatePortTrafficPolicies) and
pkg/config/validation/agent/validation.go (ValidateTLS).
"""

from collections.abc import Iterator, Mapping

from mitm_mirror.resources.check_load_balancer import check_load_balancer
from mitm_mirror.resources.destination_rule import (
    ClientTLSSettings,
    ConnectionPoolSettings,
    PortTrafficPolicy,
    TLSmode,
    TrafficPolicy,
)
from mitm_mirror.resources.finding import Finding, error, warning
from mitm_mirror.resources.resource import FieldPath

_FIELDS = ("load_balancer", "connection_pool", "outlier_detection", "tls")
_RULE_FIELDS = (*_FIELDS, "tunnel", "proxy_protocol", "retry_budget")


def check_traffic_policy(policy: TrafficPolicy, path: FieldPath) -> Iterator[Finding]:
    """All errors and warnings of one policy, which stands at `path`."""
    if not policy.port_level_settings and _is_empty(policy, _RULE_FIELDS):
        yield error(path, "empty, expected at least one setting")
    if policy.tunnel is not None and policy.proxy_protocol is not None:
        yield error((*path, "proxyProtocol"), "not allowed beside tunnel")
    yield from _check_settings(policy, path)
    seen: set[int] = set()
    for index, settings in enumerate(policy.port_level_settings):
        at = (*path, "portLevelSettings", index)
        number = settings.port.number if settings.port is not None else 0
        if not number:
            yield error((*at, "port"), "missing, expected the number of a service's port")
        elif number in seen:
            yield warning((*at, "port"), f"never used: settings for port {number} stand above already")
        seen.add(number)
        if _is_empty(settings, _FIELDS):
            yield error(at, "empty, expected at least one setting beside the port")
        yield from _check_settings(settings, at)


def _check_settings(policy: TrafficPolicy | PortTrafficPolicy, path: FieldPath) -> Iterator[Finding]:
    if policy.tls is not None:
        yield from _check_tls(policy.tls, (*path, "tls"))
    if policy.load_balancer is not None:
        yield from check_load_balancer(policy.load_balancer, (*path, "loadBalancer"))
    if policy.connection_pool is not None:
        yield from _check_waiting(policy.connection_pool, (*path, "connectionPool"))


def _check_waiting(pool: ConnectionPoolSettings, path: FieldPath) -> Iterator[Finding]:
    # Envoy also lets those wait whose connection is being made; mitmproxy tells nobody when it is.
    is_limited = pool.tcp is not None and pool.tcp.max_connections > 0
    if pool.http is not None and pool.http.http1_max_pending_requests > 0 and not is_limited:
        message = "does nothing here without tcp.maxConnections: no request waits"
        yield warning((*path, "http", "http1MaxPendingRequests"), message)


def _is_empty(policy: TrafficPolicy | PortTrafficPolicy, fields: tuple[str, ...]) -> bool:
    return all(getattr(policy, field) is None for field in fields)


def _check_tls(tls: ClientTLSSettings, path: FieldPath) -> Iterator[Finding]:
    if tls.mode not in (TLSmode.SIMPLE, TLSmode.MUTUAL):
        return
    if tls.insecure_skip_verify:
        unchecked: dict[str, object] = {
            "caCertificates": tls.ca_certificates,
            "subjectAltNames": tls.subject_alt_names,
        }
        if tls.mode is TLSmode.SIMPLE:  # for MUTUAL the secret may be the client certificate alone
            unchecked["credentialName"] = tls.credential_name
        yield from _forbidden(unchecked, path, "not allowed beside insecureSkipVerify, which checks nothing")
    own = {"clientCertificate": tls.client_certificate, "privateKey": tls.private_key}
    if tls.credential_name:
        files = {**own, "caCertificates": tls.ca_certificates, "caCrl": tls.ca_crl}
        yield from _forbidden(files, path, "not allowed beside credentialName")
    elif tls.mode is TLSmode.MUTUAL:
        for name, file in own.items():
            if not file:
                yield error((*path, name), "missing, mode MUTUAL needs it")
    else:
        for name, file in own.items():
            if file:
                yield warning((*path, name), "does nothing in mode SIMPLE; MUTUAL presents it")


def _forbidden(fields: Mapping[str, object], path: FieldPath, message: str) -> Iterator[Finding]:
    return (error((*path, name), message) for name, value in fields.items() if value)
