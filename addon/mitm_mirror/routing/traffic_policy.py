"""Which of a host's traffic policies hold for a subset and a port."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from mitm_mirror.resources.certificates import SYSTEM_CA, certificate_path
from mitm_mirror.resources.destination_rule import (
    ClientTLSSettings,
    PortTrafficPolicy,
    TLSmode,
    TrafficPolicy,
)
from mitm_mirror.upstream_tls import UpstreamTls

Setting = TypeVar("Setting")


@dataclass(frozen=True, slots=True)
class SourcedPolicy:
    """A traffic policy, and the rule file that relative paths in it count from."""

    policy: TrafficPolicy
    file: str


def find_setting(
    rule: SourcedPolicy | None,
    subset: SourcedPolicy | None,
    port: int,
    select: Callable[[TrafficPolicy | PortTrafficPolicy], Setting | None],
) -> tuple[Setting, str] | None:
    """(setting, rule file) that holds for a service's port; None where nothing is said.

    Each policy first becomes that of the port: its port-level settings replace the rest of it whole.
    Then what the subset sets overrides the rule's, field by field; but port-level settings of the
    subset override the rule's whole, so a field that they leave out has its default.
    Source: istio pilot/pkg/networking/util/util.go, MergeSubsetTrafficPolicy and GetPortLevelTrafficPolicy,
    and pilot/pkg/model/destination_rule.go, MergeTrafficPolicy.
    """
    for sourced in (subset, rule):
        if sourced is None:
            continue
        at_port = _at_port(sourced.policy, port)
        setting = select(sourced.policy if at_port is None else at_port)
        if setting is not None:
            return setting, sourced.file
        if at_port is not None:
            return None
    return None


def _at_port(policy: TrafficPolicy, port: int) -> PortTrafficPolicy | None:
    for settings in policy.port_level_settings:
        if settings.port is not None and settings.port.number == port:
            return settings
    return None


def upstream_tls(settings: ClientTLSSettings, file: str) -> UpstreamTls | None:
    """How to speak TLS; None for DISABLE. Not for ISTIO_MUTUAL.

    A `credentialName` is not followed (there are no secrets here), a `caCrl` neither; both warn.
    Source: istio pilot/pkg/networking/core/cluster_tls.go, constructUpstreamTLS. Stricter than that where
    `sni` is given without `subjectAltNames`: Istio then accepts any name of a trusted certificate, here
    it has to be the SNI's.
    """
    if settings.mode is TLSmode.DISABLE:
        return None

    def path(written: str) -> str:
        return certificate_path(file, written) if written else ""

    mutual = settings.mode is TLSmode.MUTUAL
    ca_file = "" if settings.ca_certificates == SYSTEM_CA else settings.ca_certificates
    return UpstreamTls(
        sni=settings.sni,
        ca_file=path(ca_file),
        client_certificate=path(settings.client_certificate) if mutual else "",
        private_key=path(settings.private_key) if mutual else "",
        subject_alt_names=settings.subject_alt_names,
        verify=not settings.insecure_skip_verify,
    )
