"""TLS to primaries as DestinationRules say it: what mitmproxy's own TLS set-up has no options for."""

import ipaddress
import logging
from collections.abc import Callable, Iterator
from typing import Any

from cryptography import x509
from mitmproxy import connection, ctx, tls
from mitmproxy.net import tls as net_tls
from OpenSSL import SSL, crypto

from mitm_mirror.proxy.upstream_address import UpstreamAddress
from mitm_mirror.tls_contexts import TlsContexts
from mitm_mirror.upstream_tls import UpstreamTls, match_subject_alt_names

logger = logging.getLogger(__name__)

_NO_PARTIAL_WILDCARDS = 0x4
_NEVER_THE_COMMON_NAME = 0x20
"""OpenSSL's X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS and X509_CHECK_FLAG_NEVER_CHECK_SUBJECT; as mitmproxy."""

_KINDS: tuple[tuple[type[x509.GeneralName], str], ...] = (
    (x509.DNSName, "DNS"),
    (x509.UniformResourceIdentifier, "URI"),
    (x509.RFC822Name, "email"),
    (x509.IPAddress, "IP Address"),
)


class PrimaryTls:
    """Sets up the TLS of upstream connections that rules lead to."""

    def __init__(self) -> None:
        self._contexts: dict[tuple[object, ...], TlsContexts[SSL.Context]] = {}

    def start(self, data: tls.TlsData) -> None:
        """For the hook `tls_start_server`: sets the server name, and where a rule says more, all of TLS.

        A connection that another addon has set up is left alone. One whose certificate files cannot be
        used any more is refused, since mitmproxy would make it without them.
        """
        server = data.conn
        if not isinstance(server, connection.Server) or server.address is None:
            return
        address = server.address[0]
        if not isinstance(address, UpstreamAddress) or not address.sni:
            return
        server.sni = address.sni
        if address.http2 and ctx.options.http2 and not server.alpn_offers:
            # Whatever the client speaks; mitmproxy translates.
            server.alpn_offers = (b"h2", b"http/1.1")
        if address.tls is None or data.ssl_conn is not None or data.is_dtls:
            return
        # First, so that it stays where anything below raises.
        data.ssl_conn = _refusing()
        try:
            context = self._context(address.tls)
        except (OSError, SSL.Error, RuntimeError) as error:
            logger.warning("mirror: TLS to %s (%s) is refused: %s", address, address.sni, error)
            return
        data.ssl_conn = _connect(context, server, data.context.client, address.tls)

    def _context(self, tls_settings: UpstreamTls) -> SSL.Context:
        # The options may change while it runs; each of their values has contexts of its own.
        options = (
            ctx.options.ssl_insecure,
            ctx.options.ssl_verify_upstream_trusted_ca,
            ctx.options.ssl_verify_upstream_trusted_confdir,
            ctx.options.tls_version_server_min,
            ctx.options.tls_version_server_max,
            ctx.options.ciphers_server,
            ctx.options.tls_ecdh_curve_server,
        )
        if options not in self._contexts:
            self._contexts = {options: TlsContexts(_build)}
        return self._contexts[options].get(tls_settings)


