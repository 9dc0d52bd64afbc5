"""From whatever goes wrong while sending to an Outcome and a text of our own: one table.

h11 quotes header values in its messages and OSErrors may quote paths, so no exception's message is
ever passed on. The two exceptions are constants of their makers: OpenSSL's reasons and strerror.
"""

import errno
import os
import socket
import ssl
from collections.abc import Container, Iterable, Iterator

import h11
import httpx

from mitm_mirror.client.outgoing import BadAddressError, UnsendableRequestError
from mitm_mirror.client.tls import TlsFilesError
from mitm_mirror.outcome import Outcome

_LATE = "no complete answer before the deadline"
_BROKEN = "the connection broke before the answer was complete"
_UNWRITABLE = "the request cannot be written as HTTP/1.1"

TABLE: dict[type[BaseException], tuple[Outcome, str]] = {
    TimeoutError: (Outcome.TIMEOUT, _LATE),
    httpx.ConnectTimeout: (Outcome.TIMEOUT, _LATE),
    httpx.ReadTimeout: (Outcome.TIMEOUT, _LATE),
    httpx.WriteTimeout: (Outcome.TIMEOUT, _LATE),
    httpx.PoolTimeout: (Outcome.TIMEOUT, _LATE),
    httpx.TimeoutException: (Outcome.TIMEOUT, _LATE),
    BadAddressError: (Outcome.CONNECT_ERROR, "the endpoint's address is not a host name"),
    UnicodeError: (Outcome.CONNECT_ERROR, "the endpoint's name or SNI is not a host name"),
    socket.gaierror: (Outcome.CONNECT_ERROR, "the name does not resolve"),
    httpx.ConnectError: (Outcome.CONNECT_ERROR, "no connection"),
    httpx.ProxyError: (Outcome.CONNECT_ERROR, "no connection"),
    ssl.SSLError: (Outcome.TLS_ERROR, "the TLS handshake failed"),
    TlsFilesError: (Outcome.TLS_ERROR, "the rule's certificate files cannot be used any more"),
    httpx.ReadError: (Outcome.PROTOCOL_ERROR, _BROKEN),
    httpx.WriteError: (Outcome.PROTOCOL_ERROR, _BROKEN),
    httpx.CloseError: (Outcome.PROTOCOL_ERROR, _BROKEN),
    httpx.NetworkError: (Outcome.PROTOCOL_ERROR, _BROKEN),
    httpx.RemoteProtocolError: (Outcome.PROTOCOL_ERROR, "the answer is not HTTP/1.1, or ended early"),
    httpx.LocalProtocolError: (Outcome.PROTOCOL_ERROR, _UNWRITABLE),
    h11.LocalProtocolError: (Outcome.PROTOCOL_ERROR, _UNWRITABLE),
    httpx.ProtocolError: (Outcome.PROTOCOL_ERROR, _BROKEN),
    httpx.UnsupportedProtocol: (Outcome.PROTOCOL_ERROR, "the scheme is neither http nor https"),
    httpx.TransportError: (Outcome.PROTOCOL_ERROR, _BROKEN),
    OSError: (Outcome.PROTOCOL_ERROR, _BROKEN),
}
"""Looked up by the exception's class, then its bases in order."""

_NO_ANSWER = "Server disconnected without sending a response."
"""httpcore's fixed message for the one case of RemoteProtocolError that needs its own text."""


def classify(error: Exception) -> tuple[Outcome, str] | None:
    """The outcome of an exception and a safe text; None where it is a bug and not the server's fault."""
    if isinstance(error, TlsFilesError):
        return TABLE[TlsFilesError]
    if isinstance(error, UnsendableRequestError):
        return Outcome.PROTOCOL_ERROR, f"the request cannot be written as HTTP/1.1: {error}"
    if not isinstance(error, TimeoutError | httpx.TimeoutException):
        special = _classify_chain(error)
        if special is not None:
            return special
    if isinstance(error, httpx.RemoteProtocolError) and str(error) == _NO_ANSWER:
        return Outcome.PROTOCOL_ERROR, "the server closed the connection without an answer"
    for base in type(error).__mro__:
        if base in TABLE:
            return TABLE[base]
    return None


_NOT_SENT = (
    UnsendableRequestError,
    TlsFilesError,
    httpx.LocalProtocolError,
    h11.LocalProtocolError,
    httpx.UnsupportedProtocol,
)
_NO_DESCRIPTORS = frozenset({errno.EMFILE, errno.ENFILE})
_EXHAUSTED = _NO_DESCRIPTORS | frozenset({errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL})
"""Descriptors, memory or local ports: this machine has no more."""


def is_blameless(error: Exception) -> bool:
    """Whether the server has no part in it: the request cannot be written, or this machine is at its limits.

    So is a bug of ours, which `classify` does not know.
    """
    if classify(error) is None or isinstance(error, _NOT_SENT):
        return True
    return _errno_among(_chain(error), _EXHAUSTED) is not None


def _errno_among(chain: Iterable[BaseException], numbers: Container[int]) -> int | None:
    for link in chain:
        if isinstance(link, OSError) and link.errno is not None and link.errno in numbers:
            return link.errno
    return None


def _classify_chain(error: Exception) -> tuple[Outcome, str] | None:
    """What only the exceptions behind `error` tell: httpx wraps TLS, names and sockets into ConnectError."""
    chain = list(_chain(error))
    tls_errors = [link for link in chain if isinstance(link, ssl.SSLError)]
    for tls_error in tls_errors:
        # These two are how TLS asks for more bytes, and are in the context of all that follows.
        if not isinstance(tls_error, ssl.SSLWantReadError | ssl.SSLWantWriteError):
            return Outcome.TLS_ERROR, _tls_text(tls_error)
    if (number := _errno_among(chain, _NO_DESCRIPTORS)) is not None:
        # Whatever wanted it: a socket, or a module that a library imports only now.
        return Outcome.CONNECT_ERROR, f"no connection: {os.strerror(number)}"
    if not isinstance(error, httpx.ConnectError):
        return None
    if tls_errors:
        return Outcome.TLS_ERROR, "the server hung up during the TLS handshake"
    for link in chain:
        if isinstance(link, socket.gaierror):
            return TABLE[socket.gaierror]
    # The innermost is the system's own; anyio's "All connection attempts failed" has no errno.
    for link in reversed(chain):
        if isinstance(link, OSError) and link.errno is not None:
            return Outcome.CONNECT_ERROR, f"no connection: {os.strerror(link.errno)}"
    return None


def _tls_text(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        # `verify_message` may quote the name that we asked for (the SNI), which is no secret.
        return f"the server's certificate was refused: {error.verify_message}"
    reason = getattr(error, "reason", None)  # absent where Python and not OpenSSL raised it
    return f"the TLS handshake failed: {reason or 'unknown reason'}"


def _chain(error: BaseException) -> Iterator[BaseException]:
    """`error` and everything that it was raised from or during; groups are opened.

    Context counts as well as cause: httpcore's pool re-raises with `from None`.
    """
    seen: set[int] = set()
    pending: list[BaseException] = [error]
    while pending:
        link = pending.pop(0)
        if id(link) in seen:
            continue
        seen.add(id(link))
        yield link
        if isinstance(link, BaseExceptionGroup):
            pending.extend(link.exceptions)
        pending.extend(inner for inner in (link.__cause__, link.__context__) if inner is not None)
