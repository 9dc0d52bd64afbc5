"""From whatever goes wrong while sending to a Failure with a text of our own: one table.

h11 quotes header values in its messages and OSErrors may quote paths, so no exception's message is
ever passed on. The two exceptions are constants of their makers: OpenSSL's reasons and strerror.
"""

import errno
import os
import socket
import ssl
import traceback
from collections.abc import Container, Iterable, Iterator
from enum import Enum, auto
from typing import NamedTuple

import h2.exceptions
import h11
import httpx

from mitm_mirror.client.outgoing import BadAddressError, UnsendableRequestError
from mitm_mirror.client.tls import TlsFilesError
from mitm_mirror.outcome import Outcome

_LATE = "no complete answer before the deadline"
_BROKEN = "the connection broke before the answer was complete"
_UNWRITABLE = "the request cannot be written as HTTP"


class FailureKind(Enum):
    """What a failure says about the request: whether it may have been done, and whose fault it is."""

    CONNECT = auto()
    """There was no connection, TLS included: the server has not seen the request."""
    TIMEOUT = auto()
    RESET = auto()
    """The connection ended before the answer did."""
    NOT_HTTP = auto()
    """What came is no answer in HTTP/1.1 or HTTP/2."""
    UNSENDABLE = auto()
    """The request cannot be written as one HTTP message."""
    BUG = auto()


class Failure(NamedTuple):
    """Why a request has no whole answer."""

    outcome: Outcome
    text: str
    """In one line, without any header or body content."""
    kind: FailureKind


TABLE: dict[type[BaseException], Failure] = {
    TimeoutError: Failure(Outcome.TIMEOUT, _LATE, FailureKind.TIMEOUT),
    httpx.ConnectTimeout: Failure(Outcome.TIMEOUT, _LATE, FailureKind.CONNECT),
    httpx.ReadTimeout: Failure(Outcome.TIMEOUT, _LATE, FailureKind.TIMEOUT),
    httpx.WriteTimeout: Failure(Outcome.TIMEOUT, _LATE, FailureKind.TIMEOUT),
    httpx.PoolTimeout: Failure(Outcome.TIMEOUT, _LATE, FailureKind.TIMEOUT),
    httpx.TimeoutException: Failure(Outcome.TIMEOUT, _LATE, FailureKind.TIMEOUT),
    BadAddressError: Failure(
        Outcome.CONNECT_ERROR, "the endpoint's address is not a host name", FailureKind.CONNECT
    ),
    UnicodeError: Failure(
        Outcome.CONNECT_ERROR, "the endpoint's name or SNI is not a host name", FailureKind.CONNECT
    ),
    socket.gaierror: Failure(Outcome.CONNECT_ERROR, "the name does not resolve", FailureKind.CONNECT),
    httpx.ConnectError: Failure(Outcome.CONNECT_ERROR, "no connection", FailureKind.CONNECT),
    httpx.ProxyError: Failure(Outcome.CONNECT_ERROR, "no connection", FailureKind.CONNECT),
    ssl.SSLError: Failure(Outcome.TLS_ERROR, "the TLS handshake failed", FailureKind.RESET),
    TlsFilesError: Failure(
        Outcome.TLS_ERROR, "the rule's certificate files cannot be used any more", FailureKind.CONNECT
    ),
    httpx.ReadError: Failure(Outcome.PROTOCOL_ERROR, _BROKEN, FailureKind.RESET),
    httpx.WriteError: Failure(Outcome.PROTOCOL_ERROR, _BROKEN, FailureKind.RESET),
    httpx.CloseError: Failure(Outcome.PROTOCOL_ERROR, _BROKEN, FailureKind.RESET),
    httpx.NetworkError: Failure(Outcome.PROTOCOL_ERROR, _BROKEN, FailureKind.RESET),
    httpx.RemoteProtocolError: Failure(
        Outcome.PROTOCOL_ERROR, "the answer is not HTTP, or ended early", FailureKind.NOT_HTTP
    ),
    httpx.LocalProtocolError: Failure(Outcome.PROTOCOL_ERROR, _UNWRITABLE, FailureKind.UNSENDABLE),
    h11.LocalProtocolError: Failure(Outcome.PROTOCOL_ERROR, _UNWRITABLE, FailureKind.UNSENDABLE),
    httpx.ProtocolError: Failure(Outcome.PROTOCOL_ERROR, _BROKEN, FailureKind.RESET),
    httpx.UnsupportedProtocol: Failure(
        Outcome.PROTOCOL_ERROR, "the scheme is neither http nor https", FailureKind.UNSENDABLE
    ),
    httpx.TransportError: Failure(Outcome.PROTOCOL_ERROR, _BROKEN, FailureKind.RESET),
    OSError: Failure(Outcome.PROTOCOL_ERROR, _BROKEN, FailureKind.RESET),
}
"""Looked up by the exception's class, then its bases in order."""

