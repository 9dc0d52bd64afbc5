"""The certificate files that DestinationRules name: where they are, and whether they can be used."""

import os
import ssl
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from mitm_mirror.resources.destination_rule import ClientTLSSettings, DestinationRule, TLSmode, TrafficPolicy
from mitm_mirror.resources.finding import show
from mitm_mirror.resources.issue import Issue, Severity
from mitm_mirror.resources.resource import FieldPath, Resource

SYSTEM_CA = "system"
"""What Istio takes an absent `caCertificates` for; spelled out it means the same."""

_OPENSSL_MODES = (TLSmode.SIMPLE, TLSmode.MUTUAL)


def certificate_path(rule_file: str, written: str) -> str:
    """The absolute path of a certificate file; a relative one counts from the rule file's folder.

    In a cluster such paths are absolute ones of the proxy's container.
    """
    return os.path.abspath(Path(rule_file).parent / written)  # noqa: PTH100 - resolve() would follow links


def each_tls(policy: TrafficPolicy | None, path: FieldPath) -> Iterator[tuple[FieldPath, ClientTLSSettings]]:
    """Every `tls` of a traffic policy with its path; `path` is the policy's own."""
    if policy is None:
        return
    if policy.tls is not None:
        yield (*path, "tls"), policy.tls
    for i, settings in enumerate(policy.port_level_settings):
        if settings.tls is not None:
            yield (*path, "portLevelSettings", i, "tls"), settings.tls


def check_certificates(rules: Iterable[Resource[DestinationRule]]) -> list[Issue]:
    """An error for each certificate file that is missing, cannot be read or does not hold what it should."""
    issues: list[Issue] = []
    # Thousands of rules share the same few files.
    problems: dict[tuple[str, ...], tuple[str, str]] = {}
    for rule in rules:
        policies: list[tuple[TrafficPolicy | None, FieldPath]] = [
            (rule.spec.traffic_policy, ("spec", "trafficPolicy"))
        ]
        for i, subset in enumerate(rule.spec.subsets):
            policies.append((subset.traffic_policy, ("spec", "subsets", i, "trafficPolicy")))
        for policy, root in policies:
            for path, tls in each_tls(policy, root):
                for fields, written in _files(tls):
                    key = tuple(certificate_path(rule.file, name) for name in written)
                    if key not in problems:
                        problems[key] = _problem(fields, key)
                    field, problem = problems[key]
                    if problem:
                        value = written[fields.index(field)]
                        issues.append(rule.issue(Severity.ERROR, (*path, field), f"{show(value)}, {problem}"))
    return issues


def _files(tls: ClientTLSSettings) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    """(fields, files) that are used together."""
    if tls.mode not in _OPENSSL_MODES or tls.credential_name:
        return
    if tls.ca_certificates and tls.ca_certificates != SYSTEM_CA:
        yield ("caCertificates",), (tls.ca_certificates,)
    if tls.mode is TLSmode.MUTUAL and tls.client_certificate and tls.private_key:
        yield ("clientCertificate", "privateKey"), (tls.client_certificate, tls.private_key)


def _problem(fields: tuple[str, ...], files: tuple[str, ...]) -> tuple[str, str]:
    """(field, what is wrong with its file); the text is empty where nothing is."""
    for field, file in zip(fields, files, strict=True):
        try:
            # The kind before the opening: to open a named pipe would wait for its writer.
            if not stat.S_ISREG(os.stat(file).st_mode):  # noqa: PTH116 - as the next line
                return field, f"expected a file, {file} is none"
            with open(file, "rb"):  # noqa: PTH123 - text in, text out
                pass
        except OSError as e:
            return field, f"{file} cannot be read: {e.strerror}"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        if len(files) == 1:
            context.load_verify_locations(cafile=files[0])
            return fields[0], ""
        context.load_cert_chain(files[0], files[1], password=_no_password)
    except ssl.SSLError as e:
        return _blame(fields, files, e)
    return fields[0], ""


def _no_password() -> bytes:
    """For an encrypted key: OpenSSL would ask the terminal."""
    return b""


def _blame(fields: tuple[str, ...], files: tuple[str, ...], error: ssl.SSLError) -> tuple[str, str]:
    if len(files) == 1:
        return fields[0], f"{files[0]} holds no certificates in PEM format"
    if error.reason == "KEY_VALUES_MISMATCH":
        return fields[1], f"{files[1]} is not the key of clientCertificate"
    try:
        # A context of its own: it keeps what it could load.
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=files[0])
    except ssl.SSLError:
        return fields[0], f"{files[0]} holds no certificate in PEM format"
    return fields[1], f"{files[1]} holds no private key in PEM format that needs no password"