def _build(settings: UpstreamTls) -> SSL.Context:
    """Raises SSL.Error or RuntimeError where a file holds what cannot be used.

    `ssl_insecure` is the user's last word, so it holds whatever a rule says.
    """
    options = ctx.options
    verified = settings.verify and not options.ssl_insecure
    # mitmproxy 12 wants a curve where 11 takes its name.
    get_curve: Callable[[str | None], Any] = getattr(net_tls, "get_curve", lambda name: name)
    ciphers = options.ciphers_server
    # Without mitmproxy's cache, whose contexts are shared: ours is changed below.
    make_context = net_tls.create_proxy_server_context.__wrapped__
    context: SSL.Context = make_context(
        method=net_tls.Method.TLS_CLIENT_METHOD,
        min_version=net_tls.Version[options.tls_version_server_min],
        max_version=net_tls.Version[options.tls_version_server_max],
        cipher_list=tuple(ciphers.split(":")) if ciphers else None,
        ecdh_curve=get_curve(options.tls_ecdh_curve_server),
        verify=net_tls.Verify.VERIFY_PEER if verified else net_tls.Verify.VERIFY_NONE,
        ca_path=None if settings.ca_file else options.ssl_verify_upstream_trusted_confdir,
        ca_pemfile=settings.ca_file or options.ssl_verify_upstream_trusted_ca,
        client_cert=None,
        legacy_server_connect=options.ssl_insecure,
    )
    if settings.client_certificate:
        context.set_passwd_cb(lambda *_: b"")  # else OpenSSL would ask the terminal for it
        context.use_certificate_chain_file(settings.client_certificate)
        context.use_privatekey_file(settings.private_key)
        context.check_privatekey()
    if verified and settings.subject_alt_names:
        context.set_verify(SSL.VERIFY_PEER, _name_check(settings.subject_alt_names))
    return context


def _name_check(wanted: tuple[str, ...]) -> Callable[[SSL.Connection, crypto.X509, int, int, int], bool]:
    def check(_: SSL.Connection, certificate: crypto.X509, _error: int, depth: int, good: int) -> bool:
        if not good or depth > 0:
            return bool(good)
        if match_subject_alt_names(wanted, _names(certificate.to_cryptography())):
            return True
        # OpenSSL calls it an unspecified error, which is what the client and the log of the flow get.
        logger.warning(
            "mirror: the primary's certificate has none of the subjectAltNames %s", ", ".join(wanted)
        )
        return False

    return check


def _names(certificate: x509.Certificate) -> Iterator[tuple[str, str]]:
    """As Python's `ssl` spells them."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (x509.ExtensionNotFound, ValueError):  # none, or one that nobody can read: no name matches
        return
    for name in extension.value:
        for kind, spelled in _KINDS:
            if isinstance(name, kind):
                yield spelled, str(name.value)


def _connect(
    context: SSL.Context, server: connection.Server, client: connection.Client, settings: UpstreamTls
) -> SSL.Connection:
    """A connection with SNI, name check and ALPN, as mitmproxy's tlsconfig addon makes it."""
    ssl_conn = SSL.Connection(context)
    assert server.sni is not None
    # pyOpenSSL has no method for it; mitmproxy calls the same functions.
    lib: Any = SSL._lib  # type: ignore[attr-defined]  # noqa: SLF001
    param = lib.SSL_get0_param(ssl_conn._ssl)  # noqa: SLF001
    lib.X509_VERIFY_PARAM_set_hostflags(param, _NO_PARTIAL_WILDCARDS | _NEVER_THE_COMMON_NAME)
    try:
        ip: bytes = ipaddress.ip_address(server.sni).packed
    except ValueError:
        name = server.sni.encode("idna")
        ssl_conn.set_tlsext_host_name(name)
        done = settings.subject_alt_names or lib.X509_VERIFY_PARAM_set1_host(param, name, len(name)) == 1
    else:
        # RFC 6066, 3: an address is no server name.
        done = settings.subject_alt_names or lib.X509_VERIFY_PARAM_set1_ip(param, ip, len(ip)) == 1
    if not done:
        raise ValueError("OpenSSL does not take the server name to check")
    if not server.alpn_offers:
        # The client's: both sides then speak the same HTTP version.
        offers = client.alpn_offers or ()
        server.alpn_offers = tuple(offer for offer in offers if ctx.options.http2 or offer != b"h2")
    if server.alpn_offers:
        ssl_conn.set_alpn_protos(list(server.alpn_offers))
    ssl_conn.set_connect_state()
    return ssl_conn


def _refusing() -> SSL.Connection:
    """A connection that trusts nobody: every handshake fails."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_verify(SSL.VERIFY_PEER, lambda *_: False)
    ssl_conn = SSL.Connection(context)
    ssl_conn.set_connect_state()
    return ssl_conn
