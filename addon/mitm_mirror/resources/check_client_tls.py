"""What a DestinationRule's `tls` may not say although its types are right.

Source: istio pkg/config/validation/agent/validation.go, ValidateTLS.
"""

from collections.abc import Iterator, Mapping

from mitm_mirror.resources.destination_rule import ClientTLSSettings, TLSmode
from mitm_mirror.resources.finding import Finding, error, show, warning
from mitm_mirror.resources.metadata import Metadata
from mitm_mirror.resources.names import at
from mitm_mirror.resources.resource import FieldPath

_CONFIG_MAP = "configmap://"


def check_client_tls(tls: ClientTLSSettings, path: FieldPath, metadata: Metadata) -> Iterator[Finding]:
    """All errors and warnings of one `tls`. What its mode does not use, Istio does not check either."""
    yield from at((*path, "credentialName"), _config_map(tls.credential_name, metadata.namespace))
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


def _config_map(name: str, namespace: str) -> str | None:
    """For `configmap://NAMESPACE/NAME` (istio pilot/pkg/model/credentials/resource.go, ParseResourceName)."""
    if not name.startswith(_CONFIG_MAP):
        return None
    parts = name.removeprefix(_CONFIG_MAP).split("/")
    if len(parts) > 1 and parts[1] and parts[0] == namespace:
        return None
    return f"{show(name)}, expected {_CONFIG_MAP}{namespace}/NAME"
