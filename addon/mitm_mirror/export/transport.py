"""`tls` and `proxyProtocol` as an Envoy transport socket.

Source: istio pilot/pkg/networking/core/cluster_tls.go, constructUpstreamTLS. Certificates are files
here, which Istio's agent serves to Envoy otherwise.
"""

from typing import Any

from mitm_mirror.resources.destination_rule import ProxyProtocol
from mitm_mirror.routing.hosts import is_address
from mitm_mirror.upstream_tls import UpstreamTls

_TYPES = "type.googleapis.com/envoy.extensions.transport_sockets"
# Where Debian, Ubuntu, Alpine and Envoy's own images keep them.
_AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"
_RAW = {"name": "raw_buffer", "typed_config": {"@type": f"{_TYPES}.raw_buffer.v3.RawBuffer"}}


def transport_socket(
    tls: UpstreamTls | None, crl: str, proxy_protocol: ProxyProtocol | None
) -> dict[str, Any]:
    """The field `transport_socket` of a cluster; empty for plain text."""
    inner = None if tls is None else _tls_socket(tls, crl)
    if proxy_protocol is not None:
        inner = {
            "name": "envoy.transport_sockets.upstream_proxy_protocol",
            "typed_config": {
                "@type": f"{_TYPES}.proxy_protocol.v3.ProxyProtocolUpstreamTransport",
                "config": {"version": proxy_protocol.version.value},
                "transport_socket": inner or _RAW,
            },
        }
    return {} if inner is None else {"transport_socket": inner}


def server_name_fields(tls: UpstreamTls | None) -> dict[str, Any]:
    """The field of HttpProtocolOptions that takes the server name from Host, and verifies it."""
    if tls is None or tls.sni:
        return {}
    options = {"auto_sni": True}
    if tls.verify and not tls.subject_alt_names:
        options["auto_san_validation"] = True
    return {"upstream_http_protocol_options": options}


def _tls_socket(tls: UpstreamTls, crl: str) -> dict[str, Any]:
    common: dict[str, Any] = {
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_2", "tls_maximum_protocol_version": "TLSv1_3"}
    }
    if tls.client_certificate:
        chain, key = {"filename": tls.client_certificate}, {"filename": tls.private_key}
        common["tls_certificates"] = [{"certificate_chain": chain, "private_key": key}]
    if tls.verify:
        context: dict[str, Any] = {"trusted_ca": {"filename": tls.ca_file or _AUTHORITIES}}
        # With `sni` alone Istio takes any name of a trusted certificate; here, as in the addon, the SNI's.
        names = tls.subject_alt_names or ((tls.sni,) if tls.sni else ())
        if names:
            context["match_typed_subject_alt_names"] = [
                {"san_type": _san_type(name), "matcher": {"exact": name}} for name in names
            ]
        if crl:
            context["crl"] = {"filename": crl}
        common["validation_context"] = context
    config: dict[str, Any] = {
        "@type": f"{_TYPES}.tls.v3.UpstreamTlsContext",
        "common_tls_context": common,
    }
    if tls.sni:
        config["sni"] = tls.sni
    return {"name": "tls", "typed_config": config}


def _san_type(name: str) -> str:
    if is_address(name):
        return "IP_ADDRESS"
    if "://" in name:
        return "URI"
    return "EMAIL" if "@" in name else "DNS"
