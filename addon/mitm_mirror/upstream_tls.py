"""How TLS to an endpoint is spoken where a DestinationRule says so. Values only; everybody uses them."""

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class UpstreamTls:
    """A `tls` of mode SIMPLE or MUTUAL. Paths are absolute."""

    sni: str = ""
    """Empty: the host of the request's authority."""
    ca_file: str = ""
    """PEM file of the authorities to trust; empty means those that the proxy trusts anyway."""
    client_certificate: str = ""
    """PEM file of the chain to present, for MUTUAL; empty where none is presented."""
    private_key: str = ""
    subject_alt_names: tuple[str, ...] = ()
    """One of these must be in the server's certificate; empty: the server name must be."""
    verify: bool = True

    @property
    def files(self) -> tuple[str, ...]:
        """The files that it is made of."""
        return tuple(file for file in (self.ca_file, self.client_certificate, self.private_key) if file)


def match_subject_alt_names(wanted: Sequence[str], found: Iterable[tuple[str, str]]) -> bool:
    """Whether a certificate's subjectAltName is one of `wanted`.

    `found` are (kind, value) as Python's `ssl` spells them: `DNS`, `URI`, `email`, `IP Address`. A DNS
    name of the certificate may have a `*` for its first label; everything else must be equal.
    Source: istio's util.StringToExactMatch, Envoy's StringSanMatcher (source/common/tls/san_matcher.cc).
    """
    return any(_is_name(text, kind, value) for kind, value in found for text in wanted)


def _is_name(wanted: str, kind: str, value: str) -> bool:
    if kind == "DNS":
        name, pattern = wanted.lower(), value.lower()
        if pattern.startswith("*."):
            label, _, rest = name.partition(".")
            return bool(label) and rest == pattern[2:]
        return name == pattern
    if kind == "IP Address":
        try:
            return ipaddress.ip_address(wanted) == ipaddress.ip_address(value)
        except ValueError:
            return False
    return kind in ("URI", "email") and wanted == value
