"""TLS to servers: one context for each setting, since building one reads a file of a hundred certificates."""

import ssl
from typing import Any

import httpx

from mitm_mirror.client.settings import ClientSettings
from mitm_mirror.tls_contexts import TlsContexts
from mitm_mirror.upstream_tls import UpstreamTls, match_subject_alt_names

_NO_TLS = UpstreamTls()
"""For servers about which no DestinationRule says anything."""


class TlsFilesError(Exception):
    """A certificate file of a rule could be used when the rules were loaded, and now cannot."""


class ClientTls:
    """The contexts of one client."""

    def __init__(self, settings: ClientSettings) -> None:
        """Raises OSError where `settings.ca_file` cannot be read."""
        self._settings = settings
        # Its file is not looked at again: a sender's settings are read once.
        self._default = self._build(_NO_TLS)
        self._contexts = TlsContexts(self._build)

    def context(self, tls: UpstreamTls | None) -> ssl.SSLContext:
        """What to connect with. Raises TlsFilesError."""
        if tls is None:
            return self._default
        try:
            return self._contexts.get(tls)
        except OSError as error:  # ssl.SSLError is one
            raise TlsFilesError from error

    def _build(self, tls: UpstreamTls) -> ssl.SSLContext:
        """`ssl_insecure` is the user's last word, so it holds whatever a rule says."""
        ca_file = tls.ca_file or self._settings.ca_file
        if not (tls.verify and self._settings.tls_verify):
            context = httpx.create_ssl_context(verify=False, trust_env=False)
        elif ca_file:
            context = ssl.create_default_context(cafile=ca_file)
            # Python 3.13 refuses authorities of one's own that lack a key usage, of which there are many;
            # mitmproxy, which verifies the primary, and Envoy accept them.
            context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        else:
            context = httpx.create_ssl_context(trust_env=False)
        if tls.client_certificate:
            context.load_cert_chain(tls.client_certificate, tls.private_key, password=_no_password)
        if tls.subject_alt_names and context.verify_mode is ssl.CERT_REQUIRED:
            context.check_hostname = False
            context.sslobject_class = _checks_names(tls.subject_alt_names)
        return context


def _no_password() -> bytes:
    """For an encrypted key: OpenSSL would ask the terminal."""
    return b""


def _checks_names(wanted: tuple[str, ...]) -> type[ssl.SSLObject]:
    """A TLS connection whose handshake fails unless the server's certificate has one of these names.

    Within the handshake, so that nothing of a request is sent to a server that is not the one meant.
    """

    class CheckedObject(ssl.SSLObject):
        def do_handshake(self) -> None:
            super().do_handshake()
            certificate: Any = self.getpeercert() or {}
            if not match_subject_alt_names(wanted, certificate.get("subjectAltName", ())):
                error = ssl.SSLCertVerificationError("subjectAltNames")
                error.verify_message = "it has none of the subjectAltNames"
                raise error

    return CheckedObject