_HUNG_UP = Failure(Outcome.TLS_ERROR, "the server hung up during the TLS handshake", FailureKind.CONNECT)
NO_ANSWER = "Server disconnected without sending a response."
"""httpcore's fixed message for the one case of RemoteProtocolError that needs its own text."""


def classify(error: Exception) -> Failure | None:
    """What an exception means, in a safe text; None where it is a bug and not the server's fault."""
    if isinstance(error, TlsFilesError):
        return TABLE[TlsFilesError]
    if isinstance(error, UnsendableRequestError):
        text = f"{_UNWRITABLE}: {error}"
        return Failure(Outcome.PROTOCOL_ERROR, text, FailureKind.UNSENDABLE)
    if not isinstance(error, TimeoutError | httpx.TimeoutException):
        special = _classify_chain(error)
        if special is not None:
            return special
    if _is_not_http2(error):
        return TABLE[httpx.RemoteProtocolError]
    if isinstance(error, httpx.RemoteProtocolError) and str(error) == NO_ANSWER:
        text = "the server closed the connection without an answer"
        return Failure(Outcome.PROTOCOL_ERROR, text, FailureKind.RESET)
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
    if classify(error) is None or (isinstance(error, _NOT_SENT) and not _is_not_http2(error)):
        return True
    return _errno_among(_chain(error), _EXHAUSTED) is not None


def _is_not_http2(error: Exception) -> bool:
    """Whether h2 cannot make sense of what the server sent.

    httpcore calls it a LocalProtocolError, as it does what h2 refuses to send. Only the place where h2 raised
    it tells them apart.
    """
    return isinstance(error, httpx.ProtocolError) and any(
        isinstance(link, h2.exceptions.ProtocolError)
        and any(frame.f_code.co_name == "receive_data" for frame, _ in traceback.walk_tb(link.__traceback__))
        for link in _chain(error)
    )


def _errno_among(chain: Iterable[BaseException], numbers: Container[int]) -> int | None:
    for link in chain:
        if isinstance(link, OSError) and link.errno is not None and link.errno in numbers:
            return link.errno
    return None


def _classify_chain(error: Exception) -> Failure | None:
    """What only the exceptions behind `error` tell: httpx wraps TLS, names and sockets into ConnectError."""
    chain = list(_chain(error))
    tls_errors = [link for link in chain if isinstance(link, ssl.SSLError)]
    for tls_error in tls_errors:
        # These two are how TLS asks for more bytes, and are in the context of all that follows.
        if not isinstance(tls_error, ssl.SSLWantReadError | ssl.SSLWantWriteError):
            # Once the handshake is over the server may have done the request.
            connecting = isinstance(error, httpx.ConnectError)
            kind = FailureKind.CONNECT if connecting else FailureKind.RESET
            return Failure(Outcome.TLS_ERROR, _tls_text(tls_error), kind)
    if (number := _errno_among(chain, _NO_DESCRIPTORS)) is not None:
        # Whatever wanted it: a socket, or a module that a library imports only now.
        text = f"no connection: {os.strerror(number)}"
        return Failure(Outcome.CONNECT_ERROR, text, FailureKind.CONNECT)
    if not isinstance(error, httpx.ConnectError):
        return None
    if tls_errors:
        return _HUNG_UP
    for link in chain:
        if isinstance(link, socket.gaierror):
            return TABLE[socket.gaierror]
    # The innermost is the system's own; anyio's "All connection attempts failed" has no errno.
    for link in reversed(chain):
        if isinstance(link, OSError) and link.errno is not None:
            text = f"no connection: {os.strerror(link.errno)}"
            return Failure(Outcome.CONNECT_ERROR, text, FailureKind.CONNECT)
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
